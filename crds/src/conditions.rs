//! Condition types that all kinds of ours share.

/// The object is valid and is enforced as it is written. False: the reason names the mistake.
pub const ACCEPTED: &str = "Accepted";

/// Everything that the object refers to exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";

/// Every proxy concerned has applied this generation.
pub const PROGRAMMED: &str = "Programmed";

/// Summary: accepted, programmed, and able to serve.
pub const READY: &str = "Ready";

/// Works, but not with all that was asked for.
pub const DEGRADED: &str = "Degraded";

/// Absent unless a field is accepted that this release does not enforce; then its status is [`PARTIAL`].
pub const ENFORCED: &str = "Enforced";

/// Status of [`ENFORCED`], beside `True`, `False` and `Unknown`.
pub const PARTIAL: &str = "Partial";
