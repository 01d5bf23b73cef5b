//! Answers that hold for a while, at most so many.

use std::collections::BTreeMap;
use std::time::Instant;

/// A bounded memory. Beyond its bound the answer that ends first is forgotten.
#[derive(Debug)]
pub(super) struct Memory<K, V> {
    entries: BTreeMap<K, (Instant, V)>,
    most: usize,
}

impl<K: Ord + Clone, V: Clone> Memory<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), most }
    }

    /// An answer that still holds.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    pub(super) fn put(&mut self, key: K, value: V, until: Instant, now: Instant) {
        if self.entries.len() >= self.most {
            self.entries.retain(|_, (until, _)| now < *until);
        }
        if self.entries.len() >= self.most {
            let first = self.entries.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone());
            if let Some(first) = first {
                self.entries.remove(&first);
            }
        }
        self.entries.insert(key, (until, value));
    }
}
