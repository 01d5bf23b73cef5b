//! Requests through a whole proxy: routing, what origins and clients see, failures, retries, timeouts, WebSockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headgate_snapshot::{
    Filter, Header, HeaderModifier, Key, Origin, PathRewrite, Redirect, UrlRewrite, filter, path_rewrite, rule,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn hosts_and_paths_go_to_their_pools() {
    let (one, other) = (TestOrigin::named("one").await, TestOrigin::named("other").await);
    let running = serving(
        config(),
        vec![
            gateway(&[]),
            route("one.example", "http", "one"),
            route("other.example", "http", "other"),
            pool("one", pool_spec(&[one.address])),
            pool("other", pool_spec(&[other.address])),
        ],
    )
    .await;
    assert_eq!(get(running.http, "one.example", "/").await.body, "one");
    assert_eq!(get(running.http, "OTHER.example:8080", "/x").await.body, "other");
    let nowhere = get(running.http, "nowhere.example", "/").await;
    assert_eq!((nowhere.status, nowhere.reason()), (StatusCode::NOT_FOUND, "NoRoute"));
}

#[tokio::test]
async fn an_edit_is_enforced_by_the_next_request_and_an_old_connection_lives_on() {
    let (one, other) = (TestOrigin::named("one").await, TestOrigin::named("other").await);
    let resources = |target: &str| {
        vec![
            gateway(&[]),
            route("a.example", "http", target),
            pool("one", pool_spec(&[one.address])),
            pool("other", pool_spec(&[other.address])),
        ]
    };
    let running = serving(config(), resources("one")).await;
    let stream = TcpStream::connect(running.http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = || Request::get("/").header("host", "a.example").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(read(sender.send_request(request()).await.unwrap()).await.body, "one");
    running.proxy.apply(complete(resources("other"))).await;
    sender.ready().await.unwrap();
    assert_eq!(read(sender.send_request(request()).await.unwrap()).await.body, "other");
}

#[tokio::test]
async fn origins_see_the_one_form_of_the_path_and_who_the_client_is() {
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config(), resources).await;
    let request = Request::get("/a/../%7Eb/./seen?q=%2F")
        .header("host", "a.example")
        .header("x-forwarded-for", "1.1.1.1")
        .header("headgate-version", "x")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(Full::default())
        .unwrap();
    let seen = send(running.http, request).await.body;
    let request_id = seen.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    assert_eq!(request_id.len(), 32);
    let expected = format!(
        "GET /~b/seen?q=%2F\nhost: a.example\nx-forwarded-for: 127.0.0.1\nx-forwarded-host: a.example\n\
         x-forwarded-proto: http\nx-request-id: {request_id}\n"
    );
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let running = serving(config, resources).await;
    let request = Request::get("/seen")
        .header("host", "a.example")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("x-request-id", "theirs")
        .body(Full::default())
        .unwrap();
    let seen = send(running.http, request).await.body;
    for line in ["x-forwarded-for: 203.0.113.9, 127.0.0.1", "x-forwarded-proto: https", "x-request-id: theirs"] {
        assert!(seen.contains(line), "{line} is missing in\n{seen}");
    }
}

#[tokio::test]
async fn filters_change_requests_and_answers() {
    let origin = TestOrigin::start(|seen| async move {
        let path = seen.uri().to_string();
        let tier = seen.headers().get("x-tier").map_or("none", |value| value.to_str().unwrap()).to_owned();
        let host = seen.headers()["host"].to_str().unwrap().to_owned();
        Response::builder()
            .header("headgate-cost", "3")
            .header("x-internal", "secret")
            .body(Full::from(format!("{path} {tier} {host}")))
            .unwrap()
    })
    .await;
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let filters = vec![
        Filter {
            filter: Some(filter::Filter::RequestHeaders(HeaderModifier {
                set: vec![header("x-tier", "gold")],
                ..HeaderModifier::default()
            })),
        },
        Filter {
            filter: Some(filter::Filter::ResponseHeaders(HeaderModifier {
                add: vec![header("x-served-by", "us")],
                remove: vec!["x-internal".into()],
                ..HeaderModifier::default()
            })),
        },
        Filter {
            filter: Some(filter::Filter::UrlRewrite(UrlRewrite {
                hostname: "inner.example".into(),
                path: Some(PathRewrite { rewrite: Some(path_rewrite::Rewrite::Prefix("/inner".into())) }),
            })),
        },
    ];
    let rules = vec![headgate_snapshot::Rule { filters, ..rule("one") }];
    let resources =
        vec![gateway(&[]), route_with("a.example", "http", rules), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config(), resources).await;
    let answer = get(running.http, "a.example", "/x?q=1").await;
    assert_eq!(answer.body, "/inner/x?q=1 gold inner.example");
    assert_eq!(answer.headers.get("x-served-by").unwrap(), "us");
    assert!(!answer.headers.contains_key("x-internal") && !answer.headers.contains_key("headgate-cost"));
}

