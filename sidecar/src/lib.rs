//! The data plane: the engine on Pingora.
//!
//! ```text
//! operator -> stream (whom to follow) -> Batch -> Proxy::apply -> Plan (engine) -> one swap
//!                                             |
//! client -> listen (TLS, h2c) -> gate (phases of Pingora) -> engine decides -> origin (peers, deadlines) -> origin
//!              rate_limit (shared counters, the application's questions),
//!              probe (health), resolve (DNS), store (plan on disk), admin, metrics, access_log beside it
//! ```
//!
//! A [`Proxy`] is started from a [`Config`] and fed with batches, by a stream from the operator or by the same
//! process. What it enforces is decided by the engine; this crate owns the sockets, the clock and chance.
//!
//! Limits of a request's headers: 64 KiB and 100 headers, as peers have by default; more is answered 431. HTTP/2
//! refuses more than 64 KiB by itself. What Pingora's parser cannot read as HTTP at all (1 MiB or 256 headers among
//! it) is answered by its bare 400. CONNECT is refused.
//!
//! Invariants: a request pins one plan from its begin to its end; nothing on the way of a request takes a lock that
//! applying a batch holds; only `clock.rs` reads clocks; only `http/answer.rs` turns reasons into bytes; only
//! `metrics.rs` names metrics; this crate knows neither Kubernetes nor the user's objects.

mod access_log;
mod admin;
mod arrival;
mod clock;
mod config;
mod control;
mod gate;
mod http;
mod listen;
mod metrics;
mod origin;
mod passage;
mod probe;
mod proxy;
mod rate_limit;
mod resolve;
mod shared;
mod state;
mod store;
mod stream;
mod waiting_room;

pub use config::{AccessLog, ClientLimits, Config, DrainTimes, Frontends, StateSettings};
pub use headgate_engine::{FrontendId, Protocol};
pub use listen::BindError;
pub use proxy::{Drained, LocalAddresses, Proxy, StartError};
pub use rate_limit::{Application, EnvoyAccess, EnvoyError, EnvoySettings};
pub use stream::{CredentialError, OperatorAddress, Role, StreamConfig, Streams};
