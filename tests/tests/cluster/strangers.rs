//! Who shows the wrong token gets nothing; who shows a right one gets what it may know, and no more.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use headgate_tests::{
    certificates::Authority,
    client::get,
    cluster::{
        self, Cluster, ORIGIN_PORT,
        headgate::{EDIT_LIMIT, Member, NAMESPACE},
        tokens::Token,
        workloads::Pod,
    },
    eventually,
    manifests::{pool, rate_limit, route_to_pool, secret},
};
use http::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(4);
/// By when a proxy that is turned away has tried again at both operators, with its pauses between.
const DENIAL_LIMIT: Duration = Duration::from_secs(30);
const DENIALS: &str = "headgate_operator_denials_total";

#[test]
fn a_proxy_gets_what_its_token_proves_and_people_see_what_they_may_read() {
    cluster::within(LIMIT, async |cluster| {
        cluster.install_headgate().await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        two_tenants(&cluster).await;
        let gateway = a_gateway_outside_a_pod(&cluster, &operators).await;
        gateways_with_wrong_tokens(&cluster, &operators).await;
        sidecars(&cluster, &operators).await;
        the_api(&cluster, &operators[0], &gateway).await;
    });
}

fn both(operators: &[Member; 2]) -> [&Member; 2] {
    operators.each_ref()
}

/// Namespaces `default` and `shop`, each with a pool, routing and a certificate of its own.
async fn two_tenants(cluster: &Cluster) {
    cluster.namespace("shop").await;
    for account in ["app", "headgate-gateway"] {
        cluster.service_account("shop", account).await;
    }
    let origin = cluster.origin("origin").address();
    let spec = format!("origins: [{{ name: a, endpoints: [\"{origin}\"] }}]");
    let authority = Authority::new("tenants");
    let tenants = pool("chat", &spec)
        + &route_to_pool("chat", "chat.example.com", "chat")
        + &secret("certificate", &authority.issue(&["chat.example.com"]))
        + "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public, namespace: default }
spec:
  gatewayClassName: headgate
  listeners:
    - { name: http, protocol: HTTP, port: 80, hostname: chat.example.com }
    - { name: https, protocol: HTTPS, port: 443, hostname: chat.example.com, tls: { certificateRefs: [{ name: certificate }] } }
---
";
    cluster.apply(&tenants).await;
    let shop = tenants.replace("namespace: default", "namespace: shop").replace("chat.example.com", "shop.example.com");
    cluster.apply(&shop).await;
}

/// The contract's words: `kubectl create token … --audience headgate` works for a gateway outside a pod.
async fn a_gateway_outside_a_pod(cluster: &Cluster, operators: &[Member; 2]) -> Member {
    let create = ["--namespace", NAMESPACE, "create", "token", "headgate-gateway", "--audience", "headgate"];
    let token = cluster.kubectl(&create).await.expect("a token");
    let gateway = cluster.proxy("gateway", "outside", loopback(2), &both(operators), token.trim()).await;
    gateway.ready().await;
    cluster.says(("OriginPool", "shop", "chat"), "Programmed", "True", EDIT_LIMIT).await;
    let keys = keys(&gateway.config().await);
    for key in
        ["OriginPool/default/chat", "OriginPool/shop/chat", "Secret/default/certificate", "Secret/shop/certificate"]
    {
        assert!(keys.iter().any(|known| known == key), "{key}: {keys:?}");
    }
    gateway
}

async fn gateways_with_wrong_tokens(cluster: &Cluster, operators: &[Member; 2]) {
    cluster.service_account(NAMESPACE, "stranger").await;
    let made = async |token| cluster.create_token(token).await.expect("a token");
    let right = Token::of(NAMESPACE, "headgate-gateway", "headgate");
    let cases = [
        ("of-another-account", made(Token::of(NAMESPACE, "stranger", "headgate")).await, "NoGateway"),
        ("of-another-namespace", made(Token::of("shop", "headgate-gateway", "headgate")).await, "NoGateway"),
        ("of-another-audience", made(Token::of(NAMESPACE, "headgate-gateway", "another")).await, "NotAuthenticated"),
        ("of-the-api-server", made(Token::of(NAMESPACE, "headgate-gateway", "")).await, "NotAuthenticated"),
        ("expired", cluster.expired_token(right).await, "NotAuthenticated"),
        ("garbage", "not.a.token".to_owned(), "NotAuthenticated"),
    ];
    for (number, (name, token, reason)) in (10..).zip(&cases) {
        let before = denials(operators, reason).await;
        let proxy = cluster.proxy("gateway", name, loopback(number), &both(operators), token).await;
        gets_nothing(&proxy, operators, reason, before).await;
    }

    // It is the token alone: with a right one in its place the same process is let in.
    let before = denials(operators, "NotAuthenticated").await;
    let proxy = cluster.proxy("gateway", "late", loopback(30), &both(operators), &cases[5].1).await;
    gets_nothing(&proxy, operators, "NotAuthenticated", before).await;
    cluster.renew_token("late", &made(right).await);
    proxy.ready().await;
}

