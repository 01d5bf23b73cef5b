//! Limits in a proxy: the engine's book with a clock, a store and somebody who asks.
//!
//! ```text
//! arrival: decide -> Ask -> Limiter::ask (250 ms, breaker) -> decide again
//! keeper:  told every few milliseconds, joined every second, swept every second
//! application: POST /v1/ratelimits/{namespace}/{name}/limit, or Envoy's rate limit service
//! ```

mod application;
mod envoy;
mod keeper;
mod limiter;
mod shared_store;

pub use application::Application;
pub(crate) use application::Asked;
pub use envoy::{EnvoyAccess, EnvoyError, EnvoySettings};
pub(crate) use envoy::{Gatekeeper, serve as serve_envoy};
pub(crate) use keeper::keep;
pub(crate) use limiter::Limiter;
pub(crate) use shared_store::SharedStore;
