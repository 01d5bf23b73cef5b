//! The sliding window of two counters.
//!
//! Periods are aligned to the Unix epoch. `estimate = previous x (period - elapsed) / period + current`, and a request
//! passes while the estimate with it is at most the limit. Source: "How we built rate limiting capable of scaling to
//! millions of domains" (2017), whose example is 42 requests in the minute before and 18 in the 15 seconds since:
//! 42 x 45 / 60 + 18 = 49.5.

use super::meter::Meter;
use super::quota::{MOST_REQUESTS, Quota};
use super::store::{Shared, Totals};
use crate::time::EpochMillis;

/// Requests in a period and in the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the period before.
    pub previous: u32,
    /// In the period that is current.
    pub current: u32,
}

impl Counts {
    /// Goes on by some periods.
    pub(crate) fn shift(&mut self, periods: u32) {
        *self = match periods {
            0 => *self,
            1 => Self { previous: self.current, current: 0 },
            _ => Self::default(),
        };
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = |one: u32, other: u32| one.saturating_add(other).min(MOST_REQUESTS);
        Self { previous: sum(self.previous, other.previous), current: sum(self.current, other.current) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            previous: self.previous.saturating_sub(other.previous),
            current: self.current.saturating_sub(other.current),
        }
    }

    pub(crate) fn at_least(self, other: Self) -> Self {
        Self { previous: self.previous.max(other.previous), current: self.current.max(other.current) }
    }

    /// What a limit leaves, `elapsed` milliseconds into the period.
    pub(crate) fn room(self, elapsed: u32, quota: Quota) -> i64 {
        let covered = i64::from(quota.period.saturating_sub(elapsed));
        quota.units(quota.limit) - quota.units(self.current) - i64::from(self.previous) * covered
    }

    /// Milliseconds until one more request passes, if none does before.
    fn wait(self, elapsed: u32, quota: Quota) -> u64 {
        let Quota { limit, period, .. } = quota;
        // The first moment of a period at which `previous` leaves room for one request beside `current`: the period's
        // end where it never does.
        let opens = |previous: u32, current: u32| {
            let free = u64::from(limit - current - 1) * u64::from(period);
            free.checked_div(previous.into()).map_or(0, |covered| u64::from(period).saturating_sub(covered))
        };
        let (elapsed, period) = (u64::from(elapsed), u64::from(period));
        if self.current < limit {
            let opens = opens(self.previous, self.current);
            if opens < period {
                return opens.saturating_sub(elapsed);
            }
        }
        period.saturating_sub(elapsed) + opens(self.current, 0)
    }
}

/// The index of the period of a moment, and how far into it the moment is.
pub(crate) fn period_of(now: EpochMillis, period: u32) -> (u32, u32) {
    let period = u64::from(period.max(1));
    // Periods of a second fit until the year 2106.
    let index = u32::try_from(now.0 / period).unwrap_or(u32::MAX);
    (index, u32::try_from(now.0 % period).unwrap_or(u32::MAX))
}

/// The window of one key in one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Index of the period that is current.
    index: u32,
    own: Counts,
    others: Counts,
}

impl Window {
    fn elapsed(&self, now: EpochMillis, quota: Quota) -> u32 {
        let (index, elapsed) = period_of(now, quota.period);
        // Behind the window's period nothing of it is over yet.
        if index < self.index { 0 } else { elapsed }
    }

    fn all(&self) -> Counts {
        self.own.plus(self.others)
    }

    fn shift_to(&mut self, index: u32) {
        if let Some(periods) = index.checked_sub(self.index) {
            self.own.shift(periods);
            self.others.shift(periods);
            self.index = index;
        }
    }
}

impl Meter for Window {
    fn advance(&mut self, now: EpochMillis, quota: Quota, _share: Quota) {
        self.shift_to(period_of(now, quota.period).0);
    }

    fn room(&self, now: EpochMillis, quota: Quota) -> i64 {
        self.all().room(self.elapsed(now, quota), quota)
    }

    fn own_room(&self, now: EpochMillis, share: Quota) -> i64 {
        self.own.room(self.elapsed(now, share), share)
    }

    fn charge(&mut self, cost: u32, _quota: Quota) {
        self.own.current = self.own.current.saturating_add(cost).min(MOST_REQUESTS);
    }

    fn wait(&self, now: EpochMillis, quota: Quota) -> u64 {
        self.all().wait(self.elapsed(now, quota), quota)
    }

    fn own_wait(&self, now: EpochMillis, share: Quota) -> u64 {
        self.own.wait(self.elapsed(now, share), share)
    }

    fn reset(&self, now: EpochMillis, quota: Quota) -> u64 {
        u64::from(quota.period.saturating_sub(self.elapsed(now, quota)))
    }

    fn is_idle(&self) -> bool {
        self.all() == Counts::default()
    }

    fn totals(&self, _untold: u32) -> Totals {
        let Self { index, own: Counts { previous, current }, others: _ } = *self;
        Totals::Window { index, previous, current }
    }

    fn learn(&mut self, shared: &Shared, now: EpochMillis, quota: Quota) -> u32 {
        if let Shared::Window { index, others, own } = *shared {
            // The store may be in the next period already, or have answered in the last one.
            self.shift_to(index);
            let (mut others, mut own) = (others, own);
            let periods = self.index - index;
            others.shift(periods);
            own.shift(periods);
            // Counts of a period only grow. A store that lost them knows less than we do.
            self.others = self.others.at_least(others);
            self.shift_to(period_of(now, quota.period).0);
            return self.own.current.saturating_sub(own.current);
        }
        0
    }
}
