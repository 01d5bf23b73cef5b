//! Health: failover, return, one state a pool, probes of each kind, names.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headgate_proxy::Proxy;
use headgate_snapshot::{HealthCheckType, OriginHealth};
use http::Response;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::*;
use tokio::net::TcpListener;

/// Waits until a pool's report of one origin says so.
async fn until(proxy: &Proxy, pool: &str, origin: usize, condition: impl Fn(&OriginHealth) -> bool) {
    let mut reports = proxy.reports();
    let waiting = reports.wait_for(|report| {
        let health = report.pools.iter().find(|health| health.key == Some(pool_key(pool)));
        health.is_some_and(|health| condition(&health.origins[origin]))
    });
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "{pool} {origin}");
}

/// An origin whose health can be switched, with the agents that probed it counted.
async fn switched(name: &'static str) -> (TestOrigin, Arc<AtomicBool>) {
    let healthy = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&healthy);
    let origin = TestOrigin::start(move |seen| {
        let status = if seen.uri().path() != "/healthz" || switch.load(Ordering::SeqCst) { 200 } else { 503 };
        async move { Response::builder().status(status).body(Full::from(name)).unwrap() }
    })
    .await;
    (origin, healthy)
}

#[tokio::test]
async fn traffic_leaves_an_unhealthy_origin_and_returns_by_itself() {
    let (eu, eu_healthy) = switched("eu").await;
    let (asia, _asia_healthy) = switched("asia").await;
    let mut spec = pool_spec(&[eu.address, asia.address]);
    spec.health_check = Some(health_check(HealthCheckType::HttpGet));
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "chat"), pool("chat", spec)]).await;
    eventually("one round of probes", || async { get(running.admin, "admin", "/readyz").await.status == 200 }).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "eu");
    eu_healthy.store(false, Ordering::SeqCst);
    until(&running.proxy, "chat", 0, |origin| !origin.active && origin.healthy == 0).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "asia");
    eu_healthy.store(true, Ordering::SeqCst);
    until(&running.proxy, "chat", 0, |origin| origin.active).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "eu");
}

#[tokio::test]
async fn all_origins_down_is_told_and_the_connection_stays() {
    let (eu, healthy) = switched("eu").await;
    healthy.store(false, Ordering::SeqCst);
    let mut spec = pool_spec(&[eu.address]);
    spec.health_check = Some(health_check(HealthCheckType::HttpGet));
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "chat"), pool("chat", spec)]).await;
    until(&running.proxy, "chat", 0, |origin| origin.healthy == 0).await;
    let answer = get(running.http, "a.example", "/").await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (503, "NoHealthyOrigin"));
    assert_eq!(answer.headers.get("connection").unwrap(), "keep-alive");
}

#[tokio::test]
async fn edits_keep_health_and_add_no_probes_and_no_tasks() {
    let probes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&probes);
    let origin = TestOrigin::start(move |seen| {
        let agent = seen.headers().get("user-agent").map_or(b"".as_slice(), |agent| agent.as_bytes());
        if agent.starts_with(b"headgate-health/") {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        async { Response::new(Full::from("")) }
    })
    .await;
    let resources = |weight| {
        let mut spec = pool_spec(&[origin.address]);
        spec.origins[0].weight = weight;
        let hour = headgate_snapshot::HealthCheck { interval_ms: 3_600_000, ..health_check(HealthCheckType::HttpGet) };
        spec.health_check = Some(hour);
        let second = route("b.example", "http", "chat");
        vec![gateway(&[]), route("a.example", "http", "chat"), second, pool("chat", spec)]
    };
    let running = serving(config(), resources(1)).await;
    eventually("the first probe", || async { probes.load(Ordering::SeqCst) == 1 }).await;
    eventually("readiness", || async { get(running.admin, "admin", "/readyz").await.status == 200 }).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for weight in 2..200 {
        let report = running.proxy.apply(complete(resources(weight))).await;
        assert_eq!(report.pools[0].origins[0].healthy, 1);
    }
    let settled = || async { tokio::runtime::Handle::current().metrics().num_alive_tasks() <= tasks };
    eventually("no more tasks than before", settled).await;
    assert_eq!(probes.load(Ordering::SeqCst), 1);
}

