//! On what terms a request is decided, and what comes of it.

use super::meter::Meter;
use super::quota::{Quota, SHORTEST_PERIOD_MS};
use super::store::Take;
use crate::time::EpochMillis;

/// What holds while a store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFailure {
    /// Each proxy passes its share.
    LocalShare,
    /// Everything passes.
    Allow,
    /// Nothing does.
    Deny,
}

/// Whom a proxy counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody.
    Alone,
    /// Others, through a store that answers.
    Together {
        /// Proxies that live.
        proxies: u32,
        /// Whether every request asks.
        strict: bool,
    },
    /// Others, that it is out of touch with.
    Apart {
        /// Proxies that lived last.
        proxies: u32,
        /// What holds meanwhile.
        on_failure: StoreFailure,
    },
}

/// On what terms a request is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms<'a> {
    /// The limit's own quota, then those of its exceptions. Never empty.
    pub(crate) quotas: &'a [Quota],
    /// Which of them holds for the request.
    pub(crate) variant: u8,
    pub(crate) quota: Quota,
    pub(crate) standing: Standing,
}

/// What a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// What is counted where it passes; 0 where that is known later.
    pub(crate) cost: u32,
    /// How much room it needs to pass.
    pub(crate) needs: u32,
}

impl Charge {
    /// A request that counts so much.
    pub(crate) fn of(cost: u32) -> Self {
        Self { cost, needs: cost.max(1) }
    }
}

/// Why a request is refused. The words are those of reports and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// There is no room for it.
    OverLimit,
    /// The key crossed the limit before and is blocked.
    Blocked,
    /// Too many requests of the key are in flight.
    TooManyAtOnce,
    /// The shared store is away, and the limit says that nothing passes then.
    StoreUnavailable,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OverLimit, Self::Blocked, Self::TooManyAtOnce, Self::StoreUnavailable];

    /// The place in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::OverLimit => 0,
            Self::Blocked => 1,
            Self::TooManyAtOnce => 2,
            Self::StoreUnavailable => 3,
        }
    }

    /// The word for machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OverLimit => "OverLimit",
            Self::Blocked => "Blocked",
            Self::TooManyAtOnce => "TooManyAtOnce",
            Self::StoreUnavailable => "StoreUnavailable",
        }
    }
}

/// What a client may know of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Requests that would pass now.
    pub remaining: u32,
    /// Milliseconds: after a refusal, until one more passes; else until what was used is given back, which is the end
    /// of the period, or a full bucket.
    pub reset_after: u64,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// It passes.
    Pass(Figures),
    /// It does not.
    Refuse(Why, Figures),
    /// The store decides.
    Ask(Take),
}

impl<'a> Terms<'a> {
    /// Terms of one of several quotas; of the first where there is no such one.
    pub(crate) fn new(quotas: &'a [Quota], variant: u8, standing: Standing) -> Self {
        const NOTHING: Quota = Quota { limit: 1, burst: 1, period: SHORTEST_PERIOD_MS, block_for: 0 };
        let (variant, quota) = match quotas.get(usize::from(variant)) {
            Some(quota) => (variant, *quota),
            None => (0, quotas.first().copied().unwrap_or(NOTHING)),
        };
        Self { quotas, variant, quota, standing }
    }

    /// The terms that held for a key last.
    pub(crate) fn of(&self, variant: u8) -> Self {
        if variant == self.variant { *self } else { Self::new(self.quotas, variant, self.standing) }
    }

    /// What each proxy may pass alone.
    pub(crate) fn share(&self) -> Quota {
        match self.standing {
            Standing::Alone => self.quota,
            Standing::Together { proxies, .. } | Standing::Apart { proxies, .. } => self.quota.share(proxies),
        }
    }

    /// The same where the store has just answered: what is known decides.
    pub(crate) fn without_asking(&self) -> Self {
        Self { standing: Standing::Alone, ..*self }
    }

    /// Whether a block that ends then holds now. A limit that blocks no more has no blocks.
    pub(crate) fn blocks(&self, until: EpochMillis, now: EpochMillis) -> bool {
        self.quota.block_for > 0 && until > now
    }

    /// The room that a key has: out of touch, its share is kept too.
    pub(crate) fn room(&self, meter: &impl Meter, now: EpochMillis, share: Quota) -> i64 {
        let room = meter.room(now, self.quota);
        match self.standing {
            Standing::Apart { on_failure: StoreFailure::LocalShare, .. } => room.min(meter.own_room(now, share)),
            Standing::Alone | Standing::Together { .. } | Standing::Apart { .. } => room,
        }
    }

    /// The figures of a key that was not refused.
    pub(crate) fn figures(&self, meter: &impl Meter, now: EpochMillis, share: Quota) -> Figures {
        let remaining = self.quota.requests(self.room(meter, now, share));
        Figures { remaining, reset_after: meter.reset(now, self.quota) }
    }

    /// The figures of a key that was refused.
    pub(crate) fn refusal(
        &self,
        meter: &impl Meter,
        blocked_until: EpochMillis,
        now: EpochMillis,
        share: Quota,
    ) -> Figures {
        let wait = meter.wait(now, self.quota);
        let wait = match self.standing {
            Standing::Apart { on_failure: StoreFailure::LocalShare, .. } => wait.max(meter.own_wait(now, share)),
            Standing::Alone | Standing::Together { .. } | Standing::Apart { .. } => wait,
        };
        let blocked = if self.quota.block_for > 0 { blocked_until.since(now) } else { 0 };
        Figures { remaining: 0, reset_after: wait.max(blocked) }
    }
}
