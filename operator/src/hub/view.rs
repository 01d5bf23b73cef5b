//! What all proxies of one scope have in common, computed once a publication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot::{Batch, Key, ResourceSet, diff};

use super::Doubt;
use super::scope::{Scope, knows};

/// The published set as one scope sees it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) set: Arc<ResourceSet>,
    pub(super) holds: Arc<BTreeSet<Key>>,
    /// The publication that changed a key last, or brought it into the scope.
    pub(super) changed: Arc<BTreeMap<Key, u64>>,
    /// It is what known routes lead to.
    pub(super) is_part: bool,
    /// Content version of the set.
    pub(super) version: Arc<str>,
    /// The difference that was asked for last: most proxies of a scope are at the same set.
    step: Option<Step>,
}

#[derive(Debug)]
struct Step {
    from: Arc<ResourceSet>,
    doubt: Arc<Doubt>,
    batch: Option<Arc<Batch>>,
}

impl View {
    /// Brings the view to a publication.
    pub(super) fn follow(
        &mut self,
        scope: &Scope,
        whole: &Arc<ResourceSet>,
        holds: &Arc<BTreeSet<Key>>,
        sequence: u64,
    ) {
        let set = scope.select(whole);
        self.is_part = matches!(scope, Scope::Gateways(_));
        let changed = Arc::make_mut(&mut self.changed);
        for (key, entry) in set.changes_since(&self.set) {
            match entry {
                Some(_) => changed.insert(key.clone(), sequence),
                None => changed.remove(key),
            };
        }
        self.version = set.version().into();
        self.set = set;
        self.holds = scope.select_holds(holds);
        self.step = None;
    }

    /// The batch that leads from a set to this view, or nothing where they are equal. Keys of kinds that this release
    /// does not know stay, and so does what is in doubt.
    pub(super) fn difference(&mut self, from: &Arc<ResourceSet>, doubt: &Arc<Doubt>) -> Option<Arc<Batch>> {
        let is_asked_again = |step: &&Step| Arc::ptr_eq(&step.from, from) && Arc::ptr_eq(&step.doubt, doubt);
        if let Some(step) = self.step.as_ref().filter(is_asked_again) {
            return step.batch.clone();
        }
        let batch = diff(from, &self.set, &self.holds).map(|mut batch| {
            batch.removals.retain(|key| knows(&key.kind) && !doubt.keeps(key, &self.set, self.is_part));
            let stays = |key: &Key| from.get(key).is_some() && doubt.keeps(key, &self.set, self.is_part);
            batch.upserts.retain(|resource| !resource.key.as_ref().is_some_and(stays));
            Arc::new(batch)
        });
        self.step = Some(Step { from: Arc::clone(from), doubt: Arc::clone(doubt), batch: batch.clone() });
        batch
    }
}
