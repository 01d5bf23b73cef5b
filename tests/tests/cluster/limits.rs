//! The limits of the contract, applied with kubectl: two operators, two gateways on one store, real traffic.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use headgate_tests::{
    certificates::Authority,
    client::{Ask, Connection, get},
    cluster::{
        self, Cluster, ORIGIN_PORT,
        headgate::{EDIT_LIMIT, Member, NAMESPACE},
        tokens::Token,
    },
    eventually, examples,
    grpc::{Call, Ruling},
    manifests::{GATEWAY, rate_limit, route},
    store::Store,
};
use http::Method;

const LIMIT: Duration = Duration::from_mins(3);
const HOST: &str = "shop.example.com";
/// Figures are written every 10 s at most.
const FIGURES_LIMIT: Duration = Duration::from_secs(30);

/// The port of Envoy's rate limit service.
const SERVICE_PORT: u16 = 8081;

const LOGIN: (&str, &str, &str) = ("RateLimit", "default", "login");
const ONCE: (&str, &str, &str) = ("RateLimit", "default", "once");

#[test]
fn limits_hold_over_all_gateways_and_status_says_how_it_goes() {
    cluster::within(LIMIT, async |mut cluster| {
        let address = SocketAddr::new(cluster.address(), 6379);
        let mut store = Store::start_at(address).await;
        cluster.state = Some(store.url());
        cluster.install_headgate().await;
        let origin = cluster.origin("shop");
        cluster.service("default", "shop", 80, ORIGIN_PORT, &[origin.address().ip()]).await;
        cluster.apply(GATEWAY).await;
        cluster.apply(&route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]")).await;
        let example = std::fs::read_to_string(examples::folder().join("rate-limit.yaml")).expect("an example");
        cluster.apply(&example).await;
        let once = "when: request.path == '/once'\nlimit: 30\nperiod: 24h\nconsistency: Strict";
        cluster.apply(&rate_limit("once", once)).await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let followed: Vec<&Member> = operators.iter().collect();
        let authority = Authority::new("limits");
        let first = cluster.address();
        cluster.proxy_arguments = rate_limit_service(&cluster, &authority, first);
        let token = cluster.create_token(Token::of(NAMESPACE, "headgate-gateway", "headgate")).await.expect("a token");
        let serving = cluster.proxy("gateway", "gateway-1", first, &followed, &token).await;
        cluster.proxy_arguments.clear();
        let gateways = [serving, cluster.gateway("gateway-2", &followed).await];
        for gateway in &gateways {
            gateway.ready().await;
            gateway.answers(&get(HOST, "/"), 200, "shop").await;
        }
        for limit in [LOGIN, ONCE] {
            cluster.says(limit, "Programmed", "True", EDIT_LIMIT).await;
            assert_eq!(cluster.condition(limit.0, limit.1, limit.2, "Degraded").await.0, "");
        }

        together_they_pass_the_limit(&cluster, &gateways).await;
        accounts_ask_for_the_limits_that_they_may_read(&cluster, &gateways[0], &authority).await;
        without_the_store_they_keep_their_shares(&cluster, &gateways, &mut store).await;
    });
}

async fn together_they_pass_the_limit(cluster: &Cluster, gateways: &[Member]) {
    assert_eq!(passed(gateways, &get(HOST, "/once"), 20).await, 20);
    // An edit keeps what was counted.
    let raised = "when: request.path == '/once'\nlimit: 40\nperiod: 24h\nconsistency: Strict";
    cluster.apply(&rate_limit("once", raised)).await;
    for gateway in gateways {
        eventually(EDIT_LIMIT, "the raised limit is enforced", async || {
            let policy = get(HOST, "/once").to(gateway.http()).await.header("ratelimit-policy").to_owned();
            if policy.starts_with(r#""once";q=40;"#) { Ok(()) } else { Err(policy) }
        })
        .await;
    }
    let more = passed(gateways, &get(HOST, "/once"), 60).await;
    // Those that looked for the edit took one each at least, and what was left of the lower limit at most.
    assert!((8..=18).contains(&more), "{more}");

    let login = get(HOST, "/login").method(Method::POST);
    let logins = passed(gateways, &login, 400).await;
    println!("{logins} of 100 logins a minute passed two gateways");
    // The bound of Eventual: half of the limit more, and what a new minute gives back meanwhile.
    assert!((100..=200).contains(&logins), "{logins}");

    eventually(FIGURES_LIMIT, "status tells what was refused", async || {
        let limit = cluster.api.find(LOGIN.0, LOGIN.1, LOGIN.2).await.ok_or("no limit")?;
        let (minute, by) = (&limit["status"]["lastMinute"], &limit["status"]["enforcedBy"]);
        let told = minute["refused"].as_u64().is_some_and(|refused| refused > 0) && minute["topReason"] == "OverLimit";
        let everyone = by.as_array().is_some_and(|by| by.len() == gateways.len());
        if told && everyone { Ok(()) } else { Err(limit["status"].to_string()) }
    })
    .await;
    let columns = cluster.kubectl(&["get", "ratelimits", "login"]).await.expect("a table");
    let mut lines = columns.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().expect("titles"), ["NAME", "LIMIT", "PERIOD", "SCOPE", "REFUSED", "READY", "AGE"]);
    assert_eq!(lines.next().expect("a row")[..4], ["login", "100", "60s", "Cluster"], "{columns}");
}

