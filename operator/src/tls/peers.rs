//! How many connections each address has open, so that none keeps the others out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts connections by the address of their peer, up to a bound for each.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    most: usize,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A connection that counts as long as this lives.
#[derive(Debug)]
pub(super) struct Admitted {
    peer: IpAddr,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Peers {
    /// No connection yet. `most`: connections of one address.
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts one more connection of an address, absent where it has as many as it may.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Admitted> {
        // An IPv4 address is the same one on a socket of IPv6.
        let peer = peer.to_canonical();
        let mut open = self.open.lock();
        let count = open.entry(peer).or_default();
        (*count < self.most).then(|| {
            *count += 1;
            Admitted { peer, open: Arc::clone(&self.open) }
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_connections_of_its_own_and_gets_them_back() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let peers = Peers::new(2);
        let one = peers.admit(address("192.0.2.1")).unwrap();
        let other = peers.admit(address("::ffff:192.0.2.1")).unwrap();
        assert!(peers.admit(address("192.0.2.1")).is_none());
        assert!(peers.admit(address("192.0.2.2")).is_some());
        drop(one);
        let again = peers.admit(address("192.0.2.1"));
        assert!(again.is_some());
        drop((other, again));
        assert!(peers.open.lock().is_empty());
    }
}
