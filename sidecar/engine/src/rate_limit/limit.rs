//! A compiled limit.

use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::cel::{Condition, Moment};
use headgate_snapshot::{Key, rate_limit};
use http::{HeaderName, HeaderValue};

use super::book::{LimitState, Limits};
use super::governs::Governs;
use super::key::{Identity, KeyHash, KeyText, Part};
use super::meter::Algorithm;
use super::quota::{LONGEST_PERIOD_MS, MOST_REQUESTS, Quota, SHORTEST_PERIOD_MS};
use super::set::CounterSet;
use super::tally::Figure;
use super::terms::{Charge, Standing, StoreFailure, Terms, Why};
use crate::facts::Facts;
use crate::filter::header_name;
use crate::refusal::Mistake;
use crate::time::EpochMillis;

/// The highest cost that an answer may name.
const MOST_COST: u32 = 1_000_000;

/// A compiled limit.
#[derive(Debug)]
pub struct RateLimit {
    key: Arc<Key>,
    governs: Option<Governs>,
    when: Option<Condition>,
    parts: Vec<Part>,
    /// The limit's own quota, then those of the exceptions.
    quotas: Vec<Quota>,
    exceptions: Vec<Condition>,
    scope: Scope,
    action: Action,
    count: Option<Count>,
    concurrent: Option<u32>,
    pub(crate) set: Arc<CounterSet>,
    pub(crate) state: Arc<LimitState>,
}

/// Who shares the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Proxy,
    Cluster { strict: bool, on_failure: StoreFailure },
}

/// What happens to a request beyond the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Enforce(Option<LimitAnswer>),
    Audit,
    Mark(HeaderName, HeaderValue),
}

/// What a refusal answers in place of what every error has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitAnswer {
    /// 400 to 499.
    pub status: u16,
    /// Media type and body; absent: those that every error has.
    pub body: Option<(HeaderValue, String)>,
}

/// What counts in place of each request.
#[derive(Clone, Debug)]
struct Count {
    when: Option<Condition>,
    cost: Option<HeaderName>,
}

