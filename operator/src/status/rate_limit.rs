//! Status of a RateLimit: what all proxies together decided, and how they count together.

use std::collections::BTreeMap;

use headgate_crds::RateLimitStatus;
use headgate_crds::conditions::DEGRADED;
use headgate_crds::rate_limit::LastMinute;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, LimitFigures, LimitRefusals, LimitScope, RateLimit, StateUrl, StoreFailure};
use headgate_translate::Verdict;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Draft, programmed, ready, settle, shortened};
use super::proxies::{ENTRIES, away, counts, shown};
use crate::hub::{Progress, Standing};

/// Longest reason of a refusal in a status, in bytes: as the schema says.
const REASON: usize = 64;

/// How a limit fares with the proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitStanding {
    /// Names of proxies that enforce it, not more than a status takes.
    pub enforced_by: Vec<String>,
    /// What each told of the last minute, by name.
    pub figures: Vec<(String, LimitFigures)>,
    /// What holds while the store is away.
    pub on_store_failure: StoreFailure,
    /// How many proxies count one limit without a store that they share; 0 where they need none.
    pub apart: usize,
}

impl LimitStanding {
    /// How a limit fares.
    pub fn new(
        key: &Key,
        progress: &Progress,
        standing: &Standing,
        figures: &[(&str, &LimitFigures)],
        state: &StateUrl,
    ) -> Self {
        let limit = progress.set.get(key).and_then(|entry| match &entry.resource.body {
            Some(Body::RateLimit(limit)) => Some(limit),
            Some(
                Body::Gateway(_) | Body::Route(_) | Body::OriginPool(_) | Body::Certificate(_) | Body::WaitingRoom(_),
            )
            | None => None,
        });
        let is_common = limit.is_some_and(|limit| limit.scope() == LimitScope::Cluster);
        let is_apart = is_common && !state.is_shared() && standing.expected > 1;
        Self {
            enforced_by: progress.enforcing(key).take(ENTRIES).map(shown).collect(),
            figures: figures.iter().map(|(proxy, figures)| ((*proxy).to_owned(), (*figures).clone())).collect(),
            on_store_failure: limit.map(RateLimit::on_store_failure).unwrap_or_default(),
            apart: if is_apart { standing.expected } else { 0 },
        }
    }
}

/// The status of a limit.
pub(super) fn status(
    verdict: &Verdict,
    standing: &Standing,
    limit: &LimitStanding,
    previous: &[Condition],
    now: Timestamp,
) -> RateLimitStatus {
    let mut drafts: Vec<Draft> = verdict.conditions().into_iter().map(Draft::from).collect();
    drafts.push(programmed(verdict.force, standing));
    drafts.push(ready(&drafts));
    drafts.extend(degraded(limit));
    let mut enforced_by = limit.enforced_by.clone();
    // Each once, as the schema wants it: names may be equal once they are cut.
    enforced_by.dedup();
    RateLimitStatus {
        conditions: settle(drafts, verdict.generation, previous, now),
        observed_generation: (verdict.generation > 0).then_some(verdict.generation),
        proxies: Some(counts(standing)),
        away: away(standing),
        last_minute: (!enforced_by.is_empty()).then(|| last_minute(limit)),
        enforced_by,
    }
}

/// What all proxies together decided.
fn last_minute(limit: &LimitStanding) -> LastMinute {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut minute = LastMinute::default();
    for (_, figures) in &limit.figures {
        minute.allowed = minute.allowed.saturating_add(figures.allowed);
        for LimitRefusals { reason, requests } in &figures.refused {
            minute.refused = minute.refused.saturating_add(*requests);
            let sum = reasons.entry(reason).or_default();
            *sum = sum.saturating_add(*requests);
        }
    }
    // The schema counts with the sign.
    let most = u64::MAX >> 1;
    (minute.allowed, minute.refused) = (minute.allowed.min(most), minute.refused.min(most));
    let top = reasons.into_iter().filter(|(_, requests)| *requests > 0);
    // Of equal ones the first by name, so that the word does not jump.
    let top = top.reduce(|most, other| if other.1 > most.1 { other } else { most });
    minute.top_reason = top.map(|(reason, _)| shortened(reason.to_owned(), REASON));
    minute
}

/// Counts that are not as good as they should be.
fn degraded(limit: &LimitStanding) -> Option<Draft> {
    if limit.apart > 0 {
        let sentence = format!(
            "{} proxies count without a store that they share: each passes its share of the limit; give --state to the \
             operator and the proxies",
            limit.apart
        );
        return Some(Draft::holds(DEGRADED, "NoSharedStore", sentence));
    }
    let lost = limit.figures.iter().filter(|(_, figures)| figures.store_away_since > 0);
    let mut lost: Vec<(i64, &str)> = lost.map(|(proxy, figures)| (figures.store_away_since, proxy.as_str())).collect();
    lost.sort_unstable();
    let (since, first) = lost.first()?;
    let others = if lost.len() > 1 { format!(" (and {} more)", lost.len() - 1) } else { String::new() };
    let since = Timestamp::from_second(*since).unwrap_or_default();
    let meanwhile = match limit.on_store_failure {
        StoreFailure::Unspecified => "what it was told",
        StoreFailure::LocalShare => "LocalShare: each passes its share",
        StoreFailure::Allow => "Allow: everything passes",
        StoreFailure::Deny => "Deny: nothing passes",
    };
    let sentence = format!("proxy {first}{others} has no shared store since {since}; meanwhile {meanwhile}");
    Some(Draft::holds(DEGRADED, "StoreUnavailable", sentence))
}
