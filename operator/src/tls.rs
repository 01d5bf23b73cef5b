//! TLS listeners whose certificate may change while they listen.
//!
//! One loop accepts, and each handshake is a task of its own with a limit: whoever connects and says nothing delays
//! nobody. At most [`MOST_CONNECTIONS`] are open at once; further ones wait in the kernel's queue. An address has at
//! most [`MOST_OF_A_PEER`] of them; its further ones are closed at once.

mod peers;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::Stream;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use peers::{Admitted, Peers};

/// The certificate that is served from now on; nothing: none yet, and handshakes fail.
pub type Serving = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// Protocol of the stream, for the negotiation of TLS.
pub const HTTP_2: &[u8] = b"h2";
/// Protocol of the API, for the negotiation of TLS.
pub const HTTP_1: &[u8] = b"http/1.1";

/// Most open connections of one listener.
pub const MOST_CONNECTIONS: usize = 8_192;

/// Most open connections of one listener to one address. A node may send all its proxies from one address, and has
/// room for a few hundred pods.
pub const MOST_OF_A_PEER: usize = 512;

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait for their server.
const BACKLOG: usize = 16;
/// Pause after the system had no more descriptors.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Current(Serving);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

/// A configuration that serves whatever certificate is current at the time of a handshake.
pub fn server_config(serving: Serving, protocol: &[u8]) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the TLS library has no protocol versions")?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Current(serving)));
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// Accepts TLS connections: a stream of them.
#[derive(Debug)]
pub struct TlsListener {
    accepted: mpsc::Receiver<Secured>,
    local: SocketAddr,
}

impl TlsListener {
    /// Starts to accept. It ends when the listener is dropped.
    pub fn start(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (accepted, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(accept(listener, TlsAcceptor::from(config), Peers::new(MOST_OF_A_PEER), accepted));
        Ok(Self { accepted: receiver, local })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, peers: Peers, accepted: mpsc::Sender<Secured>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Nobody closes the semaphore.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (connection, peer) = tokio::select! {
            connection = listener.accept() => match connection {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(EXHAUSTION_PAUSE).await;
                    continue;
                }
            },
            () = accepted.closed() => return,
        };
        let Some(admitted) = peers.admit(peer.ip()) else {
            tracing::debug!(%peer, "closed at once: the address has too many connections");
            continue;
        };
        let place = Place { _permit: permit, _admitted: admitted };
        tokio::spawn(shake_hands(acceptor.clone(), connection, peer, place, accepted.clone()));
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    connection: TcpStream,
    peer: SocketAddr,
    place: Place,
    accepted: mpsc::Sender<Secured>,
) {
    // Small messages go out at once; where that cannot be set they go out a little later.
    let _ = connection.set_nodelay(true);
    match timeout(HANDSHAKE_LIMIT, acceptor.accept(connection)).await {
        // Nobody receives any more when the server has stopped.
        Ok(Ok(stream)) => drop(accepted.send(Secured { stream, _place: place }).await),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

impl Stream for TlsListener {
    type Item = io::Result<Secured>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(context).map(|accepted| accepted.map(Ok))
    }
}

/// What a connection takes of the bounds, until this is dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _admitted: Admitted,
}

/// One connection after its handshake.
#[derive(Debug)]
pub struct Secured {
    stream: TlsStream<TcpStream>,
    _place: Place,
}

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;

    /// Whether a connection is answered, if only by a TLS alert, and not closed at once.
    async fn is_answered(mut connection: TcpStream) -> bool {
        let mut answer = [0];
        // Where it is closed already either may fail.
        let said = connection.write_all(b"this is no TLS").await;
        said.is_ok() && matches!(connection.read(&mut answer).await, Ok(1))
    }

    #[tokio::test]
    async fn an_address_with_too_many_connections_keeps_nobody_else_out() {
        let (_serving, served) = watch::channel(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(server_config(served, HTTP_1).unwrap());
        let (accepted, _receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(accept(listener, acceptor, Peers::new(2), accepted));

        let open = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        assert!(!is_answered(TcpStream::connect(address).await.unwrap()).await);
        let elsewhere = TcpSocket::new_v4().unwrap();
        elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        assert!(is_answered(elsewhere.connect(address).await.unwrap()).await);
        drop(open);
        let again = async { while !is_answered(TcpStream::connect(address).await.unwrap()).await {} };
        assert!(timeout(HANDSHAKE_LIMIT, again).await.is_ok());
    }
}
