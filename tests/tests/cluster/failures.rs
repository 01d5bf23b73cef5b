//! Whatever dies, traffic goes on, and what comes back finds its way by itself.

use std::{fs, time::Duration};

use headgate_tests::{
    client::get,
    clock::Stopwatch,
    cluster::{
        self, Cluster,
        fleet::{self, Fleet, ROUTE},
        headgate::{EDIT_LIMIT, LEASE, Member},
    },
    eventually,
    load::{Load, Pace},
    manifests::{pool, route_to_pool},
};

const LIMIT: Duration = Duration::from_mins(4);
/// How soon everything has found each other again after an outage. No promise is about this time.
const RETURN_LIMIT: Duration = Duration::from_secs(30);
/// A deadline of the leader and a look at it, on a busy machine.
const DEADLINE_LIMIT: Duration = Duration::from_secs(15);
/// Edits while nobody watches.
const UNSEEN_EDITS: u64 = 200;

const POOL_HOST: &str = "pool.example.com";
const GONE_HOST: &str = "gone.example.com";
const NEW_HOST: &str = "new.example.com";
/// Errors of watches that had to begin anew, since what they saw last is not kept any more.
const EXPIRED: &str = r#"headgate_watch_errors_total{kind="HTTPRoute",reason="expired"}"#;

#[test]
fn traffic_survives_the_death_of_any_part_and_edits_go_on_after_its_return() {
    cluster::within(LIMIT, async |cluster| {
        let fleet = Fleet::start(&cluster).await;
        let spec = format!("origins: [{{ name: one, endpoints: [\"{}\"] }}]", fleet.origin.address());
        cluster.apply(&pool("fixed", &spec)).await;
        for (name, host) in [("pool", POOL_HOST), ("gone", GONE_HOST)] {
            cluster.apply(&route_to_pool(name, host, "fixed")).await;
        }
        for gateway in &fleet.gateways {
            gateway.answers(&get(POOL_HOST, "/"), 200, "shop").await;
            gateway.answers(&get(GONE_HOST, "/"), 200, "shop").await;
        }
        let [first, second] = loads(&fleet);

        the_leader_is_killed(&cluster, &fleet).await;
        the_control_plane_goes_and_comes_back(&cluster, &fleet).await;
        history_is_compacted_while_nobody_watches(&cluster, &fleet).await;
        must_be_clean("gateway-2", second).await;
        a_gateway_starts_while_everything_else_is_gone(&cluster, &fleet).await;
        must_be_clean("gateway-1", first).await;
    });
}

fn loads(fleet: &Fleet) -> [Load; 2] {
    let pace = Pace { connections: 4, every: Duration::from_millis(40) };
    let asks = [fleet::ask(), get(POOL_HOST, "/")];
    [0, 1].map(|index: usize| Load::start(fleet.gateways[index].http(), pace, &asks))
}

async fn must_be_clean(name: &str, load: Load) {
    let tally = load.stop().await;
    println!("measured: {name} answered {} requests, {} of them not well", tally.requests, tally.bad());
    assert!(tally.requests > 1_000, "{tally:?}");
    assert_eq!(tally.bad(), 0, "{tally:?}");
}

