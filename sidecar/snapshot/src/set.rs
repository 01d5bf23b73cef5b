//! A set of resources and its content version.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{Batch, Inventory, Item, Key, Resource};

/// The number of `Batch.upserts`.
const UPSERTS_TAG: u32 = 3;

/// A resource with the hash of its bytes, which is computed once.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The resource.
    pub resource: Arc<Resource>,
    digest: u128,
}

impl Entry {
    /// Hashes a resource.
    pub fn new(resource: impl Into<Arc<Resource>>) -> Self {
        let resource = resource.into();
        let hash = Sha256::digest(resource.encode_to_vec());
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        Self { resource, digest: u128::from_be_bytes(first) }
    }

    /// An entry of which only the digest is known: its resource has the key and nothing else. It differs from every
    /// entry that has a body.
    pub fn of_digest(key: Key, digest: [u8; 16]) -> Self {
        let resource = Resource { key: Some(key), ..Resource::default() };
        Self { resource: Arc::new(resource), digest: u128::from_be_bytes(digest) }
    }

    /// The first 16 bytes of the SHA-256 of the resource.
    pub fn digest(&self) -> [u8; 16] {
        self.digest.to_be_bytes()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resource, &other.resource) || (self.digest == other.digest && self.resource == other.resource)
    }
}

/// Resources by key, with a content version that is kept up as resources come and go.
///
/// The version is the sum of the resources' hashes, so that one change costs one hash however large the set is,
/// and two sets of equal content have equal versions whatever the order of the changes that made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSet {
    /// Keys are shared, so that a copy of the set, which each batch makes, copies no text.
    entries: BTreeMap<Arc<Key>, Entry>,
    sum: u128,
}

impl ResourceSet {
    /// The content version: 32 hexadecimal digits.
    pub fn version(&self) -> String {
        format!("{:032x}", self.sum)
    }

    /// The resources in the order of their keys.
    pub fn entries(&self) -> &BTreeMap<Arc<Key>, Entry> {
        &self.entries
    }

    /// One resource.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Adds or replaces a resource.
    pub fn insert(&mut self, key: Key, entry: Entry) {
        self.sum = self.sum.wrapping_add(entry.digest);
        if let Some(old) = self.entries.insert(Arc::new(key), entry) {
            self.sum = self.sum.wrapping_sub(old.digest);
        }
    }

    /// Withdraws a resource.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let old = self.entries.remove(key)?;
        self.sum = self.sum.wrapping_sub(old.digest);
        Some(old)
    }

    /// What a batch leaves of a set that had `self` before it. Resources without a key are ignored.
    #[must_use]
    pub fn after(&self, batch: &Batch) -> Self {
        let Batch { version: _, complete, upserts, removals, holds, sequence: _ } = batch;
        let mut next = if *complete {
            let mut kept = Self::default();
            for key in holds {
                if let Some(entry) = self.get(key) {
                    kept.insert(key.clone(), entry.clone());
                }
            }
            kept
        } else {
            self.clone()
        };
        for key in removals {
            next.remove(key);
        }
        for resource in upserts {
            if let Some(key) = &resource.key {
                next.insert(key.clone(), Entry::new(resource.clone()));
            }
        }
        next
    }

    /// Everything in the set, by content.
    pub fn inventory(&self) -> Inventory {
        let item =
            |(key, entry): (&Arc<Key>, &Entry)| Item { key: Some(Key::clone(key)), digest: entry.digest().to_vec() };
        Inventory { items: self.entries.iter().map(item).collect() }
    }

    /// The set that an inventory describes. What is in `own` with the same digest is shared with it; of the rest only
    /// digests are known, which is enough for a difference to `own` or to what becomes of it. Items without a key
    /// are ignored; a digest of another length differs from every resource.
    #[must_use]
    pub fn of_inventory(inventory: &Inventory, own: &Self) -> Self {
        let mut set = Self::default();
        for Item { key, digest } in &inventory.items {
            let Some(key) = key else { continue };
            let digest: [u8; 16] = digest.as_slice().try_into().unwrap_or_default();
            let entry = match own.get(key) {
                Some(entry) if entry.digest() == digest => entry.clone(),
                Some(_) | None => Entry::of_digest(key.clone(), digest),
            };
            set.insert(key.clone(), entry);
        }
        set
    }

    /// The bytes of the batch that carries those resources of the set that are wanted, without holds. No resource is
    /// copied for them.
    pub fn encode_complete(&self, is_wanted: impl Fn(&Resource) -> bool) -> Vec<u8> {
        let frame = Batch { version: self.version(), complete: true, ..Batch::default() };
        let mut bytes = frame.encode_to_vec();
        for entry in self.entries.values().filter(|entry| is_wanted(&entry.resource)) {
            prost::encoding::message::encode(UPSERTS_TAG, &*entry.resource, &mut bytes);
        }
        bytes
    }

    /// The batch that carries the whole set.
    pub fn complete(&self, holds: Vec<Key>) -> Batch {
        Batch {
            version: self.version(),
            complete: true,
            upserts: self.entries.values().map(|entry| Resource::clone(&entry.resource)).collect(),
            removals: Vec::new(),
            holds,
            sequence: 0,
        }
    }
}

impl<R: Into<Arc<Resource>>> FromIterator<R> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = R>>(resources: I) -> Self {
        let mut set = Self::default();
        for resource in resources {
            let resource = resource.into();
            if let Some(key) = resource.key.clone() {
                set.insert(key, Entry::new(resource));
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::diff;

    fn resource(name: u8, generation: i64) -> Resource {
        let key = Some(Key::new("OriginPool", "default", format!("pool-{name}")));
        Resource { key, generation, ..Resource::default() }
    }

    fn any_set() -> impl Strategy<Value = ResourceSet> {
        prop::collection::btree_map(0u8..12, 1i64..4, 0..10)
            .prop_map(|world| world.into_iter().map(|(name, generation)| resource(name, generation)).collect())
    }

    proptest! {
        #[test]
        fn an_inventory_is_as_good_as_the_set_to_know_what_to_send(theirs in any_set(), own in any_set()) {
            let known = ResourceSet::of_inventory(&theirs.inventory(), &own);
            prop_assert_eq!(known.version(), theirs.version());
            let none = BTreeSet::new();
            prop_assert_eq!(diff(&known, &own, &none), diff(&theirs, &own, &none));
        }
    }

    #[test]
    fn an_item_that_makes_no_sense_is_sent_anew_and_one_without_a_key_is_ignored() {
        let own: ResourceSet = std::iter::once(resource(1, 1)).collect();
        let inventory = Inventory {
            items: vec![
                Item { key: resource(1, 1).key, digest: vec![1, 2, 3] },
                Item { key: None, digest: vec![0; 16] },
            ],
        };
        let known = ResourceSet::of_inventory(&inventory, &own);
        assert_eq!(known.entries().len(), 1);
        let batch = diff(&known, &own, &BTreeSet::new());
        assert_eq!(batch.map(|batch| (batch.upserts, batch.removals)), Some((vec![resource(1, 1)], vec![])));
    }
}
