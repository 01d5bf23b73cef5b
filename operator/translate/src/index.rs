//! Look-ups that many objects make, so that no object scans all others, and what has changed of them since the
//! translation before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_crds::gateway_api::{HttpRoute, ReferenceGrant};
use headgate_crds::{OriginPool, RateLimit, WaitingRoom};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::certificate::{ConfigMapContents, SecretContents};
use crate::inputs::{Inputs, Kind, ObjectKey, Objects};
use crate::view::{Changed, Table};

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// An object as a ReferenceGrant sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    /// API group, empty for the core group.
    pub(crate) group: &'a str,
    /// Kind.
    pub(crate) kind: &'a str,
    /// Namespace.
    pub(crate) namespace: &'a str,
}

/// What a reference leads to, as a ReferenceGrant sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// API group, empty for the core group.
    pub(crate) group: &'a str,
    /// Kind.
    pub(crate) kind: &'a str,
    /// Namespace.
    pub(crate) namespace: &'a str,
    /// Name.
    pub(crate) name: &'a str,
}

/// Look-ups over the inputs of the last translation.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pools: BTreeSet<ObjectKey>,
    unreadable_pools: BTreeSet<ObjectKey>,
    last_accepted_pools: Objects<OriginPool>,
    last_accepted_limits: Objects<RateLimit>,
    last_accepted_rooms: Objects<WaitingRoom>,
    http_routes: Objects<HttpRoute>,
    unreadable_routes: BTreeSet<ObjectKey>,
    ingresses: BTreeSet<ObjectKey>,
    unreadable_ingresses: BTreeSet<ObjectKey>,
    services: Objects<Service>,
    slices: Objects<EndpointSlice>,
    slices_by_service: BTreeMap<ObjectKey, Objects<EndpointSlice>>,
    grants: Objects<ReferenceGrant>,
    secrets: Objects<Secret>,
    secret_contents: BTreeMap<ObjectKey, SecretContents>,
    config_maps: Objects<ConfigMap>,
    config_map_contents: BTreeMap<ObjectKey, ConfigMapContents>,
    namespaces: Objects<Namespace>,
}

impl Index {
    /// Brings the look-ups in step with the inputs, and says what has changed. Objects are never changed, only
    /// replaced, so that comparing them is comparing their addresses.
    pub(crate) fn follow(&mut self, inputs: &Inputs) -> Changed {
        let mut changed = Changed::default();
        changed.follow_names(Table::Pool, &mut self.pools, inputs.origin_pools.keys());
        changed.follow_names(Table::Pool, &mut self.unreadable_pools, unreadable(inputs, Kind::OriginPool));
        let last_accepted = &inputs.last_accepted.origin_pools;
        changed.follow(Table::LastAcceptedPool, &mut self.last_accepted_pools, last_accepted, Arc::ptr_eq);
        let last_accepted = &inputs.last_accepted.waiting_rooms;
        changed.follow(Table::LastAcceptedRoom, &mut self.last_accepted_rooms, last_accepted, Arc::ptr_eq);
        self.follow_targets(inputs, &mut changed);
        changed.follow(Table::Service, &mut self.services, &inputs.services, Arc::ptr_eq);
        changed.follow(Table::Namespace, &mut self.namespaces, &inputs.namespaces, Arc::ptr_eq);
        self.follow_slices(inputs, &mut changed);
        self.follow_grants(inputs, &mut changed);
        for (key, _) in changed.follow(Table::Secret, &mut self.secrets, &inputs.secrets, Arc::ptr_eq) {
            match self.secrets.get(&key) {
                Some(secret) => self.secret_contents.insert(key, SecretContents::new(Arc::clone(secret))),
                None => self.secret_contents.remove(&key),
            };
        }
        for (key, _) in changed.follow(Table::ConfigMap, &mut self.config_maps, &inputs.config_maps, Arc::ptr_eq) {
            match self.config_maps.get(&key) {
                Some(map) => self.config_map_contents.insert(key, ConfigMapContents::new(Arc::clone(map))),
                None => self.config_map_contents.remove(&key),
            };
        }
        changed
    }

