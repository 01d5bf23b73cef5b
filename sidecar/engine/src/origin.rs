//! Compiled origins: where their endpoints come from, and how they are spoken to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::AddressRules;

use crate::endpoint::Endpoint;
use crate::pool::{Known, Member};
use crate::refusal::Mistake;
use crate::resolve::Resolutions;

/// A compiled origin.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name that the user gave.
    pub name: String,
    /// Lower first.
    pub priority: u32,
    /// Share among origins of one priority, 0 for none.
    pub weight: u32,
    /// `Host` to send in place of the client's.
    pub host_header: Option<String>,
    /// Absent: plain HTTP.
    pub tls: Option<Tls>,
    /// What is spoken to it.
    pub protocol: OriginProtocol,
    targets: Vec<Target>,
    unresolved: String,
}

/// How an origin is spoken to with TLS.
#[derive(Debug, PartialEq, Eq)]
pub struct Tls {
    /// Name in SNI and certificate, never empty.
    pub server_name: String,
    /// PEM certificates to trust, absent: the system's.
    pub ca_pem: Option<String>,
    /// Differs where connections must not be shared: a number made from the certificates to trust.
    pub group: u64,
}

/// What is spoken to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: prior knowledge on plain connections, ALPN on TLS.
    Http2,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Address(SocketAddr),
    Name(String, u16),
}

impl Origin {
    pub(crate) fn compile(origin: &wire::Origin, field: &str) -> Result<Self, Mistake> {
        let wire::Origin { name, endpoints, priority, weight, host_header, tls, protocol, unresolved } = origin;
        let targets = endpoints
            .iter()
            .enumerate()
            .map(|(index, wire::Endpoint { host, port })| {
                let field = format!("{field}.endpoints[{index}]");
                let port = u16::try_from(*port).ok().filter(|port| *port > 0);
                let port = port.ok_or_else(|| Mistake::invalid(&field, "not a port from 1 to 65535"))?;
                if host.is_empty() {
                    return Err(Mistake::invalid(&field, "neither an address nor a name"));
                }
                Ok(match host.parse::<IpAddr>() {
                    Ok(address) => Target::Address(SocketAddr::new(address, port)),
                    Err(_) => Target::Name(host.to_ascii_lowercase(), port),
                })
            })
            .collect::<Result<_, Mistake>>()?;
        let tls = match tls {
            Some(wire::OriginTls { server_name, .. }) if server_name.is_empty() => {
                // Without a name the certificate would not be verified.
                return Err(Mistake::invalid(format!("{field}.tls.serverName"), "must not be empty"));
            }
            Some(wire::OriginTls { server_name, ca_pem }) => Some(Tls::new(server_name, ca_pem)),
            None => None,
        };
        let protocol = match wire::OriginProtocol::try_from(*protocol) {
            Ok(wire::OriginProtocol::Http1 | wire::OriginProtocol::Unspecified) => OriginProtocol::Http1,
            Ok(wire::OriginProtocol::Http2) => OriginProtocol::Http2,
            Err(_) => {
                return Err(Mistake::invalid(format!("{field}.protocol"), "a protocol that this proxy does not know"));
            }
        };
        Ok(Self {
            name: name.clone(),
            priority: *priority,
            weight: *weight,
            host_header: (!host_header.is_empty()).then(|| host_header.clone()),
            tls,
            protocol,
            targets,
            unresolved: unresolved.clone(),
        })
    }

    /// The DNS names among the endpoints.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match target {
            Target::Address(_) => None,
            Target::Name(name, _) => Some(name.as_str()),
        })
    }

    /// The endpoints now: known ones are kept, new ones are made. Addresses were judged where users wrote them; those
    /// that a name stands for are judged here, and the ones refused are told.
    pub(crate) fn member(
        &self,
        known: &Known,
        next: &mut Known,
        resolutions: &Resolutions,
        rules: Option<&AddressRules>,
    ) -> Member {
        let mut addresses = Vec::new();
        let mut troubles: Vec<String> = Vec::new();
        if !self.unresolved.is_empty() {
            troubles.push(self.unresolved.clone());
        }
        for target in &self.targets {
            match target {
                Target::Address(address) => addresses.push(*address),
                Target::Name(name, port) => {
                    for address in resolutions.addresses(name) {
                        let address = SocketAddr::new(*address, *port);
                        match rules.and_then(|rules| rules.mistake(address)) {
                            Some(mistake) => troubles.push(format!("{name}: {mistake}")),
                            None => addresses.push(address),
                        }
                    }
                    troubles.extend(resolutions.trouble(name).map(|trouble| format!("{name}: {trouble}")));
                }
            }
        }
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let identity = (self.name.clone(), address);
            if next.endpoints.contains_key(&identity) {
                continue;
            }
            let endpoint = known.endpoints.get(&identity).cloned().unwrap_or_else(|| Arc::new(Endpoint::new(address)));
            next.endpoints.insert(identity, endpoint.clone());
            endpoints.push(endpoint);
        }
        let cursor = known.cursors.get(&self.name).cloned().unwrap_or_default();
        next.cursors.insert(self.name.clone(), cursor.clone());
        Member { endpoints, cursor, trouble: troubles.join("; ") }
    }
}

impl Tls {
    fn new(server_name: &str, ca_pem: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        ca_pem.hash(&mut hasher);
        Self {
            server_name: server_name.to_owned(),
            ca_pem: (!ca_pem.is_empty()).then(|| ca_pem.to_owned()),
            group: hasher.finish(),
        }
    }
}