#[tokio::test]
async fn a_redirect_is_answered_without_an_origin() {
    let redirect = Redirect { scheme: "https".into(), status: 301, ..Redirect::default() };
    let rules = vec![headgate_snapshot::Rule { action: Some(rule::Action::Redirect(redirect)), ..rule("none") }];
    let running = serving(config(), vec![gateway(&[]), route_with("a.example", "http", rules)]).await;
    let answer = get(running.http, "a.example", "/x?q=1").await;
    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(answer.headers.get("location").unwrap(), "https://a.example/x?q=1");
}

#[tokio::test]
async fn an_origins_own_host_is_sent_to_it() {
    let origin = TestOrigin::named("origin").await;
    let mut spec = pool_spec(&[origin.address]);
    spec.origins[0].host_header = "inner.example".into();
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]).await;
    let seen = get(running.http, "a.example", "/seen").await.body;
    assert!(seen.contains("\nhost: inner.example\n") && seen.contains("x-forwarded-host: a.example"), "{seen}");
}

#[tokio::test]
async fn a_failed_connect_goes_on_to_the_next_origin_even_with_a_body() {
    let origin = TestOrigin::start(|seen| async move {
        let body = seen.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let spec = pool_spec(&[closed_port().await, origin.address]);
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]).await;
    let request = Request::post("/").header("host", "a.example").body(Full::from("kept")).unwrap();
    assert_eq!(send(running.http, request).await.body, "kept");
}

#[tokio::test]
async fn when_nothing_takes_a_connection_the_fallback_answers_and_then_nobody() {
    let fallback = TestOrigin::named("fallback").await;
    let spec = |fallback: Option<Key>, port| headgate_snapshot::OriginPool { fallback, ..pool_spec(&[port]) };
    let dead = closed_port().await;
    let resources = vec![
        gateway(&[]),
        route("with.example", "http", "with"),
        route("without.example", "http", "without"),
        pool("with", spec(Some(pool_key("static")), dead)),
        pool("without", spec(None, dead)),
        pool("static", pool_spec(&[fallback.address])),
    ];
    let running = serving(config(), resources).await;
    assert_eq!(get(running.http, "with.example", "/").await.body, "fallback");
    let answer = get(running.http, "without.example", "/").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_GATEWAY, "ConnectFailed"));
    assert_eq!(answer.headers.get("content-type").unwrap(), "application/problem+json");
    assert!(!answer.headers.contains_key("server"));
}

/// An origin that reads a request and closes without a byte of an answer.
async fn resetting() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if stream.read(&mut [0; 4096]).await.unwrap_or_default() > 0 {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_reset_is_sent_again_where_that_is_safe_and_told_where_it_is_not() {
    let (broken, tries) = resetting().await;
    let origin = TestOrigin::named("origin").await;
    let mut spec = pool_spec(&[broken]);
    spec.origins[0].endpoints.push(headgate_snapshot::Endpoint {
        host: origin.address.ip().to_string(),
        port: origin.address.port().into(),
    });
    spec.endpoint_policy = headgate_snapshot::EndpointPolicy::RoundRobin.into();
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]).await;
    for _ in 0..4 {
        assert_eq!(get(running.http, "a.example", "/").await.body, "origin");
    }
    assert!(tries.load(Ordering::SeqCst) > 0);
    let post = || Request::post("/").header("host", "a.example").body(Full::from("x")).unwrap();
    let (first, second) = (send(running.http, post()).await, send(running.http, post()).await);
    let reasons = [first.reason(), second.reason()];
    assert!(reasons.contains(&"OriginReset") && reasons.contains(&""), "{reasons:?}");
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_is_told_and_a_slow_body_is_not() {
    let origin = TestOrigin::start(|seen| async move {
        if seen.uri().path() == "/silent" {
            std::future::pending::<()>().await;
        }
        Response::new(Full::from("answered"))
    })
    .await;
    let mut spec = pool_spec(&[origin.address]);
    spec.timeouts = Some(headgate_snapshot::Timeouts { connect_ms: 1_000, request_ms: 100, idle_ms: 60_000 });
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "answered");
    let answer = get(running.http, "a.example", "/silent").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::GATEWAY_TIMEOUT, "OriginTimeout"));
    assert_eq!(get(running.http, "a.example", "/").await.body, "answered");
}

#[tokio::test]
async fn a_routes_timeout_wins_over_the_pools() {
    let origin = TestOrigin::start(|_| std::future::pending()).await;
    let rules = vec![headgate_snapshot::Rule { request_timeout_ms: 100, ..rule("one") }];
    let resources =
        vec![gateway(&[]), route_with("a.example", "http", rules), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config(), resources).await;
    let answer = get(running.http, "a.example", "/").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::GATEWAY_TIMEOUT, "OriginTimeout"));
}

#[tokio::test]
async fn a_route_to_a_pool_that_is_gone_is_told() {
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "gone")]).await;
    let answer = get(running.http, "a.example", "/").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::INTERNAL_SERVER_ERROR, "RefNotResolved"));
}