async fn sidecars(cluster: &Cluster, operators: &[Member; 2]) {
    let labels = &[("app", "shop")];
    let pod = Pod {
        namespace: "shop",
        name: "app-1",
        service_account: "app",
        labels,
        address: cluster.address(),
        port: ORIGIN_PORT,
    };
    cluster.pod(pod).await;
    let unbound = Token::of("shop", "app", "headgate");
    let bound = unbound.bound_to("app-1");
    let made = async |token| cluster.create_token(token).await.expect("a token");
    let cases = [
        ("unbound", made(unbound).await, "Unbound"),
        ("gateways", made(Token::of(NAMESPACE, "headgate-gateway", "headgate")).await, "Unbound"),
        ("expired-bound", cluster.expired_token(bound).await, "NotAuthenticated"),
    ];
    for (number, (name, token, reason)) in (40..).zip(&cases) {
        let before = denials(operators, reason).await;
        let proxy = cluster.proxy("sidecar", name, loopback(number), &both(operators), token).await;
        gets_nothing(&proxy, operators, reason, before).await;
    }
    // A pod's token is no gateway's.
    let before = denials(operators, "NoGateway").await;
    let token = made(bound).await;
    let proxy = cluster.proxy("gateway", "ambitious", loopback(50), &both(operators), &token).await;
    gets_nothing(&proxy, operators, "NoGateway", before).await;
    drop(proxy);

    // It calls itself another pod; the token decides.
    let sidecar = cluster.proxy("sidecar", "app-2", loopback(51), &both(operators), &token).await;
    sidecar.ready().await;
    let config = sidecar.config().await;
    let keys = keys(&config);
    assert_eq!(keys, ["HTTPRoute/shop/chat", "OriginPool/shop/chat"], "{config:#}");
    let text = config.to_string();
    for foreign in ["default", "chat.example.com", "PRIVATE KEY", "BEGIN CERTIFICATE"] {
        assert!(!text.contains(foreign), "`{foreign}` is none of its business: {config:#}");
    }
    // What a file of its own could give away.
    for word in ["PRIVATE KEY", "chat.example.com"] {
        assert!(!holds(&cluster.path("app-2.data"), word), "`{word}` is on its disk");
    }
    its_application_asks_for_the_limits_of_its_namespace(cluster).await;
}

