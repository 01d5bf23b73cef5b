//! The control plane itself, without headgate: what the tests rely on.

use std::time::Duration;

use headgate_tests::{
    client::get,
    cluster::{self, Cluster, ORIGIN_PORT, tokens::Token, workloads::Pod},
    eventually,
};
use serde_json::json;

const LIMIT: Duration = Duration::from_mins(1);
/// How soon the controller manager follows.
const FOLLOW_LIMIT: Duration = Duration::from_secs(15);

/// The pool of the contract, as users write it.
const POOL: &str = include_str!("../../../examples/origin-pool.yaml");

#[test]
fn it_says_who_may_do_what_and_knows_what_headgate_brings() {
    cluster::within(LIMIT, async |cluster| {
        rights_are_rbac(&cluster).await;
        tokens_have_an_audience_and_a_pod(&cluster).await;
        definitions_are_served_and_their_rules_enforced(&cluster).await;
    });
}

async fn rights_are_rbac(cluster: &Cluster) {
    cluster.service_account("default", "stranger").await;
    let token = cluster.create_token(Token::of("default", "stranger", "")).await.expect("a token");
    let kubeconfig = cluster.kubeconfig_for("stranger", &token);
    let denied = cluster.kubectl_as(&kubeconfig, &["get", "pods"]).await.expect_err("denied");
    assert!(
        denied.contains(r#"User "system:serviceaccount:default:stranger" cannot list resource "pods""#),
        "{denied}"
    );

    cluster
        .kubectl(&["create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount=default:stranger"])
        .await
        .expect("bound");
    eventually(FOLLOW_LIMIT, "what is granted is allowed", async || {
        cluster.kubectl_as(&kubeconfig, &["get", "pods"]).await
    })
    .await;
    let refused = cluster.api_as("not-a-token").get("/api/v1/namespaces/default/pods").await;
    assert_eq!(refused.expect_err("refused").code(), Some(401));
}

async fn tokens_have_an_audience_and_a_pod(cluster: &Cluster) {
    cluster.namespace("shop").await;
    cluster.service_account("shop", "gateway").await;
    let address = cluster.address();
    let pod = Pod {
        namespace: "shop",
        name: "gateway-1",
        service_account: "gateway",
        labels: &[],
        address,
        port: ORIGIN_PORT,
    };
    cluster.pod(pod).await;
    let unbound = Token::of("shop", "gateway", "headgate");
    for (asked, bound) in [(unbound, None), (unbound.bound_to("gateway-1"), Some("gateway-1"))] {
        let token = cluster.create_token(asked).await.expect("a token");
        let review = cluster.review_token(&token, "headgate").await;
        assert_eq!(
            (&review["authenticated"], &review["audiences"], &review["user"]["username"]),
            (&json!(true), &json!(["headgate"]), &json!("system:serviceaccount:shop:gateway"))
        );
        assert_eq!(review["user"]["extra"]["authentication.kubernetes.io/pod-name"][0].as_str(), bound);
        let elsewhere = cluster.review_token(&token, "another").await;
        assert_ne!(elsewhere["authenticated"], true, "{elsewhere}");
        let expired = cluster.review_token(&cluster.expired_token(asked).await, "headgate").await;
        assert!(expired["error"].as_str().is_some_and(|error| error.contains("token has expired")), "{expired}");
    }
    let misfit = Token::of("shop", "default", "headgate").bound_to("gateway-1");
    let refusal = cluster.create_token(misfit).await.expect_err("the pod runs as another service account");
    assert_eq!(refusal.code(), Some(400), "{refusal:?}");
}

async fn definitions_are_served_and_their_rules_enforced(cluster: &Cluster) {
    cluster.install_crds().await;
    cluster.install_gateway_api().await;
    let served = cluster.served_definitions().await;
    for name in headgate_definitions() {
        assert!(served.contains(&name), "{name} is not served: {served:?}");
    }
    for kind in ["gateways", "gatewayclasses", "httproutes", "grpcroutes", "referencegrants", "backendtlspolicies"] {
        assert!(served.contains(&format!("{kind}.gateway.networking.k8s.io")), "{kind} is not served: {served:?}");
    }

    assert_eq!(cluster.apply(POOL).await.trim(), "originpool.headgate.dev/chat created");
    let pool = cluster.api.find("OriginPool", "default", "chat").await.expect("the pool");
    assert_eq!(pool["spec"]["origins"][1]["weight"], 100);

    let invalid = POOL.replace("timeout: 500ms", "timeout: 5s");
    let refusal = cluster.try_apply(&invalid).await.expect_err("refused");
    assert_eq!(
        refusal.trim(),
        "The OriginPool \"chat\" is invalid: spec.healthCheck: Invalid value: healthCheck.timeout is longer than \
         healthCheck.interval: a probe ends before the next one begins"
    );
    let now = cluster.api.find("OriginPool", "default", "chat").await.expect("the pool");
    assert_eq!(now, pool, "a refused edit changes nothing");
}

/// The names in `crds/yaml`: one file a kind, called after its plural.
fn headgate_definitions() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml");
    let files = std::fs::read_dir(folder).expect("crds/yaml").map(|entry| entry.expect("a file").path());
    files.map(|file| format!("{}.headgate.dev", file.file_stem().expect("a name").to_str().expect("text"))).collect()
}

