//! The listeners that Ingresses and pool hosts are served on: HTTP 80 and HTTPS 443.

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Protocol, Resource};

use crate::gateway::Gateways;
use crate::host::intersection;
use crate::ingress::IngressCertificate;
use crate::inputs::{Kind, ObjectKey, ObjectRef};
use crate::output::{Output, resource};

/// Name of the listener for HTTP.
pub(crate) const HTTP_LISTENER: &str = "http";

/// Name of the listener for HTTPS.
pub(crate) const HTTPS_LISTENER: &str = "https";

/// Emits the default listeners where an Ingress or a pool needs them.
pub(crate) fn lower(gateways: &Gateways, certificates: &[&IngressCertificate], out: &mut Output) {
    let key = Key::default_listeners();
    if !out.resources.iter().any(|resource| needs_default_listeners(resource)) {
        let may_need = [Kind::Ingress.as_str(), Kind::OriginPool.as_str()];
        if out.holds.iter().any(|held| may_need.contains(&held.kind.as_str())) {
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

fn needs_default_listeners(resource: &Resource) -> bool {
    match &resource.body {
        Some(Body::Route(route)) => {
            let defaults = Key::default_listeners();
            route.attachments.iter().any(|attachment| attachment.gateway.as_ref() == Some(&defaults))
        }
        Some(Body::OriginPool(pool)) => !pool.hosts.is_empty(),
        Some(Body::Gateway(_) | Body::Certificate(_)) | None => false,
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
