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

/// The fastest of several measurements: what other work on the machine disturbed least.
pub fn fastest(repeats: usize, measure: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(measure).take(repeats).min().unwrap_or_default()
}
