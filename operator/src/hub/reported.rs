//! What of a report counts: what the proxy may speak of, and no more than a status has room for.
//!
//! A sidecar runs beside a tenant's own program. What it tells must not become the status of another's object, nor
//! cost the operator more than a proxy that means well.

use std::collections::BTreeSet;

use headgate_snapshot::{Key, LimitFigures, LimitRefusals, OriginHealth, PoolHealth, Refusal, Report, Trouble};

use super::Scope;

/// Most keys that a report refuses, and most pools that it tells of.
pub(super) const MOST_KEYS: usize = 65_536;
/// Most origins of a pool.
const MOST_ORIGINS: usize = 256;
/// Most troubles of one proxy.
const MOST_TROUBLES: usize = 16;
/// Most reasons of refusals of one limit.
const MOST_LIMIT_REASONS: usize = 8;
/// Longest sentence, in bytes.
pub(super) const LONGEST_MESSAGE: usize = 1_024;
/// Longest reason and longest name of an origin, in bytes.
const LONGEST_WORD: usize = 253;
/// What takes the place of a reason that an API server would not take.
const NO_REASON: &str = "Unspecified";

/// A report without what its proxy may not speak of. Of several entries for one key the first counts.
pub(super) fn within(scope: &Scope, report: Report) -> Report {
    let Report { proxy, version, mut refusals, mut pools, mut troubles, sequence, mut limits, mut rooms } = report;
    keep(&mut refusals, scope, |refusal| &refusal.key);
    keep(&mut pools, scope, |pool| &pool.key);
    keep(&mut limits, scope, |limit| &limit.key);
    keep(&mut rooms, scope, |room| &room.key);
    troubles.truncate(MOST_TROUBLES);
    for Refusal { key: _, reason, message } in &mut refusals {
        limit(reason, message);
    }
    for PoolHealth { key: _, origins } in &mut pools {
        origins.truncate(MOST_ORIGINS);
        for OriginHealth { name, message, .. } in origins {
            cut(name, LONGEST_WORD);
            cut(message, LONGEST_MESSAGE);
        }
    }
    for LimitFigures { key: _, allowed: _, refused, store_away_since: _ } in &mut limits {
        refused.truncate(MOST_LIMIT_REASONS);
        for LimitRefusals { reason, requests: _ } in refused {
            word(reason);
        }
    }
    for Trouble { reason, message } in &mut troubles {
        limit(reason, message);
    }
    Report { proxy, version, refusals, pools, troubles, sequence, limits, rooms }
}

fn keep<T>(entries: &mut Vec<T>, scope: &Scope, key: impl Fn(&T) -> &Option<Key>) {
    entries.truncate(MOST_KEYS);
    let mut seen = BTreeSet::new();
    entries.retain(|entry| key(entry).as_ref().is_some_and(|key| scope.may_speak_of(key) && seen.insert(key.clone())));
}

fn limit(reason: &mut String, message: &mut String) {
    word(reason);
    cut(message, LONGEST_MESSAGE);
}

fn word(reason: &mut String) {
    let is_word = reason.len() <= LONGEST_WORD
        && reason.starts_with(|first: char| first.is_ascii_alphabetic())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_word {
        NO_REASON.clone_into(reason);
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}
