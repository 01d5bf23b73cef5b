//! What a limit allows, in integers.
//!
//! A request weighs as many units as its period has milliseconds. Then a millisecond refills `limit` units of a
//! bucket, a share of a period needs no division, and every product stays below 2^53, exact in Lua too.

/// The highest limit, burst and count.
pub const MOST_REQUESTS: u32 = 100_000_000;

/// The shortest period in milliseconds: one second.
pub const SHORTEST_PERIOD_MS: u32 = 1_000;

/// The longest period in milliseconds: one day.
pub const LONGEST_PERIOD_MS: u32 = 86_400_000;

/// What a limit allows one key. Nothing of it but the period is part of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a period, 1 to [`MOST_REQUESTS`].
    pub limit: u32,
    /// Requests at once, of a bucket that is full. 1 to [`MOST_REQUESTS`]; a window has no use for it.
    pub burst: u32,
    /// Milliseconds, [`SHORTEST_PERIOD_MS`] to [`LONGEST_PERIOD_MS`].
    pub period: u32,
    /// How long a key is refused from the request that crossed the limit on, in milliseconds; 0: only the excess is.
    pub block_for: u64,
}

impl Quota {
    /// What each of several proxies may pass alone: an equal share, at least one request.
    #[must_use]
    pub fn share(self, proxies: u32) -> Self {
        let part = |whole: u32| (whole / proxies.max(1)).max(1);
        Self { limit: part(self.limit), burst: part(self.burst), ..self }
    }

    /// What some requests weigh.
    pub(crate) fn units(self, requests: u32) -> i64 {
        i64::from(requests) * i64::from(self.period)
    }

    /// How many whole requests some units are, 0 where they are a debt.
    pub(crate) fn requests(self, units: i64) -> u32 {
        u32::try_from((units / i64::from(self.period)).max(0)).unwrap_or(u32::MAX)
    }
}
