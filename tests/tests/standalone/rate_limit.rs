//! What limits do to requests: the contract's manifests, and each promise of the page about limits.

use std::time::Duration;

use headgate_tests::{
    client::{self, Answer, Ask, Connection},
    eventually,
    folder::Folder,
    manifests::{GATEWAY, rate_limit, route, service},
    origin::Origin,
    standalone::{EDIT_LIMIT, Standalone},
    within,
};
use http::Method;
use serde_json::json;

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";

/// As the contract has them, word for word.
const CONTRACT: &str = r#"apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: { name: login, namespace: default }
spec:
  hosts: [shop.example.com]
  when: "request.path.startsWith('/login') && request.method == 'POST'"
  key:                                 # no key: one counter for all
    - clientIP: { prefixV4: 32, prefixV6: 64 }
  limit: 100
  period: 60s                          # any length from 1s
  algorithm: SlidingWindow             # SlidingWindow | TokenBucket (with burst)
  scope: Cluster                       # Cluster | Proxy
  consistency: Eventual                # Eventual: decided from memory, synced behind | Strict: never above the limit
  blockFor: 0s                         # 0s refuses only the excess; longer blocks the key from the request that crossed
  action: Enforce                      # Enforce | Audit | Mark (mark: {header, value}) | Challenge | Queue (queue: {name: ROOM})
  response: { status: 429, contentType: application/json, body: '{"error":"slow down"}' }
  exceptions: [{ when: "client.ip == '192.0.2.7'", limit: 1000 }]
  onStoreFailure: LocalShare           # LocalShare (limit / live proxies, at least 1) | Allow | Deny
---
apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: { name: exports, namespace: default }
spec:
  applicationOnly: true
  limit: 10
  period: 10s
---
apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: { name: abuse, namespace: default }
spec:
  hosts: [api.example.com]
  key: [{ header: x-api-key }, { cookie: session }, { expression: "request.path" }]
  count: { when: "response.status == 401", costHeader: x-cost }   # Eventual only; a missing cost is 1, beyond 1-1000000 nothing
  limit: 20
  period: 10s
  blockFor: 60s
---
"#;

struct World {
    headgate: Standalone,
    folder: Folder,
    _origin: Origin,
}

/// One origin behind two hosts, with these limits, started with these arguments.
async fn world(limits: &str, arguments: &[&str]) -> World {
    let origin = Origin::start("shop");
    let rules = "- backendRefs: [{ name: shop, port: 80 }]";
    let routes = route("shop", HOST, rules) + &route("api", "api.example.com", rules);
    let folder = Folder::of(&(GATEWAY.to_owned() + &service("shop", &[origin.address()]) + &routes));
    folder.write("limits.yaml", limits);
    let builder = arguments.iter().fold(Standalone::reading(&folder), |builder, argument| builder.argument(*argument));
    World { headgate: builder.start().await, folder, _origin: origin }
}

fn login() -> Ask {
    client::get(HOST, "/login").method(Method::POST)
}

fn shop() -> Ask {
    client::get(HOST, "/")
}

/// How many of so many requests pass, and the last answer.
async fn passed(connection: &mut Connection, ask: &Ask, requests: u32) -> (u32, Answer) {
    let mut passed = 0;
    let mut last = None;
    for _ in 0..requests {
        let answer = connection.send(ask).await.expect("an answer");
        passed += u32::from(answer.reason().is_empty());
        last = Some(answer);
    }
    (passed, last.expect("at least one request"))
}

async fn connect(headgate: &Standalone) -> Connection {
    Connection::plain(headgate.http).await.expect("standalone listens")
}

/// Seconds until the client may come again.
fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("Retry-After is a number of seconds")
}

