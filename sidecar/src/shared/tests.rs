//! The store on a real server, beside its model in memory.

mod keeping;
mod server;
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headgate_engine::{EpochMillis, LimitStore as _, MemoryStore, StoreError};

use self::server::Server;
use super::redis::RedisStore;

/// A Friday in 2026, in the middle of a minute.
const START: u64 = 1_795_776_012_345;

/// A clock that tests turn.
#[derive(Clone)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    fn now(&self) -> EpochMillis {
        EpochMillis(self.0.load(Ordering::Relaxed))
    }

    fn turn(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }

    fn model(&self) -> MemoryStore {
        let hand = self.clone();
        MemoryStore::new(move || hand.now())
    }

    /// The store on a server.
    async fn store(&self, server: &Server) -> RedisStore {
        let hand = self.clone();
        let store = RedisStore::with_clock(server.address(), move || hand.now());
        store.connect().await.unwrap();
        store
    }
}

#[tokio::test]
async fn the_model_is_a_store() {
    let hand = Hand::new();
    suite::check(&hand, &hand.model()).await;
}

#[tokio::test]
async fn one_server_is_a_store() {
    let server = Server::start(&[]).await;
    let hand = Hand::new();
    let store = hand.store(&server).await;
    suite::check(&hand, &store).await;
    suite::compare(&hand, &store, &hand.model()).await;
}

#[tokio::test]
async fn a_cluster_is_a_store() {
    let server = Server::start_cluster().await;
    let hand = Hand::new();
    let store = hand.store(&server).await;
    suite::check(&hand, &store).await;
    suite::compare(&hand, &store, &hand.model()).await;
}

#[tokio::test]
async fn a_server_that_sentinels_know_is_a_store() {
    let server = Server::start_with_sentinel().await;
    let hand = Hand::new();
    suite::check(&hand, &hand.store(&server).await).await;
}

#[tokio::test]
async fn a_server_with_tls_and_a_user_of_few_rights_is_a_store() {
    let server = Server::start_with_tls().await;
    let hand = Hand::new();
    suite::check(&hand, &hand.store(&server).await).await;
}

#[tokio::test]
async fn a_server_goes_by_its_own_clock() {
    let server = Server::start(&[]).await;
    let store = RedisStore::new(server.address());
    store.connect().await.unwrap();
    let joined = store.join(&suite::member(1)).await.unwrap();
    let taken = store.take(&[suite::window(1, "a").with_cost(1).0]).await.unwrap();
    let ours = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    assert!(joined.now.0.abs_diff(ours) < 60_000 && taken[0].now.0.abs_diff(ours) < 60_000, "{joined:?} {taken:?}");
}

#[tokio::test]
async fn scripts_that_a_server_forgot_are_told_again() {
    let server = Server::start(&[]).await;
    let hand = Hand::new();
    let store = hand.store(&server).await;
    let takes: Vec<_> = (0..50).map(|key| suite::window(1, &key.to_string()).with_cost(1).0).collect();
    for _ in 0..3 {
        assert!(store.take(&takes).await.unwrap().iter().all(|taken| taken.admitted));
        server.command(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test]
async fn a_store_without_a_connection_answers_at_once() {
    let server = Server::start(&[]).await;
    let store = RedisStore::new(server.address());
    let answer = store.take(&[suite::window(1, "a").0]).await;
    assert_eq!(answer, Err(StoreError::Unavailable("there is no connection yet".to_owned())));
}

#[tokio::test]
async fn a_counter_is_forgotten_by_the_server_when_it_is_idle() {
    let server = Server::start(&[]).await;
    let store = RedisStore::new(server.address());
    store.connect().await.unwrap();
    store.take(&[suite::window(1, "a").with_cost(1).0, suite::bucket(1, "b").with_cost(1).0]).await.unwrap();
    for key in server.command(&["KEYS", "hg:*"]).lines() {
        let left: i64 = server.command(&["PTTL", key]).trim().parse().unwrap();
        assert!((1..=121_000).contains(&left), "{key}: {left}");
    }
}
