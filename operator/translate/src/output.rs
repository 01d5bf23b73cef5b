//! What the steps of a translation write to.

use std::collections::{BTreeMap, BTreeSet};

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};

use crate::inputs::{Kind, ObjectKey, ObjectRef, Reference, ReferredKind};
use crate::verdict::Verdict;

/// Resources, holds and verdicts so far, sorted.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) resources: BTreeMap<Key, Resource>,
    pub(crate) holds: BTreeSet<Key>,
    pub(crate) verdicts: BTreeMap<ObjectRef, Verdict>,
    pub(crate) references: BTreeSet<Reference>,
}

impl Output {
    /// Adds a resource that any proxy can enforce.
    pub(crate) fn emit(&mut self, key: Key, generation: i64, body: Body) {
        self.emit_requiring(key, generation, Vec::new(), body);
    }

    /// Adds a resource that a proxy must not enforce without knowing these features.
    pub(crate) fn emit_requiring(&mut self, key: Key, generation: i64, requires: Vec<String>, body: Body) {
        let resource = Resource { key: Some(key.clone()), generation, requires, body: Some(body) };
        self.resources.insert(key, resource);
    }

    /// Lets proxies keep what they have for a key.
    pub(crate) fn hold(&mut self, key: Key) {
        self.holds.insert(key);
    }

    /// Tells that an object refers to a Secret or ConfigMap, which is looked for.
    pub(crate) fn refer(&mut self, kind: ReferredKind, key: &ObjectKey) {
        self.references.insert(Reference { kind, key: key.clone() });
    }

    /// Adds the verdict on an object.
    pub(crate) fn judge(&mut self, kind: Kind, key: &ObjectKey, verdict: Verdict) {
        self.verdicts.insert(ObjectRef::new(kind, key.clone()), verdict);
    }

    /// The verdict on the object that a resource came from.
    pub(crate) fn verdict_of(&mut self, kind: Kind, key: &ObjectKey) -> &mut Verdict {
        self.verdicts.entry(ObjectRef::new(kind, key.clone())).or_default()
    }
}

/// The key on the wire of an object.
pub(crate) fn wire_key(kind: Kind, key: &ObjectKey) -> Key {
    Key::new(kind.as_str(), &key.namespace, &key.name)
}
