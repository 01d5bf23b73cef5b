//! How Pingora is told to reach an endpoint.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_engine::{Origin, OriginProtocol};
use pingora::connectors::l4::Connect;
use pingora::upstreams::peer::{HttpPeer, PeerOptions, Scheme};

use crate::origin::connect::OriginConnector;
use crate::origin::tls::Trust;

/// How long an unused connection to an endpoint is kept. Many servers keep theirs for 60 s or more.
const UNUSED_LIMIT: Duration = Duration::from_secs(50);

/// CAs of pools' own, by `Tls::group`.
pub(crate) type TrustByGroup = HashMap<u64, Trust>;

/// One attempt.
pub(crate) struct PeerSettings<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) address: SocketAddr,
    /// Namespace of the pool: connections are never shared between tenants.
    pub(crate) namespace: &'a str,
    pub(crate) connect: Duration,
    pub(crate) idle: Duration,
}

/// Makes peers.
pub(crate) struct Peers {
    connector: Arc<dyn Connect + Send + Sync>,
}

impl Peers {
    /// Peers whose connections come from `connector`.
    pub(crate) fn new(connector: OriginConnector) -> Self {
        Self { connector: Arc::new(connector) }
    }

    /// The peer of an attempt, or nothing where the CA that it needs is not there, which screening prevents.
    pub(crate) fn peer(&self, settings: &PeerSettings<'_>, trust: &TrustByGroup) -> Option<Box<HttpPeer>> {
        let PeerSettings { origin, address, namespace, connect, idle } = settings;
        let mut options = PeerOptions::new();
        options.custom_l4 = Some(Arc::clone(&self.connector));
        // Of the TCP connection and the handshake together.
        options.total_connection_timeout = Some(*connect);
        options.read_timeout = Some(*idle);
        options.write_timeout = Some(*idle);
        options.idle_timeout = Some(UNUSED_LIMIT);
        match origin.protocol {
            OriginProtocol::Http1 => options.set_http_version(1, 1),
            // One stream a connection, so that a connection's guard guards one request.
            OriginProtocol::Http2 => options.set_http_version(2, 2),
        }
        let mut group = DefaultHasher::new();
        namespace.hash(&mut group);
        let (scheme, sni) = match &origin.tls {
            None => (Scheme::HTTP, String::new()),
            Some(tls) => {
                tls.group.hash(&mut group);
                if tls.ca_pem.is_some() {
                    options.ca = Some(Arc::clone(&trust.get(&tls.group)?.authorities));
                }
                (Scheme::HTTPS, tls.server_name.clone())
            }
        };
        Some(Box::new(HttpPeer {
            _address: (*address).into(),
            scheme,
            sni,
            proxy: None,
            client_cert_key: None,
            group_key: group.finish(),
            options,
        }))
    }
}
