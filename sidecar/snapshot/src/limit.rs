//! What both ends must agree on about limits.

/// The word in `Resource.requires` of a limit.
pub const RATE_LIMIT: &str = "RateLimit";