impl RateLimit {
    /// Compiles a limit. Its counters are those of the book.
    pub(crate) fn compile(key: &Key, limit: &wire::RateLimit, limits: &Limits) -> Result<Self, Mistake> {
        let wire::RateLimit {
            governs,
            when,
            key: parts,
            limit: requests,
            period_ms,
            scope,
            consistency,
            block_for_ms,
            response,
            exceptions,
            count,
            concurrent_requests,
            on_store_failure,
            algorithm,
            action,
        } = limit;
        let period = u32::try_from(*period_ms)
            .ok()
            .filter(|period| (SHORTEST_PERIOD_MS..=LONGEST_PERIOD_MS).contains(period))
            .ok_or_else(|| Mistake::invalid("period_ms", format!("{period_ms}: write one second to one day")))?;
        let (algorithm, burst) = match algorithm {
            Some(rate_limit::Algorithm::SlidingWindow(wire::SlidingWindow {})) => (Algorithm::SlidingWindow, 0),
            Some(rate_limit::Algorithm::TokenBucket(wire::TokenBucket { burst })) => (Algorithm::TokenBucket, *burst),
            None => return Err(Mistake::invalid("algorithm", "an algorithm that this proxy does not know")),
        };
        let quota = |requests: u64, field: &str| {
            let limit = number(requests, field)?;
            let burst = if burst == 0 { limit } else { number(burst, "token_bucket.burst")? };
            Ok(Quota { limit, burst, period, block_for: *block_for_ms })
        };
        let mut quotas = vec![quota(*requests, "limit")?];
        for (index, wire::LimitException { when: _, limit }) in exceptions.iter().enumerate() {
            quotas.push(quota(*limit, &format!("exceptions[{index}].limit"))?);
        }
        let parts: Vec<Part> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| Part::compile(part, &format!("key[{index}]")))
            .collect::<Result<_, _>>()?;
        let exceptions = exceptions
            .iter()
            .enumerate()
            .map(|(index, exception)| condition(&exception.when, Moment::Request, &format!("exceptions[{index}].when")))
            .collect::<Result<_, _>>()?;
        let compiled = (
            governs.as_ref().map(Governs::compile).transpose()?,
            optional_condition(when, Moment::Request, "when")?,
            Scope::compile(*scope, *consistency, *on_store_failure)?,
            Action::compile(action.as_ref(), response.as_ref())?,
            count.as_ref().map(Count::compile).transpose()?,
        );
        // Nothing can fail any more: only what is enforced touches the book.
        let (governs, when, scope, action, count) = compiled;
        let identity =
            Identity { limit: key.clone(), period, algorithm, parts: parts.iter().map(Part::name).collect() };
        let set = limits.counters(identity, &quotas);
        Ok(Self {
            key: Arc::new(key.clone()),
            governs,
            when,
            parts,
            quotas,
            exceptions,
            scope,
            action,
            count,
            concurrent: u32::try_from(*concurrent_requests).ok().filter(|most| *most > 0),
            set,
            state: limits.state(key),
        })
    }

    /// Whose limit this is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether the counters hang on values of a request, so that no application can ask by a key of its own.
    pub fn has_key(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether the counters are those of all proxies.
    pub fn is_shared(&self) -> bool {
        matches!(self.scope, Scope::Cluster { .. })
    }

    /// Whether a request counts by its answer.
    pub(crate) fn counts_answers(&self) -> bool {
        self.count.is_some()
    }

    pub(crate) fn governs(&self) -> Option<&Governs> {
        self.governs.as_ref()
    }

    pub(crate) fn action(&self) -> &Action {
        &self.action
    }

    /// Whether requests beyond the limit are refused.
    pub(crate) fn enforces(&self) -> bool {
        matches!(self.action, Action::Enforce(_))
    }

    /// Where the limit comes in the order of enforcement.
    pub(crate) fn order(&self) -> (&str, &str) {
        (&self.key.name, &self.key.namespace)
    }

    /// Whether a request is limited. An expression that has no value does not lift the limit.
    pub(crate) fn applies(&self, facts: &Facts<'_>) -> bool {
        self.when.as_ref().is_none_or(|when| {
            when.holds(facts).unwrap_or_else(|_| {
                self.state.tally.count_failure();
                true
            })
        })
    }

    /// The counter of a request.
    pub(crate) fn hash(&self, facts: &Facts<'_>) -> KeyHash {
        let mut text = KeyText::default();
        for part in &self.parts {
            if !part.write(facts, &mut text) {
                self.state.tally.count_failure();
            }
        }
        self.set.hash(&text)
    }

    /// Which quota a request has: the limit's own, or that of the first exception that holds. One whose expression has
    /// no value holds where it is the lower one.
    pub(crate) fn variant(&self, facts: &Facts<'_>) -> u8 {
        let holds = |(index, when): (usize, &Condition)| {
            let exception = self.quotas.get(index + 1)?;
            let holds = when.holds(facts).unwrap_or_else(|_| {
                self.state.tally.count_failure();
                exception.limit < self.quotas[0].limit
            });
            holds.then(|| u8::try_from(index + 1).unwrap_or_default())
        };
        self.exceptions.iter().enumerate().find_map(holds).unwrap_or_default()
    }

    /// What a request needs, and counts before it is answered.
    pub(crate) fn charge(&self) -> Charge {
        if self.count.is_some() { Charge { cost: 0, needs: 1 } } else { Charge::of(1) }
    }

    /// What an answer makes a request count, where that hangs on the answer.
    pub(crate) fn cost(&self, facts: &Facts<'_>) -> Option<u32> {
        let Count { when, cost } = self.count.as_ref()?;
        let counts = when.as_ref().is_none_or(|when| {
            when.holds(facts).unwrap_or_else(|_| {
                self.state.tally.count_failure();
                true
            })
        });
        let named = cost.as_ref().and_then(|cost| facts.answer?.1.get(cost));
        let cost = match named {
            None => 1,
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|value| value.trim().parse().ok())
                .filter(|cost| (1..=MOST_COST).contains(cost))
                .unwrap_or(0),
        };
        Some(cost).filter(|cost| counts && *cost > 0)
    }

    /// The header of an answer that is for us alone.
    pub(crate) fn cost_header(&self) -> Option<&HeaderName> {
        self.count.as_ref()?.cost.as_ref()
    }

    /// The request header that tells the origin, which no client may send.
    pub(crate) fn mark_header(&self) -> Option<&HeaderName> {
        match &self.action {
            Action::Mark(name, _) => Some(name),
            Action::Enforce(_) | Action::Audit => None,
        }
    }

    /// The limit's own quota, or that of an exception.
    pub(crate) fn quota(&self, variant: u8) -> Quota {
        Terms::new(&self.quotas, variant, Standing::Alone).quota
    }

    /// The terms of a request, and the time that its counters go by.
    pub(crate) fn terms(&self, variant: u8, limits: &Limits, now: EpochMillis) -> (Terms<'_>, EpochMillis) {
        let (standing, now) = match self.scope {
            Scope::Proxy => (Standing::Alone, now),
            Scope::Cluster { strict, on_failure } => {
                (limits.standing(&self.set, strict, on_failure), limits.shared_time(now))
            }
        };
        (Terms::new(&self.quotas, variant, standing), now)
    }

    /// The terms of a request that the store gave no answer to.
    pub(crate) fn terms_apart(&self, variant: u8, limits: &Limits) -> Terms<'_> {
        let standing = match self.scope {
            Scope::Proxy => Standing::Alone,
            Scope::Cluster { strict: _, on_failure } => limits.apart(&self.set, on_failure),
        };
        Terms::new(&self.quotas, variant, standing)
    }

    /// Most requests of a key in flight here.
    pub(crate) fn most_in_flight(&self, limits: &Limits) -> Option<u32> {
        let most = self.concurrent?;
        Some(match self.scope {
            Scope::Proxy => most,
            Scope::Cluster { .. } => (most / self.set.proxies().unwrap_or_else(|| limits.proxies()).max(1)).max(1),
        })
    }

    /// What became of the requests of the last minute, and since when the store is away that the limit shares.
    pub(crate) fn figures(&self, limits: &Limits, now: EpochMillis) -> wire::LimitFigures {
        let Figure { allowed, refused } = self.state.tally.last_minute(now);
        let refused = Why::ALL.iter().zip(refused).filter(|(_, requests)| *requests > 0);
        let away = limits.lost_since().filter(|_| matches!(self.scope, Scope::Cluster { .. }));
        wire::LimitFigures {
            key: Some(Key::clone(&self.key)),
            allowed,
            refused: refused
                .map(|(why, requests)| wire::LimitRefusals { reason: why.word().to_owned(), requests })
                .collect(),
            store_away_since: away.map_or(0, |since| i64::try_from(since.0 / 1_000).unwrap_or(i64::MAX)),
        }
    }

    /// What became of all requests so far, and how often an expression had no value for one.
    pub fn totals(&self) -> (Figure, u64) {
        self.state.tally.totals()
    }

    /// Keys in memory, the bytes that they take, and how many were forgotten before their time.
    pub fn size(&self) -> (usize, usize, u64) {
        self.set.size()
    }

    /// One sentence on what is limited, for people.
    pub(crate) fn describe(&self) -> String {
        let Quota { limit, burst, period, block_for } = self.quotas[0];
        let parts: Vec<String> = self.parts.iter().map(Part::name).collect();
        let by = if parts.is_empty() { "all together".to_owned() } else { format!("by {}", parts.join(", ")) };
        let algorithm = match self.set.identity().algorithm {
            Algorithm::SlidingWindow => "SlidingWindow".to_owned(),
            Algorithm::TokenBucket => format!("TokenBucket with burst {burst}"),
        };
        let scope = match self.scope {
            Scope::Proxy => "each proxy alone",
            Scope::Cluster { strict: false, .. } => "Cluster, Eventual",
            Scope::Cluster { strict: true, .. } => "Cluster, Strict",
        };
        let action = match self.action {
            Action::Enforce(_) => "Enforce",
            Action::Audit => "Audit",
            Action::Mark(..) => "Mark",
        };
        let block = if block_for > 0 { format!(", blocks for {block_for} ms") } else { String::new() };
        format!("{limit} in {period} ms {by}, {algorithm}, {scope}, {action}{block}")
    }
}

