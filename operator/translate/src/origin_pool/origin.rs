//! One origin: its endpoints, and how to speak to them.

use std::collections::BTreeMap;

use headgate_crds::origin_pool::{
    CertificateKind, CertificateReference, Origin, OriginTls, Protocol, ServiceReference,
};
use headgate_snapshot as wire;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::address::{self, Written};
use super::service;
use crate::backend::{PortReference, find_port, ports};
use crate::certificate::{CA_ENTRY, ConfigMapContents, SecretContents};
use crate::findings::Findings;
use crate::inputs::ObjectKey;
use crate::verdict::Reason;
use crate::view::View;

/// Why a reference leads nowhere.
type Unresolved = (Reason, String);

/// What the origins of a pool are read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) namespace: &'a str,
    pub(super) view: &'a View<'a>,
}

pub(super) fn lower(field: &str, origin: &Origin, context: Context<'_>, findings: &mut Findings) -> wire::Origin {
    // The location waits for the steering policies that use it; it is told with the other fields not yet enforced.
    let Origin { name, service, endpoints, priority, weight, enabled, host_header, tls, protocol, location: _ } =
        origin;
    let mut lowered = wire::Origin {
        name: name.clone(),
        priority: *priority,
        weight: if *enabled { *weight } else { 0 },
        host_header: host_header.clone().unwrap_or_default(),
        protocol: match protocol {
            Protocol::Http1 => wire::OriginProtocol::Http1.into(),
            Protocol::Http2 => wire::OriginProtocol::Http2.into(),
        },
        ..wire::Origin::default()
    };
    match (service, endpoints) {
        (Some(reference), None) => {
            let field = format!("{field}.service");
            match of_service(&field, reference, context, findings) {
                Ok(endpoints) => lowered.endpoints = endpoints,
                Err(unresolved) => mark_unresolved(&mut lowered, field, unresolved, findings),
            }
        }
        (None, Some(endpoints)) => of_endpoints(field, endpoints, context, &mut lowered, findings),
        (Some(_), Some(_)) => {
            findings.refuse(field, "has both service and endpoints; remove one, or make two origins of it");
        }
        (None, None) => {
            findings.refuse(field, "has neither service nor endpoints; write one of them");
        }
    }
    if let Some(host) = host_header
        && let Some((_, port)) = host.rsplit_once(':')
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        findings
            .refuse(format!("{field}.hostHeader"), format!("\"{port}\" is no port; write a number from 1 to 65535"));
    }
    if let Some(tls) = tls {
        lower_tls(field, tls, origin, context, &mut lowered, findings);
    }
    lowered
}

/// The origin gets no traffic; the others do.
fn mark_unresolved(origin: &mut wire::Origin, field: String, unresolved: Unresolved, findings: &mut Findings) {
    origin.endpoints.clear();
    origin.unresolved.clone_from(&unresolved.1);
    findings.unresolved(field, unresolved);
}

fn of_service(
    field: &str,
    reference: &ServiceReference,
    context: Context<'_>,
    findings: &mut Findings,
) -> Result<Vec<wire::Endpoint>, Unresolved> {
    let ServiceReference { name, port } = reference;
    let port = match port {
        IntOrString::Int(number) => {
            if !(1..=i32::from(u16::MAX)).contains(number) {
                findings
                    .refuse(format!("{field}.port"), format!("{number} is no port; write a number from 1 to 65535"));
                return Ok(Vec::new());
            }
            PortReference::Number(*number)
        }
        IntOrString::String(name) => PortReference::Name(name),
    };
    service_endpoints(&ObjectKey::new(context.namespace, name), port, context)
}

fn service_endpoints(
    key: &ObjectKey,
    port: PortReference<'_>,
    context: Context<'_>,
) -> Result<Vec<wire::Endpoint>, Unresolved> {
    let not_found = |sentence: String| (Reason::RefNotFound, sentence);
    let service = context
        .view
        .service(key)
        .ok_or_else(|| not_found(format!("Service {key} does not exist; create it, or name another one")))?;
    if service::is_external(service) {
        return Err((Reason::AddressNotAllowed, service::external(key)));
    }
    let found = find_port(service, port).ok_or_else(|| {
        let wanted = match port {
            PortReference::Number(number) => number.to_string(),
            PortReference::Name(name) => format!("\"{name}\""),
        };
        not_found(format!("Service {key} has no TCP port {wanted}; it has {}", ports(service)))
    })?;
    service::endpoints(key, service, found, context.view).map_err(|sentence| (Reason::AddressNotAllowed, sentence))
}

