//! The only file of this crate that reads clocks. Everything else is given a time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headgate_engine::EpochMillis;

/// The clocks of one proxy. Monotonic times are counted from its start, so that they fit into one atomic word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The start since the Unix epoch.
    started: Duration,
}

#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
#[expect(clippy::unused_self, reason = "a clock is a value, so that who reads one has been given it")]
impl Clock {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Monotonic time.
    pub(crate) fn now(self) -> Instant {
        Instant::now()
    }

    /// Milliseconds since the start. Never 0, so that 0 may stand for "no time".
    pub(crate) fn millis(self) -> u64 {
        self.millis_at(Instant::now())
    }

    /// A monotonic time in milliseconds since the start. Never 0.
    pub(crate) fn millis_at(self, time: Instant) -> u64 {
        let millis = time.saturating_duration_since(self.start).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Time since the Unix epoch that never goes back, whatever happens to the system's clock meanwhile.
    pub(crate) fn epoch(self) -> EpochMillis {
        let since = self.started + Instant::now().saturating_duration_since(self.start);
        EpochMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since the Unix epoch, for logs.
    pub(crate) fn since_epoch(self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
