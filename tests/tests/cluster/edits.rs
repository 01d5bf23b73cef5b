//! Many edits under load: no request fails, nothing grows, nothing is written without need, and old proxies end where a
//! fresh one begins.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use headgate_tests::{
    client::{Ask, get},
    clock::{self, Stopwatch},
    cluster::{
        self, Cluster,
        headgate::{Member, NAMESPACE},
        tokens::Token,
    },
    eventually,
    load::{Load, Pace},
    measure::Footprint,
    origin::Origin,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(6);
/// Pools, and routes: half of the edits go to each.
const OBJECTS: usize = 25;
/// Edits that are made before memory is looked at first: caches and allocators fill.
const WARM_UP: usize = 1_000;
const EDITS: usize = 1_000;
/// What resident memory may differ by for reasons of the allocator. Each edit kept would cost more: a batch, a plan of
/// 50 resources and a status are tens of KiB.
const SLACK_KIB: u64 = 12 * 1024;
/// How soon 1,000 edits are enforced and told on a busy machine.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// For how long nothing is written while nothing changes: longer than the 10 s after which figures are due.
const QUIET: Duration = Duration::from_secs(15);
/// The origins, one of which each pool leads to.
const ORIGINS: usize = 3;

const WRITES: &str = "headgate_status_writes_total";

