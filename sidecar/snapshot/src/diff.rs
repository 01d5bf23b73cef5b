//! The one diff: what a receiver that has one set must be sent to have another.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::{Batch, Entry, Key, Resource, ResourceSet};

/// What differs between two maps, in the order of their keys: the new value, or nothing where the key is gone. Both
/// must be in that order and name a key once.
pub fn changes<K: Ord, A, B>(
    old: impl IntoIterator<Item = (K, A)>,
    new: impl IntoIterator<Item = (K, B)>,
    same: impl Fn(&A, &B) -> bool,
) -> Vec<(K, Option<B>)> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((before, _)), Some((after, _))) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        match (before, after) {
            (Some((_, before)), Some((_, after))) if same(&before, &after) => {}
            (_, Some((key, after))) => changes.push((key, Some(after))),
            (Some((key, _)), None) => changes.push((key, None)),
            (None, None) => return changes,
        }
    }
}

impl ResourceSet {
    /// What differs from an older set: the new entry, or nothing where the key is gone.
    pub fn changes_since<'a>(&'a self, old: &'a Self) -> Vec<(&'a Key, Option<&'a Entry>)> {
        let entries = |set: &'a Self| set.entries().iter().map(|(key, entry)| (&**key, entry));
        changes(entries(old), entries(self), |before, after| before == after)
    }
}

/// The batch that turns `old` into `new`, or nothing where they are equal. A held key is neither sent nor removed.
pub fn diff(old: &ResourceSet, new: &ResourceSet, holds: &BTreeSet<Key>) -> Option<Batch> {
    let mut batch = Batch { version: new.version(), ..Batch::default() };
    for (key, entry) in new.changes_since(old) {
        match entry {
            Some(entry) => batch.upserts.push(Resource::clone(&entry.resource)),
            None if holds.contains(key) => {}
            None => batch.removals.push(key.clone()),
        }
    }
    if batch.upserts.is_empty() && batch.removals.is_empty() {
        return None;
    }
    batch.holds = holds.iter().cloned().collect();
    Some(batch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn resource(name: u8, generation: i64) -> Resource {
        Resource {
            key: Some(Key::new("OriginPool", "default", format!("pool-{name}"))),
            generation,
            requires: Vec::new(),
            body: None,
        }
    }

    fn any_set() -> impl Strategy<Value = ResourceSet> {
        prop::collection::btree_map(0u8..12, 0i64..3, 0..10)
            .prop_map(|world| world.into_iter().map(|(name, generation)| resource(name, generation)).collect())
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_new_set(old in any_set(), new in any_set()) {
            let reached = match diff(&old, &new, &BTreeSet::new()) {
                Some(batch) => {
                    prop_assert_eq!(&batch.version, &new.version());
                    old.after(&batch)
                }
                None => old.clone(),
            };
            prop_assert_eq!(&reached, &new);
            prop_assert_eq!(reached.version(), new.version());
        }

        #[test]
        fn a_complete_batch_gives_the_same_set_as_a_difference(old in any_set(), new in any_set()) {
            prop_assert_eq!(old.after(&new.complete(Vec::new())), new);
        }

        #[test]
        fn the_bytes_of_a_set_are_those_of_its_complete_batch(set in any_set()) {
            prop_assert_eq!(set.encode_complete(|_| true), set.complete(Vec::new()).encode_to_vec());
        }

        #[test]
        fn a_held_key_keeps_what_the_receiver_has(old in any_set(), name in 0u8..12) {
            let held = Key::new("OriginPool", "default", format!("pool-{name}"));
            let holds = BTreeSet::from([held.clone()]);
            let empty = ResourceSet::default();
            let by_difference = diff(&old, &empty, &holds).map_or_else(|| old.clone(), |batch| old.after(&batch));
            let by_whole = old.after(&empty.complete(vec![held.clone()]));
            prop_assert_eq!(by_difference.get(&held), old.get(&held));
            prop_assert_eq!(by_difference, by_whole);
        }
    }

    #[test]
    fn one_changed_resource_among_many_sends_one_resource() {
        let old: ResourceSet = (0..200).map(|name| resource(name, 1)).collect();
        let mut new = old.clone();
        let changed = resource(7, 2);
        new.insert(changed.key.clone().unwrap_or_default(), crate::Entry::new(changed.clone()));
        let batch = diff(&old, &new, &BTreeSet::new());
        assert_eq!(batch.map(|batch| (batch.upserts, batch.removals)), Some((vec![changed], vec![])));
    }
}