async fn the_leader_is_killed(cluster: &Cluster, fleet: &Fleet) {
    let (leader, other) = fleet.leader_and_other(EDIT_LIMIT).await;
    // Whoever waits for its lease waits longest when it was renewed just now.
    let lease = async || cluster.api.find("Lease", "headgate-system", "headgate-operator").await.expect("the lease");
    let before = lease().await["metadata"]["resourceVersion"].clone();
    eventually(EDIT_LIMIT, "the lease is renewed", async || {
        if lease().await["metadata"]["resourceVersion"] == before { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
    leader.process.stop();
    let watch = Stopwatch::start();
    cluster.edit(1).await;
    fleet.enforces(1, 2 * LEASE).await;
    let took = watch.elapsed();
    println!("measured: an edit after the leader was killed was enforced by both gateways after {took:.2?}");
    assert!(took < LEASE, "an edit is enforced again within the lease time, not after {took:?}");
    assert!(other.leads().await);

    leader.process.start();
    leader.ready().await;
    for gateway in &fleet.gateways {
        eventually(RETURN_LIMIT, &format!("{} is connected to both operators", gateway.name), async || {
            match gateway.metric("headgate_operator_connected").await {
                2.0 => Ok(()),
                connected => Err(format!("to {connected}")),
            }
        })
        .await;
    }
    assert!(!leader.leads().await, "the lease is held");
    cluster.says(ROUTE, "Programmed", "True", EDIT_LIMIT).await;
}

async fn the_control_plane_goes_and_comes_back(cluster: &Cluster, fleet: &Fleet) {
    let (leader, _) = fleet.leader_and_other(EDIT_LIMIT).await;
    let before = [plan_of(&fleet.gateways[0]).await, plan_of(&fleet.gateways[1]).await];
    cluster.api_server.stop();
    cluster.etcd.stop();
    eventually(DEADLINE_LIMIT, "the leader cannot renew its lease, and stops to lead", async || {
        if leader.leads().await { Err("it leads".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!([plan_of(&fleet.gateways[0]).await, plan_of(&fleet.gateways[1]).await], before, "nothing is withdrawn");

    cluster.etcd.start();
    cluster.etcd_ready().await;
    cluster.api_server.start();
    cluster.ready().await;
    let watch = Stopwatch::start();
    cluster.edit(2).await;
    fleet.enforces(2, RETURN_LIMIT).await;
    println!("measured: an edit after the return of etcd and API server was enforced after {:.2?}", watch.elapsed());
    is_told(cluster, RETURN_LIMIT).await;
}

async fn history_is_compacted_while_nobody_watches(cluster: &Cluster, fleet: &Fleet) {
    fleet.leader_and_other(RETURN_LIMIT).await;
    // Whoever begins a term lists anew by itself; the other one finds out that it is behind.
    let expired = async || fleet.operators[0].metric(EXPIRED).await + fleet.operators[1].metric(EXPIRED).await;
    let before = expired().await;
    for operator in &fleet.operators {
        operator.process.freeze();
    }
    for number in 3..3 + UNSEEN_EDITS {
        cluster.edit(number).await;
    }
    let newest = 2 + UNSEEN_EDITS;
    cluster.api.delete("HTTPRoute", "default", "gone").await.expect("deleted");
    cluster.apply(&route_to_pool("new", NEW_HOST, "fixed")).await;
    cluster.compact_etcd().await;
    // Its memory of what happened begins anew, and etcd's is compacted: nobody can go on from before.
    cluster.api_server.stop();
    cluster.api_server.start();
    cluster.ready().await;
    for operator in &fleet.operators {
        operator.process.thaw();
    }

    let watch = Stopwatch::start();
    fleet.enforces(newest, RETURN_LIMIT).await;
    println!("measured: {UNSEEN_EDITS} edits that no watch saw were enforced {:.2?} after the thaw", watch.elapsed());
    for gateway in &fleet.gateways {
        gateway.answers(&get(GONE_HOST, "/"), 404, "").await;
        gateway.answers(&get(NEW_HOST, "/"), 200, "shop").await;
    }
    is_told(cluster, RETURN_LIMIT).await;
    let after = expired().await;
    assert!(before < after, "a watch was behind: {before} times, then {after}");
}

async fn a_gateway_starts_while_everything_else_is_gone(cluster: &Cluster, fleet: &Fleet) {
    let [first, second] = &fleet.gateways;
    let before = plan_of(second).await;
    // What is in force is on disk a second later at most.
    eventually(EDIT_LIMIT, "the plan in force is on disk", async || {
        let plan = fs::read(cluster.path("gateway-2.data").join("plan")).map_err(|error| error.to_string())?;
        let is_there = plan.windows(before.len()).any(|bytes| bytes == before.as_bytes());
        if is_there { Ok(()) } else { Err("another one is".to_owned()) }
    })
    .await;
    for part in [&fleet.operators[0].process, &fleet.operators[1].process, &cluster.api_server, &cluster.etcd] {
        part.stop();
    }
    second.process.stop();
    second.process.start();
    let watch = Stopwatch::start();
    second.ready().await;
    println!("measured: a gateway alone in the world was ready after {:.2?}", watch.elapsed());
    second.enforces(2 + UNSEEN_EDITS, EDIT_LIMIT).await;
    for (host, status, origin) in [(POOL_HOST, 200, "shop"), (NEW_HOST, 200, "shop"), (GONE_HOST, 404, "")] {
        second.answers(&get(host, "/"), status, origin).await;
    }
    assert_eq!(plan_of(second).await, before);
    assert_eq!(plan_of(first).await, before);

    cluster.etcd.start();
    cluster.etcd_ready().await;
    cluster.api_server.start();
    cluster.ready().await;
    let watch = Stopwatch::start();
    for operator in &fleet.operators {
        operator.process.start();
        operator.ready().await;
    }
    cluster.edit(1_000).await;
    fleet.enforces(1_000, RETURN_LIMIT).await;
    println!("measured: after the return of all, an edit was enforced {:.2?} after their start", watch.elapsed());
    is_told(cluster, RETURN_LIMIT).await;
}

/// Waits until status tells the newest generation as programmed by both gateways.
async fn is_told(cluster: &Cluster, limit: Duration) {
    let (kind, namespace, name) = ROUTE;
    eventually(limit, "status tells the newest generation", async || {
        let route = cluster.api.find(kind, namespace, name).await.expect("the route");
        let generation = &route["metadata"]["generation"];
        let conditions = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let is_new = conditions.iter().all(|condition| condition["observedGeneration"] == *generation);
        let is_programmed = conditions.iter().any(|it| it["type"] == "Programmed" && it["status"] == "True");
        if is_new && is_programmed { Ok(()) } else { Err(route.to_string()) }
    })
    .await;
}

/// The version of the plan in force.
async fn plan_of(gateway: &Member) -> String {
    let text = get("admin", "/metrics").to(gateway.admin()).await.text();
    let version = text.lines().find_map(|line| line.strip_prefix(r#"headgate_plan_info{version=""#)?.split('"').next());
    version.expect("a plan is in force").to_owned()
}
