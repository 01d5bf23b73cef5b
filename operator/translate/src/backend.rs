//! Backends of routes and Ingresses: references to Services and OriginPools.

use headgate_crds::GROUP;
use headgate_snapshot::Key;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::index::{Referrer, Target};
use crate::inputs::{Kind, ObjectKey};
use crate::origin_pool::endpoints;
use crate::output::wire_key;
use crate::verdict::Reason;
use crate::view::{Need, View};

/// The kind on the wire of the pool that a port of a Service stands for.
pub(crate) const SERVICE_WIRE_KIND: &str = "Service";

/// Why a reference leads nowhere.
pub(crate) type Unresolved = (Reason, String);

/// A port of a Service as a reference names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortReference<'a> {
    Number(i32),
    Name(&'a str),
}

/// A reference to a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendReference<'a> {
    /// API group, empty for the core group.
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Needed for a Service.
    pub(crate) port: Option<PortReference<'a>>,
}

/// The key on the wire of what a reference names. A Service is emitted beside whatever refers to it.
pub(crate) fn resolve(from: Referrer<'_>, to: BackendReference<'_>, view: &View<'_>) -> Result<Key, Unresolved> {
    let BackendReference { group, kind, namespace, name, port } = to;
    let is_pool = match (group, kind) {
        ("", "Service") => false,
        (GROUP, "OriginPool") => true,
        (group, kind) => {
            let sentence = format!(
                "a {kind} of group \"{group}\" is no backend; name a Service, or an OriginPool of group {GROUP}"
            );
            return Err((Reason::InvalidKind, sentence));
        }
    };
    if !view.permits(from, Target { group, kind, namespace, name }) {
        let sentence = format!(
            "{kind} {namespace}/{name} is in another namespace; a ReferenceGrant in {namespace} must allow {}s of {} to \
             refer to it",
            from.kind, from.namespace
        );
        return Err((Reason::RefNotPermitted, sentence));
    }
    let key = ObjectKey::new(namespace, name);
    if is_pool { pool(&key, view) } else { service(key, port, view) }
}

fn pool(key: &ObjectKey, view: &View<'_>) -> Result<Key, Unresolved> {
    if view.has_pool(key) {
        Ok(wire_key(Kind::OriginPool, key))
    } else {
        Err((Reason::BackendNotFound, format!("OriginPool {key} does not exist")))
    }
}

fn service(key: ObjectKey, port: Option<PortReference<'_>>, view: &View<'_>) -> Result<Key, Unresolved> {
    let not_found = |sentence: String| (Reason::BackendNotFound, sentence);
    let service = view.service(&key).ok_or_else(|| not_found(format!("Service {key} does not exist")))?;
    let port = port.ok_or_else(|| not_found(format!("port is missing; name a port of Service {key}")))?;
    let port = find_port(service, port).ok_or_else(|| {
        let wanted = match port {
            PortReference::Number(number) => number.to_string(),
            PortReference::Name(name) => format!("\"{name}\""),
        };
        not_found(format!("Service {key} has no TCP port {wanted}; it has {}", ports(service)))
    })?;
    // What a Service must not lead to is told to whoever refers to it.
    endpoints(&key, service, port, view).map_err(|sentence| (Reason::AddressNotAllowed, sentence))?;
    let wire = service_key(&key, port.port);
    view.need(Need::Service { service: key, port: port.port });
    Ok(wire)
}

/// The key on the wire of the pool that a port of a Service stands for.
pub(crate) fn service_key(service: &ObjectKey, port: i32) -> Key {
    Key::new(SERVICE_WIRE_KIND, &service.namespace, format!("{}:{port}", service.name))
}

pub(crate) fn find_port<'a>(service: &'a Service, wanted: PortReference<'_>) -> Option<&'a ServicePort> {
    tcp_ports(service).find(|port| match wanted {
        PortReference::Number(number) => port.port == number,
        PortReference::Name(name) => port.name.as_deref() == Some(name),
    })
}

fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ports.iter().filter(|port| matches!(port.protocol.as_deref(), None | Some("TCP")))
}

pub(crate) fn ports(service: &Service) -> String {
    let ports: Vec<String> = tcp_ports(service)
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
}
