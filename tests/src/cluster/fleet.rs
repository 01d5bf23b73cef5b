//! Two operators and two gateways, and a route whose answers say which edit they follow.

use std::time::Duration;

use serde_json::json;

use super::{
    Cluster, ORIGIN_PORT,
    headgate::{EDIT_LIMIT, Member},
};
use crate::{
    client::{Ask, get},
    clock::Stopwatch,
    eventually, manifests,
    origin::Origin,
};

/// The name of the route that is edited.
pub const ROUTE: (&str, &str, &str) = ("HTTPRoute", "default", "edited");
/// The header field that has the number of the edit.
pub const EDIT: &str = "x-edit";

const HOST: &str = "edited.example.com";
const SERVICE: &str = "shop";

/// What a small installation runs.
pub struct Fleet {
    /// Two replicas of the operator.
    pub operators: [Member; 2],
    /// Two gateways, each of which follows both.
    pub gateways: [Member; 2],
    /// What the route leads to.
    pub origin: Origin,
}

/// A request that the edited route answers.
pub fn ask() -> Ask {
    get(HOST, "/")
}

impl Fleet {
    /// Installs headgate, starts all, and waits until edit 0 is served by both gateways and status says so.
    pub async fn start(cluster: &Cluster) -> Self {
        cluster.install_headgate().await;
        let origin = cluster.origin(SERVICE);
        cluster.service("default", SERVICE, 80, ORIGIN_PORT, &[origin.address().ip()]).await;
        cluster.apply(manifests::GATEWAY).await;
        cluster.edit(0).await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let followed: Vec<&Member> = operators.iter().collect();
        let gateways = [cluster.gateway("gateway-1", &followed).await, cluster.gateway("gateway-2", &followed).await];
        let fleet = Self { operators, gateways, origin };
        for gateway in &fleet.gateways {
            gateway.ready().await;
        }
        fleet.enforces(0, EDIT_LIMIT).await;
        cluster.says(ROUTE, "Programmed", "True", EDIT_LIMIT).await;
        fleet
    }

    /// The operator that leads and the one that does not, as soon as that is so. Both run.
    pub async fn leader_and_other(&self, limit: Duration) -> (&Member, &Member) {
        let [one, two] = &self.operators;
        eventually(limit, "one of both operators leads", async || {
            match (one.leads().await, two.leads().await) {
                (true, false) => Ok((one, two)),
                (false, true) => Ok((two, one)),
                (false, false) => Err("none leads"),
                (true, true) => Err("both lead"),
            }
            .map_err(ToOwned::to_owned)
        })
        .await
    }

    /// Waits until both gateways enforce this edit or a later one, and says how long that took.
    pub async fn enforces(&self, number: u64, limit: Duration) -> Duration {
        let watch = Stopwatch::start();
        for gateway in &self.gateways {
            gateway.enforces(number, limit).await;
        }
        watch.elapsed()
    }
}

impl Cluster {
    /// Edits the route so that its answers have this number.
    pub async fn edit(&self, number: u64) {
        let mark = json!({
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": { "set": [{ "name": EDIT, "value": number.to_string() }] },
        });
        let (kind, namespace, name) = ROUTE;
        self.put(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "parentRefs": [{ "name": "public" }],
                "hostnames": [HOST],
                "rules": [{ "filters": [mark], "backendRefs": [{ "name": SERVICE, "port": 80 }] }],
            },
        }))
        .await;
    }
}

impl Member {
    /// Waits until a gateway enforces this edit or a later one.
    pub async fn enforces(&self, number: u64, limit: Duration) {
        eventually(limit, &format!("{} enforces edit {number}", self.name), async || {
            match ask().try_to(self.http()).await {
                Ok(answer) => match answer.header(EDIT).parse::<u64>() {
                    Ok(seen) if seen >= number => Ok(()),
                    Ok(seen) => Err(format!("edit {seen}")),
                    Err(_) => Err(format!("{} {}", answer.status, answer.reason())),
                },
                Err(failure) => Err(format!("{failure:?}")),
            }
        })
        .await;
    }
}