fn of_endpoints(
    field: &str,
    endpoints: &[String],
    context: Context<'_>,
    origin: &mut wire::Origin,
    findings: &mut Findings,
) {
    let rules = context.view.addresses().rules();
    let mut seen: BTreeMap<Written, usize> = BTreeMap::new();
    let mut resolved = Vec::new();
    let mut unresolved = Vec::new();
    for (index, text) in endpoints.iter().enumerate() {
        let field = format!("{field}.endpoints[{index}]");
        let written = match address::parse(text) {
            Ok(written) => written,
            Err(sentence) => {
                findings.refuse(field, sentence);
                continue;
            }
        };
        if let Some(first) = seen.get(&written) {
            findings.refuse(field, format!("\"{text}\" is the same endpoint as endpoints[{first}]; write it once"));
            continue;
        }
        match &written {
            Written::Address(address) => match rules.mistake(*address) {
                Some(sentence) => findings.refuse_address(field, sentence),
                None => resolved.push(endpoint(address.ip().to_string(), address.port())),
            },
            Written::Name(name, port) => resolved.push(endpoint(name.clone(), *port)),
            Written::Service { namespace, name, port } if namespace == context.namespace => {
                let key = ObjectKey::new(namespace, name);
                match service_endpoints(&key, PortReference::Number((*port).into()), context) {
                    Ok(endpoints) => resolved.extend(endpoints),
                    Err((reason, sentence)) => {
                        unresolved.push(sentence.clone());
                        findings.unresolved(field, (reason, sentence));
                    }
                }
            }
            Written::Service { namespace, name, port: _ } => {
                let sentence = format!(
                    "Service {namespace}/{name} is of another namespace; name one of {}, or a pool there by a route with \
                     a ReferenceGrant",
                    context.namespace
                );
                findings.refuse_address(field, sentence);
            }
        }
        seen.insert(written, index);
    }
    let mut emitted = std::collections::BTreeSet::new();
    resolved.retain(|endpoint: &wire::Endpoint| emitted.insert((endpoint.host.clone(), endpoint.port)));
    origin.endpoints = resolved;
    origin.unresolved = unresolved.join("; ");
}

fn endpoint(host: String, port: u16) -> wire::Endpoint {
    wire::Endpoint { host, port: port.into() }
}

/// TLS to an origin whose certificates are missing would trust the wrong ones, so that the origin gets no traffic.
fn lower_tls(
    field: &str,
    tls: &OriginTls,
    origin: &Origin,
    context: Context<'_>,
    lowered: &mut wire::Origin,
    findings: &mut Findings,
) {
    let OriginTls { server_name, ca_certificate_ref } = tls;
    let server_name = server_name.clone().or_else(|| default_server_name(origin, context)).unwrap_or_else(|| {
        let sentence = "is missing, and the endpoints have no one name to take for it; write the name that is in the \
                        origin's certificate";
        findings.refuse(format!("{field}.tls.serverName"), sentence);
        String::new()
    });
    let mut ca_pem = String::new();
    if let Some(reference) = ca_certificate_ref {
        match certificates(reference, context) {
            Ok(pem) => ca_pem = pem,
            Err(sentence) => {
                let field = format!("{field}.tls.caCertificateRef");
                mark_unresolved(lowered, field, (Reason::RefNotFound, sentence), findings);
            }
        }
    }
    lowered.tls = Some(wire::OriginTls { server_name, ca_pem });
}

/// `hostHeader` without its port, else the one host of all endpoints, else the DNS name of the Service.
fn default_server_name(origin: &Origin, context: Context<'_>) -> Option<String> {
    if let Some(host) = &origin.host_header {
        return Some(host.split(':').next().unwrap_or(host).to_owned());
    }
    if let Some(service) = &origin.service {
        return Some(format!("{}.{}.svc", service.name, context.namespace));
    }
    let mut hosts = origin.endpoints.iter().flatten().map(|text| match address::parse(text) {
        Ok(Written::Address(address)) => Some(address.ip().to_string()),
        Ok(Written::Name(name, _)) => Some(name),
        Ok(Written::Service { namespace, name, port: _ }) => Some(format!("{name}.{namespace}.svc")),
        // Told with the endpoint itself.
        Err(_) => None,
    });
    let first = hosts.next()??;
    hosts.all(|host| host.as_ref() == Some(&first)).then_some(first)
}

fn certificates(reference: &CertificateReference, context: Context<'_>) -> Result<String, String> {
    let CertificateReference { kind, name } = reference;
    let key = ObjectKey::new(context.namespace, name);
    let (kind, found) = match kind {
        CertificateKind::ConfigMap => ("ConfigMap", context.view.config_map(&key).map(ConfigMapContents::authority)),
        CertificateKind::Secret => ("Secret", context.view.secret(&key).map(SecretContents::authority)),
    };
    let found = found.ok_or_else(|| format!("{kind} {key} does not exist; create it with the entry {CA_ENTRY}"))?;
    found.map(str::to_owned).map_err(|mistake| format!("{kind} {key} {mistake}"))
}
