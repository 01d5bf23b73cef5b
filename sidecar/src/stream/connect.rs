//! One connection to one replica: TCP, TLS under the name of the flag, HTTP/2 that notices a dead peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::OperatorAddress;

/// Until a connection is ready for a call.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Silence after which the peer is asked for a sign of life, and how long it may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// What a replica may send before it is read: a batch of a few thousand routes.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("`{0}` is no name of a server")]
    Name(String),
    #[error("{}", innermost(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// Connects to one address of a host.
pub(crate) async fn connect(
    operator: &OperatorAddress,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> Result<Channel, ConnectError> {
    let invalid = || ConnectError::Name(operator.host.clone());
    let name = ServerName::try_from(operator.host.clone()).map_err(|_| invalid())?;
    let connector = service_fn(move |_: Uri| {
        let (connector, name) = (TlsConnector::from(Arc::clone(&tls)), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("https://{operator}"))?
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// The cause at the bottom, which says what happened; those above it say that something did.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
