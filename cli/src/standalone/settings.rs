//! The command line of standalone.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use headgate_proxy::{AccessLog, Config, EnvoyAccess, EnvoySettings, Frontends, StateSettings};
use headgate_translate::MasterKey;
use ipnet::IpNet;

/// The file of the key of tickets.
const MASTER_FILE: &str = "master.key";

/// Runs translation and proxy in one process, with objects from files.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// File or folder of manifests (*.yaml, *.yml, *.json; not the folders below it). Edits take effect at once
    #[arg(short = 'f', long = "filename", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,

    /// Where HTTP listeners answer
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where HTTPS listeners answer; they are not served without it
    #[arg(long, value_name = "ADDR")]
    pub tls_listen: Option<SocketAddr>,

    /// Where health, metrics, configuration and status are shown
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,

    /// File with the token that status and explain need; required where --admin is not a loopback address
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,

    #[command(flatten)]
    pub state: StateSettings,

    #[command(flatten)]
    pub envoy: EnvoySettings,

    /// File with the token that callers of Envoy's rate limit service need; required where --rls-listen is not a
    /// loopback address. Read again every second
    #[arg(long, value_name = "FILE", requires = "rls_listen")]
    pub rls_token_file: Option<PathBuf>,

    /// Where the last plan is kept for a restart
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Peers whose X-Forwarded-For is believed
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// Log each request as a line of JSON: off, stdout or a file
    #[arg(long, value_name = "off|stdout|FILE", default_value = "off")]
    pub access_log: AccessLog,

    /// Name server in place of the system's
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    pub dns_server: Vec<SocketAddr>,
}

impl Settings {
    /// The settings of the proxy.
    pub fn proxy(&self, name: &str) -> Config {
        let Self {
            files: _,
            listen,
            tls_listen,
            admin,
            admin_token_file: _,
            state,
            envoy,
            rls_token_file,
            data_dir,
            trusted_proxies,
            access_log,
            dns_server,
        } = self.clone();
        Config {
            envoy,
            envoy_access: rls_token_file.map_or(EnvoyAccess::Anyone, EnvoyAccess::TokenFile),
            data_dir,
            state,
            trusted_proxies,
            access_log,
            dns_servers: dns_server,
            ..Config::new(name, Frontends::Merged { http: listen, https: tls_listen }, admin)
        }
    }

    /// Where this process listens, so that no origin leads back to it.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        [Some(self.listen), self.tls_listen, Some(self.admin), self.envoy.rls_listen].into_iter().flatten().collect()
    }

    /// What does not fit together, and the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        self.state.check()?;
        if let (Some(address), None) = (self.envoy.rls_listen, &self.rls_token_file)
            && !address.ip().is_loopback()
        {
            bail!(
                "--rls-listen {address} is not a loopback address, and whoever asks there uses limits up; give \
                 --rls-token-file, or use 127.0.0.1"
            );
        }
        Ok(())
    }

    /// What the keys of tickets are derived from: kept in --data-dir, so that visitors keep their places and sessions over a
    /// restart. Where that cannot be, it is told and a key of this run does.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        let made = MasterKey(rand::random::<[u8; 32]>().to_vec());
        let Some(folder) = &self.data_dir else { return Ok(made) };
        let path = folder.join(MASTER_FILE);
        match keep(&path, &made.0) {
            Ok(()) => Ok(made),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                if there.len() < made.0.len() {
                    let wanted = made.0.len();
                    bail!("{} holds no key of {wanted} bytes; delete it to have a new one made", path.display());
                }
                Ok(MasterKey(there))
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the key of tickets is not kept: after a restart nobody keeps a place");
                Ok(made)
            }
        }
    }

    /// The token that the pages of status need, or nothing where the admin address needs none.
    pub fn token(&self) -> anyhow::Result<Option<Arc<str>>> {
        let Some(path) = &self.admin_token_file else {
            if !self.admin.ip().is_loopback() {
                bail!(
                    "--admin {} is not a loopback address, and what is there may change traffic; give \
                     --admin-token-file, or use 127.0.0.1",
                    self.admin
                );
            }
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --admin-token-file {}", path.display()))?;
        match text.trim() {
            "" => bail!("--admin-token-file {} is empty; put a token into it", path.display()),
            token => Ok(Some(token.into())),
        }
    }
}

/// Writes a new file that only its owner reads, whole or not at all.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        // What was written of it is no key.
        let _ = std::fs::remove_file(path);
    })
}
