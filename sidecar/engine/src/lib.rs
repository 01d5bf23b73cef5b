//! Pure enforcement: what happens to a request, decided from data alone.
//!
//! ```text
//! ResourceSet --Plan::compile--> Plan
//!
//! request --normalise_path, Authority--> Request --Plan::route--> Matched --decide (ORDER)--> Decision
//!                                                                                                |
//!                                             Ask: the store answers, and it is decided again <--+
//!                                             Limited: why, until when <-------------------------+
//!                                             Waits: how many before it, when to come again <----+
//!                                             Redirect { status, location } <--------------------+
//!                                             Exchange: select -> failed -> select -> ... <------+
//! ```
//!
//! The adapter (the proxy) owns sockets, clocks and chance: it hands time and randomness in, asks which probes are
//! due and reports them, resolves the names that a plan has, and turns each [`Reason`] into bytes.
//!
//! Invariants: knows neither Pingora nor Kubernetes; opens no socket, reads no clock, starts no task; nothing on
//! the way of a request waits for a lock that is held for longer than one decision on one counter; a plan never changes once compiled, except the endpoints that DNS names
//! stand for; what is known of endpoints outlives plans by identity.

mod chain;
mod chance;
mod cookie;
mod endpoint;
mod exchange;
mod explain;
mod facts;
mod filter;
mod forwarded;
mod frontend;
mod headers;
mod health;
mod host;
mod matcher;
mod origin;
mod path;
mod plan;
mod pool;
mod rate_limit;
mod reason;
mod redirect;
mod refusal;
mod resolve;
mod retry;
mod route;
mod select;
mod shared_map;
mod table;
mod time;
mod waiting_room;

pub use chain::{Arrival, Decision, ORDER, Policy};
pub use chance::Chance;
pub use endpoint::Endpoint;
pub use exchange::{Exchange, Failure, Next, Selection, Timeouts};
pub use explain::{Explanation, Outcome, Step};
pub use facts::Facts;
pub use filter::Filters;
pub use forwarded::{Client, Forwarding, Trust, TrustedProxies};
pub use frontend::{FrontendId, Listening, Protocol};
pub use headers::Headers;
pub use health::{Health, HealthCheck, Probe, ProbeKind, ProbeResult};
pub use host::{Authority, InvalidHost};
pub use matcher::Request;
pub use origin::{Origin, OriginProtocol, Tls};
pub use path::{InvalidPath, normalise_path};
pub use plan::{Context, FEATURES, Matched, Plan};
pub use pool::Pool;
pub use rate_limit::{
    Algorithm, Call, Called, Counts, Errand, Fields, Figure, Figures, Joined, KeyHash, LONGEST_PERIOD_MS, LimitAnswer,
    LimitStore, Limited, Limits, MOST_KEYS, MOST_REQUESTS, Member, MemoryStore, Quota, RATE_LIMIT, RATE_LIMIT_POLICY,
    RateLimit, SHORTEST_PERIOD_MS, Screening, Shared, Sharing, StoreError, TELL_AFTER_MS, TELL_SOON_MS, Take, Taken,
    Teller, Told, Totals, Why,
};
pub use reason::Reason;
pub use redirect::{Place, Redirect};
pub use resolve::Resolutions;
pub use retry::{Body, Replay};
pub use route::{Action, Backend, Route, Rule, Split};
pub use time::{EpochMillis, Millis};
pub use waiting_room::{Census, Queueing, ROOM_COMMAND, Standing, Visit, WaitingRoom, Waits};

#[cfg(test)]
mod tests;
