//! `make demo`: what headgate does, on this machine, in less than a minute.
//!
//! The manifests are those of `examples/`, in a copy that the demo edits; headgate is the real binary, the origins are
//! real servers, and every figure is measured. It ends with exit 0, or with the promise that was not kept.

mod screen;

use std::time::Duration;

use headgate_tests::{
    client::{self, Ask, Connection},
    clock::Stopwatch,
    eventually,
    examples::{self, Backends},
    folder::Folder,
    load::{Load, Pace, Tally},
    standalone::Standalone,
    within,
};

/// The whole demo; it takes a fraction of that.
const LIMIT: Duration = Duration::from_secs(100);
/// Any one thing that it waits for.
const STEP_LIMIT: Duration = Duration::from_secs(15);
/// Requests for a line of the first table.
const SAMPLE: usize = 100;
/// How long the load runs before and after a change, so that its figures mean something.
const LOAD_ENOUGH: u64 = 400;

fn main() {
    within(LIMIT, async {
        screen::title("headgate", "manifests in, real traffic steered");
        let folder = Folder::copy_of(&examples::folder());
        let backends = Backends::start(&folder);
        screen::fact("origins", "eu, asia-1, asia-2, storefront, storefront-next, static-site on 127.0.0.1");
        screen::fact("manifests", &format!("a copy of examples/: {}", folder.names().join(", ")));
        let watch = Stopwatch::start();
        let headgate = Standalone::reading(&folder).start().await;
        let started =
            format!("standalone -f {} is ready after {}", folder.path().display(), screen::time(watch.elapsed()));
        screen::fact("headgate", &started);

        routes(&headgate).await;
        failover(&headgate, &backends).await;
        edit(&headgate, &folder).await;
        bad_edit(&headgate, &folder).await;
        all_down(&headgate, &backends).await;
        drain(headgate).await;
    });
}

fn chat() -> Ask {
    client::get("chat.example.com", "/")
}

async fn routes(headgate: &Standalone) {
    screen::step("Traffic follows host, path, header and weight");
    for (shown, ask) in [
        ("chat.example.com/", chat()),
        ("shop.example.com/chat/room", client::get("shop.example.com", "/chat/room")),
        ("shop.example.com/", client::get("shop.example.com", "/")),
        ("old.example.com/  (Ingress)", client::get("old.example.com", "/")),
        ("canary.example.com/  (90 : 10)", client::get("canary.example.com", "/")),
        ("  with X-Canary: always", client::get("canary.example.com", "/").header("x-canary", "always")),
    ] {
        screen::shares(shown, &sample(headgate, &ask).await);
    }
    let answer = client::get("nobody.example.com", "/").to(headgate.http).await;
    screen::line("nobody.example.com/", &format!("{} {}", answer.status, answer.reason()));
}

async fn sample(headgate: &Standalone, ask: &Ask) -> Tally {
    let mut tally = Tally::default();
    let mut connection = Connection::plain(headgate.http).await.expect("standalone listens");
    for _ in 0..SAMPLE {
        tally.count(ask, &connection.send(ask).await);
    }
    assert_eq!(tally.bad(), 0, "{tally:#?}");
    tally
}

async fn failover(headgate: &Standalone, backends: &Backends) {
    screen::step("The origin eu is killed under load");
    let load = Load::start(headgate.http, Pace::default(), &[chat()]);
    more(&load, 0).await;
    let before = load.tally();
    screen::shares("before", &before);

    let watch = Stopwatch::start();
    backends.eu.kill().await;
    let answered_by = until(headgate, |origin| origin.starts_with("asia")).await;
    screen::line("killed", &format!("{answered_by} answers after {}", screen::time(watch.elapsed())));
    more(&load, before.requests).await;
    eventually(STEP_LIMIT, "the health checks find eu dead", async || {
        let chat = headgate.object("OriginPool", "chat").await.ok_or("no such object")?;
        let origins = chat["status"]["origins"].as_array().cloned().unwrap_or_default();
        let dead = origins.iter().any(|origin| origin["name"] == "eu" && origin["healthy"] == 0);
        if dead { Ok(()) } else { Err(chat["status"].to_string()) }
    })
    .await;
    screen::line("health check", &format!("eu is unhealthy after {}", screen::time(watch.elapsed())));

    let watch = Stopwatch::start();
    backends.eu.revive();
    until(headgate, |origin| origin == "eu").await;
    screen::line("started again", &format!("eu has its traffic back after {}", screen::time(watch.elapsed())));
    more(&load, load.tally().requests).await;

    let tally = load.stop().await;
    screen::shares("in all", &tally);
    let lost = format!("{} of {} requests failed", tally.bad(), tally.requests);
    screen::line("lost", &lost);
    let in_flight = Pace::default().connections as u64;
    assert!(tally.bad() <= in_flight, "only what was in flight on eu may be lost: {tally:#?}");
}

