//! Laws of limits, against models that are as plain as they can be.

mod eventual;
mod laws;
mod loss;
mod memory;
mod meters;
mod simulation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headgate_snapshot::Key;

use super::book::{Limits, Sharing};
use super::key::{Identity, KeyHash, KeyText};
use super::memory_store::MemoryStore;
use super::meter::Algorithm;
use super::quota::Quota;
use super::set::CounterSet;
use super::terms::{Charge, Figures, Standing, StoreFailure, Terms, Verdict, Why};
use crate::chance::Chance;
use crate::time::EpochMillis;

/// A Friday in 2026, in the middle of a minute.
const START: u64 = 1_795_776_012_345;

/// How many random steps a law is tried with.
fn steps() -> usize {
    if std::env::var_os("HEADGATE_SOAK").is_some() { 1_000_000 } else { 30_000 }
}

fn quota(limit: u32, period: u32) -> Quota {
    Quota { limit, burst: limit, period, block_for: 0 }
}

fn identity(algorithm: Algorithm, period: u32) -> Identity {
    let limit = Key::new("RateLimit", "default", "login");
    Identity { limit, period, algorithm, parts: vec!["path".to_owned()] }
}

fn key(name: &str) -> KeyText {
    let mut key = KeyText::default();
    key.text(name.as_bytes());
    key
}

/// A proxy, as far as one limit goes.
struct Proxy {
    limits: Limits,
    set: Arc<CounterSet>,
}

/// Whether a request passed, and if not why; with the figures that the client got.
type Outcome = (Result<(), Why>, Figures);

impl Proxy {
    fn new(number: u64, algorithm: Algorithm, quota: Quota, sharing: Sharing) -> Self {
        let limits = Limits::new(number, [9; 16], sharing);
        let set = limits.counters(identity(algorithm, quota.period), &[quota]);
        Self { limits, set }
    }

    fn hash(&self, name: &str) -> KeyHash {
        self.set.hash(&key(name))
    }

    /// Decides without a store.
    fn alone(&self, name: &str, quota: Quota, charge: Charge, now: EpochMillis) -> Outcome {
        let quotas = [quota];
        outcome(self.set.decide(self.hash(name), &Terms::new(&quotas, 0, Standing::Alone), charge, now))
    }

    /// Decides with a store that answers at once, or with none that does. True where it was asked.
    fn with(
        &self,
        store: Option<&MemoryStore>,
        name: &str,
        quota: Quota,
        (strict, on_failure): (bool, StoreFailure),
        charge: Charge,
        now: EpochMillis,
    ) -> (Outcome, bool) {
        let quotas = [quota];
        let terms = |standing| Terms::new(&quotas, 0, standing);
        let shared = self.limits.shared_time(now);
        let standing = self.limits.standing(&self.set, strict, on_failure);
        match self.set.decide(self.hash(name), &terms(standing), charge, shared) {
            Verdict::Ask(take) => {
                self.set.asked(take.hash, charge);
                let verdict = if let Some(store) = store {
                    let taken = store.take_one(&take);
                    self.limits.heard(now, taken.now);
                    self.set.answered(&take, &taken, &terms(standing), charge, shared)
                } else {
                    self.set.decide(self.hash(name), &terms(self.limits.apart(&self.set, on_failure)), charge, shared)
                };
                (outcome(verdict), true)
            }
            verdict => (outcome(verdict), false),
        }
    }

    /// Tells the store what is due.
    fn tell(&self, store: Option<&MemoryStore>, now: EpochMillis) -> usize {
        let errands = self.limits.due(now, 10_000);
        let taken = store.map(|store| errands.iter().map(|errand| store.take_one(errand.take())).collect::<Vec<_>>());
        self.limits.told(&errands, taken.as_deref(), now, now);
        errands.len()
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Pass(figures) => (Ok(()), figures),
        Verdict::Refuse(why, figures) => (Err(why), figures),
        Verdict::Ask(take) => panic!("asked: {take:?}"),
    }
}

/// A clock that tests turn.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn at(time: u64) -> Self {
        Self(Arc::new(AtomicU64::new(time)))
    }

    fn now(&self) -> EpochMillis {
        EpochMillis(self.0.load(Ordering::Relaxed))
    }

    fn turn(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }

    fn store(&self) -> MemoryStore {
        let hand = self.clone();
        MemoryStore::new(move || hand.now())
    }
}

/// The algorithms, told by a log of everything that passed.
struct Model {
    algorithm: Algorithm,
    passed: BTreeMap<String, Vec<(u64, u32)>>,
    /// Units used, and when: of the bucket, which a log does not fit as limits change.
    used: BTreeMap<String, (i128, u64)>,
    blocked_until: BTreeMap<String, u64>,
}

impl Model {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, passed: BTreeMap::new(), used: BTreeMap::new(), blocked_until: BTreeMap::new() }
    }

    fn decide(&mut self, name: &str, quota: Quota, cost: u32, now: u64) -> Result<(), Why> {
        let (used, at) = self.used.entry(name.to_owned()).or_insert((0, now));
        *used = (*used - i128::from(now - *at) * i128::from(quota.limit)).max(0);
        *at = now;
        if quota.block_for > 0 && self.blocked_until.get(name).is_some_and(|until| *until > now) {
            return Err(Why::Blocked);
        }
        let fits = match self.algorithm {
            Algorithm::SlidingWindow => self.window_fits(name, quota, cost, now),
            Algorithm::TokenBucket => self.bucket_fits(name, quota, cost),
        };
        if fits {
            return Ok(());
        }
        if quota.block_for > 0 {
            self.blocked_until.insert(name.to_owned(), now + quota.block_for);
        }
        Err(Why::OverLimit)
    }

    fn window_fits(&mut self, name: &str, quota: Quota, cost: u32, now: u64) -> bool {
        let period = u64::from(quota.period);
        let log = self.passed.entry(name.to_owned()).or_default();
        log.retain(|(time, _)| time / period + 1 >= now / period);
        let count = |index: u64| -> i128 {
            log.iter().filter(|(time, _)| time / period == index).map(|(_, cost)| i128::from(*cost)).sum()
        };
        let (present, elapsed) = (now / period, i128::from(now % period));
        let period = i128::from(period);
        let estimate = count(present - 1) * (period - elapsed) + (count(present) + i128::from(cost)) * period;
        let fits = estimate <= i128::from(quota.limit) * period;
        if fits {
            log.push((now, cost));
        }
        fits
    }

    fn bucket_fits(&mut self, name: &str, quota: Quota, cost: u32) -> bool {
        let (used, _) = self.used.entry(name.to_owned()).or_default();
        let weight = i128::from(cost) * i128::from(quota.period);
        let fits = *used + weight <= i128::from(quota.burst) * i128::from(quota.period);
        if fits {
            *used += weight;
        }
        fits
    }
}

/// One of several equally likely things.
fn one_of<T: Copy>(chance: &mut Chance, things: &[T]) -> T {
    things[chance.index(things.len())]
}
