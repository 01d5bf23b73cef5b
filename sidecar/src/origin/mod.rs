//! The way to origins: peers for Pingora, connections with deadlines, what is trusted.

pub(crate) mod connect;
pub(crate) mod guard;
pub(crate) mod peer;
pub(crate) mod tls;
