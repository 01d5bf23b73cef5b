//! Addresses of our own on loopback.
//!
//! Every address of 127.0.0.0/8 is this machine. Each process of tests claims a /24 of it and gives every server an
//! address of its own, so that two servers never compete for a port, a dead origin's port is still free when it comes
//! back, and outgoing connections (which leave from 127.0.0.1) never take a port that a server is about to bind.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use parking_lot::Mutex;
use rand::RngExt;

/// Holding this port on the last address of a /24 is what claims it.
const CLAIM_PORT: u16 = 4747;
const CLAIM_HOST: u8 = 254;

struct Subnet {
    /// Kept open for as long as the process lives.
    _claim: TcpListener,
    octets: [u8; 2],
    next_host: u8,
}

static SUBNET: Mutex<Option<Subnet>> = Mutex::new(None);

/// An address that nothing of this machine has used since this process started.
pub fn address() -> Ipv4Addr {
    let mut guard = SUBNET.lock();
    if guard.as_ref().is_none_or(|subnet| subnet.next_host == CLAIM_HOST) {
        *guard = Some(claim());
    }
    let subnet = guard.as_mut().expect("claimed above");
    let host = subnet.next_host;
    subnet.next_host += 1;
    Ipv4Addr::new(127, subnet.octets[0], subnet.octets[1], host)
}

/// A socket address on an address of its own.
pub fn socket() -> SocketAddr {
    let listener = TcpListener::bind((address(), 0)).expect("failed to bind a port on loopback");
    listener.local_addr().expect("a bound socket has an address")
}

fn claim() -> Subnet {
    for _ in 0..1000 {
        let octets = [rand::rng().random_range(64..=254), rand::rng().random()];
        if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, octets[0], octets[1], CLAIM_HOST), CLAIM_PORT)) {
            return Subnet { _claim: claim, octets, next_host: 1 };
        }
    }
    panic!("failed to claim a /24 of 127.0.0.0/8; is port {CLAIM_PORT} taken on every address?");
}
