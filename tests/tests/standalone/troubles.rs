//! Troubles from outside: each goes on, each is told.

use std::{process::Command, time::Duration};

use futures::{SinkExt, StreamExt};
use headgate_tests::{
    certificates::Authority,
    client::{self, Connection},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    load::{Load, Pace},
    manifests::{GATEWAY, fill, pool, route, secret, service},
    name_server::NameServer,
    origin::Origin,
    process::Process,
    standalone::{Builder, Standalone},
    within,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const LIMIT: Duration = Duration::from_mins(1);
/// Any message of a WebSocket comes long before.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
const HOST: &str = "shop.example.com";

/// A WebSocket through headgate.
pub async fn web_socket(headgate: &Standalone, host: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(headgate.http).await.expect("standalone listens");
    let (socket, answer) = client_async(format!("ws://{host}/socket"), stream).await.expect("the upgrade is passed on");
    assert_eq!(answer.status(), 101);
    socket
}

/// Sends a message and waits for its echo.
pub async fn echoes(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.expect("the socket takes a message");
    let echo = timeout(MESSAGE_LIMIT, socket.next()).await.expect("an echo comes in time");
    assert_eq!(echo.expect("the socket is open").expect("the socket is whole"), Message::text(text));
}

/// Waits for the end of the connection.
pub async fn ends(socket: &mut WebSocketStream<TcpStream>) {
    let next = timeout(MESSAGE_LIMIT, socket.next()).await.expect("the socket ends in time");
    assert!(matches!(next, None | Some(Err(_) | Ok(Message::Close(_)))), "{next:?}");
}

#[test]
fn a_certificate_is_replaced_while_connections_live_and_a_broken_one_changes_nothing() {
    let gateway = GATEWAY.replace(
        "{ name: http, protocol: HTTP, port: 80 }",
        "{ name: https, protocol: HTTPS, port: 443, tls: { certificateRefs: [{ name: shop }] } }",
    );
    within(LIMIT, async {
        let authority = Authority::new("clients trust me");
        let (old, new) = (authority.issue(&[HOST]), authority.issue(&[HOST]));
        let origin = Origin::start("shop");
        let world = gateway
            + &service("shop", &[origin.address()])
            + &route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]");
        let folder = Folder::of(&world);
        folder.write("secret.yaml", &secret("shop", &old));
        let headgate = Standalone::reading(&folder).start().await;
        let connect = async || {
            let config = authority.client(&["http/1.1"]);
            Connection::tls(headgate.https, HOST, config).await.map_err(|failure| format!("{failure:?}"))
        };
        let mut kept = eventually(LIMIT, "TLS is served", connect).await;
        assert_eq!(kept.server_certificate(), Some(old.der().as_ref()));
        assert_eq!(kept.send(&client::get(HOST, "/")).await.expect("an answer").status, 200);

        folder.write("secret.yaml", &secret("shop", &new));
        eventually(LIMIT, "new connections see the new certificate", async || {
            let connection = connect().await?;
            if connection.server_certificate() == Some(new.der().as_ref()) { Ok(()) } else { Err("the old one".into()) }
        })
        .await;
        assert_eq!(kept.send(&client::get(HOST, "/")).await.expect("the old connection lives").status, 200);

        let broken = secret("shop", &new).replace("tls.key: ", "tls.key: bm90IGEga2V5 #");
        folder.write("secret.yaml", &broken);
        eventually(LIMIT, "the Gateway tells the broken certificate", async || {
            let object = headgate.object("Gateway", "public").await.ok_or("no object")?;
            let text = object["status"].to_string();
            if text.contains("InvalidCertificateRef") { Ok(()) } else { Err(text) }
        })
        .await;
        assert_eq!(kept.send(&client::get(HOST, "/")).await.expect("the old connection lives").status, 200);

        folder.write("secret.yaml", &secret("shop", &old));
        eventually(LIMIT, "a good certificate is served again", async || {
            let mut connection = connect().await?;
            let answer = connection.send(&client::get(HOST, "/")).await.map_err(|failure| format!("{failure:?}"))?;
            let restored = connection.server_certificate() == Some(old.der().as_ref());
            if restored && answer.status == 200 { Ok(()) } else { Err(format!("{}", answer.status)) }
        })
        .await;
    });
}

#[test]
fn a_web_socket_lives_through_changes_of_what_is_enforced() {
    within(LIMIT, async {
        let (one, two) = (Origin::start("one"), Origin::start("two"));
        let folder =
            Folder::of(&(GATEWAY.to_owned() + &service("one", &[one.address()]) + &service("two", &[two.address()])));
        folder.write("route.yaml", &route("shop", HOST, "- backendRefs: [{ name: one, port: 80 }]"));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers(HOST, "/", 200, "one").await;
        let mut socket = web_socket(&headgate, HOST).await;
        echoes(&mut socket, "before").await;

        folder.write("route.yaml", &route("shop", HOST, "- backendRefs: [{ name: two, port: 80 }]"));
        headgate.answers(HOST, "/", 200, "two").await;
        echoes(&mut socket, "after an edit").await;
        folder.remove("route.yaml");
        headgate.answers(HOST, "/", 404, "").await;
        echoes(&mut socket, "after the route is gone").await;
        echoes(&mut socket, &"large ".repeat(20_000)).await;
    });
}

