//! The listener: TLS with files that may change, HTTP/2, bounds.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::access::Gatekeeper;
use super::service::Limits;
use crate::listen::bind;
use crate::rate_limit::Application;

/// Open connections. A proxy keeps a few.
const MOST_CONNECTIONS: usize = 1_024;
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait for their server.
const BACKLOG: usize = 16;
/// Pause after the system had no more descriptors.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at whether the certificate has changed.
const RENEWAL_PERIOD: Duration = Duration::from_secs(10);
/// Between two signs of life that a peer is asked for.
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(20);
/// Largest request, in bytes.
const LARGEST_HEADERS: u32 = 32 * 1_024;

/// Where Envoy's rate limit service is served, and with which certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq, clap::Args)]
pub struct EnvoySettings {
    /// Where Envoy's rate limit service is served (gRPC with TLS) [default: nowhere]
    #[arg(long, value_name = "ADDR", requires_all = ["rls_cert", "rls_key"])]
    pub rls_listen: Option<SocketAddr>,

    /// File with its certificate and those that signed it, in PEM. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "rls_listen")]
    pub rls_cert: Option<PathBuf>,

    /// File with the certificate's key, in PEM. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "rls_listen")]
    pub rls_key: Option<PathBuf>,
}

/// Why the service cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// The address cannot be listened on.
    #[error("cannot listen on --rls-listen {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {cause}", path.display())]
    File {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate and key do not belong together.
    #[error("--rls-cert and --rls-key cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// The files of a certificate, and what was in them last.
#[derive(Debug)]
struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Certificate {
    fn new(cert: &Path, key: &Path) -> Result<Self, EnvoyError> {
        let current = ArcSwap::new(read(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Takes over what is in the files now, for ever. What cannot be used is told once.
    async fn follow(&self) {
        let mut looks = interval(RENEWAL_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            looks.tick().await;
            match read(&self.cert, &self.key) {
                Ok(pair) if pair.cert == self.current.load().cert => told = None,
                Ok(pair) => {
                    tracing::info!("the rate limit service has a new certificate");
                    self.current.store(pair);
                    told = None;
                }
                Err(error) => {
                    let sentence = error.to_string();
                    if told.as_ref() != Some(&sentence) {
                        tracing::warn!("{sentence}; the certificate before stays in use");
                        told = Some(sentence);
                    }
                }
            }
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, EnvoyError> {
    let mistake = |flag, path: &Path, cause: &dyn ToString| EnvoyError::File {
        flag,
        path: path.to_owned(),
        cause: cause.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| mistake("--rls-cert", cert, &error))?;
    if chain.is_empty() {
        return Err(mistake("--rls-cert", cert, &"it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| mistake("--rls-key", key, &error))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map(Arc::new).map_err(EnvoyError::Pair)
}

/// Binds the address, and gives what serves the limits of an application there for ever; nothing where there is no
/// address.
pub(crate) fn serve(
    settings: &EnvoySettings,
    application: Application,
    gatekeeper: Gatekeeper,
) -> Result<Option<impl Future<Output = ()> + Send + use<>>, EnvoyError> {
    let EnvoySettings { rls_listen: Some(address), rls_cert: Some(cert), rls_key: Some(key) } = settings else {
        return Ok(None);
    };
    let address = *address;
    let certificate = Arc::new(Certificate::new(cert, key)?);
    let listener = bind(address).map_err(|source| EnvoyError::Bind { address, source })?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(EnvoyError::Pair)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (accepted, connections) = mpsc::channel(BACKLOG);
    let service = Limits { application, gatekeeper: Arc::new(gatekeeper) };
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_PERIOD))
        .http2_max_header_list_size(LARGEST_HEADERS)
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(connections).map(Ok::<_, io::Error>));
    Ok(Some(async move {
        // Here it belongs to the threads that serve requests.
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the rate limit service cannot listen"),
        };
        tokio::select! {
            () = accept(listener, TlsAcceptor::from(Arc::new(tls)), accepted) => {}
            () = certificate.follow() => {}
            ended = server => if let Err(error) = ended {
                tracing::error!(%error, "the rate limit service has stopped");
            }
        }
    }))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, accepted: mpsc::Sender<Secured>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Nobody closes the semaphore.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(EXHAUSTION_PAUSE).await;
                continue;
            }
        };
        tokio::spawn(shake_hands(acceptor.clone(), connection, permit, accepted.clone()));
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    connection: TcpStream,
    permit: OwnedSemaphorePermit,
    accepted: mpsc::Sender<Secured>,
) {
    // Small messages go out at once; where that cannot be set they go out a little later.
    let _ = connection.set_nodelay(true);
    match timeout(HANDSHAKE_LIMIT, acceptor.accept(connection)).await {
        // Nobody receives any more when the server has stopped.
        Ok(Ok(stream)) => drop(accepted.send(Secured { stream, _permit: permit }).await),
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

/// One connection after its handshake.
struct Secured {
    stream: TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
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