async fn check_kind(kind: HealthCheckType, address: std::net::SocketAddr, healthy: u32) {
    let mut spec = pool_spec(&[address]);
    // An endpoint that is not probed yet counts as usable, so that only the first probe can tell.
    spec.health_check = Some(health_check(kind));
    let running = serving(config(), vec![gateway(&[]), pool("chat", spec)]).await;
    let running = &running;
    eventually("readiness after the first probe", || async move {
        get(running.admin, "admin", "/readyz").await.status == 200
    })
    .await;
    until(&running.proxy, "chat", 0, |origin| origin.healthy == healthy).await;
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    check_kind(HealthCheckType::TcpConnect, listener.local_addr().unwrap(), 1).await;
    check_kind(HealthCheckType::TcpConnect, closed_port().await, 0).await;
}

/// A gRPC server whose health service answers with one status.
async fn grpc(serving: u8) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |seen: Seen| async move {
                assert_eq!(seen.uri().path(), "/grpc.health.v1.Health/Check");
                let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                let frames = [
                    Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, serving]))),
                    Ok(Frame::trailers(trailers)),
                ];
                let body = StreamBody::new(futures::stream::iter(frames)).boxed();
                Ok::<_, Infallible>(Response::new(body))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn a_grpc_server_says_itself_whether_it_serves() {
    check_kind(HealthCheckType::GrpcHealth, grpc(1).await, 1).await;
    check_kind(HealthCheckType::GrpcHealth, grpc(2).await, 0).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_and_blocks_nothing() {
    // A server that takes questions and never answers.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut config = config();
    config.dns_servers = vec![silent.local_addr().unwrap()];
    let good = TestOrigin::named("good").await;
    let mut spec = pool_spec(&[good.address]);
    spec.origins[0].endpoints[0].host = "slow.example".into();
    let resources = vec![
        gateway(&[]),
        route("a.example", "http", "good"),
        route("b.example", "http", "named"),
        pool("good", pool_spec(&[good.address])),
        pool("named", spec),
    ];
    let running = serving(config, resources).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "good");
    assert_eq!(get(running.http, "b.example", "/").await.reason(), "NoHealthyOrigin");
    until(&running.proxy, "named", 0, |origin| origin.message.contains("slow.example") && origin.total == 0).await;
}

async fn is_ready(running: &Running) -> bool {
    get(running.admin, "admin", "/readyz").await.status == 200
}

#[tokio::test]
async fn a_proxy_is_ready_as_soon_as_its_first_probes_are_answered() {
    let (origin, _healthy) = switched("origin").await;
    let mut spec = pool_spec(&[origin.address]);
    spec.health_check = Some(health_check(HealthCheckType::HttpGet));
    let running = serving(config(), vec![gateway(&[]), pool("chat", spec)]).await;
    // Well below the two seconds that readiness waits for probes without an answer.
    let ready = eventually("readiness", || is_ready(&running));
    assert!(tokio::time::timeout(Duration::from_millis(1_700), ready).await.is_ok());
}

#[tokio::test]
async fn a_proxy_is_not_ready_before_the_names_of_its_plan_are_answered() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut config = config();
    config.dns_servers = vec![server.local_addr().unwrap()];
    let mut spec = pool_spec(&[closed_port().await]);
    spec.origins[0].endpoints[0].host = "slow.example".into();
    let running = serving(config, vec![gateway(&[]), pool("named", spec)]).await;
    let mut question = [0; 512];
    let (length, client) = server.recv_from(&mut question).await.unwrap();
    assert!(!is_ready(&running).await);
    // No such name, which is an answer.
    question[2..4].copy_from_slice(&[0x81, 0x83]);
    server.send_to(&question[..length], client).await.unwrap();
    eventually("readiness", || is_ready(&running)).await;
}
