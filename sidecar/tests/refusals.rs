//! What a client gets that asks wrongly, and in which form.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends bytes, and reads until the proxy closes or `enough` has come.
async fn raw(address: std::net::SocketAddr, request: &[u8], enough: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains(enough) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn one_origin() -> (Running, TestOrigin) {
    let origin = TestOrigin::named("origin").await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    (serving(config(), resources).await, origin)
}

async fn check(running: &Running, request: &str, status: &str, reason: &str) {
    let answer = raw(running.http, request.as_bytes(), "\r\n\r\n").await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
    assert!(
        answer.to_ascii_lowercase().contains(&format!("headgate-reason: {reason}").to_ascii_lowercase()),
        "{answer}"
    );
    assert!(!answer.contains("Pingora"), "{answer}");
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused() {
    let (running, origin) = one_origin().await;
    check(&running, "GET / HTTP/1.1\r\n\r\n", "400", "BadRequest").await;
    check(&running, "GET / HTTP/1.1\r\nhost: a..example\r\n\r\n", "400", "BadRequest").await;
    check(&running, "GET /%zz HTTP/1.1\r\nhost: a.example\r\n\r\n", "400", "BadRequest").await;
    check(&running, "GET /%00 HTTP/1.1\r\nhost: a.example\r\n\r\n", "400", "BadRequest").await;
    let nominated = "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: x-forwarded-for\r\n\r\n";
    check(&running, nominated, "400", "BadRequest").await;
    let many: String = ["x: 1\r\n"; 101].concat();
    check(&running, &format!("GET / HTTP/1.1\r\nhost: a.example\r\n{many}\r\n"), "431", "HeadersTooLarge").await;
    let long = "x".repeat(65 * 1024);
    check(&running, &format!("GET / HTTP/1.1\r\nhost: a.example\r\nx: {long}\r\n\r\n"), "431", "HeadersTooLarge").await;
    assert_eq!(origin.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_a_listener_of_ours_gets_no_request() {
    let (running, origin) = one_origin().await;
    let lead_to = async |origins: &[std::net::SocketAddr]| {
        let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(origins))];
        running.proxy.apply(complete(resources)).await;
        let answer = get(running.http, "a.example", "/").await;
        (answer.status, answer.reason().to_owned())
    };
    assert_eq!(lead_to(&[running.http]).await, (StatusCode::BAD_GATEWAY, "ConnectFailed".to_owned()));
    assert_eq!(lead_to(&[running.http, origin.address]).await, (StatusCode::OK, String::new()));
}

#[tokio::test]
async fn a_tunnel_is_refused_with_a_reason() {
    let (running, _origin) = one_origin().await;
    check(&running, "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n", "400", "BadRequest").await;
}

#[tokio::test]
async fn a_request_shorter_than_an_http_2_preface_is_answered() {
    let (running, _origin) = one_origin().await;
    let answer = raw(running.http, b"GET / HTTP/1.0\r\n\r\n", "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"), "{answer}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let mut config = config();
    config.limits.first_byte = Duration::from_millis(50);
    let running = serving(config, vec![gateway(&[])]).await;
    assert_eq!(raw(running.http, b"", "never").await, "");
    assert_eq!(raw(running.http, b"PRI * HT", "never").await, "");
}

#[tokio::test]
async fn an_answer_of_our_own_keeps_the_connection_open() {
    let (running, _origin) = one_origin().await;
    let both = b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n";
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    for _ in 0..2 {
        stream.write_all(both).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8_lossy(&answer).contains("404"));
    }
}

#[tokio::test]
async fn each_kind_of_client_gets_a_form_that_it_can_read() {
    let (running, _origin) = one_origin().await;
    let ask = |name: &'static str, value: &'static str| {
        let request = Request::get("/").header("host", "b.example").header(name, value).body(Full::default()).unwrap();
        send(running.http, request)
    };
    let program = ask("accept", "*/*").await;
    assert_eq!((program.status, program.reason()), (StatusCode::NOT_FOUND, "NoRoute"));
    assert!(program.body.starts_with(r#"{"type":"#), "{}", program.body);
    let browser = ask("accept", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert!(browser.body.starts_with("<!doctype html>"), "{}", browser.body);
    let grpc = ask("content-type", "application/grpc").await;
    assert_eq!((grpc.status, grpc.headers.get("grpc-status").unwrap().to_str().unwrap()), (StatusCode::OK, "12"));
}
