//! The names that the serving certificate is for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Name of the operator's Service.
const SERVICE: &str = "headgate-operator";

/// DNS names of the Service in a namespace and of the pods behind it, `localhost`, and the addresses that are listened
/// on; an unspecified one stands for all of `local`.
pub fn serving_names(
    namespace: &str,
    listening: &[SocketAddr],
    local: impl IntoIterator<Item = IpAddr>,
) -> BTreeSet<String> {
    let in_namespace = format!("{SERVICE}.{namespace}");
    let service = [format!("{in_namespace}.svc.cluster.local"), format!("{in_namespace}.svc"), in_namespace];
    let pods = service.iter().map(|name| format!("*.{name}"));
    let mut names: BTreeSet<String> = pods.chain(service.iter().cloned()).collect();
    names.extend([SERVICE.to_owned(), "localhost".to_owned()]);

    let local: Vec<IpAddr> = local.into_iter().collect();
    for address in listening.iter().map(SocketAddr::ip) {
        if !address.is_unspecified() {
            names.insert(address.to_canonical().to_string());
            continue;
        }
        // An unspecified IPv6 address takes connections to IPv4 addresses as well.
        let taken = |candidate: &&IpAddr| candidate.is_ipv4() || address.is_ipv6();
        names.extend(local.iter().filter(taken).map(IpAddr::to_string));
        names.insert(Ipv4Addr::LOCALHOST.to_string());
        if address.is_ipv6() {
            names.insert(Ipv6Addr::LOCALHOST.to_string());
        }
    }
    names
}

/// The addresses of this machine, or of this pod. Link-local ones are nobody's way to an operator.
pub fn local_addresses() -> Vec<IpAddr> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "cannot list local addresses; the serving certificate covers names only");
            return Vec::new();
        }
    };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        v4.or_else(v6)
    });
    let is_link_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    addresses.filter(|address| !is_link_local(address)).collect()
}
