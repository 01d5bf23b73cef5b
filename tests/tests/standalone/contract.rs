//! The manifests of the contract, word for word, and what happens when files change.

use std::time::Duration;

use headgate_tests::{
    client, examples,
    examples::Backends,
    folder::Folder,
    manifests::{GATEWAY, route, service},
    origin::Origin,
    standalone::Standalone,
    within,
};

/// Failover with probes of 1 s, as the issue of this release promises it.
const FAILOVER_LIMIT: Duration = Duration::from_secs(3);

#[test]
fn the_examples_are_enforced_word_for_word() {
    within(Duration::from_secs(150), async {
        let folder = Folder::copy_of(&examples::folder());
        let backends = Backends::start(&folder);
        let headgate = Standalone::reading(&folder).start().await;

        for (host, path, origin) in [
            ("chat.example.com", "/", "eu"),
            ("chat.example.com", "/any/path?at=all", "eu"),
            ("shop.example.com", "/chat", "eu"),
            ("shop.example.com", "/chat/room", "eu"),
            ("shop.example.com", "/chatter", "storefront"),
            ("shop.example.com", "/", "storefront"),
            ("old.example.com", "/deep/path", "eu"),
        ] {
            let answer = headgate.get(host, path).await;
            assert_eq!((answer.status, answer.origin()), (200, origin), "{host}{path}");
            assert_eq!(answer.json()["path"], path);
        }
        let stranger = headgate.get("stranger.example.com", "/").await;
        assert_eq!((stranger.status, stranger.reason()), (404, "NoRoute"));

        let canary = client::get("canary.example.com", "/").header("x-canary", "always").to(headgate.http).await;
        assert_eq!(canary.origin(), "storefront-next");

        let partly = headgate
            .tells(
                "OriginPool",
                "chat",
                ("Enforced", "Partial", "FieldNotYetEnforced"),
                &["spec.outlierDetection", "spec.sessionAffinity", "accepted, not yet enforced by this release"],
            )
            .await;
        assert!(partly.observed_generation > 0, "{partly:?}");
        headgate.tells("OriginPool", "chat", ("Ready", "True", ""), &[]).await;

        backends.eu.kill().await;
        for host in ["chat.example.com", "old.example.com"] {
            headgate.answers_by_any(FAILOVER_LIMIT, host, &["asia-1", "asia-2"]).await;
        }
        for asia in &backends.asia {
            asia.kill().await;
        }
        headgate.answers_within(FAILOVER_LIMIT, "chat.example.com", "/", 200, "static-site").await;
        backends.static_site.kill().await;
        let nothing_left = headgate.get("chat.example.com", "/").await;
        assert!([502, 503].contains(&nothing_left.status), "{nothing_left:?}");
        assert!(["NoHealthyOrigin", "ConnectFailed"].contains(&nothing_left.reason()), "{nothing_left:?}");

        backends.eu.revive();
        headgate.answers("chat.example.com", "/", 200, "eu").await;
        assert_eq!(headgate.get("shop.example.com", "/").await.origin(), "storefront", "no other host was touched");
    });
}

#[test]
fn an_edit_is_enforced_a_deletion_withdraws_and_an_added_file_is_picked_up() {
    within(Duration::from_mins(1), async {
        let (one, two) = (Origin::start("one"), Origin::start("two"));
        let folder = Folder::new();
        folder.write("gateway.yaml", GATEWAY);
        folder.write("services.yaml", &(service("one", &[one.address()]) + &service("two", &[two.address()])));
        folder.write("shop.yml", &route("shop", "shop.example.com", "- backendRefs: [{ name: one, port: 80 }]"));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("shop.example.com", "/", 200, "one").await;

        folder.write("shop.yml", &route("shop", "shop.example.com", "- backendRefs: [{ name: two, port: 80 }]"));
        headgate.answers("shop.example.com", "/", 200, "two").await;

        folder.overwrite("shop.yml", &route("shop", "store.example.com", "- backendRefs: [{ name: two, port: 80 }]"));
        headgate.answers("store.example.com", "/", 200, "two").await;
        headgate.answers("shop.example.com", "/", 404, "").await;

        folder.write("more.yaml", &route("more", "more.example.com", "- backendRefs: [{ name: one, port: 80 }]"));
        headgate.answers("more.example.com", "/", 200, "one").await;

        folder.remove("shop.yml");
        headgate.answers("store.example.com", "/", 404, "").await;
        assert!(headgate.object("HTTPRoute", "shop").await.is_none(), "a deleted object is gone from the status");
        headgate.answers("more.example.com", "/", 200, "one").await;
    });
}

#[test]
fn several_files_and_folders_are_one_world() {
    within(Duration::from_mins(1), async {
        let origin = Origin::start("one");
        let (gateways, routes, services) = (Folder::of(GATEWAY), Folder::new(), Folder::new());
        routes.write("a.yaml", &route("a", "a.example.com", "- backendRefs: [{ name: one, port: 80 }]"));
        let both = route("b", "b.example.com", "- backendRefs: [{ name: one, port: 80 }]")
            + &route("c", "c.example.com", "- backendRefs: [{ name: one, port: 80 }]");
        routes.write("b-and-c.yaml", &both);
        services.write("one.yaml", &service("one", &[origin.address()]));
        services.write("notes.txt", "not: a manifest, and not read");
        let headgate = Standalone::reading_path(&gateways.path().join("world.yaml"))
            .and(routes.path())
            .and(services.path())
            .start()
            .await;
        for host in ["a.example.com", "b.example.com", "c.example.com"] {
            headgate.answers(host, "/", 200, "one").await;
        }

        routes.write("b-and-c.yaml", both.split_inclusive("---\n").next().expect("a first document"));
        headgate.answers("c.example.com", "/", 404, "").await;
        headgate.answers("b.example.com", "/", 200, "one").await;
    });
}