#[test]
fn a_slow_name_server_holds_up_nobody_and_is_told() {
    within(LIMIT, async {
        let names = NameServer::start().await;
        names.slow_down(Duration::from_secs(30));
        let origin = Origin::start("well");
        names.set("origin.example.net", &["127.0.0.1".parse().expect("an address")]);
        let unresolved =
            "hosts: [named.example.com]\norigins: [{ name: named, endpoints: [\"origin.example.net:80\"] }]";
        let well = fill(
            "hosts: [well.example.com]\norigins: [{ name: well, endpoints: [\"$well\"] }]",
            &[("well", &origin.address())],
        );
        let folder = Folder::of(&(pool("named", unresolved) + &pool("well", &well)));
        let watch = Stopwatch::start();
        let headgate =
            Standalone::reading(&folder).argument("--dns-server").argument(names.address().to_string()).start().await;
        assert!(watch.elapsed() < Duration::from_secs(10), "readiness waits for no name: {:?}", watch.elapsed());

        let load = Load::start(headgate.http, Pace::default(), &[client::get("well.example.com", "/")]);
        let answer = headgate.get("named.example.com", "/").await;
        assert_eq!((answer.status, answer.reason()), (503, "NoHealthyOrigin"));
        folder.write("more.yaml", &pool("more", &well.replace("well.example.com", "more.example.com")));
        headgate.answers("more.example.com", "/", 200, "well").await;
        eventually(LIMIT, "the status tells the name that does not resolve", async || {
            let object = headgate.object("OriginPool", "named").await.ok_or("no object")?;
            let text = object["status"].to_string();
            if text.contains("origin.example.net") { Ok(()) } else { Err(text) }
        })
        .await;
        assert!(names.queries() > 0);
        let tally = load.stop().await;
        assert_eq!(tally.bad(), 0, "{tally:#?}");
    });
}

#[test]
fn a_full_disk_for_the_plan_stops_nothing_and_is_told_until_there_is_room() {
    within(LIMIT, async {
        let origin = Origin::start("shop");
        let folder = Folder::of(
            &(GATEWAY.to_owned()
                + &service("shop", &[origin.address()])
                + &route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]")),
        );
        let data = Folder::new();
        let (builder, full) = full_disk(Standalone::reading(&folder), &data).await;
        let headgate = builder.start().await;
        headgate.answers(HOST, "/", 200, "shop").await;
        eventually(LIMIT, "standalone tells that the plan is not stored", async || {
            let told = headgate.process.stderr();
            if told.contains("PlanNotStored") { Ok(()) } else { Err(told) }
        })
        .await;
        headgate.tells("Gateway", "public", ("Degraded", "True", "PlanNotStored"), &["plan"]).await;
        headgate.counts("headgate_troubles", &["PlanNotStored"], 1.0).await;

        folder.write("more.yaml", &route("more", "more.example.com", "- backendRefs: [{ name: shop, port: 80 }]"));
        headgate.answers("more.example.com", "/", 200, "shop").await;

        let inside = format!("/proc/{}/root{}", headgate.process.id(), data.path().display());
        std::fs::remove_file(format!("{inside}/{full}")).expect("what fills the disk can be removed");
        eventually(LIMIT, "the plan is stored once there is room", async || {
            let kept = [format!("{inside}/plan"), format!("{inside}/{full}/plan")];
            let stored = kept.iter().any(|path| std::fs::metadata(path).is_ok_and(|plan| plan.len() > 0));
            if stored { Ok(()) } else { Err(format!("none of {kept:?}")) }
        })
        .await;
        eventually(LIMIT, "the trouble is over", async || {
            match headgate.metric("headgate_troubles", &["PlanNotStored"]).await {
                troubles if troubles < 1.0 => Ok(()),
                troubles => Err(format!("{troubles}")),
            }
        })
        .await;
    });
}

/// Ways into a mount namespace of one's own, which ends with the process.
const NAMESPACES: [&[&str]; 2] =
    [&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"], &["unshare", "--mount", "sh", "-c"]];

/// Gives it a data directory on a small file system that is full to the brim, and the name of what fills it. Where
/// nobody may mount one, the data directory is to lie in what is a file: the same trouble, of another kind.
async fn full_disk(builder: Builder, data: &Folder) -> (Builder, &'static str) {
    let mount = format!("mount -t tmpfs -o size=64k full '{}'", data.path().display());
    for namespace in NAMESPACES {
        let mut command = Command::new(namespace[0]);
        command.args(&namespace[1..]).arg(&mount);
        if Process::spawn(command).exit(LIMIT).await.success() {
            let fill = format!("head -c 1M /dev/zero > '{}/filler' 2>/dev/null", data.path().display());
            let script = format!("{mount} && {{ {fill}; exec \"$@\"; }}");
            let program: Vec<&str> = namespace.iter().copied().chain([script.as_str(), "sh"]).collect();
            return (builder.argument("--data-dir").argument(data.path()).under(&program), "filler");
        }
    }
    println!("no leave to mount a file system: the plan goes where a file is in the way, instead of to a full disk");
    data.write("filler", "");
    (builder.argument("--data-dir").argument(data.path().join("filler")), "filler")
}
