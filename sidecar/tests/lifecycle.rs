//! Start, readiness, the plan on disk, the admin listener, the access log, drain.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use headgate_proxy::{AccessLog, Drained, Proxy};
use http::Response;
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn is_ready(running: &Running) -> bool {
    get(running.admin, "admin", "/readyz").await.status == 200
}

#[tokio::test]
async fn a_proxy_is_ready_after_its_first_plan() {
    let running = start(config()).await;
    assert_eq!(get(running.admin, "admin", "/livez").await.status, 200);
    let waiting = get(running.admin, "admin", "/readyz").await;
    assert_eq!((waiting.status.as_u16(), waiting.body.as_str()), (503, "no plan yet\n"));
    running.proxy.apply(complete(vec![gateway(&[])])).await;
    eventually("ready", || is_ready(&running)).await;
}

#[tokio::test]
async fn the_admin_listener_shows_what_is_enforced_without_keys_and_routes_of_others() {
    let routes = axum::Router::new().route("/v1/status", axum::routing::get(|| async { "theirs" }));
    let proxy = Proxy::start(config(), routes).await.unwrap();
    let secret_certificate = certificate("a.example");
    let report =
        proxy.apply(complete(vec![gateway(&[("a.example", "a")]), secret("a", secret_certificate.clone())])).await;
    let admin = proxy.local_addresses().await.admin;
    let shown = get(admin, "admin", "/v1/config").await.body;
    let enforced: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(enforced["version"], report.version.as_str());
    assert_eq!(enforced["resources"].as_array().unwrap().len(), 2);
    assert!(!shown.contains("PRIVATE KEY") && shown.contains("[redacted]"));
    assert_eq!(get(admin, "admin", "/v1/status").await.body, "theirs");
    let metrics = get(admin, "admin", "/metrics").await.body;
    assert!(metrics.contains(&format!("headgate_plan_info{{version=\"{}\"}} 1", report.version)), "{metrics}");
}

#[tokio::test]
async fn the_last_plan_is_served_after_a_restart() {
    let origin = TestOrigin::named("origin").await;
    let data = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data_dir = Some(data.path().to_owned());
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config.clone(), resources).await;
    let version = running.proxy.reports().borrow().version.clone();
    let file = data.path().join("plan");
    eventually("the plan is stored", || async { file.exists() }).await;
    drop(running);
    let restarted = start(config).await;
    assert_eq!(restarted.proxy.reports().borrow().version, version);
    assert_eq!(get(restarted.http, "a.example", "/").await.body, "origin");
}

#[tokio::test]
async fn a_damaged_plan_on_disk_is_told_until_there_is_a_new_one() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("plan"), "nonsense").unwrap();
    let mut config = config();
    config.data_dir = Some(data.path().to_owned());
    let running = start(config).await;
    let troubles = |report: &headgate_snapshot::Report| -> Vec<String> {
        report.troubles.iter().map(|trouble| trouble.reason.clone()).collect()
    };
    assert_eq!(troubles(&running.proxy.reports().borrow()), ["PlanNotLoaded"]);
    assert_eq!(troubles(&running.proxy.apply(complete(Vec::new())).await), [""; 0]);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_nothing_waits_for_it() {
    let data = tempfile::tempdir().unwrap();
    let blocked = data.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let mut config = config();
    config.data_dir = Some(blocked);
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = start(config).await;
    running.proxy.apply(complete(resources)).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "origin");
    let mut reports = running.proxy.reports();
    let told = reports.wait_for(|report| report.troubles.iter().any(|trouble| trouble.reason == "PlanNotStored"));
    assert!(tokio::time::timeout(LIMIT, told).await.is_ok());
}

#[tokio::test]
async fn requests_are_logged_as_json() {
    let origin = TestOrigin::named("origin").await;
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("access.log");
    let mut config = config();
    config.access_log = AccessLog::File(file.clone());
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config, resources).await;
    get(running.http, "a.example", "/x?secret=1").await;
    get(running.http, "b.example", "/").await;
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    eventually("two lines", || async { lines() == 2 }).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let served = records.iter().find(|record| record["host"] == "a.example").unwrap();
    let expected = [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("path", "/x"),
        ("route", "HTTPRoute/default/a.example-http"),
        ("pool", "OriginPool/default/one"),
        ("origin", "origin-0"),
        ("endpoint", &origin.address.to_string()),
    ];
    for (field, value) in expected {
        assert_eq!(served[field], value, "{served}");
    }
    assert_eq!((&served["status"], &served["attempts"], &served["bytes"]), (&200.into(), &1.into(), &6.into()));
    let refused = records.iter().find(|record| record["host"] == "b.example").unwrap();
    assert_eq!((&refused["status"], &refused["reason"]), (&404.into(), &"NoRoute".into()));
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_ends_as_soon_as_it_is_idle() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notifies = (Arc::clone(&arrived), Arc::clone(&release));
    let origin = TestOrigin::start(move |_| {
        let (at_origin, go_on) = notifies.clone();
        async move {
            at_origin.notify_one();
            go_on.notified().await;
            Response::new(Full::from("late"))
        }
    })
    .await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = Arc::new(serving(config(), resources).await);
    // A connection that waits for its next request must not hold the drain up.
    let mut idle = TcpStream::connect(running.http).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: nowhere.example\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    let address = running.http;
    let asking = tokio::spawn(async move { get(address, "a.example", "/").await });
    arrived.notified().await;
    let stopping = Arc::clone(&running);
    let outcome = tokio::spawn(async move { stopping.proxy.drain().await });
    eventually("not ready", || async { !is_ready(&running).await }).await;
    eventually("the listener is closed", || async { TcpStream::connect(address).await.is_err() }).await;
    release.notify_one();
    let answer = asking.await.unwrap();
    assert_eq!((answer.body.as_str(), answer.headers.get("connection").unwrap().to_str().unwrap()), ("late", "close"));
    assert_eq!(tokio::time::timeout(LIMIT, outcome).await.unwrap().unwrap(), Drained::Idle);
}

#[tokio::test]
async fn a_drain_ends_with_its_grace_period() {
    let origin = TestOrigin::start(|_| std::future::pending()).await;
    let mut config = config();
    config.drain.grace = Duration::from_millis(50);
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config, resources).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
    eventually("the request has arrived", || async { origin.requests.load(std::sync::atomic::Ordering::SeqCst) == 1 })
        .await;
    assert_eq!(running.proxy.drain().await, Drained::GraceOver);
}

#[tokio::test]
async fn a_drain_ends_with_the_newest_plan_and_all_of_the_access_log_on_disk() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data_dir = Some(data.path().to_owned());
    config.access_log = AccessLog::File(data.path().join("access.log"));
    let running = serving(config.clone(), vec![gateway(&[])]).await;
    let file = data.path().join("plan");
    eventually("the first plan is stored", || async { file.exists() }).await;
    // Comes in the quiet time after the first one.
    let newest = running.proxy.apply(complete(vec![gateway(&[]), pool("one", pool_spec(&[]))])).await.version;
    for _ in 0..20 {
        get(running.http, "nowhere.example", "/").await;
    }
    running.proxy.drain().await;
    assert_eq!(std::fs::read_to_string(data.path().join("access.log")).unwrap().lines().count(), 20);
    let restarted = start(config).await;
    assert_eq!(restarted.proxy.reports().borrow().version, newest);
}

#[tokio::test]
async fn connections_of_the_last_moment_are_answered_by_a_drain() {
    let running = serving(config(), vec![gateway(&[])]).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(running.http).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: nowhere.example\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    assert_eq!(running.proxy.drain().await, Drained::Idle);
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer:?}");
    }
}
