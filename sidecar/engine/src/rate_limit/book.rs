//! The book of all counters of a process, and how it stands with the others.
//!
//! It is no part of a plan: plans come and go, and find their counters here by identity. Whoever has sockets and clocks
//! tells it what came of them; nothing here waits.
//!
//! ```text
//! due -> Errands -> LimitStore::take -> told         every few milliseconds, while the store answers
//! join -> LimitStore::join -> joined                 every second, also while it does not
//! lost, found                                        what a breaker makes of failures
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use headgate_snapshot as wire;
use headgate_snapshot::Key;
use parking_lot::Mutex;

use super::in_flight::InFlightByKey;
use super::key::Identity;
use super::quota::Quota;
use super::set::CounterSet;
use super::store::{Joined, Take, Taken};
use super::tally::Tally;
use super::terms::{Standing, StoreFailure};
use crate::time::EpochMillis;

/// Entries of each part of a limit that are looked at in one sweep.
const SWEPT_ENTRIES: usize = 256;

/// How long the counters of a limit that no plan has are kept, in periods.
const KEPT_PERIODS: u64 = 2;

/// How long a count of proxies holds against lower ones. A store that lost everything counts from one again, until all
/// have said that they live.
const COUNT_HOLDS_MS: u64 = 5_000;

/// The counters of a process.
#[derive(Debug)]
pub struct Limits {
    proxy: u64,
    store: Store,
    sets: Mutex<Sets>,
    /// Proxies that hold every limit that does not say otherwise.
    proxies: AtomicU32,
    /// When the store last counted as many, or more.
    counted: AtomicU64,
    /// Whether the operator has said how many; then the store is not asked.
    told_by_operator: AtomicBool,
}

#[derive(Debug)]
struct Sets {
    secret: [u8; 16],
    by_identity: BTreeMap<Identity, Kept>,
    states: BTreeMap<Key, Arc<LimitState>>,
    fleet: wire::Fleet,
}

#[derive(Debug)]
struct Kept {
    set: Arc<CounterSet>,
    /// Since when no plan has it.
    unused_since: Option<EpochMillis>,
}

/// How it stands with the shared store.
#[derive(Debug)]
struct Store {
    exists: bool,
    /// Since when it is away, 0: it answers.
    lost_since: AtomicU64,
    /// The store's clock less ours, in milliseconds.
    ahead: AtomicI64,
    heard: AtomicBool,
}

/// What of a limit outlives plans beside its counters.
#[derive(Debug, Default)]
pub(crate) struct LimitState {
    pub(crate) tally: Tally,
    pub(crate) in_flight: Arc<InFlightByKey>,
}

/// Whether there is a store to share counters in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// There is none.
    Nothing,
    /// There is one.
    Store,
}

/// Something to be told to the store.
#[derive(Clone, Debug)]
pub struct Errand {
    set: Arc<CounterSet>,
    take: Take,
}

impl Errand {
    /// What is told.
    pub fn take(&self) -> &Take {
        &self.take
    }
}

impl Limits {
    /// An empty book. `proxy` and `secret` are drawn at random.
    pub fn new(proxy: u64, secret: [u8; 16], sharing: Sharing) -> Self {
        Self {
            proxy,
            store: Store {
                exists: sharing == Sharing::Store,
                lost_since: AtomicU64::default(),
                ahead: AtomicI64::default(),
                heard: AtomicBool::default(),
            },
            sets: Mutex::new(Sets {
                secret,
                by_identity: BTreeMap::new(),
                states: BTreeMap::new(),
                fleet: wire::Fleet::default(),
            }),
            proxies: AtomicU32::new(1),
            counted: AtomicU64::default(),
            told_by_operator: AtomicBool::default(),
        }
    }

    /// The process, as the store knows it.
    pub fn proxy(&self) -> u64 {
        self.proxy
    }

    /// The secret that keys are hashed under now.
    pub fn secret(&self) -> [u8; 16] {
        self.sets.lock().secret
    }

