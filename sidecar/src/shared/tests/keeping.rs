//! A proxy's book of counters and a server that dies and comes back.

use std::sync::Arc;
use std::time::Duration;

use headgate_engine::{Call, Called, Context, Listening, Plan, RateLimit, Resolutions, Told};
use headgate_snapshot as wire;
use headgate_snapshot::{Key, rate_limit};
use tokio::task::JoinHandle;

use super::server::{Server, eventually};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::rate_limit::{Limiter, SharedStore, keep};
use crate::shared::RedisStore;

/// A proxy, as far as limits go.
struct Proxy {
    limiter: Arc<Limiter>,
    limit: Arc<RateLimit>,
    clock: Clock,
    keeper: JoinHandle<()>,
}

impl Proxy {
    fn start(server: &Server, consistency: wire::Consistency) -> Self {
        let clock = Clock::start();
        let store = SharedStore::Redis(RedisStore::new(server.address()));
        let metrics = Arc::new(Metrics::new().unwrap());
        let limiter =
            Arc::new(Limiter::new("test", Some(store), "redis://test".to_owned(), clock, metrics, Arc::default()));
        let body = wire::RateLimit {
            limit: 40,
            period_ms: 86_400_000,
            algorithm: Some(rate_limit::Algorithm::SlidingWindow(wire::SlidingWindow {})),
            scope: wire::LimitScope::Cluster.into(),
            consistency: consistency.into(),
            on_store_failure: wire::StoreFailure::LocalShare.into(),
            action: Some(rate_limit::Action::Enforce(wire::Enforce {})),
            ..wire::RateLimit::default()
        };
        let key = Key::new("RateLimit", "default", "exports");
        let resource = wire::Resource {
            key: Some(key.clone()),
            generation: 1,
            requires: Vec::new(),
            body: Some(wire::resource::Body::RateLimit(body)),
        };
        let context = Context {
            listening: Listening::Merged,
            resolutions: &Resolutions::default(),
            limits: limiter.limits(),
            check_certificate: &|_| Ok(()),
        };
        let plan = Plan::compile(&Arc::new([resource].into_iter().collect()), None, &context);
        let limit = Arc::clone(plan.limit(&key).unwrap());
        let keeper = tokio::spawn(keep(Arc::clone(&limiter)));
        Self { limiter, limit, clock, keeper }
    }

    async fn call(&self) -> Told {
        let limits = self.limiter.limits();
        match Call::begin(&self.limit, &["a"], 1, limits, self.clock.epoch()) {
            Called::Told(told) => told,
            Called::Asks(call) => {
                let answer = self.limiter.ask(call.question()).await;
                call.answered(&answer, limits, self.clock.epoch())
            }
        }
    }

    /// How many of some calls pass.
    async fn passed(&self, calls: usize) -> usize {
        let mut passed = 0;
        for _ in 0..calls {
            passed += usize::from(self.call().await.refused.is_none());
        }
        passed
    }

    async fn has_joined(&self, proxies: u32) {
        let limits = self.limiter.limits();
        eventually("a store that answers", async || limits.lost_since().is_none() && limits.proxies() == proxies).await;
    }

    async fn has_lost(&self) {
        eventually("the loss of the store", async || self.limiter.limits().lost_since().is_some()).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// All that the server has counted.
fn counted(server: &Server) -> String {
    let key = server.command(&["KEYS", "hg:{default/*"]);
    server.command(&["HGET", key.trim(), "c"]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_is_exact_over_several_proxies_and_a_dead_server_costs_nobody_his_time() {
    let mut server = Server::start(&[]).await;
    let (one, other) =
        (Proxy::start(&server, wire::Consistency::Strict), Proxy::start(&server, wire::Consistency::Strict));
    one.has_joined(2).await;
    other.has_joined(2).await;
    assert_eq!((one.passed(15).await, other.passed(15).await), (15, 15));
    server.kill();
    // Nobody waits longer than a call may take, and after five failures nobody waits at all.
    let begin = one.clock.now();
    assert_eq!(one.passed(10).await, 5);
    let waited = one.clock.now().saturating_duration_since(begin);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    one.has_lost().await;
    other.has_lost().await;
    assert_eq!((one.passed(50).await, other.passed(50).await), (0, 5));
    server.begin().await;
    one.has_joined(2).await;
    other.has_joined(2).await;
    // It had kept nothing, and knows everything again, once.
    eventually("all counts on the server", async || counted(&server) == "40").await;
    assert_eq!((one.passed(10).await, other.passed(10).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn eventual_is_told_behind_and_everything_converges_after_a_restart() {
    let mut server = Server::start(&[]).await;
    let (one, other) =
        (Proxy::start(&server, wire::Consistency::Eventual), Proxy::start(&server, wire::Consistency::Eventual));
    one.has_joined(2).await;
    other.has_joined(2).await;
    assert_eq!((one.passed(5).await, other.passed(4).await), (5, 4));
    eventually("all counts on the server", async || counted(&server) == "9").await;
    server.kill();
    // Within its part a proxy asks nobody.
    assert_eq!(one.passed(3).await, 3);
    server.begin().await;
    one.has_joined(2).await;
    other.has_joined(2).await;
    eventually("all counts on the server", async || counted(&server) == "12").await;
    let passed = (one.passed(100).await, other.passed(100).await);
    println!("{passed:?} of 28 that are left");
    let passed = passed.0 + passed.1;
    assert!((28..=48).contains(&passed), "{passed}");
    eventually("all counts on the server", async || counted(&server) == (12 + passed).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_starts_before_its_store_shares_counters_once_it_is_there() {
    let mut server = Server::start(&[]).await;
    server.kill();
    let (one, other) =
        (Proxy::start(&server, wire::Consistency::Strict), Proxy::start(&server, wire::Consistency::Strict));
    one.has_lost().await;
    let before = one.passed(5).await;
    assert!(before > 0);
    server.begin().await;
    one.has_joined(2).await;
    other.has_joined(2).await;
    // Both count under one secret now.
    assert_eq!(one.limiter.limits().secret(), other.limiter.limits().secret());
    // What one had counted under another is lost where that was not the one that holds.
    let passed = one.passed(60).await + other.passed(60).await;
    assert!(passed == 40 || passed + before == 40, "{passed} {before}");
}
