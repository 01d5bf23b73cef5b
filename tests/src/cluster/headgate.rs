//! headgate in a cluster: what `deploy/` ships, and operators and gateways as processes.
//!
//! An operator has the rights of the service account that ships, no more; a gateway has the token that its pod would
//! have. Both have addresses of their own, so that all of them have the ports of the contract. The first operator
//! brings the CA up; gateways are given every operator that was started before them.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Cluster, api::Api, part::Part, tokens::Token};
use crate::{
    binary, certificates,
    client::{Answer, Ask, get},
    eventually,
};

/// The namespace of everything that ships.
pub const NAMESPACE: &str = "headgate-system";
/// How soon a started process is ready on a busy machine.
pub const READY_LIMIT: Duration = Duration::from_secs(30);
/// How soon an edit is enforced and told on a busy machine; a benchmark says how soon it is.
pub const EDIT_LIMIT: Duration = Duration::from_secs(10);
/// The term of the lease: by then another operator leads.
pub const LEASE: Duration = Duration::from_secs(10);

const STREAM_PORT: u16 = 9443;
const API_PORT: u16 = 8443;
const ADMIN_PORT: u16 = 9901;

/// One process of headgate with an address of its own.
pub struct Member {
    /// Its name, which status tells.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The process.
    pub process: Part,
}

impl Member {
    /// Where its health and metrics are.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, ADMIN_PORT)
    }

    /// An operator's API.
    pub fn api(&self) -> SocketAddr {
        SocketAddr::new(self.address, API_PORT)
    }

    /// A gateway's HTTP port.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.address, 80)
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        eventually(READY_LIMIT, &format!("{} is ready", self.name), async || {
            match get("admin", "/readyz").try_to(self.admin()).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(failure) => Err(format!("{failure:?}; it says:\n{}", self.process.log())),
            }
        })
        .await;
    }

    /// One of its metrics, 0 where it has none of that name and labels: the text before the value.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = get("admin", "/metrics").to(self.admin()).await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a metric has a value"))
    }

    /// The sum of its series that begin so: a name, perhaps with some labels.
    pub async fn total(&self, start: &str) -> f64 {
        let text = get("admin", "/metrics").to(self.admin()).await.text();
        let values = text.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().expect("a metric has a value")).sum()
    }

    /// What a proxy on a loopback address enforces.
    pub async fn config(&self) -> Value {
        get("admin", "/v1/config").to(self.admin()).await.json()
    }

    /// Whether an operator leads now.
    pub async fn leads(&self) -> bool {
        self.metric("headgate_leader").await > 0.0
    }

    /// Waits until a gateway answers this request with this status and origin.
    pub async fn answers(&self, ask: &Ask, status: u16, origin: &str) {
        eventually(EDIT_LIMIT, &format!("{} answers {status} by \"{origin}\"", self.name), async || {
            match ask.try_to(self.http()).await {
                Ok(answer) if (answer.status, answer.origin()) == (status, origin) => Ok(()),
                Ok(Answer { status, ref headers, .. }) => Err(format!("{status} {headers:?}")),
                Err(failure) => Err(format!("{failure:?}")),
            }
        })
        .await;
    }
}

impl Cluster {
    /// Installs definitions, accounts, rights and classes as they ship; no Deployments, since there are no nodes.
    pub async fn install_headgate(&self) {
        self.install_crds().await;
        self.install_gateway_api().await;
        for file in ["00-namespace.yaml", "rbac.yaml", "classes.yaml"] {
            let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(file);
            let manifest = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            self.apply(&manifest).await;
        }
        for account in ["headgate-operator", "headgate-gateway"] {
            eventually(READY_LIMIT, "the service account is there", async || {
                self.api.find("ServiceAccount", NAMESPACE, account).await.map(drop).ok_or_else(|| account.to_owned())
            })
            .await;
        }
    }

    /// Starts an operator with the rights that ship. It is given the address of the first gateway to tell.
    pub async fn operator(&self, name: &str) -> Member {
        let address = self.address();
        let token = self.create_token(Token::of(NAMESPACE, "headgate-operator", "")).await.expect("a token");
        let kubeconfig = self.kubeconfig_for(name, &token);
        let at = |port: u16| SocketAddr::new(address, port).to_string();
        let arguments = [
            ("--kubeconfig", kubeconfig.display().to_string()),
            ("--namespace", NAMESPACE.to_owned()),
            ("--name", name.to_owned()),
            ("--stream", at(STREAM_PORT)),
            ("--api", at(API_PORT)),
            ("--admin", at(ADMIN_PORT)),
            ("--gateway-identity", format!("{NAMESPACE}/headgate-gateway")),
            ("--gateway-address", "192.0.2.80".to_owned()),
            ("--allow-origins", "10.77.0.0/16,127.0.0.0/8".to_owned()),
        ];
        self.member(name, address, "headgate-operator", &arguments)
    }

