//! What an OriginPool can say about its origins.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use headgate_tests::{
    certificates::Authority,
    client::{self, Ask, Connection},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    load::{Load, Pace},
    loopback,
    manifests::{GATEWAY, authority, endpoint_slice, fill, pool, route, service},
    name_server::NameServer,
    origin::{Mood, Origin},
    standalone::Standalone,
    within,
};
use http::Method;

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "chat.example.com";

fn chat() -> Ask {
    client::get(HOST, "/")
}

/// The pool `chat` with this spec and what stands beside it.
async fn serve(spec: &str, others: &str) -> (Standalone, Folder) {
    let folder = Folder::of(&(pool("chat", &format!("hosts: [{HOST}]\n{spec}")) + others));
    (Standalone::reading(&folder).start().await, folder)
}

/// Origins by these names.
fn origins<const COUNT: usize>(names: [&str; COUNT]) -> [Origin; COUNT] {
    names.map(Origin::start)
}

/// One origin `all` with these endpoints.
fn endpoints(origins: &[&Origin]) -> String {
    let addresses: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    format!("origins: [{{ name: all, endpoints: [{}] }}]\n", addresses.join(", "))
}

/// Who answers so many requests on one connection.
async fn answers(headgate: &Standalone, requests: u64) -> BTreeMap<String, u64> {
    let mut connection = Connection::plain(headgate.http).await.expect("standalone listens");
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let answer = connection.send(&chat()).await.expect("an answer");
        *seen.entry(answer.origin().to_owned()).or_default() += 1;
    }
    seen
}

