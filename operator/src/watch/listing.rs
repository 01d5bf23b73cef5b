//! What a source knows to exist, and what is gone after a new listing.

use std::collections::BTreeSet;

use headgate_translate::ObjectKey;

/// The keys that a source has told. While a listing runs nothing counts as gone; at its end, what it did not have.
#[derive(Debug, Default)]
pub struct Listing {
    known: BTreeSet<ObjectKey>,
    /// What the running listing has had so far.
    listed: Option<BTreeSet<ObjectKey>>,
}

impl Listing {
    /// A complete listing begins, from its start where one was running.
    pub fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// An object is there.
    pub fn is_there(&mut self, key: &ObjectKey) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        self.known.insert(key.clone());
    }

    /// An object is gone.
    pub fn is_gone(&mut self, key: &ObjectKey) {
        if let Some(listed) = &mut self.listed {
            listed.remove(key);
        }
        self.known.remove(key);
    }

    /// The listing is complete: what is gone since the one before.
    pub fn end(&mut self) -> Vec<ObjectKey> {
        let Some(listed) = self.listed.take() else { return Vec::new() };
        let gone = self.known.difference(&listed).cloned().collect();
        self.known = listed;
        gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: u8) -> ObjectKey {
        ObjectKey::new("default", name.to_string())
    }

    /// What a follower of the listing believes, and what the server has.
    #[derive(Default)]
    struct Model {
        listing: Listing,
        server: BTreeSet<ObjectKey>,
        told: BTreeSet<ObjectKey>,
    }

    impl Model {
        fn apply(&mut self, name: u8) {
            self.server.insert(key(name));
            self.listing.is_there(&key(name));
            self.told.insert(key(name));
        }

        fn delete(&mut self, name: u8) {
            self.server.remove(&key(name));
            self.listing.is_gone(&key(name));
            self.told.remove(&key(name));
        }

        /// The connection was away while the server became this set; `torn` listings end in the middle first.
        fn relist(&mut self, server: BTreeSet<u8>, torn: usize) {
            self.server = server.into_iter().map(key).collect();
            self.listing.begin();
            for there in self.server.iter().take(torn) {
                self.listing.is_there(there);
                self.told.insert(there.clone());
            }
            self.listing.begin();
            for there in &self.server {
                self.listing.is_there(there);
                self.told.insert(there.clone());
                assert!(self.server.iter().all(|kept| !self.told.contains(kept) || self.listing.known.contains(kept)));
            }
            for gone in self.listing.end() {
                assert!(!self.server.contains(&gone), "{gone} is there and was withdrawn");
                assert!(self.told.remove(&gone), "{gone} was not known");
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Apply(u8),
        Delete(u8),
        Relist(BTreeSet<u8>, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..12).prop_map(Step::Apply),
            (0_u8..12).prop_map(Step::Delete),
            (prop::collection::btree_set(0_u8..12, 0..12), 0_usize..12).prop_map(|(set, torn)| Step::Relist(set, torn)),
        ]
    }

    proptest! {
        #[test]
        fn after_any_history_exactly_what_exists_is_known_and_only_what_is_gone_is_removed(
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Apply(name) => model.apply(name),
                    Step::Delete(name) => model.delete(name),
                    Step::Relist(server, torn) => model.relist(server, torn),
                }
                prop_assert_eq!(&model.told, &model.server);
            }
        }
    }
}
