//! Listeners and the connections that come in on them.
//!
//! ```text
//! plan's frontends -> Listeners (bind, close) -> accept -> TLS handshake | sniff -> requests, one after the other
//! ```
//!
//! A listener is opened and closed as the plan says. Closing one leaves its connections alone: they are served by
//! the plan in force, whatever it says by then.

mod accept;
pub(crate) mod certificates;
pub(crate) mod connection;
mod sniff;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use headgate_engine::{FrontendId, Protocol};
use socket2::{Domain, Socket, Type};
use tokio::task::AbortHandle;

pub(crate) use accept::{Acceptance, Connections};

use crate::config::Frontends;

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: i32 = 1_024;

/// A listener that is open.
#[derive(Debug)]
struct Open {
    local: SocketAddr,
    accepting: AbortHandle,
}

/// The listeners of a proxy.
pub(crate) struct Listeners {
    frontends: Frontends,
    acceptance: Arc<Acceptance>,
    open: BTreeMap<FrontendId, Open>,
    /// What could not be bound, with the reason.
    failed: BTreeMap<FrontendId, String>,
}

impl Listeners {
    /// No listener yet.
    pub(crate) fn new(frontends: Frontends, acceptance: Arc<Acceptance>) -> Self {
        Self { frontends, acceptance, open: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Binds what is bound from the start.
    pub(crate) fn open_fixed(&mut self) -> Result<(), BindError> {
        let Frontends::Merged { http, https } = self.frontends.clone() else { return Ok(()) };
        let merged = [(Protocol::Http, Some(http)), (Protocol::Https, https)];
        for (protocol, address) in merged {
            if let Some(address) = address {
                self.open(merged_frontend(protocol), address).map_err(|source| BindError { address, source })?;
            }
        }
        Ok(())
    }

    /// Opens what the plan has and closes what it has no more, except `kept`.
    pub(crate) fn reconcile(&mut self, wanted: &[FrontendId], kept: &[FrontendId]) {
        let Frontends::ByPort { address, mapped } = self.frontends.clone() else { return };
        self.open.retain(|frontend, open| {
            let stays = wanted.contains(frontend) || kept.contains(frontend);
            if !stays {
                open.accepting.abort();
            }
            stays
        });
        self.failed.clear();
        for frontend in wanted {
            if self.open.contains_key(frontend) {
                continue;
            }
            let port = mapped.get(&frontend.port).copied().unwrap_or(frontend.port);
            let address = SocketAddr::new(address, port);
            if let Err(source) = self.open(*frontend, address) {
                let sentence = BindError { address, source }.to_string();
                tracing::warn!(reason = "ListenerNotBound", "{sentence}");
                self.failed.insert(*frontend, sentence);
            }
        }
    }

    fn open(&mut self, frontend: FrontendId, address: SocketAddr) -> io::Result<()> {
        let listener = bind(address)?;
        let local = listener.local_addr()?;
        let accepting = self.acceptance.start(listener, frontend)?;
        self.open.insert(frontend, Open { local, accepting });
        Ok(())
    }

    /// Closes all listeners.
    pub(crate) fn close(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.accepting.abort();
        }
    }

    /// Where each frontend is bound.
    pub(crate) fn addresses(&self) -> BTreeMap<FrontendId, SocketAddr> {
        self.open.iter().map(|(frontend, open)| (*frontend, open.local)).collect()
    }

    /// Why frontends of the plan are not bound.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }
}

/// The frontend that all listeners of a protocol are merged into.
fn merged_frontend(protocol: Protocol) -> FrontendId {
    let port = match protocol {
        Protocol::Http => 80,
        Protocol::Https => 443,
    };
    FrontendId { port, protocol }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A listening socket that does not block.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for connections of the past to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
