//! The addresses that this proxy listens on, so that no connection to an origin leads back to them.
//!
//! A pool that names a listener of the proxy itself would send a request in a circle until there are no descriptors
//! left. Whether an address is one of this machine is known best when a connection to it is open: such a connection
//! has the same address at both ends.

use std::net::{IpAddr, SocketAddr};

use parking_lot::RwLock;

/// Addresses of open listeners.
#[derive(Debug, Default)]
pub(crate) struct OwnListeners {
    addresses: RwLock<Vec<SocketAddr>>,
}

impl OwnListeners {
    /// Takes the listeners that are open now.
    pub(crate) fn set(&self, addresses: Vec<SocketAddr>) {
        *self.addresses.write() = addresses;
    }

    /// Whether a connection has one of them at its other end.
    pub(crate) fn has(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let (local, peer_ip) = (local.ip().to_canonical(), peer.ip().to_canonical());
        let is_here = |listener: IpAddr| {
            listener == peer_ip || listener.is_unspecified() && (peer_ip.is_loopback() || peer_ip == local)
        };
        let addresses = self.addresses.read();
        addresses.iter().any(|listener| listener.port() == peer.port() && is_here(listener.ip().to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listener: &str, local: &str, peer: &str, expected: bool) {
        let own = OwnListeners::default();
        own.set(vec![listener.parse().unwrap()]);
        assert_eq!(own.has(local.parse().unwrap(), peer.parse().unwrap()), expected, "{listener} {local} {peer}");
    }

    #[test]
    fn a_listener_of_ours_is_known_by_whatever_address_of_the_machine() {
        check("127.0.0.1:8080", "127.0.0.1:40000", "127.0.0.1:8080", true);
        check("0.0.0.0:8080", "127.0.0.1:40000", "127.0.0.1:8080", true);
        check("0.0.0.0:8080", "192.0.2.1:40000", "192.0.2.1:8080", true);
        check("[::]:8080", "[::ffff:192.0.2.1]:40000", "[::ffff:192.0.2.1]:8080", true);
        check("[::]:8080", "[2001:db8::1]:40000", "[2001:db8::1]:8080", true);
    }

    #[test]
    fn other_ports_and_other_machines_are_origins_as_any() {
        check("127.0.0.1:8080", "127.0.0.1:40000", "127.0.0.1:8081", false);
        check("127.0.0.1:8080", "127.0.0.1:40000", "127.0.0.2:8080", false);
        check("0.0.0.0:8080", "192.0.2.1:40000", "192.0.2.2:8080", false);
    }
}