    /// The counters of an identity: those that are there, else new ones.
    pub(crate) fn counters(&self, identity: Identity, quotas: &[Quota]) -> Arc<CounterSet> {
        let sets = &mut *self.sets.lock();
        let Sets { secret, by_identity, states: _, fleet } = sets;
        let kept = by_identity.entry(identity).or_insert_with_key(|identity| {
            let set = Arc::new(CounterSet::new(identity.clone(), *secret, self.proxy));
            Kept { set, unused_since: None }
        });
        kept.set.adopt(quotas);
        kept.set.set_proxies(share_of(fleet, &kept.set));
        Arc::clone(&kept.set)
    }

    /// What else is known of a limit: what is there, else nothing.
    pub(crate) fn state(&self, limit: &Key) -> Arc<LimitState> {
        Arc::clone(self.sets.lock().states.entry(limit.clone()).or_default())
    }

    /// What the operator says of the proxies that live.
    pub fn set_fleet(&self, fleet: wire::Fleet) {
        let sets = &mut *self.sets.lock();
        self.told_by_operator.store(true, Ordering::Relaxed);
        self.proxies.store(fleet.proxies.max(1), Ordering::Relaxed);
        sets.fleet = fleet;
        for kept in sets.by_identity.values() {
            kept.set.set_proxies(share_of(&sets.fleet, &kept.set));
        }
    }

    /// What came of joining: how many proxies live, the shared secret, and the store's clock. `asked` is when.
    pub fn joined(&self, joined: &Joined, asked: EpochMillis) {
        let Joined { proxies, secret, now } = *joined;
        self.heard(asked, now);
        let is_more = proxies >= self.proxies.load(Ordering::Relaxed);
        let held = asked.0.saturating_sub(self.counted.load(Ordering::Relaxed));
        if !self.told_by_operator.load(Ordering::Relaxed) && (is_more || held >= COUNT_HOLDS_MS) {
            self.proxies.store(proxies.max(1), Ordering::Relaxed);
            self.counted.store(asked.0, Ordering::Relaxed);
        }
        let sets = &mut *self.sets.lock();
        if sets.secret != secret {
            sets.secret = secret;
            sets.by_identity.values().for_each(|kept| kept.set.rekey(secret));
        }
    }

