//! The only file of this crate that reads clocks.

use std::time::Instant;

use jiff::Timestamp;

/// Now, for what the world is told.
pub fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// Now, for durations.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
pub fn instant() -> Instant {
    Instant::now()
}
