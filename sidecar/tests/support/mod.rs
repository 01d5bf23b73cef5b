//! A proxy, origins and a client for the tests of this folder. Everything binds port 0 on loopback.

#![allow(dead_code, missing_docs, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headgate_proxy::{Config, Frontends, Proxy};
use headgate_snapshot::resource::Body;
use headgate_snapshot::{
    Attachment, Backend, Backends, Batch, Certificate, Endpoint, Gateway, HealthCheck, HealthCheckType, Key, Listener,
    Match, Origin, OriginPool, PathMatch, PathMatchType, Protocol, Resource, ResourceSet, Retry, Route, Rule,
    StatusRange, Timeouts, rule,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// No wait of a test is longer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Waits for a condition.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "not within {LIMIT:?}: {what}");
}

// --- The proxy ------------------------------------------------------------------------------------------------

/// Settings with ports of the system's choice.
pub fn config() -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config::new("test", Frontends::Merged { http: any, https: Some(any) }, any)
}

/// A running proxy with its addresses.
pub struct Running {
    pub proxy: Arc<Proxy>,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
}

/// Starts a proxy.
pub async fn start(config: Config) -> Running {
    let proxy = Arc::new(Proxy::start(config, axum::Router::new()).await.unwrap());
    let addresses = proxy.local_addresses().await;
    let (http, https) = (addresses.http().unwrap(), addresses.https().unwrap());
    Running { proxy, http, https, admin: addresses.admin }
}

/// Starts a proxy that enforces some resources.
pub async fn serving(config: Config, resources: Vec<Resource>) -> Running {
    let running = start(config).await;
    let report = running.proxy.apply(complete(resources)).await;
    assert_eq!(report.refusals, []);
    running
}

// --- Resources ------------------------------------------------------------------------------------------------

/// The batch that carries the whole set.
pub fn complete(resources: Vec<Resource>) -> Batch {
    resources.into_iter().collect::<ResourceSet>().complete(Vec::new())
}

fn resource(key: Key, body: Body) -> Resource {
    Resource { key: Some(key), generation: 1, requires: Vec::new(), body: Some(body) }
}

/// A Gateway `public` with a listener `http`, and `https` listeners with hostnames and Secrets.
pub fn gateway(https: &[(&str, &str)]) -> Resource {
    let http = Listener { name: "http".into(), port: 80, protocol: Protocol::Http.into(), ..Listener::default() };
    let https = https.iter().map(|(hostname, secret)| Listener {
        name: format!("https-{hostname}"),
        port: 443,
        protocol: Protocol::Https.into(),
        hostname: (*hostname).into(),
        certificates: vec![Key::new("Secret", "default", *secret)],
    });
    let listeners = std::iter::once(http).chain(https).collect();
    resource(Key::new("Gateway", "default", "public"), Body::Gateway(Gateway { listeners }))
}

/// A route of one host, all paths, to one pool.
pub fn route(host: &str, listener: &str, pool: &str) -> Resource {
    route_with(host, listener, vec![rule(pool)])
}

/// A route of one host on one listener.
pub fn route_with(host: &str, listener: &str, rules: Vec<Rule>) -> Resource {
    let gateway = Some(Key::new("Gateway", "default", "public"));
    let attachments = vec![Attachment { gateway, listener: listener.into(), hosts: vec![host.into()] }];
    let name = format!("{host}-{listener}");
    resource(Key::new("HTTPRoute", "default", name), Body::Route(Route { attachments, rules, created_at: 1 }))
}

