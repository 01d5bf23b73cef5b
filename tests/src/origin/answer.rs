//! What an origin answers.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::{Mood, State};
use crate::clock;

type Body = BoxBody<Bytes, Infallible>;

const LINE_EVERY: Duration = Duration::from_millis(100);
/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("this origin closes connections")
    }
}

impl std::error::Error for Closed {}

pub(super) async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, Closed> {
    let mood = *state.mood.lock();
    let path = request.uri().path().to_owned();
    let is_grpc_probe = path.starts_with("/grpc.health.v1.Health/");
    let is_probe = is_grpc_probe || path == "/healthz";
    if is_probe { &state.probes } else { &state.requests }.fetch_add(1, Ordering::Relaxed);

    let status = match mood {
        Mood::Ill if is_probe => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Slow(delay) => {
            clock::pass(delay).await;
            StatusCode::OK
        }
        Mood::Hanging => future::pending().await,
        Mood::Resetting if !is_probe => return Err(Closed),
        Mood::Failing(status) if !is_probe => StatusCode::from_u16(status).expect("a test's status is valid"),
        Mood::Well | Mood::Ill | Mood::Resetting | Mood::Failing(_) => StatusCode::OK,
    };
    if is_grpc_probe {
        return Ok(grpc_health(status));
    }
    if request.headers().get(header::UPGRADE).is_some_and(|value| value == "websocket") {
        return Ok(echo_messages(request, &state));
    }
    Ok(by_path(&path, status, request, &state).await)
}

async fn by_path(path: &str, status: StatusCode, request: Request<Incoming>, state: &State) -> Response<Body> {
    let mut answer = Response::builder().status(status).header("x-origin", &state.name);
    match path.trim_start_matches('/').split_once('/') {
        Some(("delay", milliseconds)) => {
            clock::pass(Duration::from_millis(milliseconds.parse().expect("/delay/MS"))).await;
        }
        Some(("status", code)) => answer = answer.status(code.parse::<u16>().expect("/status/CODE")),
        Some(("failed", cost)) => answer = answer.status(401).header("x-cost", cost),
        Some(("stream", lines)) => {
            return answer.body(lines_of(lines.parse().expect("/stream/N"))).expect("the answer is valid");
        }
        Some(_) | None => {}
    }
    if path == "/commands" {
        answer = answer.header("headgate-example", "for the proxy alone").header("cache-tag", "one");
    }
    let body = echo(request, &state.name).await;
    answer.header(header::CONTENT_TYPE, "application/json").body(Full::new(body).boxed()).expect("the answer is valid")
}

/// What was received, as JSON.
async fn echo(request: Request<Incoming>, name: &str) -> Bytes {
    let (head, body) = request.into_parts();
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.to_string())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.to_string());
    }
    // HTTP/2 says the host in `:authority`.
    if let Some(authority) = head.uri.authority() {
        headers.insert("host".to_owned(), authority.to_string());
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said = json!({
        "origin": name,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    Bytes::from(said.to_string())
}

fn lines_of(count: u64) -> Body {
    let lines = stream::iter(0..count).then(|number| async move {
        clock::pass(LINE_EVERY).await;
        Ok(Frame::data(Bytes::from(format!("line {number}\n"))))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(lines) as std::pin::Pin<Box<dyn futures::Stream<Item = _> + Send + Sync>>))
}

/// One message of one field, and the trailers that gRPC ends with.
fn grpc_health(status: StatusCode) -> Response<Body> {
    let serving = if status == StatusCode::OK { SERVING } else { NOT_SERVING };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("0 is a header value"));
    let frames = [Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, serving])), Frame::trailers(trailers)];
    Response::builder()
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(BodyExt::boxed(StreamBody::new(stream::iter(frames.map(Ok)))))
        .expect("the answer is valid")
}

fn echo_messages(mut request: Request<Incoming>, state: &State) -> Response<Body> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    state.web_sockets.lock().spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, key.unwrap_or_default())
        .header("x-origin", &state.name)
        .body(Full::default().boxed())
        .expect("the answer is valid")
}
