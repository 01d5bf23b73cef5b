//! What the steps of a translation write to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};

use crate::host_claim;
use crate::inputs::{Kind, ObjectKey, ObjectRef};
use crate::verdict::Verdict;
use crate::view::Need;

/// What became of one object. It is shared, so that an object that did not change costs no copy.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) resource: Option<Arc<Resource>>,
    pub(crate) verdict: Arc<Verdict>,
}

impl Fragment {
    /// An object that asks for the hosts of its resource, as if it got them all.
    pub(crate) fn with_hosts(resource: Option<Arc<Resource>>, mut verdict: Verdict) -> Self {
        verdict.hosts = resource.as_deref().map(host_claim::all_held).unwrap_or_default();
        Self { resource, verdict: Arc::new(verdict) }
    }
}

/// Resources, holds and verdicts so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Each key once, in no order.
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) holds: BTreeSet<Key>,
    /// Keys of resources that follow from what could not be read.
    pub(crate) uncertain: BTreeSet<Key>,
    pub(crate) verdicts: BTreeMap<ObjectRef, Arc<Verdict>>,
    /// What must be emitted beside, because an object refers to it.
    pub(crate) needs: BTreeSet<Need>,
}

impl Output {
    /// Adds what became of an object.
    pub(crate) fn add<'n>(
        &mut self,
        kind: Kind,
        key: &ObjectKey,
        fragment: &Fragment,
        needs: impl IntoIterator<Item = &'n Need>,
    ) {
        let Fragment { resource, verdict } = fragment;
        self.resources.extend(resource.iter().cloned());
        let mut unread = BTreeSet::new();
        for need in needs {
            if let Need::Unread(dependency) = need {
                unread.insert(dependency);
            } else if !self.needs.contains(need) {
                self.needs.insert(need.clone());
            }
        }
        let mut verdict = Arc::clone(verdict);
        if !unread.is_empty() {
            self.doubt(wire_key(kind, key));
            verdict = Arc::new(Verdict::clone(&verdict).unsure(&unread));
        }
        self.verdicts.insert(ObjectRef::new(kind, key.clone()), verdict);
    }

    /// A resource, or that there is none, follows from what could not be read.
    pub(crate) fn doubt(&mut self, key: Key) {
        self.uncertain.insert(key);
    }

    /// Lets proxies keep what they have for a key.
    pub(crate) fn hold(&mut self, key: Key) {
        self.holds.insert(key);
    }

    /// Adds the verdict on an object.
    pub(crate) fn judge(&mut self, kind: Kind, key: &ObjectKey, verdict: Verdict) {
        self.verdicts.insert(ObjectRef::new(kind, key.clone()), Arc::new(verdict));
    }

    /// The verdict on an object, to change.
    pub(crate) fn verdict_of(&mut self, kind: Kind, key: &ObjectKey) -> &mut Verdict {
        Arc::make_mut(self.verdicts.entry(ObjectRef::new(kind, key.clone())).or_default())
    }
}

/// A resource that any proxy can enforce.
pub(crate) fn resource(key: Key, generation: i64, body: Body) -> Arc<Resource> {
    requiring(key, generation, Vec::new(), body)
}

/// A resource that a proxy must not enforce without knowing these features.
pub(crate) fn requiring(key: Key, generation: i64, requires: Vec<String>, body: Body) -> Arc<Resource> {
    Arc::new(Resource { key: Some(key), generation, requires, body: Some(body) })
}

/// The key on the wire of an object.
pub(crate) fn wire_key(kind: Kind, key: &ObjectKey) -> Key {
    Key::new(kind.as_str(), &key.namespace, &key.name)
}
