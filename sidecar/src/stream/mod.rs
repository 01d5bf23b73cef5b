//! The proxy's side of the stream: configuration from the operator, reports to it.
//!
//! ```text
//! Addresses (DNS) -> one Session a replica: dial (TLS, token) -> Hello -> messages -.
//!                        ^  Follow, Inventory, Token, Goodbye, reports               | events
//!                        '----------------- Follower <-------------------------------'
//!                                              |  Allegiance decides whom to follow
//!                                              '-> Proxy::apply_all
//! ```
//!
//! The follower is one task: it alone decides and applies, in the order in which it hears. The sessions answer pings,
//! so that a proxy that is busy with a large batch is not called silent, and send the newest report whenever the
//! replica takes one.
//!
//! Invariants: a stream that breaks withdraws nothing; only the follower applies batches; the token is in no log.

mod addresses;
mod allegiance;
mod backoff;
mod connect;
mod credentials;
mod follower;
mod replicas;
mod session;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use headgate_engine::FEATURES;
use headgate_snapshot::{Hello, ProxyRole};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::proxy::Proxy;
use addresses::Addresses;
pub use credentials::CredentialError;
use credentials::Credentials;
use follower::{Follower, MOST_EVENTS, Told};
pub(crate) use replicas::Replicas;
use session::{Session, left};

/// How long the end waits for every replica to take the goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// Where replicas of the operator are: each address of the host is one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OperatorAddress {
    /// DNS name or IP address (no brackets). The certificates of the replicas must cover it.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for OperatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for OperatorAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mistake =
            || format!("`{text}` is not HOST:PORT; write it as in headgate-operator.headgate-system.svc:9443");
        let (host, port) = text.rsplit_once(':').ok_or_else(mistake)?;
        let port: u16 = port.parse().map_err(|_| mistake())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let names_a_server = rustls_pki_types::ServerName::try_from(host).is_ok();
        if port == 0 || !names_a_server {
            return Err(mistake());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// What a proxy is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Ingress for many hosts.
    Gateway,
    /// In front of one pod.
    Sidecar,
}

/// How a proxy reaches the operator, and what it says of itself.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Where the replicas are. Names are resolved again and again.
    pub operators: Vec<OperatorAddress>,
    /// PEM certificates that are trusted to sign those of the replicas. Read again for each connection.
    pub ca: PathBuf,
    /// The bearer token. Read again for each connection, and every [`StreamConfig::token_period`].
    pub token: PathBuf,
    /// Between two looks at whether the token has changed.
    pub token_period: Duration,
    /// What the proxy is for.
    pub role: Role,
    /// Gateways to serve, as `namespace/name`; empty: all. Role gateway only.
    pub gateways: Vec<String>,
}

impl StreamConfig {
    /// A gateway for all Gateways.
    pub fn new(operators: Vec<OperatorAddress>, ca: PathBuf, token: PathBuf) -> Self {
        let token_period = Duration::from_secs(10);
        Self { operators, ca, token, token_period, role: Role::Gateway, gateways: Vec::new() }
    }
}

/// What keeps a proxy in step with the operator. Dropping it breaks the streams; the proxy keeps what it has.
pub struct Streams {
    leaving: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Streams {
    /// Reads the credentials and begins to look for replicas. Everything after that is tried again until it succeeds;
    /// so are the credentials where the proxy serves a plan already, which no bad file may take away.
    pub fn start(proxy: Arc<Proxy>, config: StreamConfig) -> Result<Self, CredentialError> {
        let (leaving, is_leaving) = watch::channel(false);
        let mut tasks = JoinSet::new();
        match Credentials::read(&config.ca, &config.token) {
            Ok(credentials) => tasks.spawn(follow(proxy, config, credentials, is_leaving)),
            Err(mistake) if !proxy.serves_a_plan() => return Err(mistake),
            Err(mistake) => {
                tracing::warn!("{mistake}; serving the last plan without the operator, and trying again");
                tasks.spawn(follow_once_readable(proxy, config, mistake, is_leaving))
            }
        };
        Ok(Self { leaving, tasks })
    }

    /// Tells every replica that the proxy stops, and ends the streams.
    pub async fn say_goodbye(mut self) {
        self.leaving.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GOODBYE_LIMIT, ended).await.is_err() {
            tracing::debug!("not every replica of the operator took the goodbye in time");
        }
    }
}

