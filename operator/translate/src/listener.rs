//! One listener of a Gateway, judged alone.

use headgate_crds::gateway_api::{Gateway, Listener, ListenerTls, RouteGroupKind, SecretObjectReference};
use headgate_snapshot::{Key, Protocol};

use crate::allowed_routes::{self, Admission};
use crate::certificate;
use crate::host::{ANY_HOST, mistake_in_host};
use crate::index::{Referrer, Target};
use crate::inputs::ObjectKey;
use crate::verdict::{Concern, Problem, Reason};
use crate::view::View;

/// A listener as routes see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttachPoint {
    pub(crate) name: String,
    pub(crate) port: u32,
    /// `*` for all hosts.
    pub(crate) hostname: String,
    pub(crate) is_accepted: bool,
    pub(crate) admission: Admission,
}

/// A listener as far as it could be read.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: u32,
    pub(crate) protocol: Protocol,
    /// `*` for all hosts.
    pub(crate) hostname: &'a str,
    pub(crate) certificates: Vec<Key>,
    pub(crate) admission: Admission,
    pub(crate) kinds: Vec<RouteGroupKind>,
    pub(crate) problems: Vec<Problem>,
}

impl Draft<'_> {
    /// Whether the listener is served.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| matches!(problem.concern, Concern::Acceptance | Concern::Conflict))
    }

    /// The listener as routes see it. One that serves none of their kinds admits none of them.
    pub(crate) fn attach_point(&self) -> AttachPoint {
        AttachPoint {
            name: self.name.to_owned(),
            port: self.port,
            hostname: self.hostname.to_owned(),
            is_accepted: self.is_accepted(),
            admission: if self.kinds.is_empty() { Admission::None } else { self.admission.clone() },
        }
    }
}

/// Judges a listener.
pub(crate) fn draft<'a>(
    gateway: &'a Gateway,
    key: &ObjectKey,
    position: usize,
    view: &View<'_>,
    unenforced: &mut Vec<String>,
) -> Draft<'a> {
    let Listener { name, hostname, port, protocol, tls, allowed_routes } = &gateway.spec.listeners[position];
    let field = format!("spec.listeners[{position}]");
    let mut problems = Vec::new();

    check_name(gateway, position, &field, &mut problems);
    let protocol = check_protocol(protocol, &field, &mut problems);
    if !(1..=65535).contains(port) {
        let sentence = format!("{port} is no port; write a number from 1 to 65535");
        problems.push(Problem::new(Reason::Invalid, format!("{field}.port"), sentence));
    }
    let hostname = hostname.as_deref().filter(|host| !host.is_empty()).unwrap_or(ANY_HOST);
    if hostname != ANY_HOST
        && let Some(sentence) = mistake_in_host(hostname)
    {
        problems.push(Problem::new(Reason::Invalid, format!("{field}.hostname"), sentence));
    }
    let certificates = match (protocol, tls) {
        (Protocol::Https, Some(tls)) => {
            check_tls(gateway, tls, &field, unenforced, &mut problems);
            resolve_certificates(tls, key, &field, view, &mut problems)
        }
        (Protocol::Https, None) => {
            let sentence = "an HTTPS listener needs tls.certificateRefs; name a Secret of type kubernetes.io/tls";
            problems.push(Problem::new(Reason::InvalidCertificateRef, format!("{field}.tls"), sentence));
            Vec::new()
        }
        (Protocol::Http, Some(_)) => {
            let sentence = "an HTTP listener has no TLS; remove the field or use protocol HTTPS";
            problems.push(Problem::new(Reason::Invalid, format!("{field}.tls"), sentence));
            Vec::new()
        }
        (Protocol::Http, None) | (Protocol::Unspecified, _) => Vec::new(),
    };
    let (kinds, admission) = if protocol == Protocol::Unspecified {
        (Vec::new(), Admission::None)
    } else {
        let kinds = allowed_routes::kinds(allowed_routes.as_ref(), &field, &mut problems);
        (kinds, allowed_routes::admission(allowed_routes.as_ref(), &field, &mut problems))
    };
    let port = u32::try_from(*port).unwrap_or(0);
    Draft { name, port, protocol, hostname, certificates, admission, kinds, problems }
}

