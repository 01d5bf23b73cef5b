//! A thousand edits under load.
//!
//! `make test` runs a slice that ends after a time; `HEADGATE_SOAK=1` runs all of it. The edits come from a seed.

use std::time::Duration;

use headgate_tests::{
    client::{self, Ask},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    load::{Load, Pace},
    manifests::{GATEWAY, fill, pool, route, service},
    measure::Footprint,
    origin::Origin,
    seed,
    standalone::{EDIT_LIMIT, Standalone},
    within,
};
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;

/// Routes `site-0` to `site-7`, pools `pool-0` to `pool-3`; the load asks them all the time.
const SITES: usize = 8;
const POOLS: usize = 4;
/// Edits between two waits for the proxy to have caught up.
const CATCH_UP_EVERY: usize = 25;
/// Edits after which memory counts as warm.
const WARM_AFTER: usize = 100;
/// What allocators keep; a leak of one route an edit would be more.
const GROWTH_KIB: u64 = 24 * 1024;
/// Tasks that come and go with probes and kept connections; a leak of one an edit would be hundreds.
const PASSING_TASKS: f64 = 16.0;
/// Threads that a runtime starts for calls that block, and ends after ten idle seconds.
const BLOCKING_THREADS: u64 = 4;

struct Size {
    edits: usize,
    /// The slice ends here, however many edits it made by then.
    time: Duration,
}

fn size() -> Size {
    if std::env::var_os("HEADGATE_SOAK").is_some() {
        Size { edits: 5000, time: Duration::from_mins(10) }
    } else {
        Size { edits: 1000, time: Duration::from_secs(45) }
    }
}

#[test]
fn a_thousand_edits_fail_no_request_leak_nothing_and_end_like_a_fresh_start() {
    let Size { edits, time } = size();
    within(time + Duration::from_mins(1), async {
        let mut chance = seed::chance();
        let origins = [Origin::start("one"), Origin::start("two"), Origin::start("three")];
        let folder = Folder::new();
        folder.write("gateway.yaml", GATEWAY);
        folder.write("service.yaml", &service("steady", &origins.each_ref().map(Origin::address)));
        for number in 0..POOLS {
            folder.write(&format!("pool-{number}.yaml"), &some_pool(number, &origins, &mut chance));
        }
        for number in 0..SITES {
            folder.write(&format!("site-{number}.yaml"), &some_route(number, 0, &mut chance));
        }
        let headgate = Standalone::reading(&folder).start().await;
        let asks: Vec<Ask> = (0..SITES).map(|number| client::get(&host(number), "/")).collect();
        for number in 0..SITES {
            eventually(EDIT_LIMIT, "every site is served", async || served(&headgate, number).await).await;
        }
        let load = Load::start(headgate.http, Pace::default(), &asks);

        let watch = Stopwatch::start();
        let mut warm: Option<(Footprint, f64)> = None;
        let mut made = 0;
        while made < edits && watch.elapsed() < time {
            made += 1;
            edit(&folder, made, &origins, &mut chance);
            if made.is_multiple_of(CATCH_UP_EVERY) {
                mark(&folder, &headgate, made).await;
            }
            if made == WARM_AFTER {
                warm = Some((Footprint::of(headgate.process.id()), headgate.metric("headgate_tasks", &[]).await));
            }
        }
        mark(&folder, &headgate, made + 1).await;
        let tally = load.stop().await;
        println!("{made} edits in {:?}, {} requests meanwhile", watch.elapsed(), tally.requests);
        assert_eq!(tally.bad(), 0, "{tally:#?}");
        assert!(tally.requests > 100, "the load hardly asked: {tally:#?}");

        let (warm, warm_tasks) =
            warm.expect("a machine that makes fewer than a hundred edits in this time is too slow to tell");
        eventually(EDIT_LIMIT, "memory, threads, files and tasks are as they were", async || {
            let (now, tasks) = (Footprint::of(headgate.process.id()), headgate.metric("headgate_tasks", &[]).await);
            let grown = now.resident_kib > warm.resident_kib + GROWTH_KIB
                || now.threads > warm.threads + BLOCKING_THREADS
                || now.files > warm.files + POOLS as u64 * 4
                || tasks > warm_tasks + PASSING_TASKS;
            if grown { Err(format!("{warm:?} and {warm_tasks} tasks became {now:?} and {tasks}")) } else { Ok(()) }
        })
        .await;

        let fresh = Standalone::reading(&folder).start().await;
        eventually(EDIT_LIMIT, "what is enforced equals a fresh start's", async || {
            let (worn, fresh) = (enforced(&headgate).await, enforced(&fresh).await);
            if worn == fresh { Ok(()) } else { Err(format!("after the edits: {worn:#}\nfresh: {fresh:#}")) }
        })
        .await;
    });
}

