//! The wire between operator and proxy: keyed resources in atomic batches.
//!
//! ```text
//! translate -> ResourceSet -> diff -> Batch -> (in process, or a network stream) -> Batch -> apply -> ResourceSet
//! ```
//!
//! The messages are generated from `proto/snapshot.proto` and the conversation from `proto/stream.proto` (its service
//! with the feature `stream`), which are also their documentation. This crate adds
//! what both ends must agree on: how a key is written, what the content version of a set is, what differs
//! between two sets, what a batch does to a set, which regular expressions and which CEL can be enforced, which headers
//! no filter changes, which addresses may be origins, and how the place of shared state is written.
//!
//! Invariants: knows neither Kubernetes nor Pingora; reads no clock; the same set has the same version on every
//! machine, whatever the path that led to it.

mod address;
pub mod cel;
mod diff;
mod expression;
mod header;
mod key;
mod limit;
mod redacted;
mod room;
mod set;
mod state;

#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used)] // Generated; the comments of the .proto are its docs.
mod wire {
    include!(concat!(env!("OUT_DIR"), "/headgate.snapshot.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/headgate.snapshot.v1.serde.rs"));
}

pub use address::{ADDRESS_POLICY, AddressRules, InvalidAddressPolicy};
pub use diff::{changes, diff};
pub use expression::{Expression, InvalidExpression};
pub use header::{OWN_HEADER_PREFIX, ProtectedHeader};
pub use limit::RATE_LIMIT;
pub use room::WAITING_ROOM;
pub use set::{Entry, ResourceSet};
pub use state::{InvalidStateUrl, RedisLayout, RedisServer, RedisTransport, RedisUrl, StateUrl};
pub use wire::*;

use std::fmt;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("token", &redacted::REDACTED).finish()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_pem", &self.chain_pem).field("key_pem", &redacted::REDACTED).finish()
    }
}

impl fmt::Debug for ReviewQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewQuestion").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl fmt::Debug for WaitingRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { routes, total_active_users, new_users_per_minute, .. } = self;
        f.debug_struct("WaitingRoom")
            .field("routes", routes)
            .field("total_active_users", total_active_users)
            .field("new_users_per_minute", new_users_per_minute)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let token = ProxyMessage { message: Some(proxy_message::Message::Token(Token { token: "secret".into() })) };
        let certificate = Certificate { chain_pem: "chain".into(), key_pem: "secret".into() };
        let room = WaitingRoom { ticket_secret: b"secret".to_vec(), ..WaitingRoom::default() };
        let review = ReviewQuestion { token: "secret".into(), namespace: "default".into() };
        let printed = format!("{token:?} {certificate:?} {room:?} {review:?}");
        assert!(printed.contains("Token") && printed.contains("chain") && !printed.contains("secret"), "{printed}");
    }
}
