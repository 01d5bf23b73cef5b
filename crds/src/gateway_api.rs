//! The kinds of the Gateway API that headgate reads, written by hand.
//!
//! They are lenient on purpose: what the schema of the Gateway API makes an enum is a string here, and what it
//! requires may be absent. A user's mistake in one field must not make the whole object unreadable; translate
//! judges the field and says what is wrong with it. All fields of the standard channel are present, also those that
//! are refused or not enforced, because a field that is not read cannot be told to the user.
//!
//! Schemas are not derived: the CRDs belong to the Gateway API and are installed with it.

mod gateway;
mod gateway_class;
mod http_route;
mod reference_grant;

pub use gateway::*;
pub use gateway_class::*;
pub use http_route::*;
pub use reference_grant::*;

/// API group of all kinds of this module.
pub const GATEWAY_API_GROUP: &str = "gateway.networking.k8s.io";
