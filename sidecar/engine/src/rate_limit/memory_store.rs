//! The shared store of proxies in one process, and the model of every other store: what it answers, all answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_snapshot::Key;
use parking_lot::Mutex;

use super::bucket::{drained, filled};
use super::key::KeyHash;
use super::quota::Quota;
use super::store::{Joined, LimitStore, Member, Shared, StoreError, Take, Taken, Totals};
use super::window::{Counts, period_of};
use crate::time::EpochMillis;

/// A store in memory. It forgets nothing, so it is for as many keys as fit.
pub struct MemoryStore {
    clock: Box<dyn Fn() -> EpochMillis + Send + Sync>,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    windows: BTreeMap<(Arc<Key>, KeyHash), WindowRecord>,
    buckets: BTreeMap<(Arc<Key>, KeyHash), BucketRecord>,
    groups: BTreeMap<String, BTreeMap<u64, EpochMillis>>,
    secret: Option<[u8; 16]>,
}

#[derive(Clone, Default)]
struct WindowRecord {
    index: u32,
    all: Counts,
    /// By proxy: its memory, and what that has told of the period that is current.
    told: BTreeMap<u64, (u32, Counts)>,
    blocked_until: EpochMillis,
}

#[derive(Clone, Default)]
struct BucketRecord {
    used: i64,
    at: EpochMillis,
    /// By proxy: its memory, and what that has told in all.
    told: BTreeMap<u64, (u32, u64)>,
    blocked_until: EpochMillis,
}

impl MemoryStore {
    /// An empty store that goes by a clock.
    pub fn new(clock: impl Fn() -> EpochMillis + Send + Sync + 'static) -> Self {
        Self { clock: Box::new(clock), records: Mutex::default() }
    }

    /// Loses everything, as a store without a disk does that starts again.
    pub fn lose_everything(&self) {
        *self.records.lock() = Records::default();
    }

    /// Answers one question.
    pub fn take_one(&self, take: &Take) -> Taken {
        let now = (self.clock)();
        let mut records = self.records.lock();
        let key = (take.limit.clone(), take.hash);
        match take.totals {
            Totals::Window { index, previous, current } => {
                let told = Counts { previous, current };
                records.windows.entry(key).or_default().take(take, index, told, now)
            }
            Totals::Bucket { total, told, used } => {
                records.buckets.entry(key).or_default().take(take, (total, told, used), now)
            }
        }
    }
}

impl LimitStore for MemoryStore {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, StoreError> {
        Ok(takes.iter().map(|take| self.take_one(take)).collect())
    }

    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        let Member { group, proxy, secret, lives_for } = member;
        let now = (self.clock)();
        let mut records = self.records.lock();
        let secret = *records.secret.get_or_insert(*secret);
        let members = records.groups.entry(group.clone()).or_default();
        members.insert(*proxy, now.after(*lives_for));
        members.retain(|_, until| *until > now);
        Ok(Joined { proxies: u32::try_from(members.len()).unwrap_or(u32::MAX), secret, now })
    }
}

/// What a block does to a request, and a request to a block.
struct Gate<'a> {
    quota: Quota,
    blocked_until: &'a mut EpochMillis,
    now: EpochMillis,
}

impl Gate<'_> {
    /// Takes a proxy's block over where there is none: what began first holds.
    fn hear(&mut self, blocked_until: EpochMillis) {
        if *self.blocked_until <= self.now && blocked_until > self.now {
            *self.blocked_until = blocked_until.min(self.now.after(self.quota.block_for));
        }
    }

    /// Whether a request that there is room for, or not, passes.
    fn admits(&mut self, fits: bool) -> bool {
        let blocks = self.quota.block_for > 0;
        if blocks && *self.blocked_until > self.now {
            return false;
        }
        if !fits && blocks {
            *self.blocked_until = self.now.after(self.quota.block_for);
        }
        fits
    }

    /// The end of the block that holds now, 0: none does.
    fn until(&self) -> EpochMillis {
        if *self.blocked_until > self.now { *self.blocked_until } else { EpochMillis::default() }
    }
}

impl WindowRecord {
    fn take(&mut self, take: &Take, told_index: u32, told: Counts, now: EpochMillis) -> Taken {
        let Take { teller, cost, quota, .. } = *take;
        let (present, elapsed) = period_of(now, quota.period);
        // A proxy may be a moment ahead, by one period at most; what is further ahead comes from a wrong clock.
        let told_index = if told_index > present + 1 { present } else { told_index };
        let index = self.index.max(present).max(told_index);
        let mut next = self.clone();
        next.all.shift(index - self.index);
        next.told.values_mut().for_each(|(_, counts)| counts.shift(index - self.index));
        next.index = index;
        let elapsed = if index > present { 0 } else { elapsed };

        let mut totals = told;
        totals.shift(index - told_index);
        let known = next.told.get(&teller.proxy).filter(|(memory, _)| *memory == teller.memory);
        let known = known.map_or(Counts::default(), |(_, counts)| *counts);
        next.all = next.all.plus(totals.minus(known));
        let mut own = known.at_least(totals);

        let mut gate = Gate { quota, blocked_until: &mut next.blocked_until, now };
        gate.hear(take.blocked_until);
        let admitted = cost == 0 || gate.admits(next.all.room(elapsed, quota) >= quota.units(cost));
        let blocked_until = gate.until();
        if admitted {
            let taken = Counts { previous: 0, current: cost };
            next.all = next.all.plus(taken);
            own = own.plus(taken);
        }
        let taken =
            Taken { admitted, shared: Shared::Window { index, others: next.all.minus(own), own }, blocked_until, now };
        // What says nothing new leaves no trace.
        if own != known || next.blocked_until != self.blocked_until {
            next.told.insert(teller.proxy, (teller.memory, own));
            *self = next;
        }
        taken
    }
}

impl BucketRecord {
    fn take(&mut self, take: &Take, (total, told, used): (u64, u64, i64), now: EpochMillis) -> Taken {
        let Take { teller, cost, quota, .. } = *take;
        let mut next = self.clone();
        next.used = drained(self.used, now.since(self.at), quota.limit);
        next.at = self.at.max(now);
        let known = self.told.get(&teller.proxy).filter(|(memory, _)| *memory == teller.memory);
        let known = known.map(|(_, known)| *known);
        match known {
            Some(known) => next.used = filled(next.used, total.saturating_sub(known), quota),
            // It was told before and is not known: the store has lost it. What the proxy knew of all is the best there
            // is, and what it has counted since comes on top.
            None if told > 0 => {
                let untold = total.saturating_sub(told);
                let view = used - filled(0, untold, quota);
                next.used = filled(next.used.max(view), untold, quota);
            }
            None => next.used = filled(next.used, total, quota),
        }
        let known = known.unwrap_or(0);
        let mut own = known.max(total);

        let mut gate = Gate { quota, blocked_until: &mut next.blocked_until, now };
        gate.hear(take.blocked_until);
        let fits = quota.units(quota.burst) - next.used >= quota.units(cost);
        let admitted = cost == 0 || gate.admits(fits);
        let blocked_until = gate.until();
        if admitted {
            next.used = filled(next.used, cost.into(), quota);
            own += u64::from(cost);
        }
        let shared = Shared::Bucket { used: next.used, at: next.at, own };
        // What says nothing new leaves no trace.
        if own != known || next.blocked_until != self.blocked_until {
            next.told.insert(teller.proxy, (teller.memory, own));
            *self = next;
        }
        Taken { admitted, shared, blocked_until, now }
    }
}