    /// Starts a gateway that is to follow these operators. It is not ready before it has a plan.
    pub async fn gateway(&self, name: &str, operators: &[&Member]) -> Member {
        let token = self.create_token(Token::of(NAMESPACE, "headgate-gateway", "headgate")).await.expect("a token");
        self.gateway_with(name, operators, &token).await
    }

    /// Starts a gateway that shows this token.
    pub async fn gateway_with(&self, name: &str, operators: &[&Member], token: &str) -> Member {
        self.proxy("gateway", name, self.address(), operators, token).await
    }

    /// Starts a proxy of a role on an address that nobody has. One on 127.0.0.0/8 shows [`Member::config`].
    pub async fn proxy(&self, role: &str, name: &str, address: IpAddr, operators: &[&Member], token: &str) -> Member {
        let authority = self.operators_authority().await;
        let token = self.write(&token_file(name), token);
        let streams = operators.iter().map(|operator| SocketAddr::new(operator.address, STREAM_PORT).to_string());
        let arguments = [
            ("--role", role.to_owned()),
            ("--name", name.to_owned()),
            ("--operator", streams.collect::<Vec<_>>().join(",")),
            ("--ca", authority.display().to_string()),
            ("--token", token.display().to_string()),
            ("--bind", address.to_string()),
            ("--admin", SocketAddr::new(address, ADMIN_PORT).to_string()),
            ("--data-dir", self.path(&format!("{name}.data")).display().to_string()),
        ];
        self.member(name, address, "headgate-proxy", &arguments)
    }

    /// Puts another token in the place of a proxy's, as the kubelet does.
    pub fn renew_token(&self, name: &str, token: &str) {
        self.write(&token_file(name), token);
    }

    /// A client of an operator's API that trusts the operators' CA.
    pub async fn api_of(&self, operator: &Member, token: Option<&str>) -> Api {
        let authority = fs::read_to_string(self.operators_authority().await).expect("just written");
        let tls = certificates::client_of(&authority, &["http/1.1"]);
        Api::new(operator.api(), tls, token.map(ToOwned::to_owned))
    }

    fn member(&self, name: &str, address: IpAddr, program: &str, arguments: &[(&str, String)]) -> Member {
        let state = self.state.iter().map(|url| ("--state", url));
        let arguments = arguments.iter().map(|(flag, value)| (*flag, value)).chain(state);
        let mut arguments: Vec<String> = arguments.flat_map(|(flag, value)| [flag.to_owned(), value.clone()]).collect();
        if program == "headgate-proxy" {
            arguments.extend(self.proxy_arguments.iter().cloned());
        }
        let process = Part::new("a process of headgate", binary::of(program), arguments);
        process.start();
        Member { name: name.to_owned(), address, process }
    }

    /// A file with the CA that the operators have published, once they have.
    async fn operators_authority(&self) -> PathBuf {
        let certificate = eventually(READY_LIMIT, "the operator publishes its CA", async || {
            let map = self.api.find("ConfigMap", NAMESPACE, "headgate-ca").await.ok_or("no ConfigMap headgate-ca")?;
            map["data"]["ca.crt"].as_str().map(ToOwned::to_owned).ok_or_else(|| map.to_string())
        })
        .await;
        self.write("headgate-ca.crt", &certificate)
    }

    /// A condition of an object, as `(status, reason, message)`; of a route, for its first parent.
    pub async fn condition(&self, kind: &str, namespace: &str, name: &str, wanted: &str) -> (String, String, String) {
        let object = self.api.find(kind, namespace, name).await.unwrap_or_default();
        let status = &object["status"];
        let conditions = match status["parents"][0]["conditions"].as_array() {
            Some(conditions) => Some(conditions),
            None => status["conditions"].as_array(),
        };
        let condition = conditions.into_iter().flatten().find(|condition| condition["type"] == wanted);
        let text = |field: &str| condition.and_then(|it| it[field].as_str()).unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// Waits until a condition has this status, and gives its reason and message.
    pub async fn says(
        &self,
        object: (&str, &str, &str),
        wanted: &str,
        status: &str,
        limit: Duration,
    ) -> (String, String) {
        let (kind, namespace, name) = object;
        eventually(limit, &format!("{kind} {namespace}/{name} is {wanted}={status}"), async || {
            let (now, reason, message) = self.condition(kind, namespace, name, wanted).await;
            if now == status { Ok((reason, message)) } else { Err(format!("{now}/{reason}: {message}")) }
        })
        .await
    }

    /// `status.proxies` of an object as `(expected, programmed)`.
    pub async fn proxies(&self, kind: &str, namespace: &str, name: &str) -> (Option<u64>, Option<u64>) {
        let object = self.api.find(kind, namespace, name).await.unwrap_or_default();
        let proxies: &Value = &object["status"]["proxies"];
        (proxies["expected"].as_u64(), proxies["programmed"].as_u64())
    }
}

/// The file with the token of a proxy.
fn token_file(name: &str) -> String {
    format!("{name}.token")
}
