//! Envoy's rate limit service on the counters that the application asks, so that Envoy, Istio and gateways built on it
//! use it in place of their own.
//!
//! ```text
//! TLS -> token -> Gatekeeper: may it ask for this namespace? -> Application::ask for each descriptor -> answer
//! ```
//!
//! The domain is the namespace, the first entry of a descriptor (`limit=NAME`) the limit, and the values of the others
//! are its key, in their order. Mistakes are errors of the call, which Envoy counts and treats as its
//! `failure_mode_deny` says: a limit that is misspelt must not look like one that has room.

mod access;
mod messages;
mod server;
mod service;

pub use access::EnvoyAccess;
pub(crate) use access::Gatekeeper;
pub(crate) use server::serve;
pub use server::{EnvoyError, EnvoySettings};