/// What a gateway at this address is told to serve Envoy's rate limit service with.
fn rate_limit_service(cluster: &Cluster, authority: &Authority, address: IpAddr) -> Vec<String> {
    let leaf = authority.issue(&["limits.test"]);
    let (cert, key) = (cluster.write("limits.crt", &leaf.chain_pem), cluster.write("limits.key", &leaf.key_pem));
    let listen = SocketAddr::new(address, SERVICE_PORT).to_string();
    let arguments = ["--rls-listen", &listen, "--rls-cert", &cert.display().to_string(), "--rls-key"];
    arguments.map(ToOwned::to_owned).into_iter().chain([key.display().to_string()]).collect()
}

async fn accounts_ask_for_the_limits_that_they_may_read(cluster: &Cluster, gateway: &Member, authority: &Authority) {
    for account in ["caller", "stranger"] {
        cluster.service_account("default", account).await;
    }
    cluster
        .apply(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: limits, namespace: default }
rules: [{ apiGroups: [headgate.dev], resources: [ratelimits], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: limits, namespace: default }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: limits }
subjects: [{ kind: ServiceAccount, name: caller, namespace: default }]
",
        )
        .await;
    let token =
        async |account, audience| cluster.create_token(Token::of("default", account, audience)).await.expect("a token");
    let (caller, stranger) = (token("caller", "headgate").await, token("stranger", "headgate").await);
    let for_the_cluster = token("caller", "").await;
    let service = SocketAddr::new(gateway.address, SERVICE_PORT);
    let mut connection =
        Connection::tls(service, "limits.test", authority.client(&["h2"])).await.expect("a TLS connection");
    for (token, domain, expected, word) in [
        (&caller, "default", (0, 1), ""),
        (&caller, "shop", (7, 0), "may%20not%20get%20ratelimits"),
        (&stranger, "default", (7, 0), "may%20not%20get%20ratelimits"),
        (&for_the_cluster, "default", (7, 0), "does%20not%20accept%20the%20token"),
        (&"nonsense".to_owned(), "default", (7, 0), "does%20not%20accept%20the%20token"),
    ] {
        let call = Call {
            token: Some(token.as_str()),
            domain,
            descriptors: &[&[("limit", "exports"), ("tenant", "7")]],
            hits: 1,
        };
        let Ruling { status, message, code } = call.on(&mut connection).await;
        assert_eq!((status, code), expected, "{domain}: {message}");
        assert!(message.contains(word), "{message}");
    }
}

async fn without_the_store_they_keep_their_shares(cluster: &Cluster, gateways: &[Member], store: &mut Store) {
    let apart = "when: request.path == '/apart'\nlimit: 40\nperiod: 24h";
    cluster.apply(&rate_limit("apart", apart)).await;
    for gateway in gateways {
        eventually(EDIT_LIMIT, "the new limit is enforced", async || {
            let policy = get(HOST, "/apart").to(gateway.http()).await.header("ratelimit-policy").to_owned();
            if policy.starts_with(r#""apart";q=40;"#) { Ok(()) } else { Err(policy) }
        })
        .await;
    }
    store.process.kill();
    let (reason, message) = cluster.says(("RateLimit", "default", "apart"), "Degraded", "True", EDIT_LIMIT * 2).await;
    assert_eq!(reason, "StoreUnavailable");
    assert!(message.contains("gateway-") && message.contains("since") && message.contains("LocalShare"), "{message}");
    for gateway in gateways {
        eventually(EDIT_LIMIT, "the gateway has lost the store", async || {
            if gateway.metric("headgate_store_lost").await > 0.0 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }
    // Each gateway has its share, twenty, less the one that found the limit enforced.
    assert_eq!(passed(gateways, &get(HOST, "/apart"), 80).await, 38);

    store.start_again().await;
    cluster.says(("RateLimit", "default", "apart"), "Degraded", "", EDIT_LIMIT * 2).await;
    for limit in ["apart", "once"] {
        eventually(EDIT_LIMIT, "the store has heard of all that passed, once", async || {
            let key = store.command(&["KEYS", &format!("hg:{{default/{limit}/*")]);
            let counted = store.command(&["HGET", &key, "c"]);
            if counted == "40" { Ok(()) } else { Err(format!("{key}: {counted}")) }
        })
        .await;
    }
    assert_eq!(passed(gateways, &get(HOST, "/once"), 20).await, 0, "what the store lost it was told again");
}

/// How many of some requests pass, sent to the gateways in turn.
async fn passed(gateways: &[Member], ask: &Ask, requests: usize) -> usize {
    let mut connections = Vec::new();
    for gateway in gateways {
        connections.push(Connection::plain(gateway.http()).await.expect("the gateway listens"));
    }
    let mut passed = 0;
    for request in 0..requests {
        let connection = &mut connections[request % gateways.len()];
        let answer = connection.send(ask).await.expect("an answer");
        assert!(matches!((answer.status, answer.reason()), (200, "") | (429, "RateLimited")), "{answer:?}");
        passed += usize::from(answer.status == 200);
    }
    passed
}