/// Follows the operator as soon as there are credentials, unless the proxy leaves before. A mistake is told once.
async fn follow_once_readable(
    proxy: Arc<Proxy>,
    config: StreamConfig,
    mistake: CredentialError,
    mut leaving: watch::Receiver<bool>,
) {
    let (mut failures, mut told) = (1u32, mistake.to_string());
    let credentials = loop {
        tokio::select! {
            () = sleep(backoff::pause(failures, rand::random())) => {}
            () = left(&mut leaving) => return,
        }
        match Credentials::read(&config.ca, &config.token) {
            Ok(credentials) => break credentials,
            Err(mistake) => {
                let sentence = mistake.to_string();
                if sentence != told {
                    tracing::warn!("{sentence}; trying again");
                    told = sentence;
                }
                failures = failures.saturating_add(1);
            }
        }
    };
    tracing::info!("the credentials can be read now");
    follow(proxy, config, credentials, leaving).await;
}

/// Keeps a proxy in step with the operator until it leaves.
async fn follow(proxy: Arc<Proxy>, config: StreamConfig, credentials: Credentials, leaving: watch::Receiver<bool>) {
    let StreamConfig { operators, ca: _, token: _, token_period, role, gateways } = config;
    let credentials = Arc::new(credentials);
    let hello = Hello {
        name: proxy.name().to_owned(),
        role: match role {
            Role::Gateway => ProxyRole::Gateway,
            Role::Sidecar => ProxyRole::Sidecar,
        }
        .into(),
        gateways,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        features: FEATURES.iter().map(|word| (*word).to_owned()).collect(),
    };
    let (events, heard) = mpsc::channel(MOST_EVENTS);
    let (told, telling) = watch::channel(Told::default());
    let mut tasks = JoinSet::new();
    let session = Session {
        hello,
        credentials: Arc::clone(&credentials),
        clock: proxy.clock(),
        metrics: Arc::clone(proxy.metrics()),
        events: events.clone(),
        told: telling,
        replicas: Arc::clone(proxy.replicas()),
        leaving: leaving.clone(),
    };
    tasks.spawn(credentials::follow_token(credentials, token_period, leaving));
    let addresses = Addresses::new(&operators, proxy.dns_servers(), session);
    tasks.spawn(addresses.follow());
    tasks.spawn(Follower::new(proxy, told).follow(heard));
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, u16), &str>) {
        let parsed = text.parse::<OperatorAddress>().map(|address| (address.host, address.port));
        match expected {
            Ok((host, port)) => assert_eq!(parsed, Ok((host.to_owned(), port)), "{text}"),
            Err(word) => assert!(parsed.as_ref().is_err_and(|error| error.contains(word)), "{text}: {parsed:?}"),
        }
    }

    #[test]
    fn an_operator_is_a_host_and_a_port() {
        check("headgate-operator.headgate-system.svc:9443", Ok(("headgate-operator.headgate-system.svc", 9443)));
        check("192.0.2.7:9443", Ok(("192.0.2.7", 9443)));
        check("[2001:db8::7]:9443", Ok(("2001:db8::7", 9443)));
        for bad in ["operator", "operator:", "operator:0", "operator:70000", ":9443", "https://operator:9443"] {
            check(bad, Err("is not HOST:PORT"));
        }
        let address: OperatorAddress = "[::1]:9443".parse().unwrap();
        assert_eq!(address.to_string(), "[::1]:9443");
    }
}