#[test]
fn its_endpoints_are_real_servers_and_it_survives_its_own_parts() {
    cluster::within(LIMIT, async |cluster| {
        services_lead_to_servers(&cluster).await;
        pods_come_and_go(&cluster).await;
        parts_come_back(&cluster).await;
    });
}

async fn services_lead_to_servers(cluster: &Cluster) {
    let origin = cluster.origin("one");
    let address = origin.address().ip();
    cluster.service("default", "fixed", 80, ORIGIN_PORT, &[address]).await;
    assert_eq!(cluster.ready_addresses("default", "fixed").await, [address.to_string()]);
    assert_eq!(get("a", "/").to(origin.address()).await.origin(), "one");
    cluster.endpoints("default", "fixed", ORIGIN_PORT, &[]).await;
    assert_eq!(cluster.ready_addresses("default", "fixed").await, [""; 0]);
}

async fn pods_come_and_go(cluster: &Cluster) {
    cluster.service_of_pods("default", "chosen", 80, &[("app", "chat")]).await;
    let (one, two) = (cluster.address(), cluster.address());
    for (name, address) in [("chat-1", one), ("chat-2", two)] {
        let labels = &[("app", "chat")];
        let pod = Pod { namespace: "default", name, service_account: "default", labels, address, port: ORIGIN_PORT };
        cluster.pod(pod).await;
    }
    endpoints_become(cluster, &[&one.to_string(), &two.to_string()]).await;
    cluster.pod_is_ready("default", "chat-1", one, false).await;
    endpoints_become(cluster, &[&two.to_string()]).await;
    cluster.api.delete("Pod", "default", "chat-2").await.expect("deleted");
    endpoints_become(cluster, &[]).await;
    cluster.pod_is_ready("default", "chat-1", one, true).await;
    endpoints_become(cluster, &[&one.to_string()]).await;
}

async fn endpoints_become(cluster: &Cluster, addresses: &[&str]) {
    eventually(FOLLOW_LIMIT, &format!("the endpoints are {addresses:?}"), async || {
        let seen = cluster.ready_addresses("default", "chosen").await;
        if seen == addresses { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

async fn parts_come_back(cluster: &Cluster) {
    let fixed = async || cluster.api.find("Service", "default", "fixed").await.expect("the Service");
    let before = fixed().await;
    cluster.api_server.stop();
    assert_eq!(cluster.api.get("/readyz").await.expect_err("nobody answers").code(), None);
    cluster.etcd.stop();
    cluster.etcd.start();
    cluster.etcd_ready().await;
    cluster.compact_etcd().await;
    cluster.api_server.start();
    cluster.ready().await;
    assert_eq!(fixed().await, before);

    cluster.api_server.freeze();
    cluster.api_server.thaw();
    cluster.etcd.stop();
    cluster.etcd.start();
    cluster.etcd_ready().await;
    cluster.ready().await;
    // The controller manager was there all the time, and goes on.
    cluster.namespace("later").await;
}
