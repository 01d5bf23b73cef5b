//! What a step may look at beside the object that it lowers, with a record of what it did look at.
//!
//! Lowering one object sees all others through a [`View`] alone, so that no look can be forgotten: the record says when
//! a result that was found before still holds. What must be emitted because an object refers to it is recorded too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use headgate_crds::gateway_api::HttpRoute;
use headgate_crds::{OriginPool, RateLimit, WaitingRoom};
use headgate_snapshot::changes;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::certificate::{ConfigMapContents, SecretContents};
use crate::index::{Index, Referrer, Target};
use crate::inputs::{AddressPolicy, Dependency, Inputs, Kind, ObjectKey, ObjectRef, Reference, ReferredKind};

/// What can be looked at, each by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Whether an OriginPool exists, readable or not.
    Pool,
    /// An OriginPool as last accepted.
    LastAcceptedPool,
    /// A RateLimit as last accepted.
    LastAcceptedLimit,
    /// A WaitingRoom as last accepted.
    LastAcceptedRoom,
    /// An HTTPRoute as it is written, or whether there is one that cannot be read.
    HttpRoute,
    /// Whether an Ingress exists, readable or not.
    Ingress,
    /// A Gateway as routes see it.
    Gateway,
    /// A Service.
    Service,
    /// The EndpointSlices of a Service.
    Slices,
    /// The ReferenceGrants of a namespace, which is the key's name.
    Grants,
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A Namespace.
    Namespace,
}

impl Table {
    /// What must have been read for a look at a key to tell something.
    fn dependency(self, namespace: &str, name: &str) -> Option<Dependency> {
        let one = |kind| Dependency::One(Reference { kind, key: ObjectKey::new(namespace, name) });
        match self {
            Self::Pool => Some(Dependency::OriginPools),
            Self::LastAcceptedPool | Self::LastAcceptedLimit | Self::LastAcceptedRoom => None,
            Self::HttpRoute => Some(Dependency::HttpRoutes),
            Self::Ingress => Some(Dependency::Ingresses),
            Self::Gateway => Some(Dependency::Gateways),
            Self::Service => Some(Dependency::Services),
            Self::Slices => Some(Dependency::EndpointSlices),
            Self::Grants => Some(Dependency::ReferenceGrants),
            Self::Secret => Some(one(ReferredKind::Secret)),
            Self::ConfigMap => Some(one(ReferredKind::ConfigMap)),
            Self::Namespace => Some(Dependency::Namespaces),
        }
    }
}

/// A table and a key as a hash. Two that have the same make some work for nothing, and no mistake.
pub(crate) type Mark = u64;

fn mark(table: Table, namespace: &str, name: &str) -> Mark {
    let mut hasher = DefaultHasher::new();
    (table, namespace, name).hash(&mut hasher);
    hasher.finish()
}

/// What differs from the translation before.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    marks: BTreeSet<Mark>,
}

impl Changed {
    /// Whether a result that has looked at these must be found anew.
    pub(crate) fn touches(&self, reads: &[Mark]) -> bool {
        !self.marks.is_empty() && reads.iter().any(|read| self.marks.contains(read))
    }

    pub(crate) fn add(&mut self, table: Table, key: &ObjectKey) {
        self.marks.insert(mark(table, &key.namespace, &key.name));
    }

    /// Adds what is there in one of two states of a table and not in the other, and makes the known one equal to the
    /// present one.
    pub(crate) fn follow_names<'n>(
        &mut self,
        table: Table,
        known: &mut BTreeSet<ObjectKey>,
        now: impl IntoIterator<Item = &'n ObjectKey>,
    ) {
        let before = known.iter().map(|key| (key, ()));
        let differences = changes(before, now.into_iter().map(|key| (key, ())), |(), ()| true);
        let differences: Vec<(ObjectKey, Option<()>)> =
            differences.into_iter().map(|(key, there)| (key.clone(), there)).collect();
        for (key, there) in differences {
            self.add(table, &key);
            match there {
                Some(()) => known.insert(key),
                None => known.remove(&key),
            };
        }
    }

    /// Adds what differs between two states of a table, and makes the known one equal to the present one. Returns the
    /// keys with the values before.
    pub(crate) fn follow<'n, V: Clone + 'n>(
        &mut self,
        table: Table,
        known: &mut BTreeMap<ObjectKey, V>,
        now: impl IntoIterator<Item = (&'n ObjectKey, &'n V)>,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<(ObjectKey, Option<V>)> {
        let now = now.into_iter().map(|(key, value)| (key, value.clone()));
        let differences: Vec<(ObjectKey, Option<V>)> = changes(&*known, now, |before: &&V, after| same(before, after))
            .into_iter()
            .map(|(key, value)| (key.clone(), value))
            .collect();
        let follow = |(key, value): (ObjectKey, Option<V>)| {
            self.add(table, &key);
            let before = match value {
                Some(value) => known.insert(key.clone(), value),
                None => known.remove(&key),
            };
            (key, before)
        };
        differences.into_iter().map(follow).collect()
    }
}

/// Something that must be emitted, or read, because an object refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The pool that a port of a Service stands for.
    Service {
        /// The Service.
        service: ObjectKey,
        /// Its port.
        port: i32,
    },
    /// The certificate in a Secret.
    Certificate(ObjectKey),
    /// Nothing, but whoever feeds translate must read this Secret or ConfigMap.
    Object(Reference),
    /// Nothing, but it cannot be read, so that what follows from it is uncertain.
    Unread(Dependency),
}

