//! Backends of routes and Ingresses: references to Services and OriginPools.

use headgate_crds::GROUP;
use headgate_snapshot::Key;
use headgate_snapshot::resource::Body;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::index::{Index, Referrer, Target};
use crate::inputs::{Inputs, Kind, ObjectKey, ObjectRef};
use crate::origin_pool;
use crate::output::{Output, wire_key};
use crate::verdict::Reason;

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

/// Resolves references, and emits the Services that they name.
#[derive(Debug)]
pub(crate) struct Backends<'i, 'a> {
    inputs: &'a Inputs,
    index: &'i Index<'a>,
}

impl<'i, 'a> Backends<'i, 'a> {
    pub(crate) fn new(inputs: &'a Inputs, index: &'i Index<'a>) -> Self {
        Self { inputs, index }
    }

    /// The key on the wire of what a reference names.
    pub(crate) fn resolve(
        &self,
        from: Referrer<'_>,
        to: BackendReference<'_>,
        out: &mut Output,
    ) -> Result<Key, Unresolved> {
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
        if !self.index.permits(from, Target { group, kind, namespace, name }) {
            let sentence = format!(
                "{kind} {namespace}/{name} is in another namespace; a ReferenceGrant in {namespace} must allow {}s of \
                 {} to refer to it",
                from.kind, from.namespace
            );
            return Err((Reason::RefNotPermitted, sentence));
        }
        let key = ObjectKey::new(namespace, name);
        if is_pool { self.pool(&key) } else { self.service(&key, port, out) }
    }

    /// A pool that is invalid exists all the same: what was last accepted of it stays in force.
    fn pool(&self, key: &ObjectKey) -> Result<Key, Unresolved> {
        let wire = wire_key(Kind::OriginPool, key);
        let exists = self.inputs.origin_pools.contains_key(key);
        if exists || self.inputs.malformed.contains_key(&ObjectRef::new(Kind::OriginPool, key.clone())) {
            Ok(wire)
        } else {
            Err((Reason::BackendNotFound, format!("OriginPool {key} does not exist")))
        }
    }

    fn service(&self, key: &ObjectKey, port: Option<PortReference<'_>>, out: &mut Output) -> Result<Key, Unresolved> {
        let not_found = |sentence: String| (Reason::BackendNotFound, sentence);
        let service =
            self.inputs.services.get(key).ok_or_else(|| not_found(format!("Service {key} does not exist")))?;
        let port = port.ok_or_else(|| not_found(format!("port is missing; name a port of Service {key}")))?;
        let port = find_port(service, port).ok_or_else(|| {
            let wanted = match port {
                PortReference::Number(number) => number.to_string(),
                PortReference::Name(name) => format!("\"{name}\""),
            };
            not_found(format!("Service {key} has no TCP port {wanted}; it has {}", ports(service)))
        })?;
        let wire = Key::new("Service", &key.namespace, format!("{}:{}", key.name, port.port));
        if !out.resources.contains_key(&wire) {
            let pool = origin_pool::of_service(key, service, port, self.index, &self.inputs.options.addresses)
                .map_err(|sentence| (Reason::AddressNotAllowed, sentence))?;
            out.emit(wire.clone(), 0, Body::OriginPool(pool));
        }
        Ok(wire)
    }
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
