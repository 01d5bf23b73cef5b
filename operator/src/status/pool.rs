//! Status of an OriginPool: its origins as the proxies see them.

use std::collections::BTreeMap;

use headgate_crds::OriginPoolStatus;
use headgate_crds::conditions::{DEGRADED, READY};
use headgate_crds::origin_pool::{HostStatus, OriginStatus};
use headgate_snapshot::{OriginHealth, PoolHealth};
use headgate_translate::Verdict;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Draft, programmed, ready, settle, shortened};
use super::proxies::{ENTRIES, away, counts};
use crate::hub::Standing;

/// Longest message of an origin, in bytes: as the schema says.
const ORIGIN_MESSAGE: usize = 1024;

/// The status of a pool.
pub fn status(
    verdict: &Verdict,
    standing: &Standing,
    health: &[&PoolHealth],
    previous: &[Condition],
    now: Timestamp,
) -> OriginPoolStatus {
    let mut origins = origins(health);
    let mut drafts: Vec<Draft> = verdict.conditions().into_iter().map(Draft::from).collect();
    drafts.push(programmed(verdict.force, standing));
    drafts.push(ready(&drafts));
    limit_readiness(&mut drafts, &origins);
    if !drafts.iter().any(|draft| draft.condition_type == DEGRADED) {
        drafts.extend(degraded(&origins));
    }

    let healthy: u32 = origins.iter().map(|origin| origin.healthy).sum();
    let total: u32 = origins.iter().map(|origin| origin.total).sum();
    let active: Vec<&str> = origins.iter().filter(|origin| origin.active).map(|origin| origin.name.as_str()).collect();
    let active = if active.is_empty() { "-".to_owned() } else { active.join(",") };
    let known = !origins.is_empty();
    origins.sort_by(|one, other| lack(one).cmp(&lack(other)).reverse().then_with(|| one.name.cmp(&other.name)));
    origins.truncate(ENTRIES);
    let mut hosts: Vec<HostStatus> =
        verdict.hosts.iter().map(|host| HostStatus { host: host.host.clone(), held: host.held }).collect();
    hosts.sort_by_key(|host| host.held);
    hosts.truncate(ENTRIES);
    OriginPoolStatus {
        conditions: settle(drafts, verdict.generation, previous, now),
        observed_generation: (verdict.generation > 0).then_some(verdict.generation),
        proxies: Some(counts(standing)),
        away: away(standing),
        healthy: known.then(|| format!("{healthy}/{total}")),
        active: known.then_some(active),
        origins,
        hosts,
    }
}

/// Each origin as the proxy sees it that sees the fewest healthy endpoints.
fn origins(health: &[&PoolHealth]) -> Vec<OriginStatus> {
    let mut origins: BTreeMap<&str, OriginStatus> = BTreeMap::new();
    for origin in health.iter().flat_map(|pool| &pool.origins) {
        let OriginHealth { name, healthy, total, active, in_flight: _, message } = origin;
        let message = (!message.is_empty()).then(|| shortened(message.clone(), ORIGIN_MESSAGE));
        origins
            .entry(name)
            .and_modify(|seen| {
                seen.healthy = seen.healthy.min(*healthy);
                seen.total = seen.total.max(*total);
                seen.active |= active;
                seen.message = seen.message.take().or_else(|| message.clone());
            })
            .or_insert_with(|| OriginStatus {
                name: name.clone(),
                healthy: *healthy,
                total: *total,
                active: *active,
                ejected: Vec::new(),
                message,
            });
    }
    origins.into_values().collect()
}

/// Endpoints that do not serve; an origin without any is the worst of its size.
fn lack(origin: &OriginStatus) -> (u32, bool) {
    (origin.total - origin.healthy.min(origin.total), origin.healthy == 0)
}

/// A pool that is enforced and has nowhere to send a request to is not ready.
fn limit_readiness(drafts: &mut [Draft], origins: &[OriginStatus]) {
    let sentence = if origins.is_empty() || origins.iter().any(|origin| origin.active) {
        return;
    } else if origins.iter().any(|origin| origin.healthy > 0) {
        "no origin takes traffic: those with healthy endpoints are disabled or have weight 0"
    } else {
        "no endpoint of any origin is healthy"
    };
    for draft in drafts.iter_mut().filter(|draft| draft.condition_type == READY && draft.status == "True") {
        *draft = Draft::fails(READY, "NoHealthyOrigin", sentence);
    }
}

fn degraded(origins: &[OriginStatus]) -> Option<Draft> {
    let sentences: Vec<String> = origins
        .iter()
        .filter(|origin| origin.healthy < origin.total || origin.message.is_some())
        .map(|origin| {
            let OriginStatus { name, healthy, total, active: _, ejected: _, message } = origin;
            let message = message.as_ref().map_or_else(String::new, |message| format!(" ({message})"));
            format!("origin {name}: {healthy} of {total} endpoints healthy{message}")
        })
        .collect();
    (!sentences.is_empty()).then(|| Draft::holds(DEGRADED, "OriginUnhealthy", sentences.join("; ")))
}