/// A rule for all paths.
pub fn rule(pool: &str) -> Rule {
    let path = PathMatch { r#type: PathMatchType::Prefix.into(), value: "/".into() };
    let backend = Backend { pool: Some(pool_key(pool)), weight: 1, filters: Vec::new() };
    Rule {
        matches: vec![Match { path: Some(path), ..Match::default() }],
        action: Some(rule::Action::Backends(Backends { backends: vec![backend] })),
        ..Rule::default()
    }
}

pub fn pool_key(name: &str) -> Key {
    Key::new("OriginPool", "default", name)
}

/// A pool as it is by default, whose origins have one endpoint each and come one after the other.
pub fn pool_spec(origins: &[SocketAddr]) -> OriginPool {
    let origins = origins.iter().zip(0..).map(|(address, priority)| Origin {
        name: format!("origin-{priority}"),
        endpoints: vec![Endpoint { host: address.ip().to_string(), port: address.port().into() }],
        priority,
        weight: 100,
        ..Origin::default()
    });
    OriginPool {
        origins: origins.collect(),
        retry: Some(Retry { attempts: 1, budget_percent: 20 }),
        timeouts: Some(Timeouts { connect_ms: 1_000, request_ms: 5_000, idle_ms: 60_000 }),
        ..OriginPool::default()
    }
}

pub fn pool(name: &str, spec: OriginPool) -> Resource {
    resource(pool_key(name), Body::OriginPool(spec))
}

/// A fast health check.
pub fn health_check(kind: HealthCheckType) -> HealthCheck {
    HealthCheck {
        r#type: kind.into(),
        path: if kind == HealthCheckType::GrpcHealth { String::new() } else { "/healthz".into() },
        interval_ms: 50,
        timeout_ms: 40,
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        expected_statuses: vec![StatusRange { from: 200, to: 299 }],
        ..HealthCheck::default()
    }
}

/// A certificate for a name, signed by itself.
pub fn certificate(name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Certificate { chain_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() }
}

pub fn secret(name: &str, certificate: Certificate) -> Resource {
    resource(Key::new("Secret", "default", name), Body::Certificate(certificate))
}

// --- Origins --------------------------------------------------------------------------------------------------

/// What an origin saw of a request.
pub type Seen = Request<Incoming>;
/// What it answers.
pub type Reply = Response<Full<Bytes>>;

/// An HTTP/1.1 origin.
pub struct TestOrigin {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl TestOrigin {
    /// An origin that answers with its name, and to `/seen` with the target and headers that it saw.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |seen| async move {
            let body = if seen.uri().path().ends_with("/seen") { describe(&seen) } else { name.to_owned() };
            Response::new(Full::from(body))
        })
        .await
    }

    /// An origin with a handler of its own.
    pub async fn start<F, R>(handler: F) -> Self
    where
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Reply> + Send,
    {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), handler).await
    }

    /// An origin on a given port.
    pub async fn start_on<F, R>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Reply> + Send,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let accepting = tokio::spawn(async move {
            // Connections end with the origin.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (handler, counter) = (handler.clone(), Arc::clone(&counter));
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let (handler, counter) = (handler.clone(), Arc::clone(&counter));
                        async move {
                            counter.fetch_add(1, Ordering::SeqCst);
                            Ok::<_, Infallible>(handler(request).await)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests, accepting: accepting.abort_handle() }
    }

    pub fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for TestOrigin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn describe(seen: &Seen) -> String {
    let header =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
    let mut headers: Vec<String> = seen.headers().iter().map(header).collect();
    headers.sort_unstable();
    format!("{} {}\n{}", seen.method(), seen.uri(), headers.concat())
}

/// An address that nothing listens on.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

// --- Client ---------------------------------------------------------------------------------------------------

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn reason(&self) -> &str {
        self.headers.get("headgate-reason").map_or("", |value| value.to_str().unwrap())
    }
}

/// `GET` on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    let request = Request::get(path).header("host", host).body(Full::default()).unwrap();
    send(address, request).await
}

/// Any request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = tokio::time::timeout(LIMIT, sender.send_request(request)).await.unwrap().unwrap();
    let answer = read(answer).await;
    drop(sender);
    connection.abort();
    answer
}

pub async fn read(answer: Response<Incoming>) -> Answer {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}
