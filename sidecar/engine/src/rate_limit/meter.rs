//! What both algorithms are asked.

use super::quota::Quota;
use super::store::{Shared, Totals};
use crate::time::EpochMillis;

/// How a limit counts. Part of the identity of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Two counters; see [`super::window`].
    SlidingWindow,
    /// One level; see [`super::bucket`].
    TokenBucket,
}

/// The counter of one key in one proxy: what this proxy has counted, and what it has heard of the others.
///
/// Every question is asked after [`Meter::advance`] to the same moment. Room is in the units of [`Quota::units`];
/// below zero it is a debt.
pub(crate) trait Meter: Copy + Default + Send {
    /// Goes on to a moment. A moment that is over changes nothing.
    fn advance(&mut self, now: EpochMillis, quota: Quota, share: Quota);

    /// What the limit leaves, by all that is known.
    fn room(&self, now: EpochMillis, quota: Quota) -> i64;

    /// What a share leaves of this proxy's own requests.
    fn own_room(&self, now: EpochMillis, share: Quota) -> i64;

    /// Counts requests of this proxy.
    fn charge(&mut self, cost: u32, quota: Quota);

    /// Milliseconds until one more request passes, if none does before; 0: it passes now.
    fn wait(&self, now: EpochMillis, quota: Quota) -> u64;

    /// The same for a share, by this proxy's own requests.
    fn own_wait(&self, now: EpochMillis, share: Quota) -> u64;

    /// Milliseconds until what was used is given back: the end of the period, or a full bucket.
    fn reset(&self, now: EpochMillis, quota: Quota) -> u64;

    /// Whether forgetting the key changes no decision.
    fn is_idle(&self) -> bool;

    /// All that this proxy has counted, `untold` of which the store has not confirmed.
    fn totals(&self, untold: u32) -> Totals;

    /// Takes over what the store knows, and gives back how many own requests the store does not know yet.
    fn learn(&mut self, shared: &Shared, now: EpochMillis, quota: Quota) -> u32;
}
