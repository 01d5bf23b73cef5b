//! The command line of the operator.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use headgate_snapshot::StateUrl;
use headgate_translate::{AddressPolicy, GatewayAddress, Options};
use ipnet::IpNet;

use crate::access::ServiceAccount;

/// The control plane of headgate: watches the API server, configures the proxies and writes status.
#[derive(Clone, Debug, Parser)]
#[command(name = "headgate-operator", version)]
pub struct Settings {
    /// How to reach the API server; absent: the pod's service account, else KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the operator: its lease, CA and host claims
    #[arg(long, value_name = "NAMESPACE", default_value = "headgate-system")]
    pub namespace: String,

    /// Where proxies connect (gRPC over TLS)
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9443")]
    pub stream: SocketAddr,

    /// Where people ask (HTTPS)
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443")]
    pub api: SocketAddr,

    /// Where health and metrics are shown (HTTP)
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9901")]
    pub admin: SocketAddr,

    /// Service accounts whose proxies may be gateways
    #[arg(long, value_name = "NAMESPACE/SERVICEACCOUNT", value_delimiter = ',')]
    pub gateway_identity: Vec<ServiceAccount>,

    /// Where the gateway can be reached: written into the status of Gateways and Ingresses
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub gateway_address: Vec<GatewayAddress>,

    /// Networks beside the public ones whose addresses may be origins
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub allow_origins: Vec<IpNet>,

    /// Where the proxies keep shared state: memory, redis://, rediss://, redis-sentinel:// or redis-cluster://. The
    /// operator only wants to know whether they share it
    #[arg(long, value_name = "URL", default_value = "memory")]
    pub state: StateUrl,

    /// Name of this replica; absent: the host name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

impl Settings {
    /// What translation is told. Which addresses are never origins follows from the world.
    pub fn options(&self) -> Options {
        let addresses = AddressPolicy::Public { allowed: self.allow_origins.clone(), denied: Vec::new() };
        Options { addresses, gateway_addresses: self.gateway_address.clone(), ..Options::default() }
    }

    /// The name of this replica: as told, else that of the host.
    pub fn replica(&self) -> String {
        let of_host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = self.name.clone().or_else(of_host).map(|name| name.trim().to_owned());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| "headgate-operator".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        Settings::try_parse_from([&["headgate-operator"], arguments].concat())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = parse(&[]).expect("no argument is required");
        let Settings { kubeconfig, namespace, stream, api, admin, .. } = settings;
        assert_eq!((kubeconfig, namespace.as_str()), (None, "headgate-system"));
        let addresses = [stream, api, admin].map(|address| address.to_string());
        assert_eq!(addresses, ["0.0.0.0:9443", "0.0.0.0:8443", "0.0.0.0:9901"]);
    }

    #[test]
    fn lists_are_written_with_commas_or_repeated() {
        let settings = parse(&[
            "--gateway-identity=a/b,c/d",
            "--gateway-identity=e/f",
            "--gateway-address=192.0.2.1,2001:db8::1,gate.example.com",
            "--allow-origins=10.0.0.0/8,fc00::/7",
        ]);
        let settings = settings.expect("lists are read");
        let identities: Vec<String> = settings.gateway_identity.iter().map(ToString::to_string).collect();
        assert_eq!(identities, ["a/b", "c/d", "e/f"]);
        let addresses = ["192.0.2.1", "2001:db8::1", "gate.example.com"].map(str::parse);
        assert_eq!(settings.gateway_address.into_iter().map(Ok).collect::<Vec<_>>(), addresses);
        assert_eq!(settings.allow_origins.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (argument, remedy) in [
            ("--gateway-identity=gateway", "write NAMESPACE/NAME"),
            ("--gateway-address=http://gate", "write one, such as 203.0.113.7 or lb.example.com"),
            ("--allow-origins=10.0.0.0", "--allow-origins"),
            ("--state=disk", "write memory, redis://HOST:PORT"),
            ("--state=redis://:secret@store", "--state-password-file"),
        ] {
            let error = parse(&[argument]).expect_err("it cannot be").to_string();
            assert!(error.contains(remedy), "{argument}: {error}");
        }
    }
}
