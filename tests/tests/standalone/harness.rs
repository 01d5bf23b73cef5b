//! The harness itself, without headgate: a test that cannot fail proves nothing.

use std::{net::Ipv4Addr, time::Duration};

use headgate_tests::{
    certificates::Authority,
    client::{self, Connection, Failure},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    load::{Load, Pace},
    loopback,
    name_server::NameServer,
    origin::{Mood, Origin},
    within,
};
use http::{Method, Version};
use tokio::net::UdpSocket;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn an_origin_says_what_it_received_in_every_version_and_over_tls() {
    within(LIMIT, async {
        let authority = Authority::new("mine");
        let plain = Origin::start("plain");
        let secure = Origin::start_tls("secure", authority.issue(&["a.example.com"]).server(&["h2", "http/1.1"]));
        let ask = client::get("a.example.com", "/path?query").method(Method::PUT).header("x-one", "1").body("body");
        for (origin, version, mut connection) in [
            ("plain", Version::HTTP_11, Connection::plain(plain.address()).await.expect("a connection")),
            ("plain", Version::HTTP_2, Connection::h2c(plain.address()).await.expect("a connection")),
            ("secure", Version::HTTP_11, tls(&secure, &authority, "http/1.1").await.expect("a connection")),
            ("secure", Version::HTTP_2, tls(&secure, &authority, "h2").await.expect("a connection")),
        ] {
            let answer = connection.send(&ask).await.expect("an answer");
            assert_eq!((answer.status, answer.origin()), (200, origin));
            let said = answer.json();
            for (field, value) in [("method", "PUT"), ("path", "/path?query"), ("body", "body")] {
                assert_eq!(said[field], value, "{said}");
            }
            assert_eq!(said["version"], format!("{version:?}"));
            assert_eq!(
                (answer.received("x-one"), answer.received("host")),
                ("1".to_owned(), "a.example.com".to_owned())
            );
        }
        let stranger = Authority::new("another's");
        assert!(tls(&secure, &stranger, "h2").await.is_err(), "an unknown authority is not trusted");
    });
}

async fn tls(origin: &Origin, authority: &Authority, protocol: &str) -> Result<Connection, Failure> {
    Connection::tls(origin.address(), "a.example.com", authority.client(&[protocol])).await
}

#[test]
fn an_origin_can_be_ill_slow_hanging_and_resetting() {
    within(LIMIT, async {
        let origin = Origin::start("one");
        let status =
            async |path: &str| client::get("a", path).try_to(origin.address()).await.map(|answer| answer.status);
        for (mood, health, traffic) in [(Mood::Well, 200, 200), (Mood::Ill, 503, 200), (Mood::Failing(500), 200, 500)] {
            origin.feels(mood);
            let seen = (status("/healthz").await.expect("an answer"), status("/").await.expect("an answer"));
            assert_eq!(seen, (health, traffic), "{mood:?}");
        }
        origin.feels(Mood::Resetting);
        assert_eq!(status("/healthz").await.expect("an answer"), 200);
        assert!(matches!(status("/").await, Err(Failure::NoAnswer(_))));
        origin.feels(Mood::Slow(Duration::from_millis(200)));
        let watch = Stopwatch::start();
        assert_eq!(status("/").await.expect("an answer"), 200);
        assert!(watch.elapsed() >= Duration::from_millis(200));
        origin.feels(Mood::Hanging);
        assert!(tokio::time::timeout(Duration::from_millis(300), status("/")).await.is_err());
        assert_eq!((origin.probes(), origin.requests()), (4, 6));
    });
}

#[test]
fn a_load_counts_what_a_dead_origin_costs() {
    within(LIMIT, async {
        let origin = Origin::start("one");
        let load = Load::start(origin.address(), Pace::default(), &[client::get("a", "/")]);
        eventually(LIMIT, "the load is under way", async || match load.tally().requests {
            0..20 => Err("too few".to_owned()),
            20.. => Ok(()),
        })
        .await;
        assert_eq!(load.tally().bad(), 0);
        origin.kill().await;
        eventually(LIMIT, "failures are counted", async || match load.tally().failures.get("no connection") {
            Some(4..) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        origin.revive();
        let dead = load.tally();
        eventually(LIMIT, "answers are counted again", async || {
            if load.tally().of("one") > dead.of("one") + 20 { Ok(()) } else { Err("too few".to_owned()) }
        })
        .await;
        let tally = load.stop().await;
        assert_eq!(tally.requests, tally.of("one") + tally.failures.values().sum::<u64>(), "{tally:?}");
        assert_eq!(tally.by_status.keys().collect::<Vec<_>>(), [&200]);
    });
}

#[test]
fn the_name_server_answers_what_it_was_told_and_slowly_when_asked_to() {
    /// A query for the A records of `a.example.net`.
    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x03net\x00\x00\x01\x00\x01";
    within(LIMIT, async {
        let names = NameServer::start().await;
        let socket = UdpSocket::bind((loopback::address(), 0)).await.expect("a free port");
        socket.connect(names.address()).await.expect("UDP connects to anything");
        let ask = async || {
            socket.send(QUERY).await.expect("the query is sent");
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).await.expect("an answer");
            buffer[..length].to_vec()
        };
        assert_eq!(ask().await[3] & 0x0F, 3, "an unknown name");
        names.set("a.example.net", &[Ipv4Addr::new(192, 0, 2, 1)]);
        names.slow_down(Duration::from_millis(100));
        let watch = Stopwatch::start();
        let answer = ask().await;
        assert!(watch.elapsed() >= Duration::from_millis(100));
        assert_eq!((&answer[..2], answer[3] & 0x0F, &answer[6..8]), (&[0x12, 0x34][..], 0, &[0, 1][..]));
        assert_eq!(answer[answer.len() - 4..], [192, 0, 2, 1]);
        assert_eq!(names.queries(), 2);
    });
}

#[test]
fn a_folder_is_written_whole_or_in_place() {
    let folder = Folder::of("one");
    folder.write("two.yaml", "two");
    folder.overwrite("two.yaml", "three");
    assert_eq!(
        (folder.names(), folder.read("two.yaml").as_str()),
        (vec!["two.yaml".into(), "world.yaml".into()], "three")
    );
    folder.remove("world.yaml");
    assert_eq!(Folder::copy_of(folder.path()).names(), ["two.yaml"]);
}
