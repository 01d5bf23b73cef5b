//! Limits that several processes keep together in one Redis, and what becomes of them without it.

use std::time::Duration;

use headgate_tests::{
    client::{self, Ask, Connection},
    eventually,
    folder::Folder,
    manifests::{GATEWAY, rate_limit, route, service},
    origin::Origin,
    standalone::{EDIT_LIMIT, Standalone},
    store::Store,
    within,
};

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";

/// Some proxies on one store, all with the same manifests.
struct World {
    proxies: Vec<Standalone>,
    store: Store,
    folder: Folder,
    _origin: Origin,
}

async fn world(proxies: usize, limits: &str) -> World {
    let origin = Origin::start("shop");
    let routes = route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]");
    let folder = Folder::of(&(GATEWAY.to_owned() + &service("shop", &[origin.address()]) + &routes));
    folder.write("limits.yaml", limits);
    let store = Store::start().await;
    let mut world = World { proxies: Vec::new(), store, folder, _origin: origin };
    for _ in 0..proxies {
        world.join().await;
    }
    world
}

impl World {
    /// One proxy more, which all others have heard of when this returns.
    async fn join(&mut self) {
        let builder = Standalone::reading(&self.folder).argument("--state").argument(self.store.url());
        self.proxies.push(builder.start().await);
        self.know_each_other().await;
    }

    async fn know_each_other(&self) {
        for proxy in &self.proxies {
            eventually(EDIT_LIMIT, "a proxy knows how many live", async || {
                let known = proxy.metric("headgate_proxies", &[]).await;
                let expected = f64::from(u32::try_from(self.proxies.len()).expect("few proxies"));
                if (known - expected).abs() < 0.5 { Ok(()) } else { Err(format!("{known} of {expected}")) }
            })
            .await;
        }
    }

    /// Sends to the proxies in turn, `step` requests to each, and counts what passes, and every other reason.
    async fn send(&self, ask: &Ask, requests: usize, step: usize) -> Outcome {
        let mut connections = Vec::new();
        for proxy in &self.proxies {
            connections.push(Connection::plain(proxy.http).await.expect("standalone listens"));
        }
        let mut outcome = Outcome::default();
        for request in 0..requests {
            let connection = &mut connections[request / step % self.proxies.len()];
            let answer = connection.send(ask).await.expect("an answer");
            let (status, reason) = (answer.status, answer.reason());
            outcome.passed += usize::from((status, reason) == (200, ""));
            outcome.limited += usize::from((status, reason) == (429, "RateLimited"));
            outcome.unavailable += usize::from((status, reason) == (503, "StoreUnavailable"));
        }
        let Outcome { passed, limited, unavailable } = outcome;
        assert_eq!(passed + limited + unavailable, requests, "answers of another kind came: {outcome:?}");
        outcome
    }

    /// Waits until the store has heard of this many requests under the one key of a limit of a sliding window.
    async fn store_counts(&self, limit: &str, requests: usize) {
        eventually(EDIT_LIMIT, &format!("the store has heard of {requests} requests, once"), async || {
            let key = self.store.command(&["KEYS", &format!("hg:{{default/{limit}/*")]);
            let counted = self.store.command(&["HGET", &key, "c"]);
            if counted == requests.to_string() { Ok(()) } else { Err(format!("{key}: {counted}")) }
        })
        .await;
    }

