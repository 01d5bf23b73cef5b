//! Claims of hosts as they are kept: the data of ConfigMaps `headgate-hosts-*`.
//!
//! A host has its place by its name alone, so that a change of one claim changes one ConfigMap, and 16 of them have room
//! for some 100,000 hosts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::inputs::{Claim, Claims};

/// What the names of the ConfigMaps begin with.
pub const CLAIMS_PREFIX: &str = "headgate-hosts-";

const CONFIG_MAPS: u64 = 16;

/// The ConfigMaps that keep these claims: data by name. One that is not named keeps none.
pub fn record_claims(claims: &Claims) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut maps: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (host, Claim { namespace, since }) in claims {
        let name = format!("{CLAIMS_PREFIX}{:x}", place(host));
        maps.entry(name).or_default().insert(host.replace('*', "_"), format!("{namespace} {since}"));
    }
    maps
}

/// The claims that ConfigMaps keep, and a sentence for each entry that is none. Of two claims of a host the older one
/// counts.
pub fn recall_claims<'a>(maps: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> (Claims, Vec<String>) {
    let mut claims = Claims::new();
    let mut mistakes = Vec::new();
    for (entry, text) in maps.into_iter().flatten() {
        let read =
            text.split_once(' ').and_then(|(namespace, since)| Some((namespace, since.parse::<Timestamp>().ok()?)));
        let Some((namespace, since)) = read.filter(|(namespace, _)| !namespace.is_empty()) else {
            mistakes.push(format!("\"{entry}: {text}\" is no claim of a host; it is ignored"));
            continue;
        };
        let claim = Claim { namespace: namespace.to_owned(), since };
        let host = entry.replace('_', "*");
        match claims.get(&host) {
            Some(known) if (known.since, &known.namespace) <= (claim.since, &claim.namespace) => {}
            Some(_) | None => drop(claims.insert(host, claim)),
        }
    }
    (claims, mistakes)
}

/// FNV-1a: the same on every machine and in every release.
fn place(host: &str) -> u64 {
    let hash = host
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 32) % CONFIG_MAPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn claims_come_back_as_they_were_kept(
            claims in prop::collection::btree_map(
                "[*]|([*][.])?[a-z0-9]([-a-z0-9]{0,5}[a-z0-9])?[.]net",
                ("[a-z]([-a-z]{0,9}[a-z])?", 0..4_000_000_000_i64),
                0..40,
            ),
        ) {
            let claims: Claims = claims
                .into_iter()
                .map(|(host, (namespace, since))| {
                    (host, Claim { namespace, since: Timestamp::from_second(since).unwrap() })
                })
                .collect();
            let maps = record_claims(&claims);
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            prop_assert!(maps.values().flatten().all(|(entry, _)| entry.bytes().all(is_name)));
            prop_assert_eq!(recall_claims(maps.values()), (claims, Vec::new()));
        }
    }

    #[test]
    fn an_entry_that_is_no_claim_is_told_and_the_others_count() {
        let map = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
            entries.iter().map(|(host, text)| ((*host).to_owned(), (*text).to_owned())).collect()
        };
        let maps = [
            map(&[("a.net", "team"), ("b.net", "team 2026-01-01T00:00:00Z"), ("c.net", " 2026-01-01T00:00:00Z")]),
            map(&[("b.net", "older 2025-01-01T00:00:00Z"), ("_.net", "team 2026-01-01T00:00:00Z")]),
        ];
        let (claims, mistakes) = recall_claims(&maps);
        let held: Vec<_> = claims.iter().map(|(host, claim)| (host.as_str(), claim.namespace.as_str())).collect();
        assert_eq!(held, [("*.net", "team"), ("b.net", "older")]);
        assert_eq!(
            mistakes,
            [
                "\"a.net: team\" is no claim of a host; it is ignored",
                "\"c.net:  2026-01-01T00:00:00Z\" is no claim of a host; it is ignored",
            ]
        );
    }
}
