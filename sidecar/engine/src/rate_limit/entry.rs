//! One key in one proxy: its meter, and how fresh what is known of it is.

use super::key::KeyHash;
use super::meter::Meter;
use super::quota::Quota;
use super::store::{Shared, Take, Taken};
use super::terms::{Charge, Standing, StoreFailure, Terms, Why};
use super::window::Counts;
use crate::time::EpochMillis;

/// By so many milliseconds older, a view gives a proxy a smaller part of the room: a half, a third, a fourth.
const OLDER_MS: u32 = 25;

/// A view as old as this is as good as none.
const OLDEST_MS: u32 = 125;

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<M> {
    pub(crate) hash: KeyHash,
    pub(crate) meter: M,
    /// Until when the key is refused, 0: it is not.
    pub(crate) blocked_until: EpochMillis,
    /// Told to the store with every total; see [`super::store::Teller`].
    pub(crate) memory: u32,
    /// Own requests that the store has not confirmed.
    pub(crate) untold: u32,
    /// Own requests that the store is being asked for.
    pub(crate) asking: u32,
    /// When the store was last heard, in milliseconds that wrap after 49 days.
    pub(crate) heard: u32,
    pub(crate) flags: Flags,
    /// Which quota of the limit held for the key last.
    pub(crate) variant: u8,
}

/// What else is known of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// The store has been heard of this key.
    pub(crate) const HEARD: Self = Self(1);
    /// The key waits to be told.
    pub(crate) const QUEUED: Self = Self(2);
    /// The key waits to be told soon.
    pub(crate) const HURRIED: Self = Self(8);
    /// The key has something that the store does not know.
    pub(crate) const NEWS: Self = Self(4);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn set(&mut self, other: Self, to: bool) {
        self.0 = if to { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

/// What becomes of a request.
pub(crate) enum Judgement {
    Pass,
    Ask,
    Refuse(Why),
}

impl<M: Meter> Entry<M> {
    /// What becomes of a request for a key that is up to date.
    pub(crate) fn judge(&self, terms: &Terms<'_>, share: Quota, charge: Charge, now: EpochMillis) -> Judgement {
        let quota = terms.quota;
        if let Standing::Apart { on_failure: StoreFailure::Allow, .. } = terms.standing {
            return Judgement::Pass;
        }
        if let Standing::Apart { on_failure: StoreFailure::Deny, .. } = terms.standing {
            return Judgement::Refuse(Why::StoreUnavailable);
        }
        if terms.blocks(self.blocked_until, now) {
            return Judgement::Refuse(Why::Blocked);
        }
        let room = terms.room(&self.meter, now, share);
        let Standing::Together { proxies, strict } = terms.standing else {
            // Whoever asked in vain decides anew and is one of those who ask, so that these do not count.
            let fits = room >= quota.units(charge.needs);
            return if fits { Judgement::Pass } else { Judgement::Refuse(Why::OverLimit) };
        };
        // What others of this proxy are asking for is theirs: if they get it, it is used, and if not, there was none.
        let free = if charge.cost > 0 { room.saturating_sub(quota.units(self.asking)) } else { room };
        let fits = free >= quota.units(charge.needs);
        match (fits, strict) {
            // Where a block begins, the store says when.
            (false, true) if quota.block_for > 0 && self.asking == 0 => Judgement::Ask,
            (false, _) => Judgement::Refuse(Why::OverLimit),
            (true, true) => Judgement::Ask,
            (true, false) => {
                let is_asked_already = charge.cost == 0 && self.asking > 0;
                if is_asked_already || self.is_within_part(terms, charge, free, proxies, now) {
                    Judgement::Pass
                } else {
                    Judgement::Ask
                }
            }
        }
    }

    /// Whether a request is within the part of the free room that a proxy may pass alone.
    fn is_within_part(&self, terms: &Terms<'_>, charge: Charge, free: i64, proxies: u32, now: EpochMillis) -> bool {
        let quota = terms.quota;
        let age = self.age(now);
        // Others may have used up meanwhile what was half used when the store was last heard.
        if age == OLDEST_MS && self.flags.has(Flags::HEARD) && free < quota.units(quota.limit) / 2 {
            return false;
        }
        let untold = quota.units(self.untold);
        // The older the view, the less it is worth.
        let parts = i64::from(proxies) * (1 + i64::from(age / OLDER_MS));
        untold.saturating_add(quota.units(charge.needs)).saturating_mul(parts) <= free.saturating_add(untold)
    }

    /// Whether so much is untold that others should know soon: a quarter of what may be passed without asking.
    pub(crate) fn is_worth_hurrying(&self, terms: &Terms<'_>, now: EpochMillis) -> bool {
        let Standing::Together { proxies, .. } = terms.standing else { return false };
        let untold = terms.quota.units(self.untold);
        let room = self.meter.room(now, terms.quota).saturating_add(untold);
        untold.saturating_mul(i64::from(proxies) * 4) > room
    }

    /// Takes over an answer; `admitted` are own requests that the store took with it.
    pub(crate) fn learn(&mut self, take: &Take, taken: &Taken, terms: &Terms<'_>, admitted: u32, now: EpochMillis) {
        self.meter.advance(now, terms.quota, terms.share());
        let shared = if self.memory == take.teller.memory {
            self.meter.charge(admitted, terms.quota);
            taken.shared
        } else {
            // The key was forgotten meanwhile: what its last memory told is as if others had.
            as_others(taken.shared)
        };
        self.untold = self.meter.learn(&shared, now, terms.quota);
        if taken.blocked_until > taken.now {
            self.blocked_until = taken.blocked_until;
        }
        self.heard = wrapped(now);
        self.flags.set(Flags::HEARD, true);
    }

    /// Whether the store was not heard of the key for so long that news should not wait.
    pub(crate) fn is_stale(&self, now: EpochMillis) -> bool {
        self.age(now) >= OLDEST_MS
    }

    /// How old the view of a key is, in milliseconds; no older than news may be.
    fn age(&self, now: EpochMillis) -> u32 {
        if self.flags.has(Flags::HEARD) { wrapped(now).wrapping_sub(self.heard).min(OLDEST_MS) } else { OLDEST_MS }
    }
}

/// What a teller of another memory has told, as if others had.
fn as_others(shared: Shared) -> Shared {
    match shared {
        Shared::Window { index, others, own } => {
            Shared::Window { index, others: others.plus(own), own: Counts::default() }
        }
        Shared::Bucket { used, at, own: _ } => Shared::Bucket { used, at, own: 0 },
    }
}

/// Milliseconds that wrap after 49 days.
fn wrapped(now: EpochMillis) -> u32 {
    u32::try_from(now.0 & u64::from(u32::MAX)).unwrap_or_default()
}