/// One edit that changes what is enforced, and takes nothing away that the load asks for.
fn edit(folder: &Folder, made: usize, origins: &[Origin; 3], chance: &mut StdRng) {
    match chance.random_range(0..10) {
        0..=3 => {
            let number = chance.random_range(0..SITES);
            folder.write(&format!("site-{number}.yaml"), &some_route(number, made, chance));
        }
        4..=6 => {
            let number = chance.random_range(0..POOLS);
            folder.write(&format!("pool-{number}.yaml"), &some_pool(number, origins, chance));
        }
        7 => {
            let name = format!("passing-{made}");
            let rule = "- backendRefs: [{ name: steady, port: 80 }]";
            folder.write("passing.yaml", &route(&name, &format!("{name}.example.com"), rule));
        }
        8 => folder.write("passing.yaml", "# nothing for now\n"),
        _ => {
            let number = chance.random_range(0..SITES);
            folder.overwrite(&format!("site-{number}.yaml"), &some_route(number, made, chance));
        }
    }
}

/// Writes an edit that can be seen from outside, and waits until it is enforced. Files change in order, so that all
/// edits before it are enforced too, or overtaken.
async fn mark(folder: &Folder, headgate: &Standalone, made: usize) {
    let host = format!("mark-{made}.example.com");
    folder.write("mark.yaml", &route("mark", &host, "- backendRefs: [{ name: steady, port: 80 }]"));
    eventually(EDIT_LIMIT, &format!("{host} is served"), async || {
        let answer = client::get(&host, "/").to(headgate.http).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.reason())) }
    })
    .await;
}

fn host(number: usize) -> String {
    format!("site-{number}.example.com")
}

async fn served(headgate: &Standalone, number: usize) -> Result<(), String> {
    let answer = client::get(&host(number), "/").to(headgate.http).await;
    if answer.status == 200 { Ok(()) } else { Err(format!("{}: {} {}", host(number), answer.status, answer.reason())) }
}

fn some_route(number: usize, made: usize, chance: &mut StdRng) -> String {
    let (first, second) = (chance.random_range(0..POOLS), chance.random_range(0..POOLS));
    let weight = chance.random_range(0..100);
    let rules = format!(
        "- matches: [{{ path: {{ type: PathPrefix, value: /v{made} }} }}]
  backendRefs: [{{ name: steady, port: 80 }}]
- filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{ set: [{{ name: X-Edit, value: \"{made}\" }}] }}
  backendRefs:
    - {{ group: headgate.dev, kind: OriginPool, name: pool-{first}, weight: {weight} }}
    - {{ name: steady, port: 80, weight: 1 }}
    - {{ group: headgate.dev, kind: OriginPool, name: pool-{second}, weight: 1 }}"
    );
    route(&format!("site-{number}"), &host(number), &rules)
}

fn some_pool(number: usize, origins: &[Origin; 3], chance: &mut StdRng) -> String {
    let mut member = |name: &str, origin: &Origin| {
        let (priority, weight) = (chance.random_range(0..3), chance.random_range(1..100));
        fill(
            "  - { name: $name, endpoints: [\"$address\"], priority: $priority, weight: $weight }\n",
            &[("name", &name), ("address", &origin.address()), ("priority", &priority), ("weight", &weight)],
        )
    };
    let members: String = [("a", &origins[0]), ("b", &origins[1])].map(|(name, origin)| member(name, origin)).concat();
    let third = member("c", &origins[2]);
    let third = if chance.random() { third } else { String::new() };
    let steering = ["Failover", "Weighted"][chance.random_range(0..2)];
    let policy = ["RoundRobin", "Random", "LeastOutstanding"][chance.random_range(0..3)];
    let check = ["", "healthCheck: { path: /healthz, interval: 1s, timeout: 500ms }\n"][chance.random_range(0..2)];
    let spec =
        format!("steering: {{ policy: {steering} }}\nendpointPolicy: {policy}\norigins:\n{members}{third}{check}");
    pool(&format!("pool-{number}"), &spec)
}

/// What `/v1/config` says, without what a fresh start may say otherwise: generations count edits.
async fn enforced(headgate: &Standalone) -> Value {
    let mut config = headgate.config().await;
    forget(&mut config, &["generation", "createdAt", "version"]);
    config
}

fn forget(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(&name.as_str()));
            fields.values_mut().for_each(|value| forget(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
