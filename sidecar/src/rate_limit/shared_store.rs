//! The stores that limits can be shared in.

use headgate_engine::{Joined, LimitStore, Member, StoreError, Take, Taken};
use headgate_snapshot::StateUrl;

use crate::config::StateSettings;
use crate::shared::{Address, RedisStore};

/// A store that several proxies share.
pub(crate) enum SharedStore {
    /// Valkey or Redis.
    Redis(RedisStore),
    /// In memory, for tests of two proxies in one process.
    #[cfg(test)]
    Memory(std::sync::Arc<headgate_engine::MemoryStore>),
}

impl SharedStore {
    /// The store of `--state`, or nothing where state is kept in this process. Connects later, as often as needed.
    pub(crate) fn new(state: &StateSettings) -> Option<Self> {
        let StateSettings { url, password_file, ca_file } = state;
        match url {
            StateUrl::Memory => None,
            StateUrl::Redis(url) => Some(Self::Redis(RedisStore::new(Address {
                url: url.clone(),
                password_file: password_file.clone(),
                ca_file: ca_file.clone(),
            }))),
        }
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Redis(store) => store.is_connected(),
            #[cfg(test)]
            Self::Memory(_) => true,
        }
    }

    /// Makes a connection, in place of the one that there is.
    pub(crate) async fn connect(&self) -> Result<(), StoreError> {
        match self {
            Self::Redis(store) => store.connect().await,
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        }
    }

    /// Waits until a connection breaks.
    pub(crate) async fn is_broken(&self) {
        match self {
            Self::Redis(store) => store.is_broken().await,
            #[cfg(test)]
            Self::Memory(_) => std::future::pending().await,
        }
    }
}

impl LimitStore for SharedStore {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, StoreError> {
        match self {
            Self::Redis(store) => store.take(takes).await,
            #[cfg(test)]
            Self::Memory(store) => store.take(takes).await,
        }
    }

    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        match self {
            Self::Redis(store) => store.join(member).await,
            #[cfg(test)]
            Self::Memory(store) => store.join(member).await,
        }
    }
}