#[test]
fn round_robin_takes_turns_and_random_meets_all() {
    within(LIMIT, async {
        let [a, b, c] = origins(["a", "b", "c"]);
        let all = endpoints(&[&a, &b, &c]);
        let (headgate, folder) = serve(&format!("{all}endpointPolicy: RoundRobin\n"), "").await;
        let even = [("a", 30), ("b", 30), ("c", 30)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(answers(&headgate, 90).await, BTreeMap::from(even));

        folder.write("world.yaml", &pool("chat", &format!("hosts: [{HOST}]\n{all}endpointPolicy: Random\n")));
        headgate.tells("OriginPool", "chat", ("Programmed", "True", ""), &[]).await;
        eventually(LIMIT, "turns are no longer exact, and all are met", async || {
            let seen = answers(&headgate, 90).await;
            let met = seen.len() == 3 && seen.values().all(|count| (8..=55).contains(count));
            if met && seen.values().any(|count| *count != 30) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    });
}

#[test]
fn least_outstanding_leaves_the_slow_endpoint_alone() {
    within(LIMIT, async {
        let [quick, slow] = origins(["quick", "slow"]);
        slow.feels(Mood::Slow(Duration::from_millis(400)));
        let (headgate, _folder) = serve(&endpoints(&[&quick, &slow]), "").await;
        let load = Load::start(headgate.http, Pace { connections: 6, every: Duration::from_millis(4) }, &[chat()]);
        eventually(LIMIT, "enough was asked", async || match load.tally().requests {
            0..400 => Err("too little".to_owned()),
            400.. => Ok(()),
        })
        .await;
        let tally = load.stop().await;
        assert_eq!(tally.bad(), 0, "{tally:#?}");
        assert!(tally.of("quick") > tally.of("slow") * 4, "{tally:?}");
    });
}

#[test]
fn weights_priorities_and_enabled_steer_among_origins() {
    let spec = r#"
steering: { policy: $policy }
origins:
  - { name: three, endpoints: ["$three"], weight: 300 }
  - { name: one, endpoints: ["$one"], weight: 100 }
  - { name: later, endpoints: ["$later"], priority: 1 }
  - { name: zero, endpoints: ["$zero"], weight: 0 }
  - { name: disabled, endpoints: ["$disabled"], enabled: false }
healthCheck: { path: /healthz, interval: 1s, timeout: 500ms }
"#;
    within(LIMIT, async {
        let [three, one, later, zero, disabled] = origins(["three", "one", "later", "zero", "disabled"]);
        let written = |policy: &str| {
            fill(
                spec,
                &[
                    ("policy", &policy),
                    ("three", &three.address()),
                    ("one", &one.address()),
                    ("later", &later.address()),
                    ("zero", &zero.address()),
                    ("disabled", &disabled.address()),
                ],
            )
        };
        let (headgate, folder) = serve(&written("Failover"), "").await;
        let seen = answers(&headgate, 400).await;
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["one", "three"], "{seen:?}");
        assert!((255..=345).contains(&seen["three"]), "five standard deviations around 300: {seen:?}");
        eventually(LIMIT, "an origin of weight 0 is checked", async || match zero.probes() {
            0 => Err("not checked".to_owned()),
            _ => Ok(()),
        })
        .await;

        folder.write("world.yaml", &pool("chat", &format!("hosts: [{HOST}]\n{}", written("Weighted"))));
        eventually(LIMIT, "all weights count, priorities do not", async || {
            let seen = answers(&headgate, 100).await;
            if seen.keys().eq(["later", "one", "three"]) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    });
}

#[test]
fn a_failed_connect_goes_on_to_the_next_endpoint_and_the_next_origin_whatever_the_method() {
    let spec = r#"
origins:
  - { name: first, endpoints: ["$dead", "$dying"] }
  - { name: second, endpoints: ["$well"], priority: 1 }
retry: { attempts: 0 }
"#;
    within(LIMIT, async {
        let [dead, dying, well] = origins(["dead", "dying", "well"]);
        dead.kill().await;
        let spec = fill(spec, &[("dead", &dead.address()), ("dying", &dying.address()), ("well", &well.address())]);
        let (headgate, _folder) = serve(&spec, "").await;
        let post = chat().method(Method::POST).body("an order");
        for _ in 0..20 {
            let answer = post.to(headgate.http).await;
            assert_eq!((answer.status, answer.origin()), (200, "dying"));
        }
        dying.kill().await;
        for _ in 0..20 {
            let answer = post.to(headgate.http).await;
            assert_eq!((answer.status, answer.origin()), (200, "well"));
            assert_eq!(answer.json()["body"], "an order");
        }
        well.kill().await;
        let answer = post.to(headgate.http).await;
        assert_eq!((answer.status, answer.reason()), (502, "ConnectFailed"));
    });
}

#[test]
fn what_may_be_repeated_is_retried_once_after_a_reset_and_what_may_not_is_told() {
    within(LIMIT, async {
        let [resetting, well] = origins(["resetting", "well"]);
        resetting.feels(Mood::Resetting);
        let all = endpoints(&[&resetting, &well]);
        let (headgate, folder) = serve(&format!("{all}endpointPolicy: RoundRobin\n"), "").await;
        for _ in 0..20 {
            let answer = chat().to(headgate.http).await;
            assert_eq!((answer.status, answer.origin()), (200, "well"));
        }
        assert!(resetting.requests() > 0, "it was tried");

        let posts = [chat().method(Method::POST).body("an order").to(headgate.http).await, {
            chat().method(Method::POST).body("an order").to(headgate.http).await
        }];
        let reset = posts.iter().find(|answer| answer.status != 200).expect("one of two turns is the resetting one's");
        assert_eq!((reset.status, reset.reason()), (502, "OriginReset"));

        let never = format!("hosts: [{HOST}]\n{all}endpointPolicy: RoundRobin\nretry: {{ attempts: 0 }}\n");
        folder.write("world.yaml", &pool("chat", &never));
        let answer = headgate.answers(HOST, "/", 502, "").await;
        assert_eq!(answer.reason(), "OriginReset");
    });
}

#[test]
fn an_origin_that_takes_too_long_is_answered_504_and_a_routes_timeouts_win() {
    within(LIMIT, async {
        let [slow] = origins(["slow"]);
        let rules = "- timeouts: { backendRequest: 5s, request: 8s }\n  backendRefs: [{ group: headgate.dev, kind: OriginPool, name: chat }]";
        let hasty =
            "- timeouts: { request: 300ms }\n  backendRefs: [{ group: headgate.dev, kind: OriginPool, name: chat }]";
        let others = GATEWAY.to_owned()
            + &route("patient", "patient.example.com", rules)
            + &route("hasty", "hasty.example.com", hasty);
        let spec = endpoints(&[&slow]) + "timeouts: { request: 800ms }\nretry: { attempts: 0 }\n";
        let (headgate, _folder) = serve(&spec, &others).await;
        let watch = Stopwatch::start();
        let answer = headgate.get(HOST, "/delay/3000").await;
        assert_eq!((answer.status, answer.reason()), (504, "OriginTimeout"));
        assert!(watch.elapsed() < Duration::from_millis(2500), "{:?}", watch.elapsed());

        assert_eq!(headgate.get(HOST, "/delay/100").await.status, 200);
        assert_eq!(headgate.get(HOST, "/stream/12").await.status, 200, "the time counts until the headers");
        assert_eq!(headgate.get("patient.example.com", "/delay/1500").await.status, 200);
        assert_eq!(headgate.get("hasty.example.com", "/delay/600").await.status, 504);
    });
}

#[test]
fn silence_after_the_headers_ends_at_the_idle_timeout() {
    within(LIMIT, async {
        let [origin] = origins(["origin"]);
        let (headgate, _folder) = serve(&(endpoints(&[&origin]) + "timeouts: { idle: 300ms }\n"), "").await;
        assert_eq!(headgate.get(HOST, "/stream/10").await.text().lines().count(), 10, "it is never silent for long");
        let mut socket = super::troubles::web_socket(&headgate, HOST).await;
        super::troubles::echoes(&mut socket, "hello").await;
        super::troubles::ends(&mut socket).await;
    });
}

#[test]
fn the_host_header_of_an_origin_is_sent_to_it_and_to_its_health_check() {
    within(LIMIT, async {
        let [origin] = origins(["origin"]);
        let spec = format!(
            "origins: [{{ name: bucket, endpoints: [\"{}\"], hostHeader: bucket.example.net }}]\n",
            origin.address()
        );
        let (headgate, _folder) = serve(&spec, "").await;
        let answer = chat().to(headgate.http).await;
        assert_eq!(answer.received("host"), "bucket.example.net");
        assert_eq!(answer.received("x-forwarded-host"), HOST);
    });
}

#[test]
fn tls_to_an_origin_trusts_its_own_authority_and_checks_the_name() {
    let spec = r#"
origins:
  - name: secure
    endpoints: ["$address"]
    tls: { serverName: $name, caCertificateRef: { kind: ConfigMap, name: trusted } }
"#;
    within(LIMIT, async {
        let (ours, others) = (Authority::new("ours"), Authority::new("another's"));
        let leaf = ours.issue(&["origin.example.net"]);
        let origin = Origin::start_tls("secure", leaf.server(&["http/1.1"]));
        let written = |name: &str| fill(spec, &[("address", &origin.address()), ("name", &name)]);
        let (headgate, folder) = serve(&written("origin.example.net"), &authority("trusted", &ours.pem())).await;
        headgate.answers(HOST, "/", 200, "secure").await;

        for (name, trusted) in [("elsewhere.example.net", &ours), ("origin.example.net", &others)] {
            let text = pool("chat", &format!("hosts: [{HOST}]\n{}", written(name)));
            folder.write("world.yaml", &(text + &authority("trusted", &trusted.pem())));
            let answer = headgate.answers(HOST, "/", 502, "").await;
            assert_eq!(answer.reason(), "ConnectFailed", "{name}");
        }
        folder.write("world.yaml", &pool("chat", &format!("hosts: [{HOST}]\n{}", written("origin.example.net"))));
        headgate.tells("OriginPool", "chat", ("ResolvedRefs", "False", ""), &["trusted"]).await;
    });
}

#[test]
fn http2_is_spoken_to_origins_that_ask_for_it_with_and_without_tls() {
    let spec = r#"
origins:
  - { name: all, endpoints: ["$address"], protocol: HTTP2 $tls}
"#;
    within(LIMIT, async {
        let ours = Authority::new("ours");
        let plain = Origin::start("plain");
        let secure = Origin::start_tls("secure", ours.issue(&["origin.example.net"]).server(&["h2"]));
        let trusted = authority("trusted", &ours.pem());
        let tls = ", tls: { serverName: origin.example.net, caCertificateRef: { kind: ConfigMap, name: trusted } } ";
        for (origin, tls) in [(&plain, ""), (&secure, tls)] {
            let (headgate, _folder) =
                serve(&fill(spec, &[("address", &origin.address()), ("tls", &tls)]), &trusted).await;
            let answer = headgate.answers(HOST, "/", 200, origin.name()).await;
            assert_eq!(answer.json()["version"], "HTTP/2.0");
            let post = chat().method(Method::POST).body("an order").to(headgate.http).await;
            assert_eq!(post.json()["body"], "an order");
        }
    });
}

#[test]
fn every_type_of_health_check_tells_well_from_ill() {
    within(LIMIT, async {
        let ours = Authority::new("ours");
        for check in ["HTTP", "HTTPS", "TCP", "GRPC"] {
            let start = |name: &str| match check {
                "HTTPS" => Origin::start_tls(name, ours.issue(&["origin.example.net"]).server(&["http/1.1"])),
                _ => Origin::start(name),
            };
            let (first, backup) = (start("first"), start("backup"));
            let tls = match check {
                "HTTPS" => {
                    ", tls: { serverName: origin.example.net, caCertificateRef: { kind: ConfigMap, name: trusted } } "
                }
                _ => "",
            };
            let path = if check.starts_with("HTTP") { ", path: /healthz" } else { "" };
            let spec = fill(
                "origins:
  - { name: first, endpoints: [\"$first\"]$tls }
  - { name: backup, endpoints: [\"$backup\"], priority: 1$tls }
healthCheck: { type: $check, interval: 300ms, timeout: 250ms$path }
",
                &[
                    ("first", &first.address()),
                    ("tls", &tls),
                    ("backup", &backup.address()),
                    ("check", &check),
                    ("path", &path),
                ],
            );
            let (headgate, _folder) = serve(&spec, &authority("trusted", &ours.pem())).await;
            println!("{check}");
            headgate.answers(HOST, "/", 200, "first").await;
            match check {
                "TCP" => first.kill().await,
                _ => first.feels(Mood::Ill),
            }
            headgate.answers(HOST, "/", 200, "backup").await;
            eventually(LIMIT, "the ill origin is told", async || {
                let object = headgate.object("OriginPool", "chat").await.ok_or("no object")?;
                let origins = object["status"]["origins"].as_array().cloned().unwrap_or_default();
                let first = origins.into_iter().find(|origin| origin["name"] == "first").ok_or("not listed")?;
                if first["healthy"] == 0 { Ok(()) } else { Err(first.to_string()) }
            })
            .await;
            match check {
                "TCP" => first.revive(),
                _ => first.feels(Mood::Well),
            }
            headgate.answers(HOST, "/", 200, "first").await;
        }
    });
}

#[test]
fn health_is_one_state_a_pool_whatever_routes_refer_to_it() {
    within(LIMIT, async {
        let [origin] = origins(["origin"]);
        let rules = "- backendRefs: [{ group: headgate.dev, kind: OriginPool, name: chat }]";
        let routes: String =
            (0..20).map(|number| route(&format!("route-{number}"), &format!("{number}.example.com"), rules)).collect();
        let spec = endpoints(&[&origin]) + "healthCheck: { path: /healthz, interval: 500ms, timeout: 400ms }\n";
        let (headgate, _folder) = serve(&spec, &(GATEWAY.to_owned() + &routes)).await;
        headgate.answers("7.example.com", "/", 200, "origin").await;
        let (watch, before) = (Stopwatch::start(), origin.probes());
        eventually(LIMIT, "four more probes", async || match origin.probes() - before {
            0..4 => Err("fewer".to_owned()),
            4.. => Ok(()),
        })
        .await;
        assert!(watch.elapsed() > Duration::from_millis(1200), "four probes within {:?}", watch.elapsed());
    });
}

#[test]
fn endpoints_of_a_service_follow_its_slices() {
    within(LIMIT, async {
        let [a, b, c] = origins(["a", "b", "c"]);
        let spec = "origins: [{ name: eu, service: { name: chat-eu, port: http } }]\nendpointPolicy: RoundRobin\n";
        let (headgate, folder) = serve(spec, &service("chat-eu", &[a.address()])).await;
        headgate.answers(HOST, "/", 200, "a").await;

        folder.write("b.yaml", &endpoint_slice("chat-eu", 7, b.address(), "true"));
        folder.write("c.yaml", &endpoint_slice("chat-eu", 8, c.address(), "false"));
        headgate.answers(HOST, "/", 200, "b").await;
        let both = [("a", 10), ("b", 10)].map(|(name, count)| (name.to_owned(), count));
        eventually(LIMIT, "the two that are ready take turns", async || {
            let seen = answers(&headgate, 20).await;
            if seen == BTreeMap::from(both.clone()) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;

        folder.remove("b.yaml");
        folder.write("c.yaml", &endpoint_slice("chat-eu", 8, c.address(), "true"));
        headgate.answers(HOST, "/", 200, "c").await;
        eventually(LIMIT, "the removed endpoint gets nothing", async || {
            let seen = answers(&headgate, 20).await;
            if seen.keys().eq(["a", "c"]) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    });
}

#[test]
fn a_name_is_resolved_anew_within_five_seconds_and_its_last_answer_survives_the_name_server() {
    within(LIMIT, async {
        let names = NameServer::start().await;
        let first = loopback::address();
        let second = loopback::address();
        let one = Origin::start_at("one", SocketAddr::from((first, 0)));
        let two = Origin::start_at("two", SocketAddr::from((second, one.address().port())));
        names.set("origin.example.net", &[first]);
        let spec =
            format!("origins: [{{ name: named, endpoints: [\"origin.example.net:{}\"] }}]\n", one.address().port());
        let folder = Folder::of(&pool("chat", &format!("hosts: [{HOST}]\n{spec}")));
        let headgate =
            Standalone::reading(&folder).argument("--dns-server").argument(names.address().to_string()).start().await;
        headgate.answers(HOST, "/", 200, "one").await;

        names.set("origin.example.net", &[second]);
        headgate.answers_within(Duration::from_secs(7), HOST, "/", 200, "two").await;

        names.set("origin.example.net", &[]);
        eventually(LIMIT, "the status tells that the name is gone", async || {
            let object = headgate.object("OriginPool", "chat").await.ok_or("no object")?;
            let message = object["status"]["origins"][0]["message"].as_str().unwrap_or_default().to_owned();
            if message.contains("origin.example.net") { Ok(()) } else { Err(object["status"].to_string()) }
        })
        .await;
        assert_eq!(two.name(), headgate.get(HOST, "/").await.origin());
        drop(names);
        assert_eq!(two.name(), headgate.get(HOST, "/").await.origin());
    });
}
