//! Which proxies enforce an object: what every status of ours says of them.

use std::collections::BTreeSet;

use headgate_crds::proxies::{AwayProxy, ProxyCounts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::hub::Standing;

/// Most entries of a list in a status.
pub(super) const ENTRIES: usize = 64;

/// Most characters of a proxy's name in a status.
const NAME_CHARACTERS: usize = 253;

/// How many proxies should enforce the object, and how many do.
pub(super) fn counts(standing: &Standing) -> ProxyCounts {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ProxyCounts { expected: count(standing.expected), programmed: count(standing.programmed) }
}

/// The proxies that are not expected any more, the longest away first.
pub(super) fn away(standing: &Standing) -> Vec<AwayProxy> {
    let mut away: Vec<AwayProxy> =
        standing.away.iter().map(|(name, since)| AwayProxy { name: shown(name), since: Time(*since) }).collect();
    // By time, then by name; each name once, as the schema wants it.
    away.sort_by(|one, other| (one.since.0, &one.name).cmp(&(other.since.0, &other.name)));
    let mut named = BTreeSet::new();
    away.retain(|proxy| named.insert(proxy.name.clone()));
    away.truncate(ENTRIES);
    away
}

/// A proxy's name as a status has it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS).collect()
}
