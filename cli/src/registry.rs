//! Keeps the world in step with the files, and gives objects what an API server would: a generation that counts
//! changes of content.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_operator::world::{ObjectKind, World};
use headgate_snapshot::changes as differences;
use headgate_translate::{ObjectKey, Problem, Reason};

use crate::manifest::catalogue::Catalogue;
use crate::manifest::document::Entry;
use crate::manifest::object::{self, Contents};

/// What the world has of each object.
#[derive(Debug, Default)]
pub struct Registry {
    known: BTreeMap<(ObjectKind, ObjectKey), Known>,
}

/// One object as it was taken into the world.
#[derive(Debug)]
struct Known {
    /// What it was read from. The same allocation is the same content.
    contents: Arc<Contents>,
    fingerprint: u64,
    generation: i64,
}

/// What a look at the files changed, by label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that are new or different.
    pub changed: Vec<String>,
    /// Objects that are gone.
    pub removed: Vec<String>,
    /// Objects whose present state cannot be read.
    pub refused: Vec<String>,
}

impl Changes {
    /// True where nothing changed.
    pub fn is_empty(&self) -> bool {
        let Self { changed, removed, refused } = self;
        changed.is_empty() && removed.is_empty() && refused.is_empty()
    }
}

impl Registry {
    /// Brings the world up to date with the files.
    pub fn sync(&mut self, catalogue: &Catalogue<'_>, world: &mut World) -> Changes {
        let mut changes = Changes::default();
        let before = self.known.iter().map(|((kind, key), known)| ((*kind, key), known));
        let now = catalogue.entries.iter().map(|((kind, key), entry)| ((*kind, *key), entry));
        let is_same = |known: &&Known, entry: &&Entry<'_>| Arc::ptr_eq(&known.contents, &entry.document.contents);
        let differ: Vec<_> = differences(before, now, is_same)
            .into_iter()
            .map(|((kind, key), entry)| ((kind, ObjectKey::clone(key)), entry))
            .collect();
        for (identity, entry) in differ {
            let (kind, key) = &identity;
            let Some(entry) = entry else {
                world.remove(*kind, key);
                changes.removed.push(object::label(kind.as_str(), key));
                self.known.remove(&identity);
                continue;
            };
            let before = self.known.get(&identity);
            let manifest = entry.manifest;
            let generation = match before {
                None => 1,
                Some(known) if known.fingerprint == manifest.fingerprint => known.generation,
                Some(known) => known.generation + 1,
            };
            if let Some(mut object) = manifest.object.clone() {
                object.meta_mut().generation = Some(generation);
                world.upsert(object);
                changes.changed.push(entry.label());
            } else {
                world.refuse(*kind, ObjectKey::clone(key), problem(&manifest.mistakes));
                changes.refused.push(entry.label());
            }
            let contents = Arc::clone(&entry.document.contents);
            self.known.insert(identity, Known { contents, fingerprint: manifest.fingerprint, generation });
        }
        changes
    }
}

/// All mistakes of an object as the one problem of its verdict.
fn problem(mistakes: &[crate::manifest::decode::Mistake]) -> Problem {
    match mistakes {
        [only] => Problem::new(Reason::Malformed, &only.field, &only.message),
        several => {
            let sentences: Vec<String> = several.iter().map(ToString::to_string).collect();
            Problem::new(Reason::Malformed, "", sentences.join("; "))
        }
    }
}