/// Waits until the load has asked enough since it had made so many requests.
async fn more(load: &Load, since: u64) {
    eventually(STEP_LIMIT, "the load asks on", async || match load.tally().requests {
        now if now >= since + LOAD_ENOUGH => Ok(()),
        now => Err(format!("{now} requests")),
    })
    .await;
}

/// Asks for the chat, as fast as answers come, until the right origin answers; gives its name.
async fn until(headgate: &Standalone, right: impl Fn(&str) -> bool) -> String {
    let watch = Stopwatch::start();
    loop {
        let answer = chat().to(headgate.http).await;
        if right(answer.origin()) {
            return answer.origin().to_owned();
        }
        assert!(watch.elapsed() < STEP_LIMIT, "{} still answers", answer.origin());
    }
}

async fn edit(headgate: &Standalone, folder: &Folder) {
    screen::step("An edit is enforced");
    let old = "- backendRefs: [{ name: storefront, port: 80 }]";
    let new = "- backendRefs: [{ group: headgate.dev, kind: OriginPool, name: static-site }]";
    let text = folder.read("route.yaml");
    assert!(text.contains(old), "the example has changed: {text}");
    screen::change("route.yaml", old, new);

    let ask = client::get("shop.example.com", "/");
    let mut connection = Connection::plain(headgate.http).await.expect("standalone listens");
    let watch = Stopwatch::start();
    folder.write("route.yaml", &text.replace(old, new));
    let mut requests = 0;
    loop {
        requests += 1;
        let answer = connection.send(&ask).await.expect("an answer");
        if answer.origin() == "static-site" {
            break;
        }
        assert!(answer.status == 200 && watch.elapsed() < STEP_LIMIT, "{answer:?}");
    }
    let told = format!("after {}, {requests} requests later, none failed", screen::time(watch.elapsed()));
    screen::line("enforced", &told);
}

async fn bad_edit(headgate: &Standalone, folder: &Folder) {
    screen::step("A bad edit is refused, and changes nothing");
    let text = folder.read("origin-pool.yaml");
    assert!(text.contains("timeout: 500ms"), "the example has changed: {text}");
    screen::change("origin-pool.yaml", "timeout: 500ms", "timeout: 5s");
    folder.write("origin-pool.yaml", &text.replace("timeout: 500ms", "timeout: 5s"));
    let told = headgate.tells("OriginPool", "chat", ("Accepted", "False", ""), &["timeout"]).await;
    screen::line("status", &format!("Accepted=False {}", told.reason));
    screen::sentence(&told.message);
    screen::shares("chat.example.com/", &sample(headgate, &chat()).await);
    folder.write("origin-pool.yaml", &text);
    headgate.tells("OriginPool", "chat", ("Accepted", "True", ""), &[]).await;
}

async fn all_down(headgate: &Standalone, backends: &Backends) {
    screen::step("Every origin is killed, one after the other");
    backends.eu.kill().await;
    screen::line("eu", &format!("{} answers", until(headgate, |origin| origin.starts_with("asia")).await));
    for asia in &backends.asia {
        asia.kill().await;
    }
    screen::line("asia", &format!("{} answers, the fallback", until(headgate, |origin| origin == "static-site").await));
    backends.static_site.kill().await;
    let answer = chat().to(headgate.http).await;
    screen::line("static-site", &format!("{} {}: {}", answer.status, answer.reason(), answer.json()["detail"]));
}

async fn drain(mut headgate: Standalone) {
    screen::step("SIGTERM");
    let watch = Stopwatch::start();
    headgate.process.terminate();
    let status = headgate.process.exit(STEP_LIMIT).await;
    assert!(status.success(), "{status:?}");
    screen::line("ended", &format!("with exit 0 after {}", screen::time(watch.elapsed())));
}
