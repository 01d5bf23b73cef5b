//! The only file of this program that reads a clock.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long a call takes, and what it returns.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = black_box(call());
    (began.elapsed(), result)
}

/// The median of several measurements.
pub fn median(repeats: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..repeats).map(|_| measure()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}
