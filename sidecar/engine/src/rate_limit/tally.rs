//! What became of the requests of one limit: in the last minute, for status, and in all, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::terms::Why;
use crate::time::EpochMillis;

/// Length of a slot.
const SLOT_MS: u64 = 5_000;

/// Slots of a minute, and the one that is being filled.
const SLOTS: usize = 13;

/// Requests that passed, then those refused by reason.
type Counts = [AtomicU64; 1 + Why::ALL.len()];

/// The figures of one limit. They outlive plans.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    slots: [Slot; SLOTS],
    totals: Counts,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Which slot since the epoch this is.
    number: AtomicU64,
    counts: Counts,
}

/// Requests by what became of them. A limit that refuses nothing counts what it would have refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// Requests within the limit.
    pub allowed: u64,
    /// Requests beyond it, in the order of [`Why::ALL`].
    pub refused: [u64; Why::ALL.len()],
}

impl Tally {
    /// Counts a request: within the limit, or beyond it.
    pub(crate) fn count(&self, why: Option<Why>, now: EpochMillis) {
        let at = why.map_or(0, |why| 1 + why.index());
        let number = now.0 / SLOT_MS;
        let slot = &self.slots[usize::try_from(number % SLOTS as u64).unwrap_or_default()];
        let before = slot.number.load(Ordering::Relaxed);
        let is_new = before != number
            && slot.number.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_new {
            // Whoever counts at this very moment may be lost. Figures are for people.
            slot.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        slot.counts[at].fetch_add(1, Ordering::Relaxed);
        self.totals[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an expression that had no value for a request.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The last minute.
    pub(crate) fn last_minute(&self, now: EpochMillis) -> Figure {
        let number = now.0 / SLOT_MS;
        let is_recent = |slot: &&Slot| number.wrapping_sub(slot.number.load(Ordering::Relaxed)) < SLOTS as u64;
        let mut sum = Figure::default();
        for slot in self.slots.iter().filter(is_recent) {
            sum.add(&slot.counts);
        }
        sum
    }

    /// Everything so far, and expressions that had no value.
    pub(crate) fn totals(&self) -> (Figure, u64) {
        let mut sum = Figure::default();
        sum.add(&self.totals);
        (sum, self.failures.load(Ordering::Relaxed))
    }
}

impl Figure {
    fn add(&mut self, counts: &Counts) {
        let [allowed, refused @ ..] = counts;
        self.allowed += allowed.load(Ordering::Relaxed);
        for (sum, count) in self.refused.iter_mut().zip(refused) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_is_remembered_and_no_more() {
        let tally = Tally::default();
        let at = |seconds: u64| EpochMillis(1_795_776_000_000 + seconds * 1_000);
        tally.count(None, at(0));
        tally.count(Some(Why::Blocked), at(0));
        tally.count(None, at(30));
        let of = |seconds| {
            let Figure { allowed, refused } = tally.last_minute(at(seconds));
            (allowed, refused[Why::Blocked.index()])
        };
        assert_eq!((of(31), of(59), of(66), of(100)), ((2, 1), (2, 1), (1, 0), (0, 0)));
        tally.count(None, at(65));
        assert_eq!((of(66), tally.totals().0.allowed), ((2, 0), 3));
    }
}
