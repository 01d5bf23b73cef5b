//! Endpoints as users write them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::host::mistake_in_exact_host;

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

#[cfg(test)]
mod tests;