#[test]
fn a_thousand_edits_under_load_fail_no_request_and_leave_nothing_behind() {
    cluster::within(LIMIT, async |cluster| {
        cluster.install_headgate().await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let both = operators.each_ref();
        let token = cluster.create_token(Token::of(NAMESPACE, "headgate-gateway", "headgate")).await.expect("a token");
        let gateways = [
            cluster.proxy("gateway", "gateway-1", loopback(2), &both, &token).await,
            cluster.proxy("gateway", "gateway-2", loopback(3), &both, &token).await,
        ];
        let world = World::start(&cluster).await;
        for gateway in &gateways {
            gateway.ready().await;
            world.is_served(gateway, 0).await;
        }
        world.is_programmed(&cluster, 2).await;

        let asks = World::asks();
        let pace = Pace { connections: 2, every: Duration::from_millis(10) };
        let loads = gateways.each_ref().map(|gateway| Load::start(gateway.http(), pace, &asks));
        let members: Vec<&Member> = operators.iter().chain(&gateways).collect();

        world.edit(&cluster, 0..WARM_UP).await;
        world.is_in_force(&cluster, &gateways, WARM_UP).await;
        let before = resident(&members);
        let written = writes(&operators).await;
        let watch = Stopwatch::start();
        let times = world.edit(&cluster, WARM_UP..WARM_UP + EDITS).await;
        let took = watch.elapsed();
        world.is_in_force(&cluster, &gateways, WARM_UP + EDITS).await;
        let settled = watch.elapsed();
        let after = resident(&members);
        let written = writes(&operators).await - written;

        println!(
            "{EDITS} edits in {took:?} ({:.0}/s; the API server takes {:?} for one, p50), in force everywhere and told \
             after {settled:?}, {written} writes of status",
            EDITS as f64 / took.as_secs_f64(),
            times[EDITS / 2]
        );
        for load in loads {
            let tally = load.stop().await;
            println!("load: {} requests, {} failed", tally.requests, tally.bad());
            assert_eq!(tally.bad(), 0, "{tally:?}");
            assert!(tally.requests > 1_000, "the load was none: {tally:?}");
        }
        for ((member, before), after) in members.iter().zip(&before).zip(&after) {
            println!("{}: {before} KiB resident before, {after} KiB after {EDITS} more edits", member.name);
            assert!(*after <= before + SLACK_KIB, "{} grew from {before} to {after} KiB", member.name);
        }
        // An edit makes its object not programmed and then programmed again; bursts are told once.
        assert!(written <= 4.0 * EDITS as f64, "{written} writes of status for {EDITS} edits");

        a_fresh_gateway_has_the_same(&cluster, &both, &gateways, &token).await;
        world.is_programmed(&cluster, 3).await;
        nothing_is_written_while_nothing_changes(&operators).await;
    });
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn resident(members: &[&Member]) -> Vec<u64> {
    members.iter().map(|member| Footprint::of(member.process.id()).resident_kib).collect()
}

async fn writes(operators: &[Member; 2]) -> f64 {
    operators[0].total(WRITES).await + operators[1].total(WRITES).await
}

async fn a_fresh_gateway_has_the_same(cluster: &Cluster, operators: &[&Member], old: &[Member; 2], token: &str) {
    let fresh = cluster.proxy("gateway", "fresh", loopback(9), operators, token).await;
    fresh.ready().await;
    let wanted = fresh.config().await;
    assert!(wanted["resources"].as_array().is_some_and(|all| all.len() >= 2 * OBJECTS), "{wanted}");
    assert_eq!(wanted["refusals"], json!([]));
    for gateway in old {
        assert_eq!(gateway.config().await, wanted, "{} differs from a fresh start", gateway.name);
        let version = wanted["version"].as_str().expect("a version");
        assert_eq!(gateway.metric(&format!("headgate_plan_info{{version=\"{version}\"}}")).await, 1.0);
    }
    // It stays until the cluster goes: a lost proxy would be told, and that is not what is asked here.
    std::mem::forget(fresh);
}

async fn nothing_is_written_while_nothing_changes(operators: &[Member; 2]) {
    eventually(SETTLE_LIMIT, "no status waits", async || {
        let pending =
            operators[0].metric("headgate_status_pending").await + operators[1].metric("headgate_status_pending").await;
        if pending == 0.0 { Ok(()) } else { Err(pending.to_string()) }
    })
    .await;
    // The figures of the load, which has ended, may be told once more.
    clock::pass(QUIET).await;
    let before = writes(operators).await;
    let translations = operators[0].metric("headgate_reconciles_total").await;
    clock::pass(QUIET).await;
    let (after, translated) =
        (writes(operators).await, operators[0].metric("headgate_reconciles_total").await - translations);
    println!("in {QUIET:?} of quiet: {} writes of status, {translated} translations", after - before);
    assert_eq!(after, before, "status was written although nothing changed");
    assert!(translated <= 2.0, "{translated} translations although nothing changed");
}

/// Pools `p-N` and routes `r-N` of hosts `r-N.example.com`. Which origin answers a host follows from the number of edits.
struct World {
    origins: Vec<Origin>,
}

impl World {
    async fn start(cluster: &Cluster) -> Self {
        let origins = (0..ORIGINS).map(|number| cluster.origin(&format!("o-{number}"))).collect();
        let world = Self { origins };
        cluster.apply(headgate_tests::manifests::GATEWAY).await;
        for object in 0..OBJECTS {
            cluster.put(&world.pool(object, 0)).await;
            cluster.put(&World::route(object, 0)).await;
        }
        world
    }

    fn asks() -> Vec<Ask> {
        (0..OBJECTS).map(|object| get(&format!("r-{object}.example.com"), "/")).collect()
    }

    /// Edit `n` is of a pool where it is even and of a route where it is odd; objects have their turns. Gives how long
    /// the API server took for each, sorted.
    async fn edit(&self, cluster: &Cluster, numbers: std::ops::Range<usize>) -> Vec<Duration> {
        let mut times = Vec::new();
        for number in numbers {
            let watch = Stopwatch::start();
            let (object, turn) = (number / 2 % OBJECTS, number / 2 / OBJECTS + 1);
            let object = if number % 2 == 0 { self.pool(object, turn) } else { Self::route(object, turn) };
            cluster.put(&object).await;
            times.push(watch.elapsed());
        }
        times.sort();
        times
    }

    /// The pool as its edit of this turn leaves it.
    fn pool(&self, object: usize, turn: usize) -> Value {
        let address = self.origins[(object + turn) % ORIGINS].address();
        let other = self.origins[(object + turn + 1) % ORIGINS].address();
        json!({
            "apiVersion": "headgate.dev/v1alpha1", "kind": "OriginPool",
            "metadata": { "name": format!("p-{object}"), "namespace": "default" },
            "spec": {
                "origins": [
                    { "name": "a", "endpoints": [address.to_string()], "weight": 1 + turn % 100 },
                    { "name": "b", "endpoints": [other.to_string()], "priority": 1 },
                ],
                "retry": { "attempts": turn % 3 },
            },
        })
    }

    /// The route as its edit of this turn leaves it: each turn has another pool and another header.
    fn route(object: usize, turn: usize) -> Value {
        let mark = json!({
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": { "set": [{ "name": "x-turn", "value": turn.to_string() }] },
        });
        let pool = json!({ "group": "headgate.dev", "kind": "OriginPool", "name": format!("p-{}", (object + turn) % OBJECTS) });
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": format!("r-{object}"), "namespace": "default" },
            "spec": {
                "parentRefs": [{ "name": "public" }],
                "hostnames": [format!("r-{object}.example.com")],
                "rules": [{ "filters": [mark], "backendRefs": [pool] }],
            },
        })
    }

    /// Waits until a gateway answers all hosts as so many edits leave them. A multiple of `2 * OBJECTS`.
    async fn is_served(&self, gateway: &Member, edits: usize) {
        let turn = edits / 2 / OBJECTS;
        for object in 0..OBJECTS {
            let origin = self.origins[((object + turn) % OBJECTS + turn) % ORIGINS].name();
            let wanted = (200, origin.to_owned(), turn.to_string());
            eventually(SETTLE_LIMIT, &format!("{} answers r-{object} {wanted:?}", gateway.name), async || {
                let answer = get(&format!("r-{object}.example.com"), "/").try_to(gateway.http()).await;
                let answer = answer.map_err(|failure| format!("{failure:?}"))?;
                let seen = (answer.status, answer.origin().to_owned(), answer.header("x-turn").to_owned());
                if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
            })
            .await;
        }
    }

    /// Waits until that many edits are served by all, and status says so of each object at its present generation.
    async fn is_in_force(&self, cluster: &Cluster, gateways: &[Member; 2], edits: usize) {
        for gateway in gateways {
            self.is_served(gateway, edits).await;
        }
        self.is_programmed(cluster, 2).await;
    }

    async fn is_programmed(&self, cluster: &Cluster, proxies: u64) {
        for kind in ["OriginPool", "HTTPRoute"] {
            eventually(SETTLE_LIMIT, &format!("each {kind} is programmed"), async || {
                let objects = cluster.api.list(kind, "default").await;
                let waiting: BTreeSet<String> =
                    objects.iter().filter(|object| !is_programmed(object, proxies)).map(Value::to_string).collect();
                match waiting.first() {
                    None => Ok(()),
                    Some(first) => Err(format!("{} are not, such as {first}", waiting.len())),
                }
            })
            .await;
        }
    }
}

/// Whether the status is about the present generation and says that all proxies enforce it.
fn is_programmed(object: &Value, proxies: u64) -> bool {
    let status = &object["status"];
    let of_parent = status["parents"][0]["conditions"].as_array();
    let conditions = of_parent.or_else(|| status["conditions"].as_array()).into_iter().flatten();
    let programmed = conditions.into_iter().any(|condition| {
        condition["type"] == "Programmed"
            && condition["status"] == "True"
            && condition["observedGeneration"] == object["metadata"]["generation"]
    });
    let counted =
        status["proxies"].is_null() || status["proxies"] == json!({ "expected": proxies, "programmed": proxies });
    programmed && counted
}
