//! What is known of a client's connection, kept beside it for all of its requests.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use headgate_engine::FrontendId;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _, GetSocketDigest as _, SocketDigest};
use tokio::net::TcpStream;

use crate::listen::buffered::Buffered;

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it came in.
    pub(crate) frontend: FrontendId,
    /// Who opened it.
    pub(crate) peer: SocketAddr,
    /// The name that the client asked for in its TLS handshake, lower case. Unset before the handshake, and where
    /// the client named none.
    pub(crate) server_name: OnceLock<String>,
}

impl Connection {
    /// A connection whose handshake, if it needs one, is still to come.
    pub(crate) fn new(frontend: FrontendId, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self { frontend, peer, server_name: OnceLock::new() })
    }

    /// Pingora's stream over a socket, with this value attached to it.
    pub(crate) fn attach(self: &Arc<Self>, socket: TcpStream) -> pingora::Result<Buffered> {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let mut stream = Buffered::new(pingora::protocols::l4::stream::Stream::from(socket));
        let digest = SocketDigest::from_raw_fd(descriptor);
        // Told here, so that nobody asks the kernel again.
        let _ = digest.peer_addr.set(Some(self.peer.into()));
        stream.set_socket_digest(digest);
        let unused = ResponseHeader::build_no_case(200, Some(0))?;
        stream.set_proxy_digest(ProxyDigest::new(Box::new(unused), Some(Box::new(Arc::clone(self)))));
        Ok(stream)
    }

    /// The connection that a request came in on.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<&Arc<Self>> {
        let user_data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        user_data.downcast_ref::<Arc<Self>>()
    }
}
