//! What the proxies that are there have told last, sorted by what it is about.

use std::collections::BTreeMap;

use headgate_snapshot::{Key, LimitFigures, PoolHealth, RoomFigures, Trouble};
use headgate_translate::{Kind, ObjectKey};

use crate::hub::{Progress, ProxyProgress, Scope};

/// Namespace and name.
type Name<'p> = (&'p str, &'p str);

/// What the proxies have told.
#[derive(Debug, Default)]
pub(super) struct Told<'p> {
    health: BTreeMap<Name<'p>, Vec<&'p PoolHealth>>,
    /// With the names of the proxies.
    limits: BTreeMap<Name<'p>, Vec<(&'p str, &'p LimitFigures)>>,
    rooms: BTreeMap<Name<'p>, Vec<(&'p str, &'p RoomFigures)>>,
    /// What each serves, its name, and what troubles it.
    pub(super) troubles: Vec<(&'p Scope, &'p str, &'p Trouble)>,
}

impl<'p> Told<'p> {
    /// Sorts what was told. What a proxy says of an object that it does not get counts for nothing.
    pub(super) fn by(progress: &'p Progress) -> Self {
        let mut told = Self::default();
        for proxy in progress.proxies.iter().filter(|proxy| proxy.is_present()) {
            for pool in &proxy.report.pools {
                if let Some(name) = name(progress, proxy, pool.key.as_ref(), Kind::OriginPool) {
                    told.health.entry(name).or_default().push(pool);
                }
            }
            for figures in &proxy.report.limits {
                if let Some(name) = name(progress, proxy, figures.key.as_ref(), Kind::RateLimit) {
                    told.limits.entry(name).or_default().push((&proxy.name, figures));
                }
            }
            for figures in &proxy.report.rooms {
                if let Some(name) = name(progress, proxy, figures.key.as_ref(), Kind::WaitingRoom) {
                    told.rooms.entry(name).or_default().push((&proxy.name, figures));
                }
            }
            let scope = progress.scope(proxy);
            told.troubles.extend(proxy.report.troubles.iter().map(|trouble| (scope, proxy.name.as_str(), trouble)));
        }
        told
    }

    /// Health of a pool, one entry a proxy.
    pub(super) fn health<'a>(&'a self, pool: &'a ObjectKey) -> &'a [&'a PoolHealth] {
        self.health.get(&(pool.namespace.as_str(), pool.name.as_str())).map_or(&[], Vec::as_slice)
    }

    /// Figures of a room by proxy.
    pub(super) fn rooms<'a>(&'a self, room: &'a ObjectKey) -> &'a [(&'a str, &'a RoomFigures)] {
        self.rooms.get(&(room.namespace.as_str(), room.name.as_str())).map_or(&[], Vec::as_slice)
    }

    /// Figures of a limit by proxy.
    pub(super) fn limits<'a>(&'a self, limit: &'a ObjectKey) -> &'a [(&'a str, &'a LimitFigures)] {
        self.limits.get(&(limit.namespace.as_str(), limit.name.as_str())).map_or(&[], Vec::as_slice)
    }
}

/// Whom a word of a proxy is about, where the proxy has a say about it.
fn name<'p>(progress: &Progress, proxy: &ProxyProgress, key: Option<&'p Key>, kind: Kind) -> Option<Name<'p>> {
    let key = key.filter(|key| key.kind == kind.as_str() && progress.gets(proxy, key))?;
    Some((key.namespace.as_str(), key.name.as_str()))
}
