//! Endpoints of a Service, from its EndpointSlices.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use headgate_snapshot::Endpoint;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::inputs::{AddressPolicy, ObjectKey};
use crate::view::View;

const EXTERNAL_NAME: &str = "ExternalName";

/// EndpointSlices of names are for other controllers.
const ADDRESS_TYPES: [&str; 2] = ["IPv4", "IPv6"];

/// The ready endpoints of a port of a Service, sorted, each once. None is no mistake: the Service may be scaled to 0.
pub(crate) fn endpoints(
    key: &ObjectKey,
    service: &Service,
    port: &ServicePort,
    view: &View<'_>,
) -> Result<Vec<Endpoint>, String> {
    if is_external(service) {
        return Err(external(key));
    }
    let endpoints: BTreeSet<(&str, u32)> = view
        .slices(key)
        .filter(|slice| ADDRESS_TYPES.contains(&slice.address_type.as_str()))
        .filter_map(|slice| Some((slice, slice_port(slice, port)?)))
        .flat_map(|(slice, port)| ready_addresses(slice).map(move |address| (address, port)))
        .collect();
    if let Some(denied) = first_denied(&endpoints, view.addresses()) {
        return Err(format!(
            "Service {key} has the endpoint {denied}, which belongs to the control plane or to headgate itself and is \
             never an origin; name another Service"
        ));
    }
    Ok(endpoints.into_iter().map(|(host, port)| Endpoint { host: host.to_owned(), port }).collect())
}

/// An endpoint that is never an origin. Other addresses of a Service are those of its pods, which are private.
fn first_denied(endpoints: &BTreeSet<(&str, u32)>, addresses: &AddressPolicy) -> Option<SocketAddr> {
    let (AddressPolicy::Any { denied } | AddressPolicy::Public { allowed: _, denied }) = addresses;
    // Nearly all endpoints have another port, so that nothing of them is read.
    let has_port = |port: u32| denied.iter().any(|address| u32::from(address.port()) == port);
    let mut suspects = endpoints.iter().filter(|(_, port)| has_port(*port)).peekable();
    suspects.peek()?;
    let rules = addresses.rules();
    suspects
        .filter_map(|(host, port)| Some(SocketAddr::new(host.parse().ok()?, u16::try_from(*port).ok()?)))
        .find(|address| rules.denies(*address))
}

/// True for a Service that is only another name of something outside.
pub(super) fn is_external(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some(EXTERNAL_NAME)
}

/// Why a Service of type ExternalName is no origin.
pub(super) fn external(key: &ObjectKey) -> String {
    format!(
        "Service {key} is of type {EXTERNAL_NAME}, which could lead anywhere; write the name with its port as an endpoint of an OriginPool"
    )
}

/// The port of the endpoints that stands for a port of the Service: ports of both go by the same name.
fn slice_port(slice: &EndpointSlice, wanted: &ServicePort) -> Option<u32> {
    let wanted = wanted.name.as_deref().unwrap_or_default();
    let ports = slice.ports.as_deref().unwrap_or_default();
    let found = ports.iter().find(|port| {
        port.name.as_deref().unwrap_or_default() == wanted && matches!(port.protocol.as_deref(), None | Some("TCP"))
    });
    u32::try_from(found?.port?).ok().filter(|port| (1..=u32::from(u16::MAX)).contains(port))
}

fn ready_addresses(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    let is_ready = |endpoint: &&SliceEndpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    // All addresses of an endpoint are the same endpoint; consumers take the first.
    slice
        .endpoints
        .iter()
        .flatten()
        .filter(is_ready)
        .filter_map(|endpoint| endpoint.addresses.first().map(String::as_str))
}
