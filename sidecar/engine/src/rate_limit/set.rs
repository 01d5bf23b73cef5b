//! All counters of one identity, whatever the algorithm, and what holds for them now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::bucket::Bucket;
use super::counters::Counters;
use super::key::{HashKey, Identity, KeyHash, KeyText};
use super::meter::Algorithm;
use super::quota::Quota;
use super::store::{Take, Taken};
use super::terms::{Charge, Standing, Terms, Verdict};
use super::window::Window;
use crate::time::EpochMillis;

/// Most keys of a limit in one proxy.
pub const MOST_KEYS: usize = 1_000_000;

/// The counters of one identity.
#[derive(Debug)]
pub(crate) struct CounterSet {
    identity: Identity,
    hash_key: [AtomicU64; 2],
    counters: AnyCounters,
    /// The quotas of the plan that was compiled last: for what happens beside requests.
    quotas: ArcSwap<Vec<Quota>>,
    /// Proxies that hold this limit, 0: as many as hold all.
    proxies: AtomicU32,
}

#[derive(Debug)]
enum AnyCounters {
    Window(Counters<Window>),
    Bucket(Counters<Bucket>),
}

/// Calls a method of the counters, of whichever kind they are.
macro_rules! each {
    ($set:expr, $counters:ident => $call:expr) => {
        match &$set.counters {
            AnyCounters::Window($counters) => $call,
            AnyCounters::Bucket($counters) => $call,
        }
    };
}

impl CounterSet {
    /// Counters of an identity that nobody has met yet.
    pub(crate) fn new(identity: Identity, secret: [u8; 16], proxy: u64) -> Self {
        let limit = Arc::new(identity.limit.clone());
        let HashKey(first, second) = identity.hash_key(secret);
        let counters = match identity.algorithm {
            Algorithm::SlidingWindow => AnyCounters::Window(Counters::new(limit, proxy, MOST_KEYS)),
            Algorithm::TokenBucket => AnyCounters::Bucket(Counters::new(limit, proxy, MOST_KEYS)),
        };
        Self {
            identity,
            hash_key: [AtomicU64::new(first), AtomicU64::new(second)],
            counters,
            quotas: ArcSwap::default(),
            proxies: AtomicU32::default(),
        }
    }

    /// What a change of makes other counters of it.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What holds from now on for what happens beside requests.
    pub(crate) fn adopt(&self, quotas: &[Quota]) {
        self.quotas.store(Arc::new(quotas.to_vec()));
    }

    /// How many proxies hold this limit, where not as many do as hold all.
    pub(crate) fn proxies(&self) -> Option<u32> {
        Some(self.proxies.load(Ordering::Relaxed)).filter(|proxies| *proxies > 0)
    }

    pub(crate) fn set_proxies(&self, proxies: Option<u32>) {
        self.proxies.store(proxies.unwrap_or_default(), Ordering::Relaxed);
    }

    /// The hash of a key.
    pub(crate) fn hash(&self, key: &KeyText) -> KeyHash {
        let [first, second] = &self.hash_key;
        key.hash(HashKey(first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)))
    }

    /// Counts under another secret from now on. What was counted is lost.
    pub(crate) fn rekey(&self, secret: [u8; 16]) {
        let HashKey(first, second) = self.identity.hash_key(secret);
        self.hash_key[0].store(first, Ordering::Relaxed);
        self.hash_key[1].store(second, Ordering::Relaxed);
        each!(self, counters => counters.clear());
    }

    pub(crate) fn decide(&self, hash: KeyHash, terms: &Terms<'_>, charge: Charge, now: EpochMillis) -> Verdict {
        each!(self, counters => counters.decide(hash, terms, charge, now))
    }

    pub(crate) fn answered(
        &self,
        take: &Take,
        taken: &Taken,
        terms: &Terms<'_>,
        charge: Charge,
        now: EpochMillis,
    ) -> Verdict {
        each!(self, counters => counters.answered(take, taken, terms, charge, now))
    }

    pub(crate) fn asked(&self, hash: KeyHash, charge: Charge) {
        each!(self, counters => counters.asked(hash, charge));
    }

    pub(crate) fn charge_later(&self, hash: KeyHash, cost: u32, terms: &Terms<'_>, now: EpochMillis) {
        each!(self, counters => counters.charge_later(hash, cost, terms, now));
    }

    /// What is to be told now, until so much is found.
    pub(crate) fn due(&self, now: EpochMillis, most: usize, found: &mut Vec<Take>) {
        self.with_terms(|terms| each!(self, counters => counters.due(terms, now, most, found)));
    }

    pub(crate) fn told(&self, take: &Take, taken: Option<&Taken>, now: EpochMillis) {
        self.with_terms(|terms| each!(self, counters => counters.told(take, taken, terms, now)));
    }

    pub(crate) fn tell_all(&self, now: EpochMillis) {
        self.with_terms(|terms| each!(self, counters => counters.tell_all(terms, now)));
    }

    pub(crate) fn sweep(&self, now: EpochMillis, entries: usize) {
        self.with_terms(|terms| each!(self, counters => counters.sweep(terms, now, entries)));
    }

    /// Keys in memory, the bytes that they take, and how many were forgotten before their time.
    pub(crate) fn size(&self) -> (usize, usize, u64) {
        each!(self, counters => counters.size())
    }

    fn with_terms<R>(&self, act: impl FnOnce(&Terms<'_>) -> R) -> R {
        let quotas = self.quotas.load();
        act(&Terms::new(&quotas, 0, Standing::Together { proxies: 1, strict: false }))
    }
}
