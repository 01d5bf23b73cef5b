//! Listeners and the connections that come in on them.
//!
//! ```text
//! plan's frontends -> Listeners (bind, close) -> accept -> TLS handshake | sniff -> requests, one after the other
//! ```
//!
//! A listener is opened and closed as the plan says. Closing one leaves its connections alone: they are served by
//! the plan in force, whatever it says by then. One that is not opened is refused to the Gateways that it belongs to.

mod accept;
mod buffered;
pub(crate) mod certificates;
pub(crate) mod connection;
pub(crate) mod own;
mod sniff;
mod unbound;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub(crate) use accept::{Acceptance, Connections};
use futures::future::join_all;
use headgate_engine::{FrontendId, Plan, Protocol};
use headgate_snapshot::Refusal;
use socket2::{Domain, Socket, Type};

use crate::config::Frontends;
use crate::listen::accept::Accepting;
use crate::listen::own::OwnListeners;
use crate::listen::unbound::{Unbound, refusals, reservation};

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: i32 = 1_024;

/// A listener that is open.
#[derive(Debug)]
struct Open {
    local: SocketAddr,
    accepting: Accepting,
}

/// The listeners of a proxy.
pub(crate) struct Listeners {
    frontends: Frontends,
    /// The port of the admin listener.
    admin: u16,
    acceptance: Arc<Acceptance>,
    /// Kept in step with `open`, for those who connect to origins.
    own: Arc<OwnListeners>,
    open: BTreeMap<FrontendId, Open>,
    /// What is not bound although it is wanted.
    unbound: BTreeMap<FrontendId, Unbound>,
    /// Set by a drain: whatever batches say, nothing is opened after it.
    closed: bool,
}

impl Listeners {
    /// No listener yet, beside the admin listener on its port.
    pub(crate) fn new(frontends: Frontends, admin: u16, acceptance: Arc<Acceptance>, own: Arc<OwnListeners>) -> Self {
        Self { frontends, admin, acceptance, own, open: BTreeMap::new(), unbound: BTreeMap::new(), closed: false }
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
    pub(crate) async fn reconcile(&mut self, wanted: &[FrontendId], kept: &[FrontendId]) {
        if self.closed || matches!(self.frontends, Frontends::Merged { .. }) {
            return;
        }
        let stays = |frontend: &FrontendId| wanted.contains(frontend) || kept.contains(frontend);
        let gone = self.open.extract_if(.., |frontend, _| !stays(frontend)).map(|(_, open)| open.accepting.close());
        // A port may be wanted again for another protocol, which needs it to be free.
        join_all(gone).await;
        self.own.set(self.open.values().map(|open| open.local).collect());
        let told = std::mem::take(&mut self.unbound);
        for frontend in wanted {
            self.open_as_planned(*frontend);
        }
        self.tell_beyond(&told);
    }

    /// Tries what could not be bound once more. Says whether there was anything to try.
    pub(crate) fn bind_failed(&mut self) -> bool {
        let told = self.unbound.clone();
        let failed: Vec<FrontendId> = self
            .unbound
            .extract_if(.., |_, why| matches!(why, Unbound::Failed(_)))
            .map(|(frontend, _)| frontend)
            .collect();
        for frontend in &failed {
            self.open_as_planned(*frontend);
        }
        self.tell_beyond(&told);
        !failed.is_empty()
    }

    fn tell_beyond(&self, told: &BTreeMap<FrontendId, Unbound>) {
        for (_, why) in self.unbound.iter().filter(|(frontend, why)| told.get(frontend) != Some(why)) {
            tracing::warn!(reason = why.reason(), "{}", why.sentence());
        }
    }

    /// Opens a frontend where the plan has it, unless it is open, or notes why it is not.
    fn open_as_planned(&mut self, frontend: FrontendId) {
        let Frontends::ByPort { address, mapped } = &self.frontends else { return };
        if self.open.contains_key(&frontend) {
            return;
        }
        if let Some(sentence) = reservation(frontend.port, mapped, self.admin) {
            self.unbound.insert(frontend, Unbound::Reserved(sentence));
            return;
        }
        let port = mapped.get(&frontend.port).copied().unwrap_or(frontend.port);
        let address = SocketAddr::new(*address, port);
        if let Err(source) = self.open(frontend, address) {
            self.unbound.insert(frontend, Unbound::Failed(BindError { address, source }.to_string()));
        }
    }

    fn open(&mut self, frontend: FrontendId, address: SocketAddr) -> io::Result<()> {
        let listener = bind(address)?;
        let local = listener.local_addr()?;
        let accepting = self.acceptance.start(listener, frontend)?;
        self.open.insert(frontend, Open { local, accepting });
        self.own.set(self.open.values().map(|open| open.local).collect());
        Ok(())
    }

    /// Closes all listeners for good. Every connection that reached one is counted after this.
    pub(crate) async fn close(&mut self) {
        self.closed = true;
        self.unbound.clear();
        join_all(std::mem::take(&mut self.open).into_values().map(|open| open.accepting.close())).await;
    }

    /// Where each frontend is bound.
    pub(crate) fn addresses(&self) -> BTreeMap<FrontendId, SocketAddr> {
        self.open.iter().map(|(frontend, open)| (*frontend, open.local)).collect()
    }

    /// What the system does not give, each a sentence.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.unbound.values().filter(|why| matches!(why, Unbound::Failed(_))).map(Unbound::sentence)
    }

    /// What is refused to Gateways of the plan because their listeners are not bound.
    pub(crate) fn refusals(&self, plan: &Plan) -> Vec<Refusal> {
        refusals(&self.unbound, plan)
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