fn check_name(gateway: &Gateway, position: usize, field: &str, problems: &mut Vec<Problem>) {
    let name = &gateway.spec.listeners[position].name;
    let field = format!("{field}.name");
    if name.is_empty() {
        problems.push(Problem::new(Reason::Invalid, field, "a listener needs a name"));
    } else if let Some(first) = gateway.spec.listeners[..position].iter().position(|other| other.name == *name) {
        let sentence = format!("\"{name}\" is the name of spec.listeners[{first}] already; names are unique");
        problems.push(Problem::new(Reason::Invalid, field, sentence));
    }
}

fn check_protocol(protocol: &str, field: &str, problems: &mut Vec<Problem>) -> Protocol {
    match protocol {
        "HTTP" => Protocol::Http,
        "HTTPS" => Protocol::Https,
        other => {
            let sentence = format!("protocol \"{other}\" is not served by headgate; write HTTP or HTTPS");
            problems.push(Problem::new(Reason::UnsupportedProtocol, format!("{field}.protocol"), sentence));
            Protocol::Unspecified
        }
    }
}

fn check_tls(
    gateway: &Gateway,
    tls: &ListenerTls,
    field: &str,
    unenforced: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    let ListenerTls { mode, certificate_refs: _, options, frontend_validation } = tls;
    if let Some(mode) = mode.as_deref()
        && mode != "Terminate"
    {
        let sentence = format!("mode {mode} is not supported; headgate ends TLS itself, so write Terminate");
        problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.tls.mode"), sentence));
    }
    if !options.is_empty() {
        unenforced.push(format!("{field}.tls.options"));
    }
    // To serve without a check that the user asked for would weaken the protection, so the listener is refused.
    let sentence = "validation of client certificates is not supported; remove the field, or the listener stays closed";
    if frontend_validation.is_some() {
        problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.tls.frontendValidation"), sentence));
    }
    if gateway.spec.tls.as_ref().is_some_and(|tls| tls.get("frontend").is_some()) {
        problems.push(Problem::new(Reason::UnsupportedValue, "spec.tls.frontend", sentence));
    }
}

/// A reference that leads nowhere is told; the listener keeps its other certificates.
fn resolve_certificates(
    tls: &ListenerTls,
    gateway: &ObjectKey,
    field: &str,
    view: &View<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Key> {
    let field = format!("{field}.tls.certificateRefs");
    if tls.certificate_refs.is_empty() {
        let sentence = "an HTTPS listener needs a certificate; name a Secret of type kubernetes.io/tls";
        problems.push(Problem::new(Reason::InvalidCertificateRef, field, sentence));
        return Vec::new();
    }
    let mut keys = Vec::new();
    for (index, reference) in tls.certificate_refs.iter().enumerate() {
        match resolve_certificate(reference, gateway, view) {
            Ok(key) if keys.contains(&key) => {}
            Ok(key) => keys.push(key),
            Err((reason, sentence)) => problems.push(Problem::new(reason, format!("{field}[{index}]"), sentence)),
        }
    }
    keys
}

fn resolve_certificate(
    reference: &SecretObjectReference,
    gateway: &ObjectKey,
    view: &View<'_>,
) -> Result<Key, (Reason, String)> {
    let SecretObjectReference { group, kind, name, namespace } = reference;
    let group = group.as_deref().unwrap_or_default();
    let kind = kind.as_deref().unwrap_or("Secret");
    if !group.is_empty() || kind != "Secret" {
        let sentence = format!("a certificate is a Secret, not a {kind} of group \"{group}\"");
        return Err((Reason::InvalidCertificateRef, sentence));
    }
    let namespace = namespace.as_deref().unwrap_or(&gateway.namespace);
    let from = Referrer {
        group: headgate_crds::gateway_api::GATEWAY_API_GROUP,
        kind: "Gateway",
        namespace: &gateway.namespace,
    };
    if !view.permits(from, Target { group, kind, namespace, name }) {
        let sentence = format!(
            "Secret {namespace}/{name} is in another namespace; a ReferenceGrant in {namespace} must allow Gateways \
             of {} to refer to it",
            gateway.namespace
        );
        return Err((Reason::RefNotPermitted, sentence));
    }
    certificate::resolve(&ObjectKey::new(namespace, name), view)
        .map_err(|sentence| (Reason::InvalidCertificateRef, sentence))
}
