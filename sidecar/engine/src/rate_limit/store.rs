//! What limits ask of a shared store.
//!
//! One verb does both: it takes over what a proxy has counted, and takes one more request if there is room. All of it
//! is one script, or one lock. A proxy tells totals and never differences, so that telling twice, late or after a
//! time-out of unknown outcome changes nothing:
//!
//! ```text
//! told before, by (proxy, memory)   12        the store adds 15 - 12, and answers with all that the others have
//! told now                          15        counted, what it knows of this proxy, its clock, and the end of a block
//! ```

use std::future::Future;
use std::sync::Arc;

use headgate_snapshot::Key;

use super::key::KeyHash;
use super::meter::Algorithm;
use super::quota::Quota;
use super::window::Counts;
use crate::time::EpochMillis;

/// A store that several proxies share.
pub trait LimitStore: Send + Sync {
    /// Tells what was counted and takes what was asked for, each alone, all in one trip. As many answers as questions.
    fn take(&self, takes: &[Take]) -> impl Future<Output = Result<Vec<Taken>, StoreError>> + Send;

    /// Says that a proxy lives, and learns how many do and which secret they count under.
    fn join(&self, member: &Member) -> impl Future<Output = Result<Joined, StoreError>> + Send;
}

/// What is told of one key, and asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The limit. Its namespace and name are part of the key in the store.
    pub limit: Arc<Key>,
    /// The key, with the identity of the counter in it.
    pub hash: KeyHash,
    /// Who tells.
    pub teller: Teller,
    /// What it has counted in all.
    pub totals: Totals,
    /// Until when it refuses the key, 0: it does not.
    pub blocked_until: EpochMillis,
    /// Requests to take now, 0: none.
    pub cost: u32,
    /// What the key is allowed.
    pub quota: Quota,
}

impl Take {
    /// How the key is counted.
    pub const fn algorithm(&self) -> Algorithm {
        match self.totals {
            Totals::Window { .. } => Algorithm::SlidingWindow,
            Totals::Bucket { .. } => Algorithm::TokenBucket,
        }
    }
}

/// Whose totals these are: a process, and the time since a key came into its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Teller {
    /// Drawn at random when the process starts.
    pub proxy: u64,
    /// Never the same again for one key in one process.
    pub memory: u32,
}

/// What one proxy has counted of one key in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    /// In a period and the one before.
    Window {
        /// Index of the period.
        index: u32,
        /// Requests in the period before.
        previous: u32,
        /// Requests in it.
        current: u32,
    },
    /// Since the key came into memory.
    Bucket {
        /// Requests.
        total: u64,
        /// Those that the store has confirmed.
        told: u64,
        /// Units used by all proxies, as this one sees it: for a store that lost them.
        used: i64,
    },
}

/// An answer to a [`Take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether what was asked for was taken. True where nothing was.
    pub admitted: bool,
    /// What the store knows now.
    pub shared: Shared,
    /// Until when the key is refused, 0: it is not.
    pub blocked_until: EpochMillis,
    /// The store's clock.
    pub now: EpochMillis,
}

/// What the store knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Of a window.
    Window {
        /// Index of the period that is current.
        index: u32,
        /// What other tellers have counted.
        others: Counts,
        /// What this one has told, with what it took now.
        own: Counts,
    },
    /// Of a bucket.
    Bucket {
        /// Units used by all.
        used: i64,
        /// When they were.
        at: EpochMillis,
        /// Requests that this teller has told, with those it took now.
        own: u64,
    },
}

/// A proxy that says it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The proxies that enforce the same limits.
    pub group: String,
    /// The process.
    pub proxy: u64,
    /// The secret that all count under if none has offered another before.
    pub secret: [u8; 16],
    /// How long it counts as alive, in milliseconds.
    pub lives_for: u64,
}

/// What a proxy learns of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Proxies of the group that live.
    pub proxies: u32,
    /// The secret that all count under.
    pub secret: [u8; 16],
    /// The store's clock.
    pub now: EpochMillis,
}

/// Why a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached.
    #[error("the shared store cannot be reached: {0}")]
    Unavailable(String),
    /// It was too slow. Whether it did what it was asked is not known.
    #[error("the shared store did not answer in time")]
    TimedOut,
    /// It answered something else.
    #[error("the shared store's answer cannot be read: {0}")]
    Protocol(String),
}