/// An origin that accepts any WebSocket and echoes what follows byte by byte.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let accept = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(accept).await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_websocket_echoes_over_edits_and_longer_than_a_request_may_take() {
    let address = echo().await;
    let resources = |weight| {
        let mut spec = pool_spec(&[address]);
        spec.origins[0].weight = weight;
        spec.timeouts = Some(headgate_snapshot::Timeouts { connect_ms: 1_000, request_ms: 80, idle_ms: 60_000 });
        vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]
    };
    let mut config = config();
    config.limits.body = Duration::from_millis(80);
    let running = serving(config, resources(100)).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let handshake = b"GET /chat HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for weight in [50, 60] {
        running.proxy.apply(complete(resources(weight))).await;
        stream.write_all(b"over the edit").await.unwrap();
        let mut echoed = [0; 13];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"over the edit");
        // Silence that is longer than `request` and shorter than `idle`.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_served_and_cookies_are_joined() {
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config(), resources).await;
    let stream = TcpStream::connect(running.http).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a.example/seen")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::<Bytes>::default())
        .unwrap();
    let seen = read(sender.send_request(request).await.unwrap()).await.body;
    assert!(seen.contains("cookie: a=1; b=2\n") && seen.contains("host: a.example\n"), "{seen}");
}

#[tokio::test]
async fn an_http_2_origin_is_spoken_to_with_prior_knowledge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|seen: Seen| async move {
                if seen.uri().path() == "/silent" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, std::convert::Infallible>(Reply::new(Full::from(format!("{:?}", seen.version()))))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let mut spec = pool_spec(&[address]);
    spec.origins[0] = Origin { protocol: headgate_snapshot::OriginProtocol::Http2.into(), ..spec.origins[0].clone() };
    spec.timeouts = Some(headgate_snapshot::Timeouts { connect_ms: 1_000, request_ms: 200, idle_ms: 60_000 });
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)]).await;
    for _ in 0..3 {
        assert_eq!(get(running.http, "a.example", "/").await.body, "HTTP/2.0");
    }
    assert_eq!(get(running.http, "a.example", "/silent").await.reason(), "OriginTimeout");
    assert_eq!(get(running.http, "a.example", "/").await.body, "HTTP/2.0");
}

#[tokio::test]
async fn a_client_cannot_have_the_name_of_its_request_removed() {
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let running = serving(config(), resources).await;
    let request = Request::get("/seen")
        .header("host", "a.example")
        .header("connection", "x-request-id")
        .body(Full::default())
        .unwrap();
    let seen = send(running.http, request).await.body;
    assert_eq!(seen.matches("x-request-id: ").count(), 1, "{seen}");
}

/// An origin with a handler behind a proxy that gives it 150 ms to answer.
async fn hurried<R>(handler: impl Fn(Seen) -> R + Clone + Send + Sync + 'static) -> (Running, TestOrigin)
where
    R: Future<Output = Reply> + Send,
{
    let origin = TestOrigin::start(handler).await;
    let mut spec = pool_spec(&[origin.address]);
    spec.timeouts = Some(headgate_snapshot::Timeouts { connect_ms: 1_000, request_ms: 150, idle_ms: 60_000 });
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)];
    (serving(config(), resources).await, origin)
}

/// Sends the head of an upload and half of its body, and the other half after a pause that is longer than an origin
/// has to answer. Returns the answer.
async fn upload_with_a_pause(running: &Running) -> String {
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 8\r\n\r\nhalf").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    // An error means that the answer has come before.
    let _ = stream.write_all(b"half").await;
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("\r\n\r\n") {
        let length = tokio::time::timeout(LIMIT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    answer
}

#[tokio::test]
async fn the_pause_of_a_client_within_an_upload_does_not_count_as_the_origins() {
    let (running, _origin) = hurried(|seen| async move {
        let body = seen.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let answer = upload_with_a_pause(&running).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_is_silent_after_an_upload_is_not_waited_for() {
    let (running, _origin) = hurried(|_| std::future::pending()).await;
    let answer = upload_with_a_pause(&running).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("OriginTimeout"), "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let (running, _origin) =
        hurried(|_| async { Response::builder().status(413).body(Full::default()).unwrap() }).await;
    let answer = upload_with_a_pause(&running).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_is_silent_to_a_client_that_expects_its_word_is_not_waited_for() {
    let (running, _origin) = hurried(|_| std::future::pending()).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a.example\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = String::new();
    assert!(tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.is_ok());
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

/// An origin that answers the first request of a connection with these bytes, and closes it as soon as a second one comes.
async fn answering(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(answer).await;
                    let _ = stream.read(&mut request).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_meanwhile_fails_no_request_and_costs_no_retry() {
    let address = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let spec = headgate_snapshot::OriginPool {
        retry: Some(headgate_snapshot::Retry { attempts: 0, budget_percent: 0 }),
        ..pool_spec(&[address])
    };
    let running = serving(config(), vec![gateway(&[]), route("a.example", "http", "a"), pool("a", spec)]).await;
    for number in 0..20 {
        let answer = get(running.http, "a.example", "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "ok"), "request {number}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_without_chunks_that_ends_with_the_connection() {
    let address = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "a"), pool("a", pool_spec(&[address]))];
    let running = serving(config(), resources).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nok") && !answer.to_lowercase().contains("chunked"), "{answer}");
}
