//! The counters of one limit in one proxy: decisions from memory, and what is told behind.
//!
//! ```text
//!                       +-- known to be over, or blocked -> Refuse        (no call, however many come)
//! request -> decide ----+-- within its part of the room --> Pass, news --> told within 100 ms with others
//!                       +-- beyond it, or Strict ---------> Ask --> the store takes it or not --> answered
//! ```
//!
//! Everything of a key happens under the lock of its part, which is held for one decision and never while something is
//! waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use headgate_snapshot::Key;
use parking_lot::{Mutex, MutexGuard};

use super::entry::{Entry, Flags, Judgement};
use super::key::KeyHash;
use super::keys::{Keys, Place, Weigh};
use super::meter::Meter;
use super::quota::Quota;
use super::store::{Take, Taken, Teller};
use super::terms::{Charge, Standing, Terms, Verdict, Why};
use crate::time::EpochMillis;

/// From news of a key to the call that tells them, in milliseconds.
pub const TELL_AFTER_MS: u64 = 100;

/// The same where the store was not heard of the key for longer than that.
pub const TELL_SOON_MS: u64 = 10;

/// Parts of a limit that has keys, each with its own lock.
const PARTS: usize = 64;

/// The counters.
#[derive(Debug)]
pub(crate) struct Counters<M> {
    limit: Arc<Key>,
    proxy: u64,
    parts: Box<[Mutex<Part<M>>]>,
    memories: AtomicU32,
    /// Keys that wait to be told, so that nobody looks where there is nothing.
    waiting: AtomicUsize,
    forgotten: AtomicU64,
}

#[derive(Debug)]
struct Part<M> {
    keys: Keys<M>,
    /// Keys with news, in the order in which they are due.
    news: VecDeque<(EpochMillis, KeyHash)>,
    urgent: VecDeque<(EpochMillis, KeyHash)>,
    sweep_from: usize,
}

/// How entries are weighed at a moment.
struct Weighing<'a> {
    now: EpochMillis,
    terms: &'a Terms<'a>,
}

impl Weighing<'_> {
    fn meter<M: Meter>(&self, entry: &Entry<M>, terms: &Terms<'_>) -> M {
        let mut meter = entry.meter;
        meter.advance(self.now, terms.quota, terms.share());
        meter
    }
}

impl<M: Meter> Weigh<M> for Weighing<'_> {
    fn room(&self, entry: &Entry<M>) -> i64 {
        let terms = self.terms.of(entry.variant);
        terms.room(&self.meter(entry, &terms), self.now, terms.share())
    }

    fn is_refused(&self, entry: &Entry<M>) -> bool {
        let terms = self.terms.of(entry.variant);
        terms.blocks(entry.blocked_until, self.now) || self.room(entry) < terms.quota.units(1)
    }

    fn is_idle(&self, entry: &Entry<M>) -> bool {
        let meter = self.meter(entry, &self.terms.of(entry.variant));
        meter.is_idle() && entry.blocked_until <= self.now && !entry.flags.has(Flags::NEWS)
    }
}

impl<M: Meter> Counters<M> {
    /// Counters of at most so many keys.
    pub(crate) fn new(limit: Arc<Key>, proxy: u64, most_keys: usize) -> Self {
        let parts = if most_keys < PARTS { 1 } else { PARTS };
        let part = |_| {
            let keys = Keys::new(most_keys.div_ceil(parts));
            Mutex::new(Part { keys, news: VecDeque::new(), urgent: VecDeque::new(), sweep_from: 0 })
        };
        Self {
            limit,
            proxy,
            parts: (0..parts).map(part).collect(),
            memories: AtomicU32::default(),
            waiting: AtomicUsize::default(),
            forgotten: AtomicU64::default(),
        }
    }

