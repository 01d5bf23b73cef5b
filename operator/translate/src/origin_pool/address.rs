//! Endpoints that users write, and which addresses they may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::host::mistake_in_exact_host;
use crate::inputs::AddressPolicy;

/// What a user wrote as an endpoint.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Written {
    /// An address.
    Address(SocketAddr),
    /// A name for DNS, in lower case.
    Name(String, u16),
    /// The DNS name of a Service: `chat.default.svc`.
    Service { namespace: String, name: String, port: u16 },
}

const EXAMPLES: &str = "such as 192.0.2.7:8080, [2001:db8::7]:443 or origin.example.com:443";

/// Reads an endpoint, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Written, String> {
    if text.contains("://") {
        return Err(format!("\"{text}\" is a URL; write host and port only, {EXAMPLES}"));
    }
    if text.contains('/') {
        return Err(format!("\"{text}\" has a path; write host and port only, {EXAMPLES}"));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Err(format!(
            "\"{text}\" is an IPv6 address without brackets and port; write [{address}]:443 for instance"
        ));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => return Err(format!("\"{text}\" has no port; write one, {EXAMPLES}")),
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 && !text.ends_with(&format!("+{port}")) => port,
        _ => return Err(format!("\"{port}\" is no port; write a number from 1 to 65535")),
    };
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        let address =
            address.ok_or_else(|| format!("\"{host}\" is no IPv6 address; write one in brackets, {EXAMPLES}"))?;
        return Ok(Written::Address(SocketAddr::new(address.into(), port)));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("\"{text}\" is an IPv6 address without brackets; write [{host}]:{port}"));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Written::Address(SocketAddr::new(address.into(), port)));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    // A last label of digits makes a name an address for every resolver (RFC 3696, section 2).
    if mistake_in_exact_host(&name).is_some() || name.rsplit('.').next().is_some_and(is_number) {
        return Err(format!("\"{host}\" is neither an address nor a DNS name; write one, {EXAMPLES}"));
    }
    Ok(match service(&name) {
        Some((name, namespace)) => Written::Service { namespace: namespace.to_owned(), name: name.to_owned(), port },
        None => Written::Name(name, port),
    })
}

/// Service and namespace of `chat.default.svc`, with or without the domain of the cluster.
fn service(host: &str) -> Option<(&str, &str)> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => Some((name, namespace)),
        _ => None,
    }
}

/// Why an address must not be an origin.
pub(super) fn mistake(address: SocketAddr, policy: &AddressPolicy) -> Option<String> {
    let ip = embedded(address.ip());
    let class = Class::of(ip);
    if let Class::Never(what) = class {
        return Some(format!("{} is {what}, which is nobody's; write the address of the origin", address.ip()));
    }
    let (allowed, denied) = match policy {
        // Credentials of a cloud machine are served there, to whoever can make the machine ask.
        AddressPolicy::Any => {
            return matches!(class, Class::LinkLocal).then(|| {
                format!("{} is a link-local address, which is never an origin; write another address", address.ip())
            });
        }
        AddressPolicy::Public { allowed, denied } => (allowed, denied),
    };
    if denied.iter().any(|denied| embedded(denied.ip()) == ip && denied.port() == address.port()) {
        return Some(format!(
            "{address} belongs to the control plane, which is never an origin; write another address"
        ));
    }
    match class {
        Class::Public | Class::Never(_) => None,
        Class::Inner(_) | Class::LinkLocal if allowed.iter().any(|network| network.contains(&ip)) => None,
        Class::Inner(what) => Some(needs_leave(address.ip(), what)),
        Class::LinkLocal => Some(needs_leave(address.ip(), "a link-local address")),
    }
}

fn needs_leave(ip: IpAddr, what: &str) -> String {
    format!(
        "{ip} is {what}; write a public address, name a Service instead, or have the operator started with \
         --allow-origins for it"
    )
}

/// What an address is, as far as it matters here.
#[derive(Clone, Copy, Debug)]
enum Class {
    Public,
    Inner(&'static str),
    LinkLocal,
    Never(&'static str),
}

impl Class {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                match (first, second) {
                    (0, _) => Self::Never("an unspecified address"),
                    (224..=239, _) => Self::Never("a multicast address"),
                    (240..=255, _) => Self::Never("a reserved address"),
                    (127, _) => Self::Inner("a loopback address"),
                    (169, 254) => Self::LinkLocal,
                    (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) => Self::Inner("a private address"),
                    _ => Self::Public,
                }
            }
            IpAddr::V6(ip) if ip.is_unspecified() => Self::Never("an unspecified address"),
            IpAddr::V6(ip) if ip.is_multicast() => Self::Never("a multicast address"),
            IpAddr::V6(ip) if ip.is_loopback() => Self::Inner("a loopback address"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Inner("a private address"),
            IpAddr::V6(_) => Self::Public,
        }
    }
}

/// The IPv4 address inside an IPv6 address that leads to it (mapped, NAT64), else the address itself.
fn embedded(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                let [.., a, b, c, d] = ip.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            _ => ip.into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
