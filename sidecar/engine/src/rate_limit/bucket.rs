//! The bucket of tokens.
//!
//! Kept is what was used, not what is left: it drains by `limit` units a millisecond, and a request passes while it
//! fits under `burst`. So a fresh key has used nothing, and no edit of limit or burst refills anything.

use super::meter::Meter;
use super::quota::{MOST_REQUESTS, Quota};
use super::store::{Shared, Totals};
use crate::time::EpochMillis;

/// The bucket of one key in one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Units used by all proxies, as far as is known.
    used: i64,
    /// Units used by this one beyond what its share refilled.
    own_used: i64,
    /// Requests of this one since the key came into memory.
    total: u64,
    at: EpochMillis,
}

/// What is left of some used units after a while.
pub(crate) fn drained(used: i64, milliseconds: u64, limit: u32) -> i64 {
    let refill = i64::from(limit).saturating_mul(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    used.saturating_sub(refill).max(0)
}

/// Units used, with some requests more.
pub(crate) fn filled(used: i64, requests: u64, quota: Quota) -> i64 {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX).min(MOST_REQUESTS);
    used.saturating_add(quota.units(requests)).min(quota.units(MOST_REQUESTS))
}

fn wait(used: i64, quota: Quota) -> u64 {
    let excess = used + quota.units(1) - quota.units(quota.burst);
    u64::try_from(excess).map_or(0, |excess| excess.div_ceil(quota.limit.max(1).into()))
}

impl Meter for Bucket {
    fn advance(&mut self, now: EpochMillis, quota: Quota, share: Quota) {
        let milliseconds = now.since(self.at);
        self.used = drained(self.used, milliseconds, quota.limit);
        // A proxy may pass more than its share while it is in touch, and owes no more than one bucket for it.
        self.own_used = drained(self.own_used, milliseconds, share.limit).min(share.units(share.burst));
        self.at = self.at.max(now);
    }

    fn room(&self, _now: EpochMillis, quota: Quota) -> i64 {
        quota.units(quota.burst) - self.used
    }

    fn own_room(&self, _now: EpochMillis, share: Quota) -> i64 {
        share.units(share.burst) - self.own_used
    }

    fn charge(&mut self, cost: u32, quota: Quota) {
        self.used = filled(self.used, cost.into(), quota);
        self.own_used = filled(self.own_used, cost.into(), quota);
        self.total += u64::from(cost);
    }

    fn wait(&self, _now: EpochMillis, quota: Quota) -> u64 {
        wait(self.used, quota)
    }

    fn own_wait(&self, _now: EpochMillis, share: Quota) -> u64 {
        wait(self.own_used, share)
    }

    fn reset(&self, _now: EpochMillis, quota: Quota) -> u64 {
        u64::try_from(self.used).unwrap_or(0).div_ceil(quota.limit.max(1).into())
    }

    fn is_idle(&self) -> bool {
        self.used == 0 && self.own_used == 0
    }

    fn totals(&self, untold: u32) -> Totals {
        Totals::Bucket { total: self.total, told: self.total.saturating_sub(untold.into()), used: self.used }
    }

    fn learn(&mut self, shared: &Shared, now: EpochMillis, quota: Quota) -> u32 {
        if let Shared::Bucket { used, at, own } = *shared {
            let untold = self.total.saturating_sub(own);
            self.used = filled(drained(used, now.since(at), quota.limit), untold, quota);
            self.at = self.at.max(at);
            return u32::try_from(untold).unwrap_or(u32::MAX);
        }
        0
    }
}
