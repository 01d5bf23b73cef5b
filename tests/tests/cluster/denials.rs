//! Operators that start anew and may not read everything: what proxies have stays, the rest goes on.

use std::time::Duration;

use headgate_tests::{
    client::{Ask, get},
    cluster::{
        self, Cluster,
        fleet::{self, EDIT, Fleet, ROUTE},
        headgate::EDIT_LIMIT,
    },
    eventually,
    load::{Load, Pace},
    manifests::{pool, route_to_pool},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(4);
/// How soon operators that start know what they may not read, and lead.
const START_LIMIT: Duration = Duration::from_secs(30);
const ROLE: &str = "headgate-operator";
const POOL_HOST: &str = "pool.example.com";

const INGRESS_HOST: &str = "ingress.example.com";
const INGRESS: &str = r"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: old, namespace: default }
spec:
  ingressClassName: headgate
  rules: [{ host: ingress.example.com, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: shop, port: { number: 80 } } } }] } }]
";

/// What may not be read.
struct Denial {
    resource: &'static str,
    kind: &'static str,
    /// It says whose an object is: of those that may be another controller's nothing is told.
    is_class: bool,
}

const DENIALS: [Denial; 4] = [
    Denial { resource: "services", kind: "Service", is_class: false },
    Denial { resource: "endpointslices", kind: "EndpointSlice", is_class: false },
    Denial { resource: "gatewayclasses", kind: "GatewayClass", is_class: true },
    Denial { resource: "ingressclasses", kind: "IngressClass", is_class: true },
];

#[test]
fn what_operators_may_not_read_at_their_start_withdraws_nothing_and_the_rest_goes_on() {
    cluster::within(LIMIT, async |cluster| {
        let fleet = Fleet::start(&cluster).await;
        let spec = format!("origins: [{{ name: one, endpoints: [\"{}\"] }}]", fleet.origin.address());
        cluster.apply(&pool("fixed", &spec)).await;
        cluster.apply(&route_to_pool("pool", POOL_HOST, "fixed")).await;
        cluster.apply(INGRESS).await;
        for gateway in &fleet.gateways {
            gateway.answers(&get(POOL_HOST, "/"), 200, "shop").await;
            gateway.answers(&get(INGRESS_HOST, "/"), 200, "shop").await;
        }
        eventually(EDIT_LIMIT, "the Ingress has its address", async || has_address(&cluster).await).await;
        let permitted = rules(&cluster).await;
        let pace = Pace { connections: 4, every: Duration::from_millis(40) };
        let load = Load::start(fleet.gateways[0].http(), pace, &asks());
        for (number, denial) in (1..).zip(&DENIALS) {
            the_operators_start_without(&cluster, &fleet, denial, &permitted, number).await;
        }
        let tally = load.stop().await;
        println!("measured: {} requests, {} of them not well", tally.requests, tally.bad());
        assert!(tally.requests > 500, "{tally:?}");
        assert_eq!(tally.bad(), 0, "{tally:?}");
    });
}

async fn the_operators_start_without(
    cluster: &Cluster,
    fleet: &Fleet,
    denial: &Denial,
    permitted: &Value,
    number: u64,
) {
    let Denial { resource, kind, is_class } = denial;
    for operator in &fleet.operators {
        operator.process.stop();
    }
    permit(cluster, &without(permitted, resource)).await;
    for operator in &fleet.operators {
        operator.process.start();
    }
    for operator in &fleet.operators {
        operator.ready().await;
    }
    let (leader, _) = fleet.leader_and_other(START_LIMIT).await;
    cluster.edit(number).await;
    let host = format!("without-{resource}.example.com");
    cluster.apply(&route_to_pool(&format!("without-{resource}"), &host, "fixed")).await;

    eventually(EDIT_LIMIT, "the operator names what it may not read", async || {
        let told = get("admin", "/readyz").to(leader.admin()).await.text();
        if told.contains(&format!("{kind}: not permitted")) { Ok(()) } else { Err(told) }
    })
    .await;
    if *is_class {
        assert_eq!(cluster.condition(ROUTE.0, ROUTE.1, ROUTE.2, "Programmed").await.0, "True", "what was said stays");
        has_address(cluster).await.expect("it keeps its address");
    } else {
        let (reason, message) = cluster.says(ROUTE, "ResolvedRefs", "False", EDIT_LIMIT).await;
        assert_eq!(reason, "RefUnreadable", "{message}");
        assert!(message.contains(&format!("{kind}s")), "{message}");
        let (reason, message) = cluster.says(ROUTE, "Programmed", "False", EDIT_LIMIT).await;
        assert_eq!(reason, "Held", "{message}");
        for gateway in &fleet.gateways {
            gateway.answers(&get(&host, "/"), 200, "shop").await;
        }
    }
    for gateway in &fleet.gateways {
        gateway.answers(&get(POOL_HOST, "/"), 200, "shop").await;
        gateway.answers(&get(INGRESS_HOST, "/"), 200, "shop").await;
        if *kind != "IngressClass" {
            let answer = fleet::ask().to(gateway.http()).await;
            assert_eq!((answer.status, answer.header(EDIT)), (200, (number - 1).to_string().as_str()), "{resource}");
        }
    }

    permit(cluster, permitted).await;
    fleet.enforces(number, START_LIMIT).await;
    for gateway in &fleet.gateways {
        gateway.answers(&get(&host, "/"), 200, "shop").await;
    }
    cluster.says(ROUTE, "ResolvedRefs", "True", START_LIMIT).await;
    cluster.says(ROUTE, "Programmed", "True", START_LIMIT).await;
}

fn asks() -> [Ask; 3] {
    [fleet::ask(), get(POOL_HOST, "/"), get(INGRESS_HOST, "/")]
}

async fn has_address(cluster: &Cluster) -> Result<(), String> {
    let ingress = cluster.api.find("Ingress", "default", "old").await.expect("the Ingress");
    let told = &ingress["status"]["loadBalancer"]["ingress"][0]["ip"];
    if told == "192.0.2.80" { Ok(()) } else { Err(ingress["status"].to_string()) }
}

/// What the operators may do.
async fn rules(cluster: &Cluster) -> Value {
    cluster.api.find("ClusterRole", "", ROLE).await.expect("the role that ships")["rules"].clone()
}

async fn permit(cluster: &Cluster, rules: &Value) {
    cluster.api.patch("ClusterRole", "", ROLE, &json!({ "rules": rules })).await.expect("the role is changed");
}

/// The rules without one resource.
fn without(rules: &Value, resource: &str) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|it| it != resource);
        }
    }
    rules.as_array_mut().expect("a list").retain(|rule| rule["resources"].as_array().is_none_or(|it| !it.is_empty()));
    rules
}
