//! Envoy's rate limit service: the calls by hand, and a real Envoy that refuses what it must.

use std::{net::SocketAddr, time::Duration};

use headgate_tests::{
    certificates::Authority,
    client::{self, Connection},
    envoy::{Envoy, Task, program},
    eventually,
    folder::Folder,
    grpc::{Call, Ruling},
    loopback,
    manifests::{GATEWAY, rate_limit},
    origin::Origin,
    standalone::Standalone,
    within,
};

const LIMIT: Duration = Duration::from_mins(1);
/// The files are looked at every 10 s.
const RENEWAL_LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "of-the-fleet";

struct World {
    headgate: Standalone,
    limits: SocketAddr,
    authority: Authority,
    files: Folder,
    _manifests: Folder,
}

async fn world(manifests: &str) -> World {
    let (authority, limits) = (Authority::new("limits"), loopback::socket());
    let leaf = authority.issue(&["limits.test"]);
    let (files, folder) = (Folder::new(), Folder::of(&(GATEWAY.to_owned() + manifests)));
    for (name, text) in [("cert.pem", &leaf.chain_pem), ("key.pem", &leaf.key_pem), ("token", &format!("{TOKEN}\n"))] {
        files.write(name, text);
    }
    let file = |name: &str| files.path().join(name);
    let builder = Standalone::reading(&folder).argument("--rls-listen").argument(limits.to_string());
    let builder = builder.argument("--rls-cert").argument(file("cert.pem"));
    let builder = builder.argument("--rls-key").argument(file("key.pem"));
    let headgate = builder.argument("--rls-token-file").argument(file("token")).start().await;
    World { headgate, limits, authority, files, _manifests: folder }
}

impl World {
    async fn connect(&self) -> Connection {
        Connection::tls(self.limits, "limits.test", self.authority.client(&["h2"])).await.expect("a TLS connection")
    }
}

const WITHIN: (u32, u64) = (0, 1);
const OVER: (u32, u64) = (0, 2);
const INVALID: (u32, u64) = (3, 0);
const UNKNOWN: (u32, u64) = (5, 0);
const NOT_FOR_CALLS: (u32, u64) = (9, 0);
const STRANGER: (u32, u64) = (16, 0);

#[test]
fn a_call_counts_on_the_limit_that_it_names() {
    let manifests = rate_limit("exports", "applicationOnly: true\nlimit: 10\nperiod: 1h")
        + &rate_limit("few", "applicationOnly: true\nlimit: 2\nperiod: 1h")
        + &rate_limit("login", "key: [{ header: x-api-key }]\nlimit: 10\nperiod: 1h");
    within(LIMIT, async {
        let world = world(&manifests).await;
        let mut connection = world.connect().await;
        let tenant: &[(&str, &str)] = &[("limit", "exports"), ("tenant", "7")];
        let other: &[(&str, &str)] = &[("limit", "exports"), ("tenant", "8")];
        let few: &[(&str, &str)] = &[("limit", "few")];
        for (step, token, descriptors, hits, expected, word) in [
            (1, None, [tenant].as_slice(), 0, STRANGER, "bearer%20token"),
            (2, Some("another"), &[tenant], 0, STRANGER, "--rls-token-file"),
            (3, Some(TOKEN), &[tenant], 9, WITHIN, ""),
            (4, Some(TOKEN), &[tenant], 2, OVER, ""),
            // A refusal charges nothing, and no number is one.
            (5, Some(TOKEN), &[tenant], 0, WITHIN, ""),
            (6, Some(TOKEN), &[tenant], 0, OVER, ""),
            (7, Some(TOKEN), &[other], 10, WITHIN, ""),
            // One of several is enough, and those behind it are not charged.
            (8, Some(TOKEN), &[few, tenant, few], 1, OVER, ""),
            (9, Some(TOKEN), &[few], 1, WITHIN, ""),
            (10, Some(TOKEN), &[few], 1, OVER, ""),
            (11, Some(TOKEN), &[], 1, INVALID, "descriptors"),
            (12, Some(TOKEN), &[&[("tenant", "7")]], 1, INVALID, "limit%3DNAME"),
            (13, Some(TOKEN), &[&[("limit", "nothing")]], 1, UNKNOWN, "default/nothing"),
            (14, Some(TOKEN), &[&[("limit", "login")]], 1, NOT_FOR_CALLS, "takes%20its%20key"),
        ] {
            let call = Call { token, domain: "default", descriptors, hits };
            let Ruling { status, message, code } = call.on(&mut connection).await;
            assert_eq!((status, code), expected, "step {step}: {message}");
            assert!(message.contains(word) || message.contains(&word.replace("%3D", "=")), "step {step}: {message}");
        }
        // The same counter by the application's interface.
        let answer = client::get(&world.headgate.admin.to_string(), "/v1/ratelimits/default/exports/limit")
            .method(http::Method::POST)
            .header("Content-Type", "application/json")
            .body(r#"{"key": "7"}"#)
            .to(world.headgate.admin)
            .await;
        assert_eq!(answer.json()["success"], false, "{}", answer.text());
    });
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    within(LIMIT, async {
        let world = world(&rate_limit("exports", "applicationOnly: true\nlimit: 10\nperiod: 1h")).await;
        drop(world.connect().await);
        let next = Authority::new("another");
        let leaf = next.issue(&["limits.test"]);
        world.files.write("key.pem", &leaf.key_pem);
        world.files.write("cert.pem", &leaf.chain_pem);
        eventually(RENEWAL_LIMIT, "the new certificate is served", async || {
            let connection = Connection::tls(world.limits, "limits.test", next.client(&["h2"])).await;
            connection.map(drop).map_err(|failure| format!("{failure:?}"))
        })
        .await;
    });
}

#[test]
fn envoy_refuses_what_is_over_the_limit() {
    let Some(program) = program() else {
        println!("left out: HEADGATE_ENVOY names no Envoy; tests/envoy installs one");
        return;
    };
    within(LIMIT, async {
        let world = world(&rate_limit("exports", "applicationOnly: true\nlimit: 10\nperiod: 24h")).await;
        let origin = Origin::start("behind-envoy");
        let authority = world.authority.pem();
        let task =
            |token, limit| Task { origin: origin.address(), limits: world.limits, authority: &authority, token, limit };
        let envoy = Envoy::start(&program, &task(TOKEN, "exports")).await;
        let mut connection = Connection::plain(envoy.address).await.expect("Envoy listens");
        for client in ["one", "two"] {
            let ask = client::get("shop.example.com", "/").header("x-client", client);
            let mut answers = Vec::new();
            for _ in 0..30 {
                let answer = connection.send(&ask).await.expect("an answer");
                answers.push((answer.status, !answer.header("retry-after").is_empty()));
            }
            let expected = [vec![(200, false); 10], vec![(429, true); 20]].concat();
            assert_eq!(answers, expected, "{client}");
        }
        world.headgate.counts("headgate_rate_limit_requests_total", &[r#"limit="default/exports""#], 60.0).await;

        // A limit that does not exist is a mistake, which this Envoy refuses, and no room without end.
        let envoy = Envoy::start(&program, &task(TOKEN, "exprots")).await;
        let ask = client::get("shop.example.com", "/").header("x-client", "one");
        assert_eq!(ask.to(envoy.address).await.status, 500);
        let stranger = Envoy::start(&program, &task("another", "exports")).await;
        assert_eq!(ask.to(stranger.address).await.status, 500);
    });
}