impl Scope {
    fn compile(scope: i32, consistency: i32, on_failure: i32) -> Result<Self, Mistake> {
        let unknown = |field: &str| Err(Mistake::invalid(field, "a value that this proxy does not know"));
        match wire::LimitScope::try_from(scope) {
            Ok(wire::LimitScope::Proxy) => return Ok(Self::Proxy),
            Ok(wire::LimitScope::Cluster) => {}
            Ok(wire::LimitScope::Unspecified) | Err(_) => return unknown("scope"),
        }
        let strict = match wire::Consistency::try_from(consistency) {
            Ok(wire::Consistency::Eventual) => false,
            Ok(wire::Consistency::Strict) => true,
            Ok(wire::Consistency::Unspecified) | Err(_) => return unknown("consistency"),
        };
        let on_failure = match wire::StoreFailure::try_from(on_failure) {
            Ok(wire::StoreFailure::LocalShare) => StoreFailure::LocalShare,
            Ok(wire::StoreFailure::Allow) => StoreFailure::Allow,
            Ok(wire::StoreFailure::Deny) => StoreFailure::Deny,
            Ok(wire::StoreFailure::Unspecified) | Err(_) => return unknown("on_store_failure"),
        };
        Ok(Self::Cluster { strict, on_failure })
    }
}