    /// What policies look at. Where there is no policy nobody looks, and nothing is compared.
    fn follow_targets(&mut self, inputs: &Inputs, changed: &mut Changed) {
        if inputs.rate_limits.is_empty() {
            return;
        }
        let last_accepted = &inputs.last_accepted.rate_limits;
        changed.follow(Table::LastAcceptedLimit, &mut self.last_accepted_limits, last_accepted, Arc::ptr_eq);
        changed.follow(Table::HttpRoute, &mut self.http_routes, &inputs.http_routes, Arc::ptr_eq);
        changed.follow_names(Table::HttpRoute, &mut self.unreadable_routes, unreadable(inputs, Kind::HttpRoute));
        changed.follow_names(Table::Ingress, &mut self.ingresses, inputs.ingresses.keys());
        changed.follow_names(Table::Ingress, &mut self.unreadable_ingresses, unreadable(inputs, Kind::Ingress));
    }

    fn follow_slices(&mut self, inputs: &Inputs, changed: &mut Changed) {
        let slices = changed.follow(Table::Slices, &mut self.slices, &inputs.endpoint_slices, Arc::ptr_eq);
        for (key, before) in slices {
            if let Some(service) = before.and_then(|before| service_of(&key, &before)) {
                changed.add(Table::Slices, &service);
                if let Some(slices) = self.slices_by_service.get_mut(&service) {
                    slices.remove(&key);
                    if slices.is_empty() {
                        self.slices_by_service.remove(&service);
                    }
                }
            }
            if let Some(now) = self.slices.get(&key)
                && let Some(service) = service_of(&key, now)
            {
                changed.add(Table::Slices, &service);
                self.slices_by_service.entry(service).or_default().insert(key, Arc::clone(now));
            }
        }
    }

    fn follow_grants(&mut self, inputs: &Inputs, changed: &mut Changed) {
        for (key, _) in changed.follow(Table::Grants, &mut self.grants, &inputs.reference_grants, Arc::ptr_eq) {
            changed.add(Table::Grants, &ObjectKey::new("", key.namespace));
        }
    }

    /// Whether an OriginPool exists, readable or not.
    pub(crate) fn has_pool(&self, key: &ObjectKey) -> bool {
        self.pools.contains(key) || self.unreadable_pools.contains(key)
    }

    /// The EndpointSlices of a Service, in the order of their names.
    pub(crate) fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> + use<'_> {
        self.slices_by_service.get(service).into_iter().flat_map(|slices| slices.values()).map(|slice| &**slice)
    }

    /// What is in a Secret.
    pub(crate) fn secret(&self, key: &ObjectKey) -> Option<&SecretContents> {
        self.secret_contents.get(key)
    }

    /// What is in a ConfigMap.
    pub(crate) fn config_map(&self, key: &ObjectKey) -> Option<&ConfigMapContents> {
        self.config_map_contents.get(key)
    }

    /// Whether a ReferenceGrant in the target's namespace allows a reference.
    pub(crate) fn permits(&self, from: Referrer<'_>, to: Target<'_>) -> bool {
        let first = ObjectKey::new(to.namespace, "");
        let mut grants = self.grants.range(first..).take_while(|(key, _)| key.namespace == to.namespace);
        grants.any(|(_, grant)| {
            let from_matches =
                grant.spec.from.iter().any(|entry| {
                    entry.group == from.group && entry.kind == from.kind && entry.namespace == from.namespace
                });
            let to_matches = grant.spec.to.iter().any(|entry| {
                entry.group == to.group
                    && entry.kind == to.kind
                    && entry.name.as_ref().is_none_or(|name| name.is_empty() || name == to.name)
            });
            from_matches && to_matches
        })
    }
}

/// The objects of a kind that cannot be read.
fn unreadable(inputs: &Inputs, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
    inputs.malformed.keys().filter(move |object| object.kind == kind).map(|object| &object.key)
}

/// The Service that an EndpointSlice is of.
fn service_of(key: &ObjectKey, slice: &EndpointSlice) -> Option<ObjectKey> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::new(&key.namespace, service))
}
