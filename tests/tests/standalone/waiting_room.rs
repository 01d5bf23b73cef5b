//! What visitors of a waiting room get, and that no more are inside than it says.

use std::time::Duration;

use headgate_tests::{
    client::{self, Answer, Ask},
    eventually,
    folder::Folder,
    manifests::{CONTRACT_ROOMS, GATEWAY, route, service, waiting_room},
    origin::Origin,
    standalone::{EDIT_LIMIT, Standalone},
    within,
};
use http::Method;
use serde_json::json;

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";
const COOKIE: &str = "headgate_room_default_tickets";
/// A session of ten seconds, and a second until the next in line comes by; the rest is for a busy machine.
const TURN_LIMIT: Duration = Duration::from_secs(25);

struct World {
    headgate: Standalone,
    folder: Folder,
    _origin: Origin,
}

async fn world(rooms: &str) -> World {
    let origin = Origin::start("shop");
    let rules = "- backendRefs: [{ name: shop, port: 80 }]";
    let folder =
        Folder::of(&(GATEWAY.to_owned() + &service("shop", &[origin.address()]) + &route("shop", HOST, rules)));
    folder.write("rooms.yaml", rooms);
    World { headgate: Standalone::reading(&folder).start().await, folder, _origin: origin }
}

fn small(more: &str) -> String {
    let spec = "host: shop.example.com\ntotalActiveUsers: 2\nnewUsersPerMinute: 10\nsessionDuration: 10s\n";
    waiting_room("tickets", &(spec.to_owned() + more))
}

fn page() -> Ask {
    client::get(HOST, "/").header("Accept", "text/html").header("Accept-Language", "de-AT, en;q=0.5")
}

/// The room's cookie of an answer, as a request sends it.
fn cookie(answer: &Answer) -> Option<String> {
    let texts = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let text = texts.into_iter().find(|text| text.starts_with(COOKIE))?;
    Some(text.split(';').next().expect("a pair").to_owned())
}

impl World {
    async fn visit(&self, ask: Ask, cookie: Option<&String>) -> Answer {
        let ask = if let Some(cookie) = cookie { ask.header("Cookie", cookie) } else { ask };
        ask.to(self.headgate.http).await
    }
}

