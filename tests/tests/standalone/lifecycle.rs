//! Start, drain and restart.

use std::{net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use headgate_tests::{
    binary,
    client::{self, Connection},
    clock::Stopwatch,
    eventually,
    folder::Folder,
    loopback,
    manifests::{GATEWAY, route, service},
    origin::Origin,
    standalone::Standalone,
    within,
};

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";

fn shop(origin: &Origin) -> String {
    GATEWAY.to_owned()
        + &service("shop", &[origin.address()])
        + &route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]")
}

#[test]
fn sigterm_ends_readiness_first_finishes_what_is_in_flight_and_exits_as_soon_as_idle() {
    within(LIMIT, async {
        let origin = Origin::start("shop");
        let folder = Folder::of(&shop(&origin));
        let mut headgate = Standalone::reading(&folder).start().await;
        let mut idle = Connection::plain(headgate.http).await.expect("standalone listens");
        assert_eq!(idle.send(&client::get(HOST, "/")).await.expect("an answer").status, 200);

        let address = headgate.http;
        let slow = tokio::spawn(async move { client::get(HOST, "/delay/2000").try_to(address).await });
        eventually(LIMIT, "the slow request is in flight", async || match origin.requests() {
            2 => Ok(()),
            other => Err(format!("{other} requests")),
        })
        .await;

        headgate.process.terminate();
        let watch = Stopwatch::start();
        eventually(Duration::from_millis(1500), "not ready any more", async || {
            match client::get("admin", "/readyz").try_to(headgate.admin).await {
                Ok(answer) if answer.status == 503 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(headgate.admin("/livez").await.status, 200, "alive until the end");

        let answer = slow.await.expect("the task ends").expect("a request in flight is finished");
        assert_eq!((answer.status, answer.origin()), (200, "shop"));
        let status = headgate.process.exit(Duration::from_secs(3)).await;
        assert!(status.success(), "{status:?}");
        assert!(watch.elapsed() < Duration::from_secs(8), "it waited although it was idle: {:?}", watch.elapsed());
        assert!(client::get(HOST, "/").try_to(headgate.http).await.is_err());
    });
}

#[test]
fn an_idle_standalone_ends_at_once() {
    within(LIMIT, async {
        let origin = Origin::start("shop");
        let folder = Folder::of(&shop(&origin));
        let mut headgate = Standalone::reading(&folder).start().await;
        let mut idle = Connection::plain(headgate.http).await.expect("standalone listens");
        assert_eq!(idle.send(&client::get(HOST, "/")).await.expect("an answer").status, 200);
        headgate.process.terminate();
        assert!(headgate.process.exit(Duration::from_secs(5)).await.success());
    });
}

#[test]
fn after_a_restart_with_files_that_cannot_be_read_the_last_plan_goes_on_serving() {
    within(LIMIT, async {
        let (origin, data) = (Origin::start("shop"), Folder::new());
        let folder = Folder::of(&shop(&origin));
        let builder = Standalone::reading(&folder).argument("--data-dir").argument(data.path());
        let mut headgate = builder.start().await;
        headgate.answers(HOST, "/", 200, "shop").await;
        let plan = eventually(LIMIT, "the plan is kept", async || {
            let kept = data.path().read_dir().map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
            kept.into_iter().find(|path| path.ends_with("plan")).ok_or("no file `plan`".to_owned())
        })
        .await;
        let mode = plan.metadata().expect("it was just listed").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds keys");
        headgate.process.terminate();
        headgate.process.exit(LIMIT).await;

        folder.write("world.yaml", "apiVersion: v1\nkind: [\n");
        let mut headgate = builder.start().await;
        headgate.answers(HOST, "/", 200, "shop").await;
        eventually(LIMIT, "standalone names the file", async || match headgate.process.stderr() {
            told if told.contains("world.yaml:") => Ok(()),
            told => Err(told),
        })
        .await;

        folder.write("world.yaml", &shop(&origin).replace(HOST, "store.example.com"));
        headgate.answers("store.example.com", "/", 200, "shop").await;
        headgate.answers(HOST, "/", 404, "").await;
        headgate.process.terminate();
        headgate.process.exit(LIMIT).await;
    });
}

#[test]
fn a_command_line_that_cannot_work_is_refused_with_a_sentence() {
    within(LIMIT, async {
        let folder = Folder::of(GATEWAY);
        let path = folder.path().to_str().expect("a temporary path is text").to_owned();
        let taken = TcpListener::bind((loopback::address(), 0)).expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address");
        let (listen, port, any) = (format!("--listen={address}"), address.port().to_string(), "127.0.0.1:0");
        for (arguments, words) in [
            (vec!["standalone"], vec!["-f"]),
            (vec!["standalone", "-f", "/no/such/folder", "--listen", any, "--admin", any], vec!["/no/such/folder"]),
            (vec!["standalone", "-f", &path, &listen, "--admin", any], vec!["listen", &port]),
            (vec!["standalone", "-f", &path, "--listen", any, "--admin", "0.0.0.0:0"], vec!["--admin", "loopback"]),
            (vec!["standalone", "-f", &path, "--trusted-proxies", "10.0.0.0/33"], vec!["10.0.0.0/33"]),
            (vec!["standalone", "-f", &path, "--listen", "8080"], vec!["8080"]),
            (vec!["validate", "-f", "/no/such/file.yaml"], vec!["/no/such/file.yaml"]),
        ] {
            let finished = binary::headgate(&arguments).await;
            assert!(finished.code.is_some_and(|code| code != 0), "{arguments:?}: {finished:?}");
            let told = finished.stdout + &finished.stderr;
            for word in words {
                assert!(told.contains(word), "{arguments:?} does not say `{word}`:\n{told}");
            }
            assert!(!told.contains("panicked"), "{arguments:?}:\n{told}");
        }
        drop(taken);
    });
}

#[test]
fn it_is_ready_with_no_manifests_and_serves_the_first_that_come() {
    within(LIMIT, async {
        let origin = Origin::start("shop");
        let folder = Folder::new();
        let headgate = Standalone::reading(&folder).start().await;
        folder.write("world.yaml", &shop(&origin));
        headgate.answers(HOST, "/", 200, "shop").await;
    });
}
