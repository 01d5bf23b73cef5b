//! The manifests of the contract, applied with kubectl: two operators, two gateways, real traffic, honest status.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headgate_tests::{
    client::get,
    cluster::{
        self, Cluster, ORIGIN_PORT,
        headgate::{EDIT_LIMIT, Member},
    },
    eventually, examples,
    manifests::{pool, route_to_pool},
    origin::Origin,
};

const LIMIT: Duration = Duration::from_mins(3);
/// By when a proxy that answers nothing is told.
const SILENCE_LIMIT: Duration = Duration::from_secs(6);
/// Failover with probes of 1 s and two failures, on a busy machine.
const FAILOVER_LIMIT: Duration = Duration::from_secs(10);

const POOL: (&str, &str, &str) = ("OriginPool", "default", "chat");
const ROUTE: (&str, &str, &str) = ("HTTPRoute", "default", "shop");

/// The servers that the contract's manifests refer to.
struct Backends {
    eu: Origin,
    _asia: [Origin; 2],
    storefront: Origin,
    _static_site: Origin,
}

impl Backends {
    async fn start(cluster: &Cluster) -> Self {
        let (eu, storefront, static_site) =
            (cluster.origin("eu"), cluster.origin("storefront"), cluster.origin("files"));
        cluster.service("default", "chat-eu", 80, ORIGIN_PORT, &[eu.address().ip()]).await;
        cluster.service("default", "storefront", 80, ORIGIN_PORT, &[storefront.address().ip()]).await;
        let files = format!("origins: [{{ name: files, endpoints: [\"{}\"] }}]", static_site.address());
        cluster.apply(&pool("static-site", &files)).await;
        let asia = |name, port| Origin::start_at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Self { eu, _asia: [asia("asia-1", 9001), asia("asia-2", 9002)], storefront, _static_site: static_site }
    }
}

fn example(name: &str) -> String {
    std::fs::read_to_string(examples::folder().join(name)).expect("an example")
}

#[test]
fn what_is_applied_is_served_by_every_proxy_and_programmed_says_so() {
    cluster::within(LIMIT, async |cluster| {
        cluster.install_headgate().await;
        let backends = Backends::start(&cluster).await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let followed: Vec<&Member> = operators.iter().collect();
        let gateways = [cluster.gateway("gateway-1", &followed).await, cluster.gateway("gateway-2", &followed).await];
        cluster.apply(&example("origin-pool.yaml")).await;
        cluster.apply(&example("route.yaml")).await;
        for gateway in &gateways {
            gateway.ready().await;
        }

        contract_is_served(&cluster, &gateways).await;
        status_tells_both(&cluster).await;
        a_frozen_proxy_is_named(&cluster, &gateways).await;
        health_is_followed(&cluster, &backends, &gateways).await;
        edits_and_deletions_arrive(&cluster, &backends, &gateways).await;
    });
}

async fn contract_is_served(cluster: &Cluster, gateways: &[Member]) {
    for gateway in gateways {
        for (host, path, origin) in [
            ("chat.example.com", "/", "eu"),
            ("shop.example.com", "/chat/room", "eu"),
            ("shop.example.com", "/chatter", "storefront"),
            ("old.example.com", "/deep/path", "eu"),
        ] {
            gateway.answers(&get(host, path), 200, origin).await;
        }
        gateway.answers(&get("stranger.example.com", "/"), 404, "").await;
    }
    let ingress = cluster.api.find("Ingress", "default", "legacy").await.expect("the Ingress");
    assert_eq!(ingress["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.80");
}

async fn status_tells_both(cluster: &Cluster) {
    for object in [POOL, ROUTE, ("Gateway", "default", "public")] {
        cluster.says(object, "Programmed", "True", EDIT_LIMIT).await;
        cluster.says(object, "Accepted", "True", EDIT_LIMIT).await;
    }
    assert_eq!(cluster.proxies("OriginPool", "default", "chat").await, (Some(2), Some(2)));
    let gateway = cluster.api.find("Gateway", "default", "public").await.expect("the Gateway");
    assert_eq!(gateway["status"]["addresses"][0]["value"], "192.0.2.80");
    assert_eq!(gateway["status"]["listeners"][0]["attachedRoutes"], 1);
    let class = cluster.condition("GatewayClass", "", "headgate", "Accepted").await;
    assert_eq!(class.0, "True", "{class:?}");
    let route = cluster.api.find("HTTPRoute", "default", "shop").await.expect("the route");
    assert_eq!(route["status"]["parents"][0]["controllerName"], "headgate.dev/gateway");
    assert_eq!(route["status"]["parents"][0]["conditions"][0]["observedGeneration"], 1);

    let columns = cluster.kubectl(&["get", "originpools.headgate.dev", "chat"]).await.expect("a table");
    let mut lines = columns.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().expect("titles"), ["NAME", "READY", "HEALTHY", "ACTIVE", "POLICY", "AGE"], "{columns}");
    assert_eq!(lines.next().expect("a row")[..5], ["chat", "True", "3/3", "eu", "Failover"], "{columns}");
}

async fn a_frozen_proxy_is_named(cluster: &Cluster, gateways: &[Member]) {
    gateways[1].process.freeze();
    let (reason, message) = cluster.says(POOL, "Programmed", "False", SILENCE_LIMIT).await;
    assert_eq!(reason, "ProxySilent", "{message}");
    assert!(message.contains("gateway-2"), "{message}");
    gateways[1].process.thaw();
    cluster.says(POOL, "Programmed", "True", EDIT_LIMIT).await;
}

async fn health_is_followed(cluster: &Cluster, backends: &Backends, gateways: &[Member]) {
    backends.eu.kill().await;
    for gateway in gateways {
        eventually(FAILOVER_LIMIT, "asia answers", async || {
            let answer = get("chat.example.com", "/").to(gateway.http()).await;
            if answer.origin().starts_with("asia") {
                Ok(())
            } else {
                Err(format!("{} {}", answer.status, answer.origin()))
            }
        })
        .await;
    }
    cluster.says(POOL, "Degraded", "True", FAILOVER_LIMIT + Duration::from_secs(10)).await;
    backends.eu.revive();
    for gateway in gateways {
        gateway.answers(&get("chat.example.com", "/"), 200, "eu").await;
    }
}

async fn edits_and_deletions_arrive(cluster: &Cluster, backends: &Backends, gateways: &[Member]) {
    let next = cluster.origin("next");
    cluster.endpoints("default", "storefront", ORIGIN_PORT, &[next.address().ip()]).await;
    for gateway in gateways {
        gateway.answers(&get("shop.example.com", "/"), 200, "next").await;
    }
    cluster.endpoints("default", "storefront", ORIGIN_PORT, &[backends.storefront.address().ip()]).await;

    cluster.apply(&route_to_pool("shop", "store.example.com", "chat")).await;
    for gateway in gateways {
        gateway.answers(&get("store.example.com", "/"), 200, "eu").await;
        gateway.answers(&get("shop.example.com", "/"), 404, "").await;
    }
    cluster.kubectl(&["delete", "httproute", "shop"]).await.expect("deleted");
    cluster.kubectl(&["delete", "originpool", "chat"]).await.expect("deleted");
    for gateway in gateways {
        gateway.answers(&get("store.example.com", "/"), 404, "").await;
        gateway.answers(&get("chat.example.com", "/"), 404, "").await;
        gateway.answers(&get("old.example.com", "/"), 500, "").await;
    }
}