#[test]
fn a_hundred_logins_pass_and_the_next_is_told_when_to_come_again() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(CONTRACT, &["--trusted-proxies", "127.0.0.0/8"]).await;
        let mut connection = connect(headgate).await;
        let first = connection.send(&login()).await.expect("an answer");
        assert_eq!((first.status, first.origin()), (200, "shop"));
        assert_eq!(first.header("ratelimit-policy"), r#""login";q=100;w=60"#);
        assert!(first.header("ratelimit").starts_with(r#""login";r=99;t="#), "{first:?}");
        assert_eq!(passed(&mut connection, &login(), 99).await.0, 99);

        let refused = connection.send(&login()).await.expect("an answer on the same connection");
        assert_eq!((refused.status, refused.reason()), (429, "RateLimited"));
        assert_eq!(refused.header("content-type"), "application/json");
        assert_eq!(refused.json(), json!({ "error": "slow down" }));
        assert!((1..=61).contains(&retry_after(&refused)), "{refused:?}");
        assert!(refused.header("ratelimit").starts_with(r#""login";r=0;t="#), "{refused:?}");

        // The connection is still there, and what the limit does not mean passes on it.
        let read = connection.send(&client::get(HOST, "/login")).await.expect("an answer on the same connection");
        assert_eq!((read.status, read.header("ratelimit")), (200, ""));
        let other = login().header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(passed(&mut connection, &other, 101).await.0, 100, "another client has its own hundred");
        let favoured = login().header("X-Forwarded-For", "192.0.2.7");
        let (all, last) = passed(&mut connection, &favoured, 150).await;
        assert_eq!((all, last.header("ratelimit-policy")), (150, r#""login";q=1000;w=60"#));
    });
}

#[test]
fn a_raised_limit_keeps_what_was_counted() {
    within(LIMIT, async {
        let limit = |requests: u32| rate_limit("few", &format!("limit: {requests}\nperiod: 1h"));
        let World { headgate, folder, .. } = &world(&limit(5), &[]).await;
        let mut connection = connect(headgate).await;
        assert_eq!(passed(&mut connection, &shop(), 8).await.0, 5);

        folder.write("limits.yaml", &limit(8));
        eventually(EDIT_LIMIT, "the higher limit holds", async || {
            let answer = shop().to(headgate.http).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.header("ratelimit-policy").to_owned()) }
        })
        .await;
        assert_eq!(passed(&mut connection, &shop(), 5).await.0, 2, "five and three are eight");
    });
}

#[test]
fn a_limit_can_watch_and_tell_the_origin() {
    within(LIMIT, async {
        let limits = rate_limit("watch", "limit: 2\nperiod: 1h\naction: Audit")
            + &rate_limit("mark", "limit: 3\nperiod: 1h\naction: Mark\nmark: { header: X-Suspicious, value: very }");
        let log = Folder::new();
        let path = log.path().join("access.log").display().to_string();
        let World { headgate, .. } = &world(&limits, &["--access-log", &path]).await;
        let mut connection = connect(headgate).await;
        let forged = shop().header("X-Suspicious", "not at all");
        let mut received = Vec::new();
        for _ in 0..5 {
            let answer = connection.send(&forged).await.expect("an answer");
            assert_eq!((answer.status, answer.header("ratelimit")), (200, ""));
            received.push(answer.received("x-suspicious"));
        }
        assert_eq!(received, ["", "", "", "very", "very"]);
        let name = "headgate_rate_limit_requests_total";
        headgate.counts(name, &[r#"limit="default/watch""#, r#"decision="OverLimit""#], 3.0).await;
        headgate.counts(name, &[r#"limit="default/mark""#, r#"decision="Allowed""#], 3.0).await;
        eventually(EDIT_LIMIT, "the log says which requests crossed a limit", async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let crossed = text.matches(r#""limit":"RateLimit/default/"#).count();
            if crossed == 3 { Ok(()) } else { Err(text) }
        })
        .await;
        eventually(EDIT_LIMIT, "the status has the figures of the last minute", async || {
            let object = headgate.object("RateLimit", "watch").await.ok_or("no such object")?;
            let figures = &object["status"]["lastMinute"];
            let told = figures["allowed"] == 2 && figures["refused"] == 3;
            if told { Ok(()) } else { Err(object.to_string()) }
        })
        .await;
    });
}

#[test]
fn a_refusal_has_the_form_that_the_client_reads() {
    within(LIMIT, async {
        let limits = rate_limit("one", "limit: 1\nperiod: 1h\nresponse: { status: 420 }");
        let World { headgate, .. } = &world(&limits, &[]).await;
        assert_eq!(shop().to(headgate.http).await.status, 200);
        for (accept, media_type) in
            [("application/json", "application/problem+json"), ("text/html", "text/html; charset=utf-8")]
        {
            let answer = shop().header("Accept", accept).to(headgate.http).await;
            assert_eq!((answer.status, answer.header("content-type")), (420, media_type));
            assert!(answer.text().contains("420"), "{}", answer.text());
            assert!(retry_after(&answer) > 0);
        }
        let called = shop().method(Method::POST).header("Content-Type", "application/grpc").to(headgate.http).await;
        assert_eq!((called.status, called.header("grpc-status"), called.reason()), (200, "8", "RateLimited"));
    });
}

#[test]
fn a_refusal_leaves_a_connection_of_http_2_open() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&rate_limit("two", "limit: 2\nperiod: 1h"), &[]).await;
        let mut connection = Connection::h2c(headgate.http).await.expect("standalone listens");
        let (passed, last) = passed(&mut connection, &shop(), 10).await;
        assert_eq!((passed, last.status, last.reason()), (2, 429, "RateLimited"));
        assert!(connection.is_open().await && retry_after(&last) > 0);
    });
}

#[test]
fn failed_logins_count_by_their_cost_and_block() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(CONTRACT, &[]).await;
        let ask = |path: &str| client::get("api.example.com", path).header("x-api-key", "mine");
        let mut connection = connect(headgate).await;
        assert_eq!(passed(&mut connection, &ask("/"), 30).await.0, 30, "what succeeds does not count");

        // A request that comes in another period than those before has a little more room.
        let (failed, last) = passed(&mut connection, &ask("/status/401"), 25).await;
        assert!((20..=21).contains(&failed), "{failed}");
        assert_eq!((last.status, last.reason()), (429, "RateLimited"));
        assert!((50..=60).contains(&retry_after(&last)), "the key is blocked for a minute: {last:?}");

        let dear = connection.send(&ask("/failed/20")).await.expect("an answer");
        assert_eq!((dear.status, dear.header("x-cost")), (401, ""), "the cost is for headgate alone");
        assert_eq!(connection.send(&ask("/failed/20")).await.expect("an answer").status, 429);
        let unreadable = passed(&mut connection, &ask("/failed/much"), 25).await;
        assert_eq!((unreadable.0, unreadable.1.header("x-cost")), (25, ""), "no number counts nothing");

        let stranger = client::get("api.example.com", "/failed/20").header("x-api-key", "another's");
        assert_eq!(stranger.to(headgate.http).await.status, 401, "another key has its own counter");
        let no_cookie = ask("/failed/20").header("cookie", "session=").to(headgate.http).await;
        assert_eq!(no_cookie.status, 401, "an empty cookie is not a missing one");
    });
}

