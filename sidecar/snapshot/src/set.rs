//! A set of resources and its content version.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{Batch, Key, Resource};

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

    /// The bytes of the batch that carries the whole set, without holds. No resource is copied for them.
    pub fn encode_complete(&self) -> Vec<u8> {
        let frame = Batch { version: self.version(), complete: true, ..Batch::default() };
        let mut bytes = frame.encode_to_vec();
        for entry in self.entries.values() {
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
