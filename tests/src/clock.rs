//! The only file of the harness that reads a clock.

use std::time::{Duration, Instant};

/// Measures how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the harness's clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Lets time pass: the slowness of an origin, the pace of a load. Tests wait for conditions instead.
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}
