//! Look-ups that many objects make, each built once a translation, so that no object scans all others.

use std::collections::BTreeMap;

use headgate_crds::gateway_api::ReferenceGrant;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::inputs::{Inputs, ObjectKey};

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

/// Look-ups over the inputs.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    /// By namespace and Service.
    slices: BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a EndpointSlice>>>,
    /// By namespace.
    grants: BTreeMap<&'a str, Vec<&'a ReferenceGrant>>,
}

impl<'a> Index<'a> {
    /// Builds the look-ups.
    pub(crate) fn new(inputs: &'a Inputs) -> Self {
        let mut slices: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for (key, slice) in &inputs.endpoint_slices {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
            if let Some(service) = service {
                let services = slices.entry(key.namespace.as_str()).or_default();
                services.entry(service.as_str()).or_default().push(slice.as_ref());
            }
        }
        let mut grants: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, grant) in &inputs.reference_grants {
            grants.entry(key.namespace.as_str()).or_default().push(grant.as_ref());
        }
        Self { slices, grants }
    }

    /// The EndpointSlices of a Service, in the order of their names.
    pub(crate) fn slices(&self, service: &ObjectKey) -> &[&'a EndpointSlice] {
        let services = self.slices.get(service.namespace.as_str());
        services.and_then(|services| services.get(service.name.as_str())).map_or(&[], Vec::as_slice)
    }

    /// Whether a reference is allowed: it stays in its namespace, or a ReferenceGrant of the target's allows it.
    pub(crate) fn permits(&self, from: Referrer<'_>, to: Target<'_>) -> bool {
        if from.namespace == to.namespace {
            return true;
        }
        let grants = self.grants.get(to.namespace).map_or(&[][..], Vec::as_slice);
        grants.iter().any(|grant| {
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
