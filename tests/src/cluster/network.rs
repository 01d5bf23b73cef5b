//! Where the parts of a control plane listen.

use std::net::{Ipv4Addr, SocketAddr};

use crate::loopback;

/// Addresses of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// etcd, for the API server.
    pub etcd: SocketAddr,
    /// etcd, for other members, of which there are none.
    pub etcd_peers: SocketAddr,
    /// The API server.
    pub api: SocketAddr,
    /// The controller manager's own interface.
    pub controller_manager: SocketAddr,
}

impl Network {
    /// Well-known ports in a network namespace (see [`crate::namespace`]).
    pub fn own() -> Self {
        let at = |host, port| SocketAddr::from((Ipv4Addr::new(10, 77, 0, host), port));
        Self { etcd: at(3, 2379), etcd_peers: at(3, 2380), api: at(2, 6443), controller_manager: at(4, 10257) }
    }

    /// Free ports on loopback. The API server is then not in EndpointSlices, which refuse such addresses.
    pub fn loopback() -> Self {
        Self {
            etcd: loopback::socket(),
            etcd_peers: loopback::socket(),
            api: loopback::socket(),
            controller_manager: loopback::socket(),
        }
    }

    /// False where EndpointSlices refuse the API server's address.
    pub fn can_be_an_endpoint(&self) -> bool {
        !self.api.ip().is_loopback()
    }
}
