//! The stores that limits can be shared in.

use headgate_engine::{Joined, LimitStore, Member, StoreError, Take, Taken};
use headgate_snapshot::StateUrl;

/// Why a store cannot be used at all. One that is away can be used later.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no such store in this release.
    #[error("this release keeps state in memory; leave --state out or write `memory`")]
    NotYet,
}

/// A store that several proxies share.
pub(crate) enum SharedStore {
    /// In memory, for tests of two proxies in one process.
    #[cfg(test)]
    Memory(std::sync::Arc<headgate_engine::MemoryStore>),
}

impl SharedStore {
    /// The store of `--state`, or nothing where state is kept in this process. Connects later, as often as needed.
    pub(crate) fn open(state: &StateUrl) -> Result<Option<Self>, StateError> {
        match state {
            StateUrl::Memory => Ok(None),
            StateUrl::Redis(_) => Err(StateError::NotYet),
        }
    }
}

#[cfg_attr(not(test), expect(unused_variables, reason = "the only store of this release is one for tests"))]
impl LimitStore for SharedStore {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, StoreError> {
        match *self {
            #[cfg(test)]
            Self::Memory(ref store) => store.take(takes).await,
        }
    }

    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        match *self {
            #[cfg(test)]
            Self::Memory(ref store) => store.join(member).await,
        }
    }
}
