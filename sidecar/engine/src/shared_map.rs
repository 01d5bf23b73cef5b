//! A map whose copies share what they have in common.
//!
//! A plan takes over nearly everything from the one before it. Copying a map of 10,000 entries for one edit would
//! touch every entry; this one is cut into shards behind `Arc`s, so that a copy counts up 256 of them, and an edit
//! copies the one shard that it touches. Reading costs one hash, as in an ordinary map.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

const SHARDS: usize = 256;

type Shard<K, V> = Arc<HashTable<(K, V)>>;

/// A map for few writers and many copies.
#[derive(Debug)]
pub(crate) struct SharedMap<K, V> {
    hasher: DefaultHashBuilder,
    shards: Box<[Shard<K, V>]>,
    length: usize,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { hasher: self.hasher.clone(), shards: self.shards.clone(), length: self.length }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self { hasher: DefaultHashBuilder::default(), shards: vec![empty; SHARDS].into(), length: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedMap<K, V> {
    /// The value of a key.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        self.shards[shard_of(hash)].find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    /// Puts a value in, and gives back the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.remove(&key);
        let hash = self.hasher.hash_one(&key);
        let shard = Arc::make_mut(&mut self.shards[shard_of(hash)]);
        shard.insert_unique(hash, (key, value), |(known, _)| self.hasher.hash_one(known));
        self.length += 1;
        old
    }

    /// Takes a value out.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Looking first keeps a shard shared that has nothing to give.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let shard = Arc::make_mut(&mut self.shards[shard_of(hash)]);
        let entry = shard.find_entry(hash, |(known, _)| known.borrow() == key).ok()?;
        let ((_, value), _) = entry.remove();
        self.length -= 1;
        Some(value)
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All entries, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, value))
    }

    /// All values, in no order that means anything.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// From bits in the middle: the table inside uses those at both ends.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(map: &SharedMap<u16, u32>) -> BTreeMap<u16, u32> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    proptest! {
        #[test]
        fn it_agrees_with_an_ordinary_map_and_leaves_its_copies_alone(
            edits in prop::collection::vec((0u16..400, prop::option::of(any::<u32>())), 0..300),
        ) {
            let mut map = SharedMap::default();
            let mut model = BTreeMap::new();
            for (key, value) in edits {
                let (copy, before) = (map.clone(), model.clone());
                let old = match value {
                    Some(value) => (map.insert(key, value), model.insert(key, value)),
                    None => (map.remove(&key), model.remove(&key)),
                };
                prop_assert_eq!(old.0, old.1);
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.is_empty(), model.is_empty());
                prop_assert_eq!(copy.get(&key), before.get(&key));
            }
            prop_assert_eq!(entries(&map), model);
        }
    }

    #[test]
    fn an_edit_copies_one_shard() {
        let mut map: SharedMap<u16, u32> = SharedMap::default();
        for key in 0..1_000 {
            map.insert(key, 0);
        }
        let copy = map.clone();
        map.insert(7, 1);
        map.remove(&9_999);
        let shared = map.shards.iter().zip(&copy.shards).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!((shared, copy.get(&7), map.get(&7)), (SHARDS - 1, Some(&0), Some(&1)));
    }
}