#[test]
fn two_are_inside_the_third_waits_and_gets_in_when_a_session_is_over() {
    within(LIMIT, async {
        let world = world(&small("")).await;
        let mut inside = Vec::new();
        for _ in 0..2 {
            let answer = world.visit(page(), None).await;
            assert_eq!((answer.status, answer.origin(), answer.reason()), (200, "shop", ""));
            inside.push(cookie(&answer).expect("a session"));
        }
        let third = world.visit(page(), None).await;
        assert_eq!((third.status, third.origin(), third.reason()), (200, "", "Queued"));
        assert_eq!(third.header("cache-control"), "no-store");
        assert!(third.header("refresh").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{third:?}");
        let text = third.text();
        assert!(text.contains("<html lang=\"de\">") && text.contains("Personen vor Ihnen: 0"), "{text}");
        let place = cookie(&third).expect("a place");

        // Who is inside stays inside, with as many requests as he likes; who waits is not taken for another one.
        for _ in 0..5 {
            for session in &inside {
                assert_eq!(world.visit(page(), Some(session)).await.origin(), "shop");
            }
            assert_eq!(world.visit(page(), Some(&place)).await.reason(), "Queued");
        }
        world.headgate.counts("headgate_requests_total", &[r#"reason="Queued""#], 6.0).await;
        let forged = format!("{COOKIE}=AQEAAAAA{}", &place[COOKIE.len() + 9..]);
        assert_eq!(world.visit(page(), Some(&forged)).await.reason(), "Queued");
        eventually(EDIT_LIMIT, "the status tells who is inside", async || {
            let room = world.headgate.object("WaitingRoom", "tickets").await.ok_or("no such room")?;
            let status = &room["status"];
            let told = status["state"] == "Queueing" && status["active"] == 2 && status["queued"].as_u64() >= Some(1);
            if told { Ok(()) } else { Err(status.to_string()) }
        })
        .await;

        eventually(TURN_LIMIT, "the third is let in", async || {
            let answer = world.visit(page(), Some(&place)).await;
            if answer.origin() == "shop" { Ok(()) } else { Err(answer.text()) }
        })
        .await;
    });
}

#[test]
fn programs_get_what_they_can_read_and_some_requests_never_wait() {
    within(LIMIT, async {
        let world = world(&small("bypass: [\"request.path.startsWith('/static/')\"]\nstatusCode: 202")).await;
        for _ in 0..2 {
            assert_eq!(world.visit(page(), None).await.origin(), "shop");
        }
        let program = client::get(HOST, "/").header("Accept", "application/json");
        let answer = world.visit(program, None).await;
        assert_eq!((answer.status, answer.header("content-type")), (202, "application/json"));
        let figures = &answer.json()["headgateWaitingRoom"];
        let named = ["inWaitingRoom", "queueAll", "queueingMethod", "isFIFOQueue", "isRandomQueue"];
        let found: Vec<_> = named.iter().map(|name| figures[name].clone()).collect();
        assert_eq!(found, [json!(true), json!(false), json!("fifo"), json!(true), json!(false)], "{figures}");
        assert!(cookie(&answer).is_some() && figures["refreshIntervalSeconds"].as_u64() > Some(0));

        let sent = page().method(Method::POST).body("name=value");
        assert!(world.visit(sent, None).await.text().contains("Senden Sie es noch einmal"));
        let upgrade = page().header("Connection", "Upgrade").header("Upgrade", "websocket");
        let refused = world.visit(upgrade, None).await;
        assert_eq!((refused.status, refused.reason()), (503, "Queued"));
        assert!(!refused.header("retry-after").is_empty());
        let called = page().method(Method::POST).header("Content-Type", "application/grpc");
        let called = world.visit(called, None).await;
        assert_eq!((called.status, called.header("grpc-status")), (200, "14"));

        let preflight = client::get(HOST, "/")
            .method(Method::OPTIONS)
            .header("Origin", "https://a.example")
            .header("Access-Control-Request-Method", "PUT");
        assert_eq!(world.visit(preflight, None).await.origin(), "shop");
        assert_eq!(world.visit(client::get(HOST, "/static/a.css"), None).await.origin(), "shop");
    });
}

#[test]
fn an_edit_of_the_room_takes_effect_and_keeps_who_is_inside() {
    within(LIMIT, async {
        let world = world(&small("sessionRenewal: true")).await;
        let session = cookie(&world.visit(page(), None).await).expect("a session");
        for (more, status, reason, text) in [
            ("queueAll: true", 200, "Queued", "niemand eingelassen"),
            ("queueingMethod: Passthrough", 200, "", ""),
            ("queueingMethod: Passthrough\nsuspended: true", 200, "", ""),
            (
                "queueingMethod: Reject\nstatusCode: 429\nqueueAll: false",
                429,
                "RoomRejected",
                "Alle Plätze sind belegt",
            ),
        ] {
            world.folder.write("rooms.yaml", &small(more));
            eventually(EDIT_LIMIT, &format!("{more} is enforced"), async || {
                // Fills what is free, so that the next one finds no place.
                world.visit(page(), None).await;
                let answer = world.visit(page(), None).await;
                let found = (answer.status, answer.reason());
                if found == (status, reason) && answer.text().contains(text) {
                    Ok(())
                } else {
                    Err(format!("{found:?}"))
                }
            })
            .await;
            assert_eq!(world.visit(page(), Some(&session)).await.origin(), "shop", "{more}");
        }
    });
}

#[test]
fn the_contracts_rooms_are_accepted_and_say_what_waits() {
    within(LIMIT, async {
        let world = world(CONTRACT_ROOMS).await;
        for room in ["tickets", "sale"] {
            world.headgate.tells("WaitingRoom", room, ("Accepted", "True", ""), &[]).await;
            world.headgate.tells("WaitingRoom", room, ("Programmed", "True", ""), &[]).await;
        }
        let expected = ("Enforced", "Partial", "FieldNotYetEnforced");
        world.headgate.tells("WaitingRoom", "sale", expected, &["spec.events[0]"]).await;
        let answer = world.headgate.get(HOST, "/sale/now").await;
        let cookies: Vec<&str> =
            answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("text")).collect();
        assert!(cookies.len() == 1 && cookies[0].starts_with("headgate_room_default_sale_sale="), "{cookies:?}");
        assert!(cookies[0].contains("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"), "{cookies:?}");
    });
}

#[test]
fn places_and_sessions_outlive_a_restart() {
    within(LIMIT, async {
        let data = Folder::new();
        let origin = Origin::start("shop");
        let rules = "- backendRefs: [{ name: shop, port: 80 }]";
        let manifests =
            GATEWAY.to_owned() + &service("shop", &[origin.address()]) + &route("shop", HOST, rules) + &small("");
        let folder = Folder::of(&manifests);
        let start = || Standalone::reading(&folder).argument("--data-dir").argument(data.path());
        let mut headgate = start().start().await;
        let session = cookie(&page().to(headgate.http).await).expect("a session");
        headgate.process.kill();
        let headgate = start().start().await;
        assert_eq!(page().header("Cookie", &session).to(headgate.http).await.origin(), "shop");
        // He counts: one place is left.
        assert_eq!(page().to(headgate.http).await.origin(), "shop");
        assert_eq!(page().to(headgate.http).await.reason(), "Queued");
    });
}
