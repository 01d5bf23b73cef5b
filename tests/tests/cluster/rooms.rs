//! Waiting rooms, applied with kubectl: two operators, one gateway and then a second one, real visitors.

use std::time::Duration;

use headgate_tests::{
    client::{Answer, Ask, get},
    cluster::{
        self, Cluster, ORIGIN_PORT,
        headgate::{EDIT_LIMIT, Member},
    },
    eventually,
    manifests::{CONTRACT_ROOMS, GATEWAY, route, waiting_room},
};

const LIMIT: Duration = Duration::from_mins(3);
/// Figures are written every 10 s at most.
const FIGURES_LIMIT: Duration = Duration::from_secs(30);
const HOST: &str = "small.example.com";
const COOKIE: &str = "headgate_room_default_small";
const SMALL: (&str, &str, &str) = ("WaitingRoom", "default", "small");

#[test]
fn a_room_holds_its_limit_and_tickets_open_at_every_gateway() {
    cluster::within(LIMIT, async |cluster| {
        cluster.install_headgate().await;
        let origin = cluster.origin("shop");
        cluster.service("default", "shop", 80, ORIGIN_PORT, &[origin.address().ip()]).await;
        cluster.apply(GATEWAY).await;
        for (name, host) in [("shop", "shop.example.com"), ("small", HOST)] {
            cluster.apply(&route(name, host, "- backendRefs: [{ name: shop, port: 80 }]")).await;
        }
        cluster.apply(CONTRACT_ROOMS).await;
        let spec = format!("host: {HOST}\ntotalActiveUsers: 1\nnewUsersPerMinute: 60\nsessionDuration: 10m");
        cluster.apply(&waiting_room("small", &spec)).await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let followed: Vec<&Member> = operators.iter().collect();
        let first = cluster.gateway("gateway-1", &followed).await;
        first.ready().await;
        for room in ["tickets", "sale", "small"] {
            cluster.says(("WaitingRoom", "default", room), "Accepted", "True", EDIT_LIMIT).await;
            cluster.says(("WaitingRoom", "default", room), "Programmed", "True", EDIT_LIMIT).await;
        }
        cluster.says(("WaitingRoom", "default", "sale"), "Enforced", "Partial", EDIT_LIMIT).await;
        first.answers(&get("shop.example.com", "/sale"), 200, "shop").await;

        let inside = visit(&first, None).await;
        assert_eq!((inside.origin(), inside.reason()), ("shop", ""));
        let session = cookie(&inside);
        let outside = visit(&first, None).await;
        assert_eq!((outside.origin(), outside.reason()), ("", "Queued"));
        let place = cookie(&outside);
        status_tells_who_is_inside(&cluster).await;

        let second = cluster.gateway("gateway-2", &followed).await;
        second.ready().await;
        let (reason, message) = cluster.says(SMALL, "Degraded", "True", FIGURES_LIMIT).await;
        assert_eq!(reason, "NoSharedStore", "{message}");
        // Keys are the installation's: what one has sealed the other opens.
        assert_eq!(visit(&second, Some(&session)).await.origin(), "shop");
        assert_eq!(visit(&first, Some(&session)).await.origin(), "shop");
        for gateway in [&first, &second] {
            assert_eq!(visit(gateway, Some(&place)).await.reason(), "Queued", "{}", gateway.name);
            assert_eq!(visit(gateway, None).await.reason(), "Queued", "{}", gateway.name);
        }
    });
}

async fn status_tells_who_is_inside(cluster: &Cluster) {
    let columns = eventually(FIGURES_LIMIT, "kubectl tells who is inside", async || {
        let columns = cluster.kubectl(&["get", "wr", "small"]).await?;
        if columns.contains(" Queueing ") { Ok(columns) } else { Err(columns) }
    })
    .await;
    println!("$ kubectl get wr small\n{columns}");
    let mut lines = columns.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().expect("titles"), ["NAME", "STATE", "ACTIVE", "QUEUED", "WAIT", "READY", "AGE"]);
    let row = lines.next().expect("a row");
    assert_eq!(row[..4], ["small", "Queueing", "1", "1"], "{columns}");
}

async fn visit(gateway: &Member, cookie: Option<&String>) -> Answer {
    let ask: Ask = get(HOST, "/").header("Accept", "text/html");
    let ask = if let Some(cookie) = cookie { ask.header("Cookie", cookie) } else { ask };
    ask.to(gateway.http()).await
}

/// The room's cookie of an answer, as a request sends it.
fn cookie(answer: &Answer) -> String {
    let mut texts = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let text = texts.find(|text| text.starts_with(COOKIE)).expect("a cookie of the room");
    text.split(';').next().expect("a pair").to_owned()
}