#[test]
fn the_application_asks_by_name() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(CONTRACT, &[]).await;
        let address = headgate.admin.to_string();
        let ask = |name: &str, body: &str| {
            client::get(&address, &format!("/v1/ratelimits/default/{name}/limit"))
                .method(Method::POST)
                .header("Content-Type", "application/json")
                .body(body.to_owned())
        };
        let exports = ask("exports", r#"{"key": "tenant-7"}"#);
        let first = exports.to(headgate.admin).await;
        let reset = first.json()["resetSeconds"].as_u64().expect("a number");
        assert_eq!(first.status, 200);
        assert_eq!(first.json(), json!({ "success": true, "limit": 10, "remaining": 9, "resetSeconds": reset }));
        assert!((1..=10).contains(&reset), "{reset}");
        let mut successes = 1;
        for _ in 0..12 {
            let answer = exports.to(headgate.admin).await;
            assert_eq!(answer.status, 200);
            successes += u32::from(answer.json()["success"] == true);
        }
        assert!((10..=11).contains(&successes), "{successes}");
        assert_eq!(ask("exports", r#"{"key": "tenant-8"}"#).to(headgate.admin).await.json()["success"], true);

        for (name, body, status) in [
            ("nothing", r#"{"key": "a"}"#, 404),
            ("login", r#"{"key": "a"}"#, 409),
            ("exports", r#"{"key": 7}"#, 422),
            ("exports", "{}", 422),
            ("exports", "key", 400),
        ] {
            let answer = ask(name, body).to(headgate.admin).await;
            assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{body}");
        }
        assert_eq!(client::get(HOST, "/exports").to(headgate.http).await.status, 200, "no traffic is governed by it");
    });
}

#[test]
fn requests_in_flight_are_capped_and_every_end_makes_room() {
    within(LIMIT, async {
        let limits = rate_limit("few", "limit: 1000\nperiod: 1h\nconcurrentRequests: 2");
        let World { headgate, .. } = &world(&limits, &[]).await;
        let slow = client::get(HOST, "/delay/20000");
        let both = [slow.clone(), slow].map(|ask| {
            let address = headgate.http;
            tokio::spawn(async move { ask.try_to(address).await.map(|answer| answer.status) })
        });
        // Before that a third could take the place of one of them.
        headgate.counts("headgate_requests_in_flight", &[], 2.0).await;
        assert_eq!(shop().to(headgate.http).await.status, 429, "a third request is refused");
        for one in both {
            one.abort();
        }
        eventually(EDIT_LIMIT, "two clients that went away made room", async || {
            let answers = [shop().to(headgate.http).await.status, shop().to(headgate.http).await.status];
            if answers == [200, 200] { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
        let mut connection = connect(headgate).await;
        assert_eq!(passed(&mut connection, &shop(), 20).await.0, 20, "one after the other, all pass");
    });
}