async fn its_application_asks_for_the_limits_of_its_namespace(cluster: &Cluster) {
    let limit = rate_limit("exports", "applicationOnly: true\nscope: Proxy\nlimit: 3\nperiod: 1h");
    cluster.apply(&(limit.replace("namespace: default", "namespace: shop") + &limit)).await;
    let application = SocketAddr::from(([127, 0, 0, 1], 16_020));
    let ask = |namespace: &str| {
        get("127.0.0.1:16020", &format!("/v1/ratelimits/{namespace}/exports/limit"))
            .method(Method::POST)
            .header("Content-Type", "application/json")
            .body(r#"{"key": "tenant-7"}"#)
    };
    let first = eventually(EDIT_LIMIT, "the application is answered", async || {
        let answer = ask("shop").to(application).await;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
    })
    .await;
    assert_eq!((&first["success"], &first["limit"], &first["remaining"]), (&json!(true), &json!(3), &json!(2)));
    let mut passed = 1;
    for _ in 0..5 {
        passed += u32::from(ask("shop").to(application).await.json()["success"] == true);
    }
    assert_eq!(passed, 3);
    assert_eq!(ask("default").to(application).await.status, 404, "another namespace's limits are none of its business");
}

/// Whether any file below a folder holds a word.
fn holds(folder: &Path, word: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let mut entries = entries.peekable();
    entries.any(|path| match std::fs::read(&path) {
        Ok(bytes) => bytes.windows(word.len()).any(|window| window == word.as_bytes()),
        Err(_) => holds(&path, word),
    })
}

/// Denials of both operators: of all reasons, and of one.
async fn denials(operators: &[Member; 2], reason: &str) -> [[f64; 2]; 2] {
    let series = format!("{DENIALS}{{reason=\"{reason}\"}}");
    let [one, other] = operators;
    let all = [one.total(DENIALS).await, other.total(DENIALS).await];
    [all, [one.metric(&series).await, other.metric(&series).await]]
}

/// Waits until both operators have turned a proxy away, more than once in all, for this reason alone, and sees that it
/// has nothing. `before` is what others were turned away for before it came.
async fn gets_nothing(proxy: &Member, operators: &[Member; 2], reason: &str, before: [[f64; 2]; 2]) {
    let name = &proxy.name;
    let since = |now: [f64; 2], before: [f64; 2]| [now[0] - before[0], now[1] - before[1]];
    let (all, of_reason) = eventually(DENIAL_LIMIT, &format!("{name} is denied"), async || {
        let now = denials(operators, reason).await;
        let (all, of_reason) = (since(now[0], before[0]), since(now[1], before[1]));
        let enough = all[0] >= 1.0 && all[1] >= 1.0 && all[0] + all[1] >= 3.0;
        if enough { Ok((all, of_reason)) } else { Err(format!("{all:?}")) }
    })
    .await;
    // Those of the reason are read last, so that one that comes between does not count against it.
    assert!((0..2).all(|it| of_reason[it] >= all[it]), "{name}: {of_reason:?} of {all:?} denials are for {reason}");
    let ready = get("admin", "/readyz").to(proxy.admin()).await;
    assert_eq!((ready.status, ready.text().as_str()), (503, "no plan yet\n"), "{name}");
    assert_eq!(proxy.config().await["resources"], json!([]), "{name}");
    for operator in operators {
        assert_eq!(operator.total("headgate_operator_streams{role=\"sidecar\"}").await, 0.0, "{name}");
    }
}

async fn the_api(cluster: &Cluster, operator: &Member, gateway: &Member) {
    let token_of = async |name: &str, audience: &str| {
        cluster.service_account("shop", name).await;
        cluster.create_token(Token::of("shop", name, audience)).await.expect("a token")
    };
    let bind = async |arguments: &[&str]| {
        cluster.kubectl(&[&["create"], arguments].concat()).await.expect("bound");
    };
    let admin = token_of("admin", "headgate").await;
    let reader = token_of("reader", "headgate").await;
    let stranger = token_of("nobody", "headgate").await;
    let elsewhere = token_of("admin", "").await;
    bind(&["clusterrolebinding", "api-admin", "--clusterrole=cluster-admin", "--serviceaccount=shop:admin"]).await;
    bind(&["role", "pools", "--namespace=shop", "--verb=get", "--resource=originpools.headgate.dev"]).await;
    bind(&["rolebinding", "pools", "--namespace=shop", "--role=pools", "--serviceaccount=shop:reader"]).await;

    let ask = async |token: Option<&str>| cluster.api_of(operator, token).await.get("/v1/status").await;
    for token in [None, Some("not.a.token"), Some(elsewhere.as_str())] {
        let refusal = ask(token).await.expect_err("refused");
        assert_eq!(refusal.code(), Some(401), "{refusal:?}");
    }
    let refusal = ask(Some(&stranger)).await.expect_err("refused");
    assert_eq!(refusal.code(), Some(403), "{refusal:?}");

    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items
            .map(|it| {
                format!(
                    "{}/{}/{}",
                    text(&it["kind"]),
                    text(&it["metadata"]["namespace"]),
                    text(&it["metadata"]["name"])
                )
            })
            .collect()
    };
    // A grant of a moment ago is known as soon as the API server knows it.
    let seen = eventually(EDIT_LIMIT, "the reader may read", async || {
        ask(Some(&reader)).await.map_err(|it| format!("{it:?}"))
    })
    .await;
    assert_eq!(names(&seen), ["OriginPool/shop/chat"]);
    assert!(!seen.to_string().contains("outside"), "the proxies are not for a namespace's reader: {seen}");

    let all = eventually(EDIT_LIMIT, "the administrator may read", async || {
        ask(Some(&admin)).await.map_err(|it| format!("{it:?}"))
    })
    .await;
    let seen = names(&all);
    for object in [
        "OriginPool/default/chat",
        "OriginPool/shop/chat",
        "HTTPRoute/shop/chat",
        "Gateway/default/public",
        "GatewayClass//headgate",
    ] {
        assert!(seen.iter().any(|name| name == object), "{object}: {seen:?}");
    }
    assert!(
        all["proxies"].as_array().is_some_and(|it| it.iter().any(|proxy| proxy["name"] == gateway.name.as_str())),
        "{all}"
    );
    assert_eq!((&all["apiVersion"], &all["kind"]), (&json!("v1"), &json!("List")));
    let pool = cluster.api.find("OriginPool", "shop", "chat").await.expect("the pool");
    let told = all["items"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["kind"] == "OriginPool" && it["metadata"]["namespace"] == "shop");
    assert_eq!(of_the_object(&told.expect("the pool")["status"]), of_the_object(&pool["status"]));
}

/// What a status says of the object itself. What it says of the proxies, and since when, is what the replica knows that
/// was asked; what is stored is the leader's.
fn of_the_object(status: &Value) -> Vec<Value> {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let mut told: Vec<Value> =
        conditions.into_iter().filter(|it| it["type"] == "Accepted" || it["type"] == "ResolvedRefs").collect();
    for condition in &mut told {
        condition["lastTransitionTime"].take();
    }
    assert_eq!(told.len(), 2, "{status}");
    told
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// The keys of what a proxy enforces, sorted.
fn keys(config: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resources = config["resources"].as_array().expect("resources").iter();
    let mut keys: Vec<String> = resources
        .map(|resource| &resource["key"])
        .map(|key| format!("{}/{}/{}", text(&key["kind"]), text(&key["namespace"]), text(&key["name"])))
        .collect();
    keys.sort();
    keys
}
