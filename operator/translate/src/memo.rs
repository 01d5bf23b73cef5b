//! Pure results that outlive a translation, because they are costly and follow from little.

use std::collections::BTreeMap;

/// Results by key. One that a whole translation did not ask for is dropped at its end.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    /// Found in this translation, or asked for again.
    now: BTreeMap<K, V>,
    /// Of the translation before, not yet asked for.
    before: BTreeMap<K, V>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K: Clone + Ord, V> Memo<K, V> {
    /// The result for a key: the one of this translation, that of the one before if it still holds, else a new one.
    pub(crate) fn recall(&mut self, key: &K, holds: impl FnOnce(&V) -> bool, find: impl FnOnce() -> V) -> &V {
        let Self { now, before } = self;
        now.entry(key.clone()).or_insert_with(|| before.remove(key).filter(holds).unwrap_or_else(find))
    }

    /// Ends a translation.
    pub(crate) fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for each key of each translation, and compares the keys that had to be found.
    fn check(translations: &[&[&'static str]], holds: bool, expected: &[&str]) {
        let mut memo = Memo::default();
        let mut found = Vec::new();
        for keys in translations {
            for key in *keys {
                assert_eq!(
                    memo.recall(
                        key,
                        |_| holds,
                        || {
                            found.push(*key);
                            key.len()
                        }
                    ),
                    &key.len()
                );
            }
            memo.turn();
        }
        assert_eq!(found, expected, "{translations:?}");
    }

    #[test]
    fn a_result_is_found_once_while_each_translation_asks_for_it() {
        check(&[&["a", "b", "a"], &["b", "a"], &["a"]], true, &["a", "b"]);
    }

    #[test]
    fn a_result_that_a_translation_did_not_ask_for_is_dropped() {
        check(&[&["a", "b"], &["a"], &["a", "b"]], true, &["a", "b", "b"]);
    }

    #[test]
    fn a_result_that_holds_no_longer_is_found_again_once() {
        check(&[&["a"], &["a", "a"]], false, &["a", "a"]);
    }
}
