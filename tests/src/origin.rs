//! Origin servers.
//!
//! An origin answers every request with its name (header `X-Origin`) and a JSON body that says what it received. It
//! speaks HTTP/1.1, HTTP/2 with prior knowledge, TLS, WebSocket echo and gRPC health on the one port that it has.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while well, 503 while ill |
//! | `/delay/MS` | after so many milliseconds |
//! | `/status/CODE` | with this status |
//! | `/failed/COST` | 401, with the header `X-Cost` |
//! | `/stream/N` | N lines, 100 ms apart, headers at once |
//! | `/commands` | with `Headgate-*` and `Cache-Tag` headers |
//! | an upgrade to `websocket` | echoes every message |
//! | `/grpc.health.v1.Health/Check` | SERVING while well |

mod answer;
mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{JoinHandle, JoinSet},
};

use crate::loopback;

/// How an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers everything.
    Well,
    /// Says so to health checks, and answers all else.
    Ill,
    /// Answers everything, health checks too, so much later.
    Slow(Duration),
    /// Takes requests, health checks too, and never answers.
    Hanging,
    /// Answers health checks, and closes the connection on all else.
    Resetting,
    /// Answers health checks, and all else with this status.
    Failing(u16),
}

/// What an origin is and counts, shared with its connections.
pub(crate) struct State {
    name: String,
    mood: Mutex<Mood>,
    requests: AtomicU64,
    probes: AtomicU64,
    connections: AtomicU64,
    /// WebSockets outlive the HTTP connections that they came on.
    web_sockets: Mutex<JoinSet<()>>,
}

/// An origin server.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    tls: Option<Arc<ServerConfig>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Origin {
    /// Starts one on an address of its own.
    pub fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from((loopback::address(), 0)))
    }

    /// Starts one at this address.
    pub fn start_at(name: &str, address: SocketAddr) -> Self {
        Self::start_with(name, address, None)
    }

    /// Starts one that speaks TLS, on an address of its own.
    pub fn start_tls(name: &str, tls: Arc<ServerConfig>) -> Self {
        Self::start_with(name, SocketAddr::from((loopback::address(), 0)), Some(tls))
    }

    fn start_with(name: &str, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = listen(address).unwrap_or_else(|error| panic!("failed to listen on {address}: {error}"));
        let state = Arc::new(State {
            name: name.to_owned(),
            mood: Mutex::new(Mood::Well),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            web_sockets: Mutex::new(JoinSet::new()),
        });
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = Mutex::new(Some(tokio::spawn(server::serve(listener, state.clone(), tls.clone()))));
        Self { address, state, tls, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// From now on it is so.
    pub fn feels(&self, mood: Mood) {
        *self.state.mood.lock() = mood;
    }

    /// Requests so far, health checks apart.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Health checks so far.
    pub fn probes(&self) -> u64 {
        self.state.probes.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Dies as a killed process does: the port closes, connections break.
    pub async fn kill(&self) {
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.abort();
            // An aborted task gives an error; that it has ended is what counts.
            let _ = server.await;
        }
        self.state.web_sockets.lock().abort_all();
    }

    /// Lives again, on the same port.
    pub fn revive(&self) {
        let listener = listen(self.address).unwrap_or_else(|error| panic!("failed to revive {}: {error}", self.name()));
        *self.server.lock() = Some(tokio::spawn(server::serve(listener, self.state.clone(), self.tls.clone())));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().take() {
            server.abort();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // What is left of the connections of a life before must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}
