//! The proxy's side of the stream, against scripted replicas of the operator: real sockets, real TLS, real traffic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "stream/replica.rs"]
mod replica;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_proxy::{Config, OperatorAddress, Role, StreamConfig, Streams};
use headgate_snapshot::{Batch, Hello, ProxyRole, Resource, ResourceSet, diff, proxy_message};
use replica::{Authority, Replica};
use support::*;

/// A proxy with its streams.
struct Streaming {
    running: Running,
    streams: Option<Streams>,
    files: tempfile::TempDir,
}

impl Streaming {
    async fn get(&self) -> String {
        get(self.running.http, "a.example", "/").await.body
    }

    async fn metrics(&self) -> String {
        get(self.running.admin, "admin", "/metrics").await.body
    }
}

/// Starts a proxy for some replicas, which are reached under one name or address.
async fn streaming(
    host: &str,
    replicas: &[SocketAddr],
    authority: &Authority,
    data_dir: Option<&tempfile::TempDir>,
) -> Streaming {
    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca"), files.path().join("token"));
    std::fs::write(&ca, &authority.pem).unwrap();
    std::fs::write(&token, "first").unwrap();
    let mut config = config();
    config.data_dir = data_dir.map(|directory| directory.path().to_owned());
    let running = start(config).await;
    let operators = replicas.iter().map(|replica| OperatorAddress { host: host.into(), port: replica.port() });
    let stream = StreamConfig {
        token_period: Duration::from_millis(20),
        gateways: vec!["default/public".into()],
        ..StreamConfig::new(operators.collect(), ca, token)
    };
    let streams = Streams::start(Arc::clone(&running.proxy), stream).unwrap();
    Streaming { running, streams: Some(streams), files }
}

/// A world in which all requests go to one origin.
fn world(origin: &TestOrigin) -> ResourceSet {
    let resources: Vec<Resource> =
        vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    resources.into_iter().collect()
}

fn whole(set: &ResourceSet, sequence: u64) -> Batch {
    Batch { sequence, ..set.complete(Vec::new()) }
}

