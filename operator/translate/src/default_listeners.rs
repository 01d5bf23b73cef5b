//! The listeners that Ingresses and pool hosts are served on: HTTP 80 and HTTPS 443.

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Protocol, Resource};

use crate::gateway::Gateways;
use crate::host::intersection;
use crate::ingress::IngressCertificate;
use crate::inputs::{Dependency, Inputs, Kind, ObjectKey, ObjectRef};
use crate::output::{Output, resource};

/// Name of the listener for HTTP.
pub(crate) const HTTP_LISTENER: &str = "http";

/// Name of the listener for HTTPS.
pub(crate) const HTTPS_LISTENER: &str = "https";

/// Emits the default listeners where an Ingress or a pool needs them.
pub(crate) fn lower(inputs: &Inputs, gateways: &Gateways, certificates: &[&IngressCertificate], out: &mut Output) {
    let key = Key::default_listeners();
    if inputs.unread.iter().any(decides) || out.uncertain.iter().any(may_need) {
        out.doubt(key.clone());
    }
    if !out.resources.iter().any(|resource| needs_default_listeners(resource)) {
        if out.holds.iter().any(may_need) {
            out.hold(key);
        }
        return;
    }
    let mut usable: Vec<Key> = Vec::new();
    for found in certificates {
        if serves(found, out) && !usable.contains(&found.certificate) {
            usable.push(found.certificate.clone());
        }
    }
    let listener = |name: &str, port: u32, protocol: Protocol, certificates: Vec<Key>| wire::Listener {
        name: name.to_owned(),
        port,
        protocol: protocol.into(),
        hostname: String::new(),
        certificates,
    };
    // A Gateway that speaks something else on the port keeps it.
    let is_free = |listener: &wire::Listener| {
        gateways.protocol(listener.port).is_none_or(|protocol| i32::from(protocol) == listener.protocol)
    };
    let listeners = [
        listener(HTTP_LISTENER, 80, Protocol::Http, Vec::new()),
        listener(HTTPS_LISTENER, 443, Protocol::Https, usable),
    ];
    let listeners = listeners.into_iter().filter(is_free).collect();
    out.resources.push(resource(key, 0, Body::Gateway(wire::Gateway { listeners })));
}

/// Whether the default listeners, or what is on their ports, follow from something.
fn decides(dependency: &Dependency) -> bool {
    match dependency {
        Dependency::Ingresses
        | Dependency::OriginPools
        | Dependency::IngressClasses
        | Dependency::Gateways
        | Dependency::GatewayClasses => true,
        Dependency::HttpRoutes
        | Dependency::ReferenceGrants
        | Dependency::Services
        | Dependency::EndpointSlices
        | Dependency::Namespaces
        | Dependency::One(_) => false,
    }
}

/// Whether the object of a key may need the default listeners.
fn may_need(key: &Key) -> bool {
    [Kind::Ingress.as_str(), Kind::OriginPool.as_str()].contains(&key.kind.as_str())
}

fn needs_default_listeners(resource: &Resource) -> bool {
    match &resource.body {
        Some(Body::Route(route)) => {
            let defaults = Key::default_listeners();
            route.attachments.iter().any(|attachment| attachment.gateway.as_ref() == Some(&defaults))
        }
        Some(Body::OriginPool(pool)) => !pool.hosts.is_empty(),
        Some(Body::Gateway(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => false,
    }
}

/// A certificate is shown only where its Ingress holds one of the hosts that it is for: nobody brings a certificate
/// for a host of somebody else.
fn serves(found: &IngressCertificate, out: &Output) -> bool {
    let Key { kind: _, namespace, name } = &found.ingress;
    let object = ObjectRef::new(Kind::Ingress, ObjectKey::new(namespace, name));
    let hosts = out.verdicts.get(&object).map_or(&[][..], |verdict| &verdict.hosts);
    hosts.iter().filter(|host| host.held).any(|host| {
        found.hosts.is_empty() || found.hosts.iter().any(|wanted| intersection(wanted, &host.host).is_some())
    })
}
