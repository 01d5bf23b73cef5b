//! Limits on requests: counted in memory, agreed on behind, asked for only near their end. What is decided and why is
//! in `docs/decisions/0011-rate-limit.md`.

mod book;
mod bucket;
mod call;
mod counters;
mod entry;
mod fields;
mod governs;
mod in_flight;
mod jwt;
mod key;
mod keys;
mod limit;
mod memory_store;
mod meter;
mod quota;
mod screening;
mod set;
mod store;
mod tally;
mod terms;
mod window;

pub use book::{Errand, Limits, Sharing};
pub use call::{Call, Called, Told};
pub use counters::{TELL_AFTER_MS, TELL_SOON_MS};
pub use fields::{Fields, RATE_LIMIT, RATE_LIMIT_POLICY};
pub(crate) use governs::{Entrance, Governing, LimitIndex};
pub use key::KeyHash;
pub use limit::{LimitAnswer, RateLimit};
pub use memory_store::MemoryStore;
pub use meter::Algorithm;
pub use quota::{LONGEST_PERIOD_MS, MOST_REQUESTS, Quota, SHORTEST_PERIOD_MS};
pub(crate) use screening::Screened;
pub use screening::{Limited, Screening};
pub use set::MOST_KEYS;
pub use store::{Joined, LimitStore, Member, Shared, StoreError, Take, Taken, Teller, Totals};
pub use tally::Figure;
pub use terms::{Figures, Why};
pub use window::Counts;

#[cfg(test)]
mod tests;