    /// The store does not answer.
    pub fn lost(&self, now: EpochMillis) {
        let _ = self.store.lost_since.compare_exchange(0, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The store answers. Where it did not before, or may have lost something, everything is told again.
    pub fn found(&self, now: EpochMillis) {
        self.store.lost_since.store(0, Ordering::Relaxed);
        let now = self.shared_time(now);
        self.all().into_iter().for_each(|set| set.tell_all(now));
    }

    /// Since when the store is away.
    pub fn lost_since(&self) -> Option<EpochMillis> {
        Some(self.store.lost_since.load(Ordering::Relaxed)).filter(|since| *since > 0).map(EpochMillis)
    }

    /// How many proxies live.
    pub fn proxies(&self) -> u32 {
        self.proxies.load(Ordering::Relaxed)
    }

    /// Which of the proxies that hold an object this one is, from 0 on, and how many they are.
    pub(crate) fn place_of(&self, object: &Key) -> (u32, u32) {
        let fleet = &self.sets.lock().fleet;
        let share = fleet.shares.iter().find(|share| share.key.as_ref() == Some(object));
        share.map_or((fleet.index, fleet.proxies), |share| (share.index, share.proxies))
    }

    /// What is to be told to the store now, at most so much.
    pub fn due(&self, now: EpochMillis, most: usize) -> Vec<Errand> {
        if !self.store.exists || self.lost_since().is_some() {
            return Vec::new();
        }
        let now = self.shared_time(now);
        let mut errands = Vec::new();
        let mut takes = Vec::new();
        for set in self.all() {
            set.due(now, most.saturating_sub(errands.len()), &mut takes);
            errands.extend(takes.drain(..).map(|take| Errand { set: Arc::clone(&set), take }));
        }
        errands
    }

    /// What came of telling: as many answers as errands, or none. `asked` is when.
    pub fn told(&self, errands: &[Errand], taken: Option<&[Taken]>, asked: EpochMillis, now: EpochMillis) {
        if let Some(last) = taken.and_then(<[Taken]>::last) {
            self.heard(asked, last.now);
        }
        let now = self.shared_time(now);
        for (index, Errand { set, take }) in errands.iter().enumerate() {
            set.told(take, taken.and_then(|taken| taken.get(index)), now);
        }
    }

    /// Forgets keys that are idle, a part of them at a time, and counters that no plan has had for a while.
    pub fn sweep(&self, now: EpochMillis) {
        for set in self.all() {
            set.sweep(self.shared_time(now), SWEPT_ENTRIES);
        }
        let sets = &mut *self.sets.lock();
        sets.states.retain(|_, state| Arc::strong_count(state) > 1);
        sets.by_identity.retain(|identity, kept| {
            if Arc::strong_count(&kept.set) > 1 {
                kept.unused_since = None;
                return true;
            }
            let since = *kept.unused_since.get_or_insert(now);
            now.since(since) < KEPT_PERIODS * u64::from(identity.period)
        });
    }

    /// Takes the store's clock over: `asked` and the answer's arrival are ours, its time is between them.
    pub(crate) fn heard(&self, asked: EpochMillis, store: EpochMillis) {
        let difference = |one: u64, other: u64| i64::try_from(i128::from(one) - i128::from(other)).unwrap_or_default();
        let candidate = difference(store.0, asked.0);
        let ahead = self.store.ahead.load(Ordering::Relaxed);
        let first = !self.store.heard.swap(true, Ordering::Relaxed);
        // Of what the answers say the least is nearest to the truth, and clocks drift slowly.
        let ahead = if first || candidate < ahead { candidate } else { ahead + (candidate - ahead).min(1) };
        self.store.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Our time as the store has it, never behind it.
    pub(crate) fn shared_time(&self, now: EpochMillis) -> EpochMillis {
        EpochMillis(now.0.saturating_add_signed(self.store.ahead.load(Ordering::Relaxed)))
    }

    /// How a limit of scope Cluster stands.
    pub(crate) fn standing(&self, set: &CounterSet, strict: bool, on_failure: StoreFailure) -> Standing {
        let proxies = set.proxies().unwrap_or_else(|| self.proxies());
        if self.store.exists {
            return match self.lost_since() {
                None => Standing::Together { proxies, strict },
                Some(_) => Standing::Apart { proxies, on_failure },
            };
        }
        // Several proxies and no store: each keeps its share.
        if proxies > 1 { Standing::Apart { proxies, on_failure: StoreFailure::LocalShare } } else { Standing::Alone }
    }

    /// How a limit of scope Cluster stands after the store gave no answer to it.
    pub(crate) fn apart(&self, set: &CounterSet, on_failure: StoreFailure) -> Standing {
        Standing::Apart { proxies: set.proxies().unwrap_or_else(|| self.proxies()), on_failure }
    }

    fn all(&self) -> Vec<Arc<CounterSet>> {
        self.sets.lock().by_identity.values().map(|kept| Arc::clone(&kept.set)).collect()
    }
}

fn share_of(fleet: &wire::Fleet, set: &CounterSet) -> Option<u32> {
    let share = fleet.shares.iter().find(|share| share.key.as_ref() == Some(&set.identity().limit))?;
    Some(share.proxies.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_count_of_proxies_holds_once_a_higher_one_is_old() {
        let limits = Limits::new(1, [0; 16], Sharing::Store);
        let join = |at: u64, proxies: u32| {
            let joined = Joined { proxies, secret: [0; 16], now: EpochMillis(at) };
            limits.joined(&joined, EpochMillis(at));
            limits.proxies()
        };
        let heard: [(u64, u32); 8] = [
            (100_000, 1),
            (101_000, 3),
            (102_000, 1),
            (103_000, 2),
            (104_000, 3),
            (105_000, 2),
            (109_000, 2),
            (109_100, 4),
        ];
        assert_eq!(heard.map(|(at, proxies)| join(at, proxies)), [1, 3, 3, 3, 3, 3, 2, 4]);
    }
}
