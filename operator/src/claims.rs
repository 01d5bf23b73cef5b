//! Who holds which host, kept in ConfigMaps so that it outlives every process.
//!
//! A host is served only once its claim is kept: until then what would serve it is held at what it was. The hosts are
//! spread over [`SHARDS`] ConfigMaps, so that one new host writes little and no ConfigMap grows too large.

pub mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};
use headgate_translate::Claims;
use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest as _, Sha256};

/// How many ConfigMaps the claims are spread over.
pub const SHARDS: u8 = 64;

/// Start of the names of the ConfigMaps.
pub const NAME_START: &str = "headgate-hosts-";

/// The entry of a ConfigMap that holds the claims, as JSON.
pub const ENTRY: &str = "claims.json";

/// The claims of one ConfigMap as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// `metadata.resourceVersion`
    pub version: String,
    /// Its claims; those that were read last where it cannot be read now.
    pub claims: Claims,
    /// It cannot be read, and is to be written anew.
    pub is_broken: bool,
}

/// All claims that are kept, by the name of their ConfigMap.
pub type Shards = BTreeMap<String, Shard>;

/// One ConfigMap to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub name: String,
    /// The version to replace, absent: it is created.
    pub over: Option<String>,
    /// All claims of it.
    pub claims: Claims,
}

/// The ConfigMap that a host belongs to.
pub fn shard_of(host: &str) -> String {
    let digest = Sha256::digest(host.as_bytes());
    format!("{NAME_START}{:02}", digest[0] % SHARDS)
}

/// The claims in a ConfigMap, or why they cannot be read.
pub fn read(map: &ConfigMap) -> Result<Claims, String> {
    let Some(text) = map.data.as_ref().and_then(|data| data.get(ENTRY)) else { return Ok(Claims::new()) };
    serde_json::from_str(text).map_err(|error| format!("its {ENTRY} is not what headgate writes: {error}"))
}

/// All claims of all shards.
pub fn kept(shards: &Shards) -> Claims {
    shards.values().flat_map(|shard| shard.claims.clone()).collect()
}

/// What to write so that the wanted claims are kept. Claims end only where the whole world is known.
pub fn writes(shards: &Shards, wanted: &Claims, knows_all: bool) -> Vec<Write> {
    let mut by_shard: BTreeMap<String, Claims> = BTreeMap::new();
    for (host, claim) in wanted {
        by_shard.entry(shard_of(host)).or_default().insert(host.clone(), claim.clone());
    }
    let names: BTreeSet<&String> = by_shard.keys().chain(shards.keys()).collect();
    let none = Claims::new();
    let writes = names.into_iter().filter_map(|name| {
        let shard = shards.get(name);
        let before = shard.map_or(&none, |shard| &shard.claims);
        let mut after = if knows_all { Claims::new() } else { before.clone() };
        after.extend(by_shard.get(name).unwrap_or(&none).clone());
        let over = shard.map(|shard| shard.version.clone());
        (after != *before || shard.is_some_and(|shard| shard.is_broken)).then(|| Write {
            name: name.clone(),
            over,
            claims: after,
        })
    });
    writes.collect()
}

/// Takes out of a translation what would serve a host whose claim is not kept yet. Its keys are held.
pub fn withhold(resources: &mut Vec<Arc<Resource>>, holds: &mut BTreeSet<Key>, wanted: &Claims, kept: &Claims) {
    let holder = |claims: &Claims, host: &str| claims.get(host).map(|claim| claim.namespace.clone());
    let is_kept = |host: &String| holder(wanted, host).is_none_or(|namespace| Some(namespace) == holder(kept, host));
    resources.retain(|resource| {
        let serves = hosts(resource).into_iter().all(is_kept);
        if !serves {
            holds.extend(resource.key.clone());
        }
        serves
    });
}

/// The hosts that a resource serves.
fn hosts(resource: &Resource) -> Vec<&String> {
    match &resource.body {
        Some(Body::Route(route)) => route.attachments.iter().flat_map(|attachment| &attachment.hosts).collect(),
        Some(Body::OriginPool(pool)) => pool.hosts.iter().collect(),
        Some(Body::Gateway(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => Vec::new(),
    }
}
