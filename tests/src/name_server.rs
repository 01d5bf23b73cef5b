//! A DNS server that knows a few names, and can be slow.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinHandle};

use crate::{clock, loopback};

const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
/// What the tests change must be asked for again soon.
const TTL_SECONDS: u32 = 1;

#[derive(Default)]
struct Zone {
    names: Mutex<BTreeMap<String, Vec<Ipv4Addr>>>,
    delay: Mutex<Duration>,
    queries: AtomicU64,
}

/// A running DNS server.
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    server: JoinHandle<()>,
}

impl NameServer {
    /// Starts with no names: everything is unknown.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((loopback::address(), 0)).await.expect("failed to bind a port on loopback");
        let address = socket.local_addr().expect("a bound socket has an address");
        let zone = Arc::new(Zone::default());
        let server = tokio::spawn(serve(Arc::new(socket), zone.clone()));
        Self { address, zone, server }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name these addresses; none: the name is unknown.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.zone.names.lock().insert(name.to_owned(), addresses.to_vec());
    }

    /// Answers every query so much later.
    pub fn slow_down(&self, delay: Duration) {
        *self.zone.delay.lock() = delay;
    }

    /// Queries so far.
    pub fn queries(&self) -> u64 {
        self.zone.queries.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: Arc<UdpSocket>, zone: Arc<Zone>) {
    let mut buffer = [0; 512];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        zone.queries.fetch_add(1, Ordering::Relaxed);
        let Some(reply) = reply(&buffer[..length], &zone.names.lock()) else { continue };
        let (socket, delay) = (socket.clone(), *zone.delay.lock());
        tokio::spawn(async move {
            clock::pass(delay).await;
            // The asker may be gone.
            let _ = socket.send_to(&reply, peer).await;
        });
    }
}

/// The answer to a query with one question, as RFC 1035 section 4 lays it out.
fn reply(query: &[u8], names: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(HEADER_BYTES..at + 4)?;
    let asks_for = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let known = names.get(&labels.join(".")).filter(|addresses| !addresses.is_empty());
    let answers: &[Ipv4Addr] = match known {
        Some(addresses) if asks_for == TYPE_A => addresses,
        Some(_) | None => &[],
    };

    let mut reply = query.get(..2)?.to_vec();
    // An authoritative answer; response code 3 says that there is no such name.
    reply.extend([0x84, if known.is_some() { 0 } else { 3 }]);
    reply.extend([0, 1, 0, u8::try_from(answers.len()).ok()?, 0, 0, 0, 0]);
    reply.extend(question);
    for address in answers {
        // The name is a pointer to the question's.
        reply.extend([0xC0, 0x0C, 0, 1, 0, 1]);
        reply.extend(TTL_SECONDS.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}