    fn part(&self, hash: KeyHash) -> MutexGuard<'_, Part<M>> {
        // The table inside a part uses the other half.
        self.parts[usize::try_from(hash.high % self.parts.len() as u64).unwrap_or_default()].lock()
    }

    /// Decides a request.
    pub(crate) fn decide(&self, hash: KeyHash, terms: &Terms<'_>, charge: Charge, now: EpochMillis) -> Verdict {
        let share = terms.share();
        let mut part = self.part(hash);
        let part = &mut *part;
        let Some(place) = part.keys.find(hash).or_else(|| {
            // What is counted later needs no memory before.
            (charge.cost > 0).then(|| self.insert(part, hash, terms, share, now))
        }) else {
            let mut meter = M::default();
            meter.advance(now, terms.quota, share);
            return Verdict::Pass(terms.figures(&meter, now, share));
        };
        let entry = part.keys.at_mut(place);
        entry.variant = terms.variant;
        entry.meter.advance(now, terms.quota, share);
        match entry.judge(terms, share, charge, now) {
            Judgement::Pass => {
                entry.meter.charge(charge.cost, terms.quota);
                entry.untold = entry.untold.saturating_add(charge.cost);
                let figures = terms.figures(&entry.meter, now, share);
                if charge.cost > 0 {
                    let urgent = entry.is_worth_hurrying(terms, now);
                    self.note(part, place, terms, urgent, now);
                }
                part.keys.sort(place, false);
                Verdict::Pass(figures)
            }
            Judgement::Ask => {
                entry.asking = entry.asking.saturating_add(charge.needs);
                Verdict::Ask(self.question(part.keys.at(place), terms, charge.cost))
            }
            Judgement::Refuse(why) => {
                let crossed = why == Why::OverLimit && terms.quota.block_for > 0;
                if crossed {
                    entry.blocked_until = now.after(terms.quota.block_for);
                }
                let figures = terms.refusal(&entry.meter, entry.blocked_until, now, share);
                if crossed {
                    self.note(part, place, terms, true, now);
                }
                part.keys.sort(place, why != Why::StoreUnavailable);
                Verdict::Refuse(why, figures)
            }
        }
    }

    /// Decides a request that asked, by the store's answer.
    pub(crate) fn answered(
        &self,
        take: &Take,
        taken: &Taken,
        terms: &Terms<'_>,
        charge: Charge,
        now: EpochMillis,
    ) -> Verdict {
        if charge.cost == 0 {
            // Nothing was taken: what is known now decides.
            self.told(take, Some(taken), terms, now);
            return self.decide(take.hash, &terms.without_asking(), charge, now);
        }
        let share = terms.share();
        let admitted = if taken.admitted { charge.cost } else { 0 };
        let mut part = self.part(take.hash);
        let part = &mut *part;
        let place = part.keys.find(take.hash).unwrap_or_else(|| self.insert(part, take.hash, terms, share, now));
        let entry = part.keys.at_mut(place);
        entry.learn(take, taken, terms, admitted, now);
        let verdict = if taken.admitted {
            Verdict::Pass(terms.figures(&entry.meter, now, share))
        } else {
            Verdict::Refuse(Why::OverLimit, terms.refusal(&entry.meter, entry.blocked_until, now, share))
        };
        part.keys.sort(place, !taken.admitted);
        verdict
    }

    /// A question was answered, or nobody waits for the answer any more.
    pub(crate) fn asked(&self, hash: KeyHash, charge: Charge) {
        let mut part = self.part(hash);
        if let Some(place) = part.keys.find(hash) {
            let entry = part.keys.at_mut(place);
            entry.asking = entry.asking.saturating_sub(charge.needs);
        }
    }

    /// Counts what passed before.
    pub(crate) fn charge_later(&self, hash: KeyHash, cost: u32, terms: &Terms<'_>, now: EpochMillis) {
        let share = terms.share();
        let mut part = self.part(hash);
        let part = &mut *part;
        let place = part.keys.find(hash).unwrap_or_else(|| self.insert(part, hash, terms, share, now));
        let entry = part.keys.at_mut(place);
        entry.meter.advance(now, terms.quota, share);
        entry.meter.charge(cost, terms.quota);
        entry.untold = entry.untold.saturating_add(cost);
        let room = terms.room(&entry.meter, now, share);
        let crossed = room < 0 && terms.quota.block_for > 0 && entry.blocked_until <= now;
        if crossed {
            entry.blocked_until = now.after(terms.quota.block_for);
        }
        self.note(part, place, terms, crossed || room < terms.quota.units(1), now);
        part.keys.sort(place, room < terms.quota.units(1));
    }

    /// What is to be told now, at most so many.
    pub(crate) fn due(&self, terms: &Terms<'_>, now: EpochMillis, most: usize, found: &mut Vec<Take>) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        for part in &self.parts {
            let part = &mut *part.lock();
            for (queue, queued) in [(&mut part.urgent, Flags::HURRIED), (&mut part.news, Flags::QUEUED)] {
                while found.len() < most && queue.front().is_some_and(|(due, _)| *due <= now) {
                    let Some((_, hash)) = queue.pop_front() else { break };
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    let Some(place) = part.keys.find(hash) else { continue };
                    let entry = part.keys.at_mut(place);
                    let terms = terms.of(entry.variant);
                    entry.meter.advance(now, terms.quota, terms.share());
                    entry.flags.set(queued, false);
                    if !entry.flags.has(Flags::NEWS) {
                        continue;
                    }
                    entry.flags.set(Flags::NEWS, false);
                    found.push(self.question(part.keys.at(place), &terms, 0));
                }
            }
        }
    }

    /// Writes down what came of telling.
    pub(crate) fn told(&self, take: &Take, taken: Option<&Taken>, terms: &Terms<'_>, now: EpochMillis) {
        let mut part = self.part(take.hash);
        let part = &mut *part;
        let Some(place) = part.keys.find(take.hash) else { return };
        match taken {
            Some(taken) => {
                let entry = part.keys.at_mut(place);
                let terms = terms.of(entry.variant);
                entry.learn(take, taken, &terms, 0, now);
            }
            None => self.note(part, place, terms, false, now),
        }
    }

    /// Tells everything again, since the store may have lost it.
    pub(crate) fn tell_all(&self, terms: &Terms<'_>, now: EpochMillis) {
        let weighing = Weighing { now, terms };
        for part in &self.parts {
            let part = &mut *part.lock();
            let Part { keys, news, urgent: _, sweep_from: _ } = part;
            for entry in keys.iter_mut() {
                if weighing.meter(entry, &terms.of(entry.variant)).is_idle() && entry.blocked_until <= now {
                    continue;
                }
                entry.flags.set(Flags::NEWS, true);
                if !entry.flags.has(Flags::QUEUED) {
                    entry.flags.set(Flags::QUEUED, true);
                    news.push_back((now, entry.hash));
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Forgets some of the keys that are idle, part after part.
    pub(crate) fn sweep(&self, terms: &Terms<'_>, now: EpochMillis, entries: usize) {
        let weighing = Weighing { now, terms };
        for part in &self.parts {
            let part = &mut *part.lock();
            part.sweep_from = part.keys.sweep(part.sweep_from, entries, &weighing);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for part in &self.parts {
            let part = &mut *part.lock();
            let waited = part.news.len() + part.urgent.len();
            self.waiting.fetch_sub(waited, Ordering::Relaxed);
            part.keys.clear();
            part.news.clear();
            part.urgent.clear();
        }
    }

    /// Keys in memory, the bytes that they take, and how many were forgotten before their time.
    pub(crate) fn size(&self) -> (usize, usize, u64) {
        let (mut keys, mut bytes) = (0, 0);
        for part in &self.parts {
            let part = part.lock();
            keys += part.keys.len();
            bytes += part.keys.bytes();
        }
        (keys, bytes, self.forgotten.load(Ordering::Relaxed))
    }

    fn insert(&self, part: &mut Part<M>, hash: KeyHash, terms: &Terms<'_>, share: Quota, now: EpochMillis) -> Place {
        let mut meter = M::default();
        meter.advance(now, terms.quota, share);
        let memory = self.memories.fetch_add(1, Ordering::Relaxed);
        let (blocked_until, flags) = (EpochMillis::default(), Flags::default());
        let entry =
            Entry { hash, meter, blocked_until, memory, untold: 0, asking: 0, heard: 0, flags, variant: terms.variant };
        let (place, forgot) = part.keys.insert(entry, &Weighing { now, terms });
        if forgot {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    fn question(&self, entry: &Entry<M>, terms: &Terms<'_>, cost: u32) -> Take {
        Take {
            limit: self.limit.clone(),
            hash: entry.hash,
            teller: Teller { proxy: self.proxy, memory: entry.memory },
            totals: entry.meter.totals(entry.untold),
            blocked_until: entry.blocked_until,
            cost,
            quota: terms.quota,
        }
    }

    /// Queues a key that has news.
    fn note(&self, part: &mut Part<M>, place: Place, terms: &Terms<'_>, urgent: bool, now: EpochMillis) {
        let Standing::Together { .. } = terms.standing else { return };
        let entry = part.keys.at_mut(place);
        entry.flags.set(Flags::NEWS, true);
        let hurries = urgent || entry.is_stale(now);
        let queued = if hurries { Flags::HURRIED } else { Flags::QUEUED };
        if entry.flags.has(queued) || entry.flags.has(Flags::HURRIED) {
            return;
        }
        entry.flags.set(queued, true);
        let hash = entry.hash;
        if hurries {
            part.urgent.push_back((now.after(TELL_SOON_MS), hash));
        } else {
            part.news.push_back((now.after(TELL_AFTER_MS), hash));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }
}
