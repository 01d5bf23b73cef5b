//! What is uncertain because it could not be read since this process began.

use std::collections::BTreeSet;

use headgate_snapshot::{Key, ResourceSet};

/// What proxies keep as they have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// Kinds of which nothing was ever read: whether a key of them exists is not known.
    pub kinds: BTreeSet<String>,
    /// Keys that follow from something that was never read: what is published for them may be wrong, and so may it be
    /// that nothing is.
    pub keys: BTreeSet<Key>,
}

impl Doubt {
    pub(super) fn is_empty(&self) -> bool {
        let Self { kinds, keys } = self;
        kinds.is_empty() && keys.is_empty()
    }

    /// Whether a proxy that has this key keeps it as it is, where `set` is what is published.
    pub(super) fn keeps(&self, key: &Key, set: &ResourceSet) -> bool {
        self.keys.contains(key) || (self.kinds.contains(&key.kind) && set.get(key).is_none())
    }
}
