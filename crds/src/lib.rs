//! What users write: the custom resources of headgate, types only.
//!
//! ```text
//! Rust types --derive--> schema with defaults, bounds and CEL rules --crdgen--> crds/yaml/*.yaml --kubectl apply--> API server
//! ```
//!
//! The types are the one source of the schema. What the API server checks with it, [`schema::check`] checks where
//! there is no API server, so that a mistake gets the same answer from `kubectl apply`, `headgate validate` and
//! `headgate standalone`. Rules that need more than the schema (CEL rules among them) are checked once more by
//! the translation, which gives each a sentence with the field and the remedy.
//!
//! [`gateway_api`] has the Gateway API types that headgate reads; those are not ours to generate.
//!
//! Invariants: knows nothing else of headgate; no client, no clock, no input or output (the binary `crdgen` writes
//! files); every list, map and string of our kinds is bounded; every default is written in the schema; no enum
//! value is a YAML 1.1 boolean.

pub mod conditions;
pub mod duration;
pub mod gateway_api;
pub mod kinds;
pub mod origin_pool;
pub mod proxies;
pub mod rate_limit;
pub mod schema;
pub mod target;
pub mod waiting_room;

pub use duration::Duration;
pub use kinds::{GROUP, KINDS, Kind, VERSION};
pub use origin_pool::{OriginPool, OriginPoolSpec, OriginPoolStatus};
pub use rate_limit::{RateLimit, RateLimitSpec, RateLimitStatus};
pub use waiting_room::{WaitingRoom, WaitingRoomSpec, WaitingRoomStatus};
