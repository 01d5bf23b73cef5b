//! The command line of `headgate-proxy`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use headgate_proxy::{AccessLog, Config, EnvoySettings, Frontends, OperatorAddress, Role, StateSettings, StreamConfig};
use ipnet::IpNet;

/// The port of a sidecar that takes the pod's traffic.
const INBOUND_PORT: u16 = 16_001;
/// The port of a sidecar that the pod's application asks.
const APPLICATION_PORT: u16 = 16_020;
/// The admin port of a sidecar.
const SIDECAR_ADMIN_PORT: u16 = 16_021;
/// The admin port of a gateway.
const GATEWAY_ADMIN_PORT: u16 = 9_901;

/// The data plane of headgate: takes its configuration from the operator and enforces it on traffic.
///
/// It is ready once it has its first plan. Without the operator it goes on serving what it has, and with --data-dir it
/// starts again from the last plan kept there. SIGTERM drains; SIGINT, or a second signal, ends at once.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "headgate-proxy", version)]
pub struct Settings {
    /// What the proxy is for. A gateway serves the listeners of Gateways, Ingresses and pools. A sidecar gets its own
    /// namespace's configuration, which today means that it serves the namespace's HTTP routes on its inbound port
    /// 16001
    #[arg(long, value_name = "gateway|sidecar", value_parser = role)]
    pub role: Role,

    /// Where the replicas of the operator are; every address of a name is one, and names are resolved again and again
    #[arg(long = "operator", required = true, value_name = "HOST:PORT…", value_delimiter = ',')]
    pub operators: Vec<OperatorAddress>,

    /// File with the operator's CA in PEM: `ca.crt` of ConfigMap headgate-ca. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,

    /// File with a service account token of audience headgate. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub token: PathBuf,

    /// Gateways to serve; without it all of the class, merged by port. Role gateway only
    #[arg(long = "gateway", value_name = "NAMESPACE/NAME…", value_delimiter = ',', value_parser = gateway)]
    pub gateways: Vec<String>,

    /// Address that listeners are bound on
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::UNSPECIFIED.into())]
    pub bind: IpAddr,

    /// Ports that are bound in place of those of the listeners; a sidecar's inbound port is 16001
    #[arg(long = "map-port", value_name = "80=18080…", value_delimiter = ',', value_parser = mapping)]
    pub mapped_ports: Vec<(u16, u16)>,

    /// Peers whose X-Forwarded-For is believed
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    #[command(flatten)]
    pub state: StateSettings,

    /// Where the pod's application asks for limits by name; a loopback address. Role sidecar only [default:
    /// 127.0.0.1:16020]
    #[arg(long, value_name = "ADDR")]
    pub application: Option<SocketAddr>,

    #[command(flatten)]
    pub envoy: EnvoySettings,

    /// Where health, metrics and (only to this machine) configuration are shown [default: 0.0.0.0:9901 for a gateway,
    /// 0.0.0.0:16021 for a sidecar]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,

    /// Where the last plan is kept for a restart; a sidecar's is kept without TLS keys
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Name of the proxy in the status of objects, unique among those of its role [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Log each request as a line of JSON: off, stdout or a file
    #[arg(long, value_name = "off|stdout|FILE", default_value = "off")]
    pub access_log: AccessLog,

    /// Name server in place of the system's, for origins and for the operator
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    pub dns_server: Vec<SocketAddr>,
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "gateway" => Ok(Role::Gateway),
        "sidecar" => Ok(Role::Sidecar),
        _ => Err("write `gateway` or `sidecar`".to_owned()),
    }
}

fn gateway(text: &str) -> Result<String, String> {
    let is_label = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace) && !part.contains('/');
    match text.split_once('/') {
        Some((namespace, name)) if is_label(namespace) && is_label(name) => Ok(text.to_owned()),
        _ => Err("write NAMESPACE/NAME of a Gateway, as in `shop/public`".to_owned()),
    }
}

fn mapping(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse().ok().filter(|port: &u16| *port > 0);
    let ports = text.split_once('=').and_then(|(planned, bound)| Some((port(planned)?, port(bound)?)));
    ports.ok_or_else(|| "write PORT=PORT with ports from 1 to 65535, as in `80=18080`".to_owned())
}

impl Settings {
    /// The settings of the proxy and of its streams.
    pub fn read(self) -> anyhow::Result<(Config, StreamConfig)> {
        let Self {
            role,
            operators,
            ca,
            token,
            gateways,
            bind,
            mapped_ports,
            trusted_proxies,
            state,
            application,
            envoy,
            admin,
            data_dir,
            name,
            access_log,
            dns_server,
        } = self;
        let mut mapped = BTreeMap::new();
        for (planned, bound) in mapped_ports {
            if mapped.insert(planned, bound).is_some() {
                bail!("--map-port maps port {planned} twice; map it once");
            }
        }
        state.check()?;
        let (frontends, admin_port) = match role {
            Role::Gateway => {
                if application.is_some() {
                    bail!("--application is for --role sidecar: a gateway has no application beside it");
                }
                (Frontends::ByPort { address: bind, mapped }, GATEWAY_ADMIN_PORT)
            }
            Role::Sidecar => {
                if !gateways.is_empty() {
                    bail!("--gateway is for --role gateway; a sidecar gets the configuration of its own namespace");
                }
                let inbound = mapped.remove(&INBOUND_PORT).unwrap_or(INBOUND_PORT);
                if let Some(port) = mapped.keys().next() {
                    bail!("--map-port {port}=… maps no port of a sidecar; its inbound port is {INBOUND_PORT}");
                }
                (Frontends::Merged { http: SocketAddr::new(bind, inbound), https: None }, SIDECAR_ADMIN_PORT)
            }
        };
        let name = match name {
            Some(name) => name,
            None => host_name().context("cannot read the host name; give --name")?,
        };
        if name.trim().is_empty() {
            bail!("the name of the proxy is empty; give --name");
        }
        let admin = admin.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), admin_port));
        let (group, application) = match role {
            Role::Gateway => ("gateway", None),
            Role::Sidecar => {
                let application = application.unwrap_or((Ipv4Addr::LOCALHOST, APPLICATION_PORT).into());
                if !application.ip().is_loopback() {
                    bail!("--application {application} is not a loopback address; only the pod itself may ask there");
                }
                ("sidecar", Some(application))
            }
        };
        let config = Config {
            data_dir,
            keeps_keys: role == Role::Gateway,
            state,
            group: group.to_owned(),
            application,
            envoy,
            trusted_proxies,
            access_log,
            dns_servers: dns_server,
            ..Config::new(name, frontends, admin)
        };
        Ok((config, StreamConfig { role, gateways, ..StreamConfig::new(operators, ca, token) }))
    }
}

