//! Opens connections to origins, each with a guard for its deadlines.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::connectors::l4::Connect;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _};
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::net::TcpStream;

use crate::listen::own::OwnListeners;
use crate::origin::guard::{Guard, Guards};

/// The connector that all peers share.
pub(crate) struct OriginConnector {
    guards: Arc<Guards>,
    own: Arc<OwnListeners>,
    /// Addresses of ours that were refused, each told once.
    told: Mutex<BTreeSet<SocketAddr>>,
}

impl OriginConnector {
    /// A connector whose connections are guarded by `guards`, and lead to none of our own listeners.
    pub(crate) fn new(guards: Arc<Guards>, own: Arc<OwnListeners>) -> Self {
        Self { guards, own, told: Mutex::default() }
    }

    /// Refuses a connection that would bring a request back to where it came from.
    fn refuse_own(&self, stream: &TcpStream) -> Result<()> {
        let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
        let (local, peer) = ends.or_err(ErrorType::ConnectError, "addresses of a connection to an origin")?;
        if !self.own.has(local, peer) {
            return Ok(());
        }
        let sentence = format!("{peer} is headgate's own listener, and no origin; name another endpoint");
        if self.told.lock().insert(peer) {
            tracing::warn!(reason = "ConnectFailed", "{sentence}");
        }
        Error::e_explain(ErrorType::ConnectError, sentence)
    }
}

impl fmt::Debug for OriginConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginConnector").finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for OriginConnector {
    /// The limit is the peer's `total_connection_timeout`, which covers the TLS handshake too.
    async fn connect(&self, address: &Address) -> Result<Stream> {
        let address = address
            .as_inet()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "origins have Internet addresses"))?;
        let stream = TcpStream::connect(address).await.or_err(ErrorType::ConnectError, "connect to an origin")?;
        self.refuse_own(&stream)?;
        let guard = self.guards.guard(&stream).or_err(ErrorType::SocketError, "second handle of a socket")?;
        let mut stream = Stream::from(stream);
        // Pingora keeps this value beside the connection and shows it for each request that the connection serves.
        // It is meant for connections through another proxy, hence the unused response.
        let unused = ResponseHeader::build_no_case(200, Some(0))?;
        stream.set_proxy_digest(ProxyDigest::new(Box::new(unused), Some(Box::new(guard))));
        Ok(stream)
    }
}

/// The guard of the connection that a request is about to use.
pub(crate) fn guard_of(digest: Option<&Digest>) -> Option<Arc<Guard>> {
    let user_data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
    user_data.downcast_ref::<Arc<Guard>>().cloned()
}