impl Action {
    fn compile(action: Option<&rate_limit::Action>, response: Option<&wire::LimitResponse>) -> Result<Self, Mistake> {
        match action {
            Some(rate_limit::Action::Enforce(wire::Enforce {})) => {
                Ok(Self::Enforce(response.map(LimitAnswer::compile).transpose()?))
            }
            Some(rate_limit::Action::Audit(wire::Audit {})) => Ok(Self::Audit),
            Some(rate_limit::Action::Mark(wire::Mark { header, value })) => {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| Mistake::invalid("mark.value", "a character that no header may have"))?;
                Ok(Self::Mark(header_name(header, "mark.header")?, value))
            }
            None => Err(Mistake::invalid("action", "an action that this proxy does not know")),
        }
    }
}

impl LimitAnswer {
    fn compile(response: &wire::LimitResponse) -> Result<Self, Mistake> {
        let wire::LimitResponse { status, content_type, body } = response;
        let status = u16::try_from(*status)
            .ok()
            .filter(|status| (400..500).contains(status))
            .ok_or_else(|| Mistake::invalid("response.status", format!("{status}: write 400 to 499")))?;
        let is_own = !content_type.is_empty() || !body.is_empty();
        let content_type = HeaderValue::from_str(content_type)
            .map_err(|_| Mistake::invalid("response.content_type", "a character that no header may have"))?;
        Ok(Self { status, body: is_own.then(|| (content_type, body.clone())) })
    }
}

impl Count {
    fn compile(count: &wire::Count) -> Result<Self, Mistake> {
        let wire::Count { when, cost_header } = count;
        Ok(Self {
            when: optional_condition(when, Moment::Answer, "count.when")?,
            cost: if cost_header.is_empty() { None } else { Some(header_name(cost_header, "count.cost_header")?) },
        })
    }
}

fn number(requests: u64, field: &str) -> Result<u32, Mistake> {
    u32::try_from(requests)
        .ok()
        .filter(|requests| (1..=MOST_REQUESTS).contains(requests))
        .ok_or_else(|| Mistake::invalid(field, format!("{requests}: write 1 to {MOST_REQUESTS}")))
}

fn condition(text: &str, moment: Moment, field: &str) -> Result<Condition, Mistake> {
    Condition::new(text, moment).map_err(|mistake| Mistake::invalid(field, mistake.to_string()))
}

/// No condition where none is written.
fn optional_condition(text: &str, moment: Moment, field: &str) -> Result<Option<Condition>, Mistake> {
    if text.is_empty() { Ok(None) } else { condition(text, moment, field).map(Some) }
}