fn host_name() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const NEEDED: [&str; 7] =
        ["headgate-proxy", "--operator", "operator.example:9443", "--ca", "ca", "--token", "token"];

    fn read(more: &[&str]) -> Result<(Config, StreamConfig), String> {
        let settings = Settings::try_parse_from(NEEDED.iter().chain(more)).map_err(|error| error.to_string())?;
        settings.read().map_err(|error| error.to_string())
    }

    fn check_mistake(more: &[&str], sentence: &str) {
        let error = read(more).expect_err(sentence);
        assert!(error.contains(sentence), "{more:?}: {error}");
    }

    #[test]
    fn the_command_line_is_a_whole() {
        use clap::CommandFactory as _;
        Settings::command().debug_assert();
    }

    #[test]
    fn a_gateway_binds_the_ports_of_the_plan_and_those_that_are_mapped() {
        let more = ["--role", "gateway", "--map-port", "80=18080,443=18443", "--bind", "127.0.0.1", "--name", "edge"];
        let (config, stream) = read(&[&more[..], &["--gateway", "a/b,c/d", "--operator", "[::1]:1"]].concat()).unwrap();
        let mapped = BTreeMap::from([(80, 18_080), (443, 18_443)]);
        assert_eq!(config.frontends, Frontends::ByPort { address: [127, 0, 0, 1].into(), mapped });
        assert_eq!((config.name.as_str(), config.admin.to_string().as_str()), ("edge", "0.0.0.0:9901"));
        let operators: Vec<String> = stream.operators.iter().map(ToString::to_string).collect();
        assert_eq!(operators, ["operator.example:9443", "[::1]:1"]);
        assert_eq!(
            (stream.gateways, stream.role, config.keeps_keys),
            (vec!["a/b".into(), "c/d".into()], Role::Gateway, true)
        );
    }

    #[test]
    fn a_sidecar_has_its_own_ports_and_keeps_no_keys() {
        let (config, stream) = read(&["--role", "sidecar", "--name", "pod"]).unwrap();
        assert_eq!(config.frontends, Frontends::Merged { http: ([0, 0, 0, 0], 16_001).into(), https: None });
        assert_eq!((config.admin.port(), config.keeps_keys, stream.role), (16_021, false, Role::Sidecar));
        assert_eq!(config.application, Some(([127, 0, 0, 1], 16_020).into()));
        let (config, _) = read(&["--role", "sidecar", "--map-port", "16001=7000", "--name", "pod"]).unwrap();
        assert_eq!(config.frontends, Frontends::Merged { http: ([0, 0, 0, 0], 7_000).into(), https: None });
    }

    #[test]
    fn a_proxy_is_named_after_its_host_by_default() {
        let (config, _) = read(&["--role", "gateway"]).unwrap();
        assert_eq!(config.name, host_name().unwrap());
    }

    #[test]
    fn mistakes_are_told_with_the_remedy() {
        check_mistake(&["--role", "router"], "write `gateway` or `sidecar`");
        check_mistake(&["--role", "gateway", "--gateway", "public"], "write NAMESPACE/NAME of a Gateway");
        check_mistake(&["--role", "gateway", "--map-port", "80"], "write PORT=PORT");
        check_mistake(&["--role", "gateway", "--map-port", "0=80"], "write PORT=PORT");
        check_mistake(&["--role", "gateway", "--map-port", "80=1,80=2"], "maps port 80 twice");
        check_mistake(&["--role", "gateway", "--operator", "operator"], "is not HOST:PORT");
        check_mistake(&["--role", "gateway", "--state", "disk"], "write memory, redis://HOST:PORT");
        check_mistake(&["--role", "gateway", "--state-password-file", "password"], "give --state redis://HOST:PORT");
        check_mistake(&["--role", "gateway", "--state-ca-file", "ca.crt"], "give --state rediss://HOST:PORT");
        check_mistake(&["--role", "gateway", "--application", "127.0.0.1:1"], "--application is for --role sidecar");
        check_mistake(&["--role", "sidecar", "--application", "0.0.0.0:1"], "is not a loopback address");
        check_mistake(&["--role", "gateway", "--name", " "], "the name of the proxy is empty");
        check_mistake(&["--role", "sidecar", "--gateway", "a/b"], "--gateway is for --role gateway");
        check_mistake(&["--role", "sidecar", "--map-port", "80=1"], "maps no port of a sidecar");
        check_mistake(&[], "--role");
    }
}
