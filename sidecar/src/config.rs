//! What a proxy is told when it starts. Everything else comes in batches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use headgate_snapshot::{RedisTransport, StateUrl};
use ipnet::IpNet;

use crate::rate_limit::{EnvoyAccess, EnvoySettings};

/// The settings of one proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the proxy in its reports.
    pub name: String,
    /// Where the listeners of the plan are bound.
    pub frontends: Frontends,
    /// Where the admin listener is bound.
    pub admin: SocketAddr,
    /// Where the last plan is kept, absent: nowhere.
    pub data_dir: Option<PathBuf>,
    /// Whether the plan on disk may hold TLS keys. A sidecar's may not: the pod's other containers could read them.
    pub keeps_keys: bool,
    /// Where limits are shared with other proxies.
    pub state: StateSettings,
    /// The proxies that enforce the same as this one, where they have to find each other in the shared store.
    pub group: String,
    /// Where the application asks, absent: nowhere. A loopback address.
    pub application: Option<SocketAddr>,
    /// Where Envoy's rate limit service is served.
    pub envoy: EnvoySettings,
    /// Who may ask there.
    pub envoy_access: EnvoyAccess,
    /// Peers whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Name servers, empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// How a drain is paced.
    pub drain: DrainTimes,
    /// What a client may send, and how long it may take.
    pub limits: ClientLimits,
    /// Threads that serve requests, 0: one for each core.
    pub threads: usize,
}

impl Config {
    /// A proxy with the defaults.
    pub fn new(name: impl Into<String>, frontends: Frontends, admin: SocketAddr) -> Self {
        Self {
            name: name.into(),
            frontends,
            admin,
            data_dir: None,
            keeps_keys: true,
            state: StateSettings::default(),
            group: "standalone".to_owned(),
            application: None,
            envoy: EnvoySettings::default(),
            envoy_access: EnvoyAccess::default(),
            trusted_proxies: Vec::new(),
            access_log: AccessLog::Off,
            dns_servers: Vec::new(),
            drain: DrainTimes::default(),
            limits: ClientLimits::default(),
            threads: 0,
        }
    }
}

/// Where state is shared with other proxies, and how one is let in there.
#[derive(Clone, Debug, Default, Eq, PartialEq, clap::Args)]
pub struct StateSettings {
    /// Where limits are shared: memory (this process alone), redis://HOST:PORT, rediss://, redis-sentinel:// or
    /// redis-cluster://, the same for all that share them
    #[arg(long = "state", value_name = "URL", default_value = "memory")]
    pub url: StateUrl,

    /// File with the password of --state. Read again for each connection
    #[arg(long = "state-password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// File with the certificates, in PEM, that a --state with TLS is trusted by. Read again for each connection
    /// [default: the system's]
    #[arg(long = "state-ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl StateSettings {
    /// What does not fit together, and the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { url, password_file, ca_file } = self;
        if password_file.is_some() && !url.is_shared() {
            bail!("--state-password-file is for a --state that is shared; give --state redis://HOST:PORT too");
        }
        let has_tls = match url {
            StateUrl::Memory => false,
            StateUrl::Redis(url) => url.transport == RedisTransport::Tls,
        };
        if ca_file.is_some() && !has_tls {
            bail!("--state-ca-file is for a --state with TLS; give --state rediss://HOST:PORT too");
        }
        Ok(())
    }
}

/// Where the listeners of a plan are bound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frontends {
    /// Standalone: all HTTP listeners answer on one address and all HTTPS ones on another, whatever their ports.
    Merged {
        /// For HTTP, bound from the start.
        http: SocketAddr,
        /// For HTTPS, bound from the start. Absent: HTTPS listeners are not served.
        https: Option<SocketAddr>,
    },
    /// Gateway: each port of the plan is bound as long as it is in the plan; those of the default listeners stay.
    ByPort {
        /// The address that ports are bound on.
        address: IpAddr,
        /// Ports that are bound in place of those in the plan.
        mapped: BTreeMap<u16, u16>,
    },
}

/// Where the access log goes: one JSON object a line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// The standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl FromStr for AccessLog {
    type Err = Infallible;

    /// `off`, `stdout`, or the path of a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "off" => Self::Off,
            "stdout" => Self::Stdout,
            file => Self::File(file.into()),
        })
    }
}

/// How a drain is paced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainTimes {
    /// Between the loss of readiness and the closing of the listeners, so that load balancers have noticed.
    pub delay: Duration,
    /// How long requests in flight may take after that.
    pub grace: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self { delay: Duration::ZERO, grace: Duration::from_secs(30) }
    }
}

/// What a client may send, and how long it may take. The sizes are those that peers have by default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// All names and values of a request's headers, in bytes. More is answered 431.
    pub header_bytes: usize,
    /// Headers of a request. More is answered 431.
    pub header_count: usize,
    /// Until the first byte of a new connection.
    pub first_byte: Duration,
    /// A TLS handshake.
    pub handshake: Duration,
    /// Silence between requests of a connection.
    pub keep_alive: Duration,
    /// Silence within a request's body, and within the reading of an answer.
    pub body: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            header_count: 100,
            first_byte: Duration::from_mins(1),
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_mins(1),
            body: Duration::from_mins(1),
        }
    }
}
