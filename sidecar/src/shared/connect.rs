//! Connections to a store: one server, the one that Sentinels know, or a cluster.

use std::path::PathBuf;
use std::time::Duration;

use headgate_snapshot::{RedisLayout, RedisServer, RedisTransport, RedisUrl};
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, TlsCertificates,
    TlsMode,
};

/// The longest that anyone waits for an answer.
pub(crate) const CALL_LIMIT: Duration = Duration::from_millis(250);
/// The longest that connecting may take, in which nobody waits but who connects.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Where the store is, and how one is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: RedisUrl,
    /// Read again for each connection, so that a new password needs no restart.
    pub(crate) password_file: Option<PathBuf>,
    /// Certificates that are trusted, absent: the system's. Read again for each connection.
    pub(crate) ca_file: Option<PathBuf>,
}

/// A connection. Copies share it, and their calls go one behind the other.
#[derive(Clone)]
pub(crate) enum Link {
    /// To one server.
    Server(MultiplexedConnection),
    /// To the servers of a cluster.
    Cluster(ClusterConnection),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot connect: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("no connection within {CONNECT_LIMIT:?}")]
    TimedOut,
}

impl Address {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Link, ConnectError> {
        let password = read(self.password_file.as_ref()).await?;
        let secrets = Secrets {
            password: password.as_deref().map(|text| text.trim_end_matches(['\r', '\n'])),
            trusted: read(self.ca_file.as_ref())
                .await?
                .map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem.into_bytes()) }),
        };
        match tokio::time::timeout(CONNECT_LIMIT, self.open(secrets)).await {
            Ok(link) => Ok(link?),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    async fn open(&self, secrets: Secrets<'_>) -> Result<Link, redis::RedisError> {
        let Secrets { password, trusted } = secrets;
        let RedisUrl { layout, transport, servers, user, database } = &self.url;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(CALL_LIMIT));
        let addresses = servers.iter().map(|server| address(server, *transport));
        match layout {
            RedisLayout::Single => {
                let mut login = RedisConnectionInfo::default().set_db(i64::from(*database));
                if let Some(user) = user {
                    login = login.set_username(user);
                }
                if let Some(password) = password {
                    login = login.set_password(password);
                }
                let mut last = None;
                for address in addresses {
                    let info = address.into_connection_info()?.set_redis_settings(login.clone());
                    let client = match &trusted {
                        Some(trusted) if *transport == RedisTransport::Tls => {
                            Client::build_with_tls(info, trusted.clone())?
                        }
                        Some(_) | None => Client::open(info)?,
                    };
                    match client.get_multiplexed_async_connection_with_config(&settings).await {
                        Ok(connection) => return Ok(Link::Server(connection)),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (redis::ErrorKind::InvalidClientConfig, "no server").into()))
            }
            RedisLayout::Sentinel { master } => {
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
                    .set_client_to_redis_db(i64::from(*database));
                if *transport == RedisTransport::Tls {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                    if let Some(trusted) = trusted {
                        builder = builder
                            .set_client_to_redis_certificates(trusted.clone())
                            .set_client_to_sentinel_certificates(trusted);
                    }
                }
                if let Some(user) = user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_redis_password(password);
                }
                let connection = builder.build()?.get_async_connection_with_config(&settings).await?;
                Ok(Link::Server(connection))
            }
            RedisLayout::Cluster => {
                let mut builder = ClusterClient::builder(addresses).retries(1);
                if *transport == RedisTransport::Tls {
                    builder = builder.tls(TlsMode::Secure);
                    if let Some(trusted) = trusted {
                        builder = builder.certs(trusted);
                    }
                }
                if let Some(user) = user {
                    builder = builder.username(user);
                }
                if let Some(password) = password {
                    builder = builder.password(password);
                }
                let settings =
                    ClusterConfig::new().set_connection_timeout(CONNECT_LIMIT).set_response_timeout(CALL_LIMIT);
                Ok(Link::Cluster(builder.build()?.get_async_connection_with_config(settings).await?))
            }
        }
    }
}

/// What one connection is opened with.
struct Secrets<'a> {
    password: Option<&'a str>,
    trusted: Option<TlsCertificates>,
}

async fn read(path: Option<&PathBuf>) -> Result<Option<String>, ConnectError> {
    let Some(path) = path else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await;
    text.map(Some).map_err(|source| ConnectError::File { path: path.clone(), source })
}

fn address(server: &RedisServer, transport: RedisTransport) -> ConnectionAddr {
    let RedisServer { host, port } = server.clone();
    match transport {
        RedisTransport::Plain => ConnectionAddr::Tcp(host, port),
        RedisTransport::Tls => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}
