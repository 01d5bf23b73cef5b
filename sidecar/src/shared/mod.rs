//! State that several proxies share, in Valkey or Redis 7 and later.
//!
//! ```text
//! Limiter::ask, tell, join -> RedisStore::take, join -> one script a key -> server
//! Limiter::join (1 s)      -> RedisStore::connect       where there is no connection
//! ```
//!
//! Keys begin with `hg:{namespace/name/`, one hash slot for each counter, so that a cluster takes them as one server
//! does. Each operation is one script; what the scripts do is told in headgate-engine, whose store in memory is the
//! model that they are compared with. Who counts failures, limits the time and decides that the store is away is
//! [`Limiter`](crate::rate_limit::Limiter).

mod connect;
mod rate_limit;
mod redis;
#[cfg(test)]
mod tests;

pub(crate) use connect::{Address, CALL_LIMIT};
pub(crate) use redis::RedisStore;