/// The world as the lowering of one object sees it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    inputs: &'a Inputs,
    index: &'a Index,
    trace: RefCell<(BTreeSet<Mark>, BTreeSet<Need>)>,
}

impl<'a> View<'a> {
    pub(crate) fn new(inputs: &'a Inputs, index: &'a Index) -> Self {
        Self { inputs, index, trace: RefCell::default() }
    }

    /// What was looked at and what was found to be needed since the last call.
    pub(crate) fn take(&self) -> (Box<[Mark]>, Box<[Need]>) {
        let (reads, needs) = self.trace.take();
        (reads.into_iter().collect(), needs.into_iter().collect())
    }

    /// Records a look at something that this view does not hold itself.
    pub(crate) fn look(&self, table: Table, key: &ObjectKey) {
        self.look_by(table, &key.namespace, &key.name);
    }

    fn look_by(&self, table: Table, namespace: &str, name: &str) {
        let mut trace = self.trace.borrow_mut();
        trace.0.insert(mark(table, namespace, name));
        if !self.inputs.unread.is_empty()
            && let Some(dependency) = table.dependency(namespace, name).filter(|it| self.inputs.unread.contains(it))
        {
            trace.1.insert(Need::Unread(dependency));
        }
    }

    fn refer(&self, kind: ReferredKind, key: &ObjectKey) {
        self.need(Need::Object(Reference { kind, key: key.clone() }));
    }

    /// Records that something must be emitted.
    pub(crate) fn need(&self, need: Need) {
        self.trace.borrow_mut().1.insert(need);
    }

    /// Which addresses may be origins. Those of headgate and of the API server, which never are, are found in Services and
    /// EndpointSlices.
    pub(crate) fn addresses(&self) -> &'a AddressPolicy {
        for dependency in [Dependency::Services, Dependency::EndpointSlices] {
            if self.inputs.unread.contains(&dependency) {
                self.need(Need::Unread(dependency));
            }
        }
        &self.inputs.options.addresses
    }

    /// Whether an OriginPool exists. One that cannot be read does: what was last accepted of it stays in force.
    pub(crate) fn has_pool(&self, key: &ObjectKey) -> bool {
        self.look(Table::Pool, key);
        self.index.has_pool(key)
    }

    pub(crate) fn last_accepted_pool(&self, key: &ObjectKey) -> Option<&'a Arc<OriginPool>> {
        self.look(Table::LastAcceptedPool, key);
        self.inputs.last_accepted.origin_pools.get(key)
    }

    pub(crate) fn last_accepted_limit(&self, key: &ObjectKey) -> Option<&'a Arc<RateLimit>> {
        self.look(Table::LastAcceptedLimit, key);
        self.inputs.last_accepted.rate_limits.get(key)
    }

    pub(crate) fn last_accepted_room(&self, key: &ObjectKey) -> Option<&'a Arc<WaitingRoom>> {
        self.look(Table::LastAcceptedRoom, key);
        self.inputs.last_accepted.waiting_rooms.get(key)
    }

    pub(crate) fn http_route(&self, key: &ObjectKey) -> Option<&'a HttpRoute> {
        self.look(Table::HttpRoute, key);
        self.inputs.http_routes.get(key).map(|route| &**route)
    }

    /// Whether an object is there that cannot be read: what was known of it stays in force.
    pub(crate) fn is_unreadable(&self, table: Table, kind: Kind, key: &ObjectKey) -> bool {
        self.look(table, key);
        self.inputs.malformed.contains_key(&ObjectRef::new(kind, key.clone()))
    }

    pub(crate) fn has_ingress(&self, key: &ObjectKey) -> bool {
        self.look(Table::Ingress, key);
        self.inputs.ingresses.contains_key(key)
    }

    pub(crate) fn service(&self, key: &ObjectKey) -> Option<&'a Service> {
        self.look(Table::Service, key);
        self.inputs.services.get(key).map(|service| &**service)
    }

    /// The EndpointSlices of a Service, in the order of their names.
    pub(crate) fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        self.look(Table::Slices, service);
        self.index.slices(service)
    }

    /// Whether a reference is allowed: it stays in its namespace, or a ReferenceGrant of the target's allows it.
    pub(crate) fn permits(&self, from: Referrer<'_>, to: Target<'_>) -> bool {
        if from.namespace == to.namespace {
            return true;
        }
        self.look_by(Table::Grants, "", to.namespace);
        self.index.permits(from, to)
    }

    /// What is in a Secret, read once however many ask.
    pub(crate) fn secret(&self, key: &ObjectKey) -> Option<&'a SecretContents> {
        self.refer(ReferredKind::Secret, key);
        self.look(Table::Secret, key);
        self.index.secret(key)
    }

    /// What is in a ConfigMap, read once however many ask.
    pub(crate) fn config_map(&self, key: &ObjectKey) -> Option<&'a ConfigMapContents> {
        self.refer(ReferredKind::ConfigMap, key);
        self.look(Table::ConfigMap, key);
        self.index.config_map(key)
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<&'a Namespace> {
        let key = ObjectKey::new("", name);
        self.look(Table::Namespace, &key);
        self.inputs.namespaces.get(&key).map(|namespace| &**namespace)
    }
}
