//! What is uncertain because it could not be read, or is held.

use std::collections::BTreeSet;

use headgate_snapshot::{Key, ResourceSet};
use headgate_translate::{Kind, REFERRED};

/// What proxies keep as they have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// Kinds of which nothing was ever read: whether a key of them exists is not known.
    pub kinds: BTreeSet<String>,
    /// Keys that follow from something that was never read: what is published for them may be wrong, and so may it be
    /// that nothing is.
    pub keys: BTreeSet<Key>,
    /// Where something may be referred to by what is not known.
    pub referred: Referred,
}

/// Namespaces in which pools of Services and certificates may be needed although nothing known refers to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referred {
    /// These.
    In(BTreeSet<String>),
    /// All.
    Everywhere,
}

impl Default for Referred {
    fn default() -> Self {
        Self::In(BTreeSet::new())
    }
}

impl Doubt {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a proxy that has this key keeps it as it is. `set` is what is published for it; `is_part`: it is what
    /// known routes lead to, so that pools are in it only where something known refers to them.
    pub(super) fn keeps(&self, key: &Key, set: &ResourceSet, is_part: bool) -> bool {
        if self.keys.contains(key) {
            return true;
        }
        let by_routes = [Kind::OriginPool.as_str(), Kind::RateLimit.as_str(), Kind::WaitingRoom.as_str()];
        let is_referred = REFERRED.contains(&key.kind.as_str()) || (is_part && by_routes.contains(&key.kind.as_str()));
        let may_be_needed = is_referred
            && match &self.referred {
                Referred::In(namespaces) => namespaces.contains(&key.namespace),
                Referred::Everywhere => true,
            };
        (self.kinds.contains(&key.kind) || may_be_needed) && set.get(key).is_none()
    }
}