    /// Waits until every proxy has lost the store, or found it.
    async fn store_is_lost(&self, lost: bool) {
        for proxy in &self.proxies {
            eventually(EDIT_LIMIT, &format!("headgate_store_lost is {lost}"), async || {
                let told = proxy.metric("headgate_store_lost", &[]).await > 0.5;
                if told == lost { Ok(()) } else { Err(told.to_string()) }
            })
            .await;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    limited: usize,
    unavailable: usize,
}

fn shop() -> Ask {
    client::get(HOST, "/")
}

#[test]
fn a_strict_limit_passes_exactly_its_number_over_all_processes() {
    within(LIMIT, async {
        let strict = rate_limit("strict", "limit: 50\nperiod: 24h\nconsistency: Strict");
        let mut world = world(3, &strict).await;
        let outcome = world.send(&shop(), 150, 1).await;
        assert_eq!(outcome, Outcome { passed: 50, limited: 100, unavailable: 0 });
        // Who comes later finds what was counted.
        world.join().await;
        assert_eq!(world.send(&shop(), 8, 1).await.passed, 0);
    });
}

#[test]
fn a_bucket_is_shared_and_an_attacker_costs_no_calls() {
    within(LIMIT, async {
        let bucket = "limit: 1\nperiod: 24h\nalgorithm: TokenBucket\nburst: 30\nconsistency: Strict\nblockFor: 1h";
        let world = world(2, &rate_limit("bucket", bucket)).await;
        assert_eq!(world.send(&shop(), 40, 7).await, Outcome { passed: 30, limited: 10, unavailable: 0 });
        let before = world.store.calls();
        assert_eq!(world.send(&shop(), 1_000, 1).await, Outcome { passed: 0, limited: 1_000, unavailable: 0 });
        let calls = world.store.calls() - before;
        // Heartbeats go on, one a second and proxy.
        assert!(calls < 100, "1,000 refused requests cost {calls} calls");
    });
}

#[test]
fn an_eventual_limit_stays_within_its_bound_and_all_processes_agree_in_the_end() {
    within(LIMIT, async {
        let eventual = rate_limit("eventual", "limit: 100\nperiod: 24h");
        let world = world(2, &eventual).await;
        let outcome = world.send(&shop(), 400, 10).await;
        assert!((100..=150).contains(&outcome.passed), "{outcome:?}");
        assert_eq!(world.send(&shop(), 20, 1).await, Outcome { passed: 0, limited: 20, unavailable: 0 });
        println!("{} of 100 passed two processes, {} calls", outcome.passed, world.store.calls());

        world.store_counts("eventual", outcome.passed).await;
    });
}

#[test]
fn without_the_store_each_limit_does_what_it_says_and_nothing_is_counted_twice_after_it() {
    within(LIMIT, async {
        let limits =
            rate_limit("a-share", "hosts: [shop.example.com]\nwhen: request.path == '/share'\nlimit: 40\nperiod: 24h")
                + &rate_limit("b-deny", "when: request.path == '/deny'\nlimit: 40\nperiod: 24h\nonStoreFailure: Deny")
                + &rate_limit(
                    "c-allow",
                    "when: request.path == '/allow'\nlimit: 4\nperiod: 24h\nonStoreFailure: Allow",
                );
        let mut world = world(2, &limits).await;
        let ask = |path: &str| client::get(HOST, path);
        assert_eq!(world.send(&ask("/share"), 20, 5).await.passed, 20);
        assert_eq!(world.send(&ask("/deny"), 10, 5).await.passed, 10);

        world.store.process.kill();
        world.store_is_lost(true).await;
        // Ten of each proxy's twenty are used.
        let share = world.send(&ask("/share"), 60, 1).await;
        assert_eq!(share, Outcome { passed: 20, limited: 40, unavailable: 0 });
        assert_eq!(world.send(&ask("/deny"), 10, 1).await, Outcome { passed: 0, limited: 0, unavailable: 10 });
        assert_eq!(world.send(&ask("/allow"), 30, 1).await.passed, 30);
        let words = ["has no shared store since", "meanwhile"];
        for name in ["a-share", "b-deny", "c-allow"] {
            world.proxies[0].tells("RateLimit", name, ("Degraded", "True", "StoreUnavailable"), &words).await;
        }

        world.store.start_again().await;
        world.store_is_lost(false).await;
        world.store_counts("a-share", 40).await;
        // Who told first has heard of the other only since.
        let late = world.send(&ask("/share"), 30, 1).await.passed;
        assert!(late <= 20, "more than the share of the room that one of them saw: {late}");
        assert_eq!(world.send(&ask("/share"), 30, 1).await.passed, 0);
        assert_eq!(world.send(&ask("/deny"), 15, 1).await.passed, 15);
        assert_eq!(world.send(&ask("/allow"), 15, 1).await.passed, 0);
        // A stranger to what happened finds all of it in the store.
        world.join().await;
        let share = world.send(&ask("/share"), 60, 1).await;
        assert!(share.passed <= 13, "a third of the limit at most before it has heard: {share:?}");
        assert_eq!(world.send(&ask("/share"), 30, 1).await.passed, 0);
        eventually(EDIT_LIMIT, "nothing is degraded any more", async || {
            match world.proxies[0].condition("RateLimit", "a-share", "Degraded").await {
                None => Ok(()),
                Some(condition) if condition.status == "False" => Ok(()),
                Some(condition) => Err(format!("{condition:?}")),
            }
        })
        .await;
    });
}

#[test]
fn a_frozen_store_costs_a_request_at_most_its_time_limit_and_then_nothing() {
    within(LIMIT, async {
        let strict = rate_limit("strict", "limit: 40\nperiod: 24h\nconsistency: Strict");
        let world = world(2, &strict).await;
        assert_eq!(world.send(&shop(), 10, 5).await.passed, 10);
        world.store.process.freeze();
        let begin = headgate_tests::clock::Stopwatch::start();
        // Twenty are each proxy's share; five are used.
        assert_eq!(world.send(&shop(), 80, 1).await.passed, 30);
        // Five calls of a quarter of a second to each proxy; the rest is for a busy machine.
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        world.store_is_lost(true).await;
        world.store.process.thaw();
        world.store_is_lost(false).await;
        world.store_counts("strict", 40).await;
        assert_eq!(world.send(&shop(), 20, 1).await, Outcome { passed: 0, limited: 20, unavailable: 0 });
    });
}