#[tokio::test]
async fn the_leaders_configuration_is_enforced_and_told_to_every_replica() {
    let authority = Authority::new();
    let origin = TestOrigin::named("origin").await;
    let (mut one, mut two) = (Replica::start(&authority).await, Replica::start(&authority).await);
    let proxy = streaming("127.0.0.1", &[one.address, two.address], &authority, None).await;
    let (mut leader, hello) = one.connection().await;
    let (mut other, _) = two.connection().await;
    let expected = Hello {
        name: "test".into(),
        role: ProxyRole::Gateway.into(),
        gateways: vec!["default/public".into()],
        release: env!("CARGO_PKG_VERSION").into(),
        features: ["AddressPolicy", "RateLimit", "WaitingRoom"].map(Into::into).into(),
    };
    assert_eq!((hello, leader.bearer.as_str()), (expected, "Bearer first"));
    assert_eq!(leader.report(|_| true).await.version, "");

    other.stands(7, false).await;
    leader.stands(7, true).await;
    let follow = leader.followed().await;
    assert_eq!((follow.term, follow.version.as_str()), (7, ""));
    let set = world(&origin);
    leader.sends(whole(&set, 41)).await;
    let to_leader = leader.report(|report| report.sequence == 41).await;
    assert_eq!((to_leader.version, to_leader.refusals), (set.version(), vec![]));
    let to_other = other.report(|report| report.version == set.version()).await;
    assert_eq!(to_other.sequence, 0);
    assert_eq!(proxy.get().await, "origin");

    leader.pings(3).await;
    assert!(matches!(leader.next().await, Some(proxy_message::Message::Pong(pong)) if pong.number == 3));
    let metrics = proxy.metrics().await;
    for line in [
        "headgate_operator_connected 2",
        "headgate_operator_following 1",
        "headgate_operator_term 7",
        "headgate_operator_batches_total{result=\"Taken\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn a_new_leader_is_followed_and_an_old_one_that_thaws_is_ignored() {
    let authority = Authority::new();
    let (old_origin, new_origin) = (TestOrigin::named("old").await, TestOrigin::named("new").await);
    let (mut one, mut two) = (Replica::start(&authority).await, Replica::start(&authority).await);
    let proxy = streaming("127.0.0.1", &[one.address, two.address], &authority, None).await;
    let ((mut old, _), (mut new, _)) = (one.connection().await, two.connection().await);
    old.stands(1, true).await;
    let first = old.followed().await;
    let (old_set, new_set) = (world(&old_origin), world(&new_origin));
    old.sends(whole(&old_set, 5)).await;
    old.report(|report| report.sequence == 5).await;

    new.stands(2, true).await;
    let follow = new.followed().await;
    assert_eq!((follow.term, follow.version, follow.number), (2, old_set.version(), first.number + 1));
    new.sends(Batch { sequence: 1, ..diff(&old_set, &new_set, &BTreeSet::new()).unwrap() }).await;
    new.report(|report| report.sequence == 1 && report.version == new_set.version()).await;
    assert_eq!(proxy.get().await, "new");

    // What the old leader prepared before it was frozen, and its claim.
    old.sends(whole(&old_set, 6)).await;
    old.stands(1, true).await;
    old.pings(9).await;
    assert!(matches!(old.next().await, Some(proxy_message::Message::Pong(_))));
    let ignored = || async { proxy.metrics().await.contains("headgate_operator_batches_total{result=\"Ignored\"} 1") };
    eventually("the old batch is ignored", ignored).await;
    assert_eq!(proxy.get().await, "new");

    // It leads again, but what was under way is no answer to the new Follow.
    old.stands(3, true).await;
    let again = old.followed().await;
    assert_eq!((again.term, again.version), (3, new_set.version()));
    old.say_as_of(first.number, headgate_snapshot::operator_message::Message::Batch(whole(&old_set, 7))).await;
    old.sends(Batch { version: new_set.version(), sequence: 8, ..Batch::default() }).await;
    old.report(|report| report.sequence == 8 && report.version == new_set.version()).await;
    assert_eq!(proxy.get().await, "new");
}

#[tokio::test]
async fn a_killed_leader_is_replaced_without_a_failed_request_and_dialled_again() {
    let authority = Authority::new();
    let origin = TestOrigin::named("origin").await;
    let (mut one, mut two) = (Replica::start(&authority).await, Replica::start(&authority).await);
    let address = one.address;
    let proxy = streaming("127.0.0.1", &[one.address, two.address], &authority, None).await;
    let ((mut leader, _), (mut next, _)) = (one.connection().await, two.connection().await);
    leader.stands(1, true).await;
    leader.followed().await;
    let set = world(&origin);
    leader.sends(whole(&set, 1)).await;
    next.stands(1, false).await;
    next.report(|report| report.version == set.version()).await;
    one.stop();
    drop(leader);
    let lost = || async { proxy.metrics().await.contains("headgate_operator_connected 1") };
    eventually("the leader is lost", lost).await;
    assert_eq!(proxy.get().await, "origin");
    next.stands(2, true).await;
    assert_eq!(next.followed().await.version, set.version());
    assert_eq!(proxy.get().await, "origin");

    let mut restarted = Replica::start_on(address, &authority).await;
    let (mut back, _) = restarted.connection().await;
    // It learns of everything although it does not lead.
    assert_eq!(back.report(|_| true).await.version, set.version());
    assert!(!proxy.metrics().await.contains("headgate_operator_disconnections_total 0"));
}

#[tokio::test]
async fn a_proxy_that_has_nothing_takes_one_batch_of_a_replica_that_does_not_lead() {
    let authority = Authority::new();
    let (first, second) = (TestOrigin::named("first").await, TestOrigin::named("second").await);
    let mut one = Replica::start(&authority).await;
    let proxy = streaming("127.0.0.1", &[one.address], &authority, None).await;
    let (mut replica, _) = one.connection().await;
    replica.stands(4, false).await;
    assert_eq!(replica.followed().await.term, 0);
    replica.sends(whole(&world(&first), 1)).await;
    replica.sends(whole(&world(&second), 2)).await;
    let ignored = || async { proxy.metrics().await.contains("headgate_operator_batches_total{result=\"Ignored\"} 1") };
    eventually("the second batch is ignored", ignored).await;
    assert_eq!(proxy.get().await, "first");
    replica.stands(5, true).await;
    assert_eq!(replica.followed().await.version, world(&first).version());
}

#[tokio::test]
async fn a_restarted_proxy_serves_its_last_plan_and_resumes_with_an_inventory() {
    let authority = Authority::new();
    let (before, after) = (TestOrigin::named("before").await, TestOrigin::named("after").await);
    let mut one = Replica::start(&authority).await;
    let data = tempfile::tempdir().unwrap();
    let mut proxy = streaming("127.0.0.1", &[one.address], &authority, Some(&data)).await;
    let (mut replica, _) = one.connection().await;
    replica.stands(1, true).await;
    replica.followed().await;
    let set = world(&before);
    replica.sends(whole(&set, 1)).await;
    replica.report(|report| report.sequence == 1).await;
    proxy.streams.take().unwrap().say_goodbye().await;
    proxy.running.proxy.drain().await;
    drop(proxy);

    let proxy = streaming("127.0.0.1", &[one.address], &authority, Some(&data)).await;
    assert_eq!(proxy.get().await, "before");
    let (mut replica, _) = one.connection().await;
    // It has something, so it takes nothing from a replica that does not lead.
    replica.stands(1, false).await;
    replica.stands(2, true).await;
    let follow = replica.followed().await;
    assert_eq!((follow.term, follow.version), (2, set.version()));
    replica.wants_inventory().await;
    let Some(proxy_message::Message::Inventory(inventory)) = replica.next().await else { panic!("no inventory") };
    let next = world(&after);
    let has = ResourceSet::of_inventory(&inventory, &next);
    assert_eq!(has.version(), set.version());
    let batch = diff(&has, &next, &BTreeSet::new()).unwrap();
    assert_eq!(batch.upserts.len(), 1);
    replica.sends(Batch { sequence: 9, ..batch }).await;
    replica.report(|report| report.sequence == 9 && report.version == next.version()).await;
    assert_eq!(proxy.get().await, "after");
}

#[tokio::test]
async fn a_token_that_changes_is_sent_and_a_refused_one_is_tried_again() {
    let authority = Authority::new();
    let mut one = Replica::start(&authority).await;
    one.refuses(true);
    let proxy = streaming("127.0.0.1", &[one.address], &authority, None).await;
    let refused = || async { !proxy.metrics().await.contains("headgate_operator_disconnections_total 0") };
    eventually("the token is refused", refused).await;
    one.refuses(false);
    let (mut replica, _) = one.connection().await;
    assert_eq!(replica.bearer, "Bearer first");
    std::fs::write(proxy.files.path().join("token"), "second\n").unwrap();
    let Some(proxy_message::Message::Token(token)) = replica.next().await else { panic!("no token") };
    assert_eq!(token.token, "second");
}

#[tokio::test]
async fn a_ca_that_is_rotated_is_read_for_the_next_connection() {
    let (authority, rotated) = (Authority::new(), Authority::new());
    let mut one = Replica::start(&rotated).await;
    let proxy = streaming("127.0.0.1", &[one.address], &authority, None).await;
    let refused = || async { !proxy.metrics().await.contains("headgate_operator_disconnections_total 0") };
    eventually("the certificate is not trusted", refused).await;
    assert!(!one.is_dialled_within(Duration::ZERO).await);
    std::fs::write(proxy.files.path().join("ca"), authority.pem.clone() + &rotated.pem).unwrap();
    one.connection().await;
}

#[tokio::test]
async fn a_proxy_that_leaves_says_goodbye_to_every_replica() {
    let authority = Authority::new();
    let (mut one, mut two) = (Replica::start(&authority).await, Replica::start(&authority).await);
    let mut proxy = streaming("127.0.0.1", &[one.address, two.address], &authority, None).await;
    let ((mut first, _), (mut second, _)) = (one.connection().await, two.connection().await);
    let leaving = tokio::spawn(proxy.streams.take().unwrap().say_goodbye());
    for connection in [&mut first, &mut second] {
        assert!(matches!(connection.next().await, Some(proxy_message::Message::Goodbye(_))));
        assert!(connection.next().await.is_none());
    }
    drop((first, second));
    leaving.await.unwrap();
    assert!(proxy.metrics().await.contains("headgate_operator_connected 0"));
}

#[tokio::test]
async fn a_leader_that_says_goodbye_is_no_leader_and_is_dialled_again() {
    let authority = Authority::new();
    let (mut one, mut two) = (Replica::start(&authority).await, Replica::start(&authority).await);
    let _proxy = streaming("localhost", &[one.address, two.address], &authority, None).await;
    let ((mut old, _), (mut new, _)) = (one.connection().await, two.connection().await);
    old.stands(9, true).await;
    old.followed().await;
    new.stands(0, true).await;
    old.says_goodbye().await;
    // Its term is forgotten at once.
    assert_eq!(new.followed().await.term, 0);
    one.connection().await;
}

#[tokio::test]
async fn a_proxy_with_a_plan_on_disk_serves_it_while_its_credentials_cannot_be_read() {
    let authority = Authority::new();
    let origin = TestOrigin::named("origin").await;
    let mut one = Replica::start(&authority).await;
    let data = tempfile::tempdir().unwrap();
    let with_data = Config { data_dir: Some(data.path().to_owned()), ..config() };
    let before = start(with_data.clone()).await;
    before.proxy.apply(whole(&world(&origin), 1)).await;
    before.proxy.drain().await;

    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca"), files.path().join("token"));
    std::fs::write(&ca, "no certificate").unwrap();
    let running = start(with_data).await;
    let operator = OperatorAddress { host: "127.0.0.1".into(), port: one.address.port() };
    let stream = StreamConfig::new(vec![operator], ca.clone(), token.clone());
    let streams = Streams::start(Arc::clone(&running.proxy), stream.clone()).unwrap();
    assert_eq!(get(running.http, "a.example", "/").await.body, "origin");
    std::fs::write(&ca, &authority.pem).unwrap();
    std::fs::write(&token, "t").unwrap();
    one.connection().await;
    streams.say_goodbye().await;

    // Also a proxy that waits for its credentials ends when it is told to.
    std::fs::remove_file(&token).unwrap();
    let waiting = Streams::start(Arc::clone(&running.proxy), stream).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting.say_goodbye()).await.is_ok());
}

#[tokio::test]
async fn a_sidecar_says_so_and_a_credential_that_is_missing_is_told() {
    let authority = Authority::new();
    let mut one = Replica::start(&authority).await;
    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca"), files.path().join("token"));
    let running = start(config()).await;
    let operator = OperatorAddress { host: "127.0.0.1".into(), port: one.address.port() };
    let stream = StreamConfig { role: Role::Sidecar, ..StreamConfig::new(vec![operator], ca.clone(), token.clone()) };
    let error = Streams::start(Arc::clone(&running.proxy), stream.clone()).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot read --ca {}", ca.display())), "{error}");
    std::fs::write(&ca, &authority.pem).unwrap();
    std::fs::write(&token, "t").unwrap();
    let _streams = Streams::start(Arc::clone(&running.proxy), stream).unwrap();
    let (_, hello) = one.connection().await;
    assert_eq!((hello.role(), hello.gateways), (ProxyRole::Sidecar, vec![]));
}
