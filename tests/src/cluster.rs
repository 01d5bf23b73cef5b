//! A Kubernetes control plane of a test's own: etcd, API server, controller manager and kubectl, as real processes with
//! own certificates, real RBAC and no data.
//!
//! | module | what it is |
//! |---|---|
//! | [`within`], [`Cluster`] | a test with a control plane; starting it and waiting for it |
//! | [`part`] | one of its processes: killed, started again on the same data, frozen, thawed |
//! | [`kubectl`] | what a user does: kubectl, kubeconfigs, the definitions of headgate and of the Gateway API |
//! | [`api`] | what would be slow by kubectl: looks, many edits |
//! | [`headgate`] | operators and gateways as processes, with the rights that ship |
//! | [`fleet`] | two operators, two gateways, and a route whose answers say which edit they follow |
//! | [`audit`] | who wrote what, by the API server's own log |
//! | [`workloads`] | Services with endpoints, pods that are Ready without a node |
//! | [`tokens`] | tokens of service accounts: asked for, reviewed, expired |
//! | [`assets`] | where the binaries come from: `tests/cluster/build` |
//! | `command_lines`, `files`, `network`, `kinds` | flags; certificates and kubeconfigs; addresses; paths of kinds |
//!
//! A test runs in a network namespace ([`crate::namespace`]) where all of 10.77.0.0/16 is local: the control plane has
//! well-known ports on 10.77.0.2 to .4, and [`Cluster::address`] gives away the rest. Everything that the test starts
//! (processes, origins, clients) is in there too. Since law 11 refuses private addresses, an operator that is to use
//! endpoints of such a test is given `--allow-origins 10.77.0.0/16`.
//!
//! A start costs some seconds of CPU, so a test asks for much of one control plane.

pub mod api;
pub mod assets;
pub mod audit;
mod command_lines;
mod files;
pub mod fleet;
pub mod headgate;
mod kinds;
pub mod kubectl;
pub mod network;
pub mod part;
pub mod tokens;
pub mod workloads;

use std::{
    ffi::OsStr,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use self::{api::Api, files::Files, network::Network, part::Part};
use crate::{client, eventually, origin::Origin, process::Process};

/// Who signs tokens, as a cluster of kubeadm calls itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// A start takes a tenth of that on a quiet machine.
pub const START_LIMIT: Duration = Duration::from_mins(1);
/// The port of [`Cluster::origin`].
pub const ORIGIN_PORT: u16 = 8080;

/// A running control plane. Its processes end when it is dropped, or when the thread that made it ends.
pub struct Cluster {
    /// The controller manager: namespaces, service accounts, EndpointSlices, garbage collection, workloads.
    pub controller_manager: Part,
    /// The API server.
    pub api_server: Part,
    /// Where the API server keeps everything.
    pub etcd: Part,
    /// A client with all rights.
    pub api: Api,
    /// Where operators and gateways that are started from now on keep shared state, absent: nowhere.
    pub state: Option<String>,
    /// More arguments of proxies that are started from now on.
    pub proxy_arguments: Vec<String>,
    network: Network,
    files: Files,
    addresses: AtomicU16,
}

/// Runs a test with a control plane, in a network namespace and on a runtime of its own, and fails it when it takes
/// longer than `limit` and what a start may take.
#[cfg(target_os = "linux")]
pub fn within(limit: Duration, test: impl AsyncFnOnce(Cluster) + Send) {
    // What these build may have to be fetched, and there is no network inside.
    let _ = (assets::folder(), crate::binary::path());
    crate::namespace::inside(|| {
        crate::within(START_LIMIT + limit, async { test(Cluster::start().await).await });
    });
}

impl Cluster {
    /// Starts one on well-known ports; the calling thread is in a network namespace (see [`within`]).
    pub async fn start() -> Self {
        Self::start_on(Network::own()).await
    }

    /// Starts one on these addresses and waits until it is ready.
    pub async fn start_on(network: Network) -> Self {
        let files = Files::new(&network);
        let program = |name: &str| assets::folder().join(name);
        let admin = files.trusted.client_with(&["http/1.1"], &files.admin);
        let cluster = Self {
            etcd: Part::new("etcd", program("etcd"), command_lines::etcd(&network, &files)),
            api_server: Part::new(
                "kube-apiserver",
                program("kube-apiserver"),
                command_lines::api_server(&network, &files),
            ),
            controller_manager: Part::new(
                "kube-controller-manager",
                program("kube-controller-manager"),
                command_lines::controller_manager(&network, &files),
            ),
            api: Api::new(network.api, admin, None),
            state: None,
            proxy_arguments: Vec::new(),
            network,
            files,
            addresses: AtomicU16::new(0),
        };
        cluster.etcd.start();
        cluster.etcd_ready().await;
        cluster.api_server.start();
        cluster.ready().await;
        cluster.controller_manager.start();
        eventually(START_LIMIT, "the controller manager makes service accounts", async || {
            cluster.controller_manager.must_run();
            cluster.api.get("/api/v1/namespaces/default/serviceaccounts/default").await.map_err(|it| format!("{it:?}"))
        })
        .await;
        cluster
    }

    /// Waits until etcd answers.
    pub async fn etcd_ready(&self) {
        eventually(START_LIMIT, "etcd is healthy", async || {
            self.etcd.must_run();
            match client::get("etcd", "/health").try_to(self.network.etcd).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(failure) => Err(format!("{failure:?}")),
            }
        })
        .await;
    }

    /// Waits until the API server says that it is ready.
    pub async fn ready(&self) {
        eventually(START_LIMIT, "the API server is ready", async || {
            self.api_server.must_run();
            self.api.get("/readyz").await.map_err(|refusal| format!("{refusal:?}"))
        })
        .await;
    }

    /// Where the API server listens.
    pub fn api_address(&self) -> SocketAddr {
        self.network.api
    }

    /// A client that shows this bearer token.
    pub fn api_as(&self, token: &str) -> Api {
        Api::new(self.network.api, self.files.trusted.client(&["http/1.1"]), Some(token.to_owned()))
    }

    /// An address of the namespace that nothing of this cluster has used.
    pub fn address(&self) -> IpAddr {
        let used = self.addresses.fetch_add(1, Ordering::Relaxed);
        let [high, low] = used.to_be_bytes();
        assert!(high < 255, "a test has 65,280 addresses");
        IpAddr::from([10, 77, high + 1, low])
    }

    /// An origin on an address of its own and [`ORIGIN_PORT`].
    pub fn origin(&self, name: &str) -> Origin {
        Origin::start_at(name, SocketAddr::from((self.address(), ORIGIN_PORT)))
    }

    /// Starts any program in the namespace, with this command line. It ends when it is dropped.
    pub fn spawn<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Process {
        Process::tied(program, arguments)
    }

    /// Makes etcd forget all revisions but the present one, so that a watch cannot go on from an older one.
    pub async fn compact_etcd(&self) {
        // `AA==` is the key "\0": the least one. The answer is about its revision alone.
        let range = self.etcd_call("/v3/kv/range", &json!({ "key": "AA==" })).await;
        let revision = &range["header"]["revision"];
        self.etcd_call("/v3/kv/compaction", &json!({ "revision": revision, "physical": true })).await;
    }

    async fn etcd_call(&self, path: &str, body: &Value) -> Value {
        let answer = client::get("etcd", path).method(Method::POST).body(body.to_string()).to(self.network.etcd).await;
        assert_eq!(answer.status, 200, "etcd refused {path}: {}", answer.text());
        answer.json()
    }
}
