//! Failover, return, fallback, and what a client hears when nothing is left.

use std::time::Duration;

use headgate_tests::{
    client::{self, Ask},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    load::{Load, Pace},
    manifests::{fill, pool, service},
    origin::{Mood, Origin},
    standalone::Standalone,
    within,
};

const LIMIT: Duration = Duration::from_mins(1);
/// What the issue of this release promises for probes of 1 s.
const FAILOVER_LIMIT: Duration = Duration::from_secs(3);
/// Two good probes, one second apart, and a moment for a busy machine.
const RETURN_LIMIT: Duration = Duration::from_secs(6);

const CHAT: &str = r#"
hosts: [chat.example.com]
origins:
  - { name: eu, service: { name: chat-eu, port: 80 } }
  - { name: asia, endpoints: ["$asia"], priority: 1 }
healthCheck: { path: /healthz, interval: 1s, timeout: 500ms, unhealthyThreshold: 2, healthyThreshold: 2 }
"#;

struct World {
    eu: Origin,
    asia: Origin,
    _folder: Folder,
    headgate: Standalone,
}

/// The pool `chat`: `eu` first, then `asia`; `more` goes into its spec, `others` beside it.
async fn world(more: &str, others: &str) -> World {
    let (eu, asia) = (Origin::start("eu"), Origin::start("asia"));
    let spec = fill(CHAT, &[("asia", &asia.address())]) + more;
    let folder = Folder::of(&(service("chat-eu", &[eu.address()]) + &pool("chat", &spec) + others));
    let headgate = Standalone::reading(&folder).start().await;
    headgate.answers("chat.example.com", "/", 200, "eu").await;
    World { eu, asia, _folder: folder, headgate }
}

fn chat() -> Ask {
    client::get("chat.example.com", "/")
}

#[test]
fn a_killed_origin_loses_nothing_but_what_was_in_flight_on_it_and_gets_its_traffic_back() {
    within(LIMIT, async {
        let World { eu, asia: _asia, _folder, headgate } = world("", "").await;
        let pace = Pace::default();
        let load = Load::start(headgate.http, pace, &[chat()]);
        eventually(LIMIT, "the load is under way", async || at_least(load.tally().of("eu"), 50)).await;

        eu.kill().await;
        let since = Stopwatch::start();
        let before = load.tally();
        eventually(FAILOVER_LIMIT, "asia answers all", async || {
            at_least(load.tally().of("asia"), before.of("asia") + 50)
        })
        .await;
        println!("failed over within {:?}", since.elapsed());

        eu.revive();
        headgate.answers_within(RETURN_LIMIT, "chat.example.com", "/", 200, "eu").await;
        let returned = load.tally();
        eventually(LIMIT, "eu answers the load again", async || {
            at_least(load.tally().of("eu"), returned.of("eu") + 50)
        })
        .await;
        let tally = load.stop().await;
        let in_flight = pace.connections as u64;
        assert!(tally.bad() <= in_flight, "more was lost than was in flight: {tally:#?}");
    });
}

#[test]
fn an_origin_that_says_it_is_ill_is_left_within_three_seconds_without_a_failed_request() {
    within(LIMIT, async {
        let World { eu, asia: _asia, _folder, headgate } = world("", "").await;
        let load = Load::start(headgate.http, Pace::default(), &[chat()]);
        eu.feels(Mood::Ill);
        headgate.answers_within(FAILOVER_LIMIT, "chat.example.com", "/", 200, "asia").await;
        eventually(LIMIT, "the status tells the ill origin", async || {
            let object = headgate.object("OriginPool", "chat").await.ok_or("no object")?;
            let origins = &object["status"]["origins"];
            let told = |name: &str| {
                let origin = origins.as_array()?.iter().find(|origin| origin["name"] == name)?;
                Some((origin["healthy"].as_u64()?, origin["total"].as_u64()?, origin["active"].as_bool()?))
            };
            if told("eu") == Some((0, 1, false)) && told("asia") == Some((1, 1, true)) {
                Ok(())
            } else {
                Err(format!("{origins:#}"))
            }
        })
        .await;

        eu.feels(Mood::Well);
        headgate.answers_within(RETURN_LIMIT, "chat.example.com", "/", 200, "eu").await;
        assert_eq!(load.stop().await.bad(), 0);
    });
}

#[test]
fn an_origin_that_hangs_is_left_within_three_seconds() {
    within(LIMIT, async {
        let World { eu, asia: _asia, _folder, headgate } = world("timeouts: { request: 500ms }\n", "").await;
        eu.feels(Mood::Hanging);
        let since = Stopwatch::start();
        headgate.answers_within(FAILOVER_LIMIT, "chat.example.com", "/", 200, "asia").await;
        // From here on no request meets the hanging origin: each would take its 500 ms.
        eventually(FAILOVER_LIMIT.saturating_sub(since.elapsed()), "answers are quick again", async || {
            let one = Stopwatch::start();
            let answer = chat().to(headgate.http).await;
            if answer.origin() == "asia" && one.elapsed() < Duration::from_millis(400) {
                Ok(())
            } else {
                Err(format!("{} after {:?}", answer.status, one.elapsed()))
            }
        })
        .await;
    });
}

#[test]
fn when_every_origin_is_down_the_fallback_answers_and_after_it_a_problem_document() {
    within(LIMIT, async {
        let files = Origin::start("files");
        let static_site = pool(
            "static-site",
            &fill(
                "origins: [{ name: files, endpoints: [\"$files\"] }]\nhealthCheck: { path: /healthz, interval: 1s, timeout: 500ms }",
                &[("files", &files.address())],
            ),
        );
        let World { eu, asia, _folder, headgate } = world("fallback: { name: static-site }\n", &static_site).await;
        for origin in [&eu, &asia] {
            origin.feels(Mood::Ill);
        }
        headgate.answers_within(FAILOVER_LIMIT, "chat.example.com", "/", 200, "files").await;
        headgate.tells("OriginPool", "chat", ("Ready", "False", ""), &[]).await;

        files.feels(Mood::Ill);
        let answer = headgate.answers("chat.example.com", "/", 503, "").await;
        assert_eq!(answer.reason(), "NoHealthyOrigin");

        let json = chat().header("accept", "application/json").to(headgate.http).await;
        assert_eq!((json.status, json.header("content-type")), (503, "application/problem+json"));
        let document = json.json();
        assert_eq!(document["status"], 503, "{document}");
        for field in ["type", "title", "detail"] {
            assert!(document[field].is_string(), "RFC 9457 member `{field}`: {document}");
        }
        headgate.counts("headgate_requests_total", &["reason=\"NoHealthyOrigin\""], 2.0).await;

        asia.feels(Mood::Well);
        headgate.answers_within(RETURN_LIMIT, "chat.example.com", "/", 200, "asia").await;
    });
}

fn at_least(now: u64, wanted: u64) -> Result<(), String> {
    if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted}")) }
}
