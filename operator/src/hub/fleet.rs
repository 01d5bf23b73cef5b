//! How many proxies there are, as each of them is told: what an object's share follows from.
//!
//! Proxies of one class (all gateways, or the sidecars of one namespace) form a fleet. Nearly every object is held by
//! all of its class; one that more or fewer proxies hold is told beside. Proxies count while they are expected: one
//! that was lost a short while ago may still serve, and its share is nobody else's.

use std::collections::{BTreeMap, BTreeSet};

use headgate_snapshot::{Fleet, Key, Share};
use headgate_translate::Kind;

use super::scope::Scope;
use super::state::State;

/// Proxies that know the same of the world.
type Crews<'s> = BTreeMap<&'s Scope, Vec<&'s str>>;

/// What is shared among proxies.
pub(super) fn is_shared(key: &Key) -> bool {
    SHARED.iter().any(|kind| key.kind == kind.as_str())
}

/// Kinds whose objects several proxies hold together.
const SHARED: [Kind; 2] = [Kind::RateLimit, Kind::WaitingRoom];

impl State {
    /// What a proxy of this name and scope is told.
    pub(super) fn fleet(&self, proxy: &str, scope: &Scope) -> Fleet {
        let mut crews: Crews<'_> = BTreeMap::new();
        for (name, scope) in self.expected() {
            crews.entry(scope).or_default().push(name);
        }
        let class: BTreeSet<&Scope> = crews.keys().copied().filter(|other| is_of_one_class(scope, other)).collect();
        let (proxies, index) = place(proxy, &class, &crews);
        let mut fleet = Fleet { proxies, index, shares: Vec::new() };
        let mut known: BTreeMap<BTreeSet<&Scope>, (u32, u32)> = BTreeMap::new();
        for kind in SHARED {
            let first = Key::new(kind.as_str(), "", "");
            for (key, _) in self.entries_of(scope, &first).take_while(|(key, _)| key.kind == kind.as_str()) {
                let holders = self.holders(key, &crews);
                if holders != class {
                    let known = known.entry(holders);
                    let place = known.or_insert_with_key(|holders| place(proxy, holders, &crews));
                    let (proxies, index) = *place;
                    fleet.shares.push(Share { key: Some(Key::clone(key)), proxies, index });
                }
            }
        }
        fleet
    }

    /// The scopes with proxies that hold a key. Of the sidecars only those of its namespace can.
    fn holders<'s>(&self, key: &Key, crews: &Crews<'s>) -> BTreeSet<&'s Scope> {
        let may_hold = |scope: &&Scope| match scope {
            Scope::All | Scope::Gateways(_) => true,
            Scope::Namespace(namespace) => *namespace == key.namespace,
        };
        crews.keys().copied().filter(may_hold).filter(|scope| self.holds_key(scope, key)).collect()
    }
}

/// All gateways are of one class, and the sidecars of a namespace.
fn is_of_one_class(one: &Scope, other: &Scope) -> bool {
    match (one, other) {
        (Scope::All | Scope::Gateways(_), Scope::All | Scope::Gateways(_)) => true,
        (Scope::Namespace(one), Scope::Namespace(other)) => one == other,
        (Scope::All | Scope::Gateways(_), Scope::Namespace(_))
        | (Scope::Namespace(_), Scope::All | Scope::Gateways(_)) => false,
    }
}

/// How many proxies there are of these scopes, and the place of one of them in the order of their names.
fn place(proxy: &str, scopes: &BTreeSet<&Scope>, crews: &Crews<'_>) -> (u32, u32) {
    let names = || scopes.iter().filter_map(|scope| crews.get(*scope)).flatten();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let before = names().filter(|name| **name < proxy).count();
    // Whoever asks is one of them, also in the moment in which it is not counted any more.
    let proxies = names().count().max(before + 1);
    (count(proxies), count(before))
}
