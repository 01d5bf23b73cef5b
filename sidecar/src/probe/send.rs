//! One health probe: connect, ask, judge.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use headgate_engine::{HealthCheck, ProbeKind};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How probes name themselves.
const AGENT: &str = concat!("headgate-health/", env!("CARGO_PKG_VERSION"));
/// More of an answer to a gRPC probe is not read.
const GRPC_ANSWER_BYTES: usize = 4 * 1024;
/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const GRPC_SERVING: i32 = 1;

/// TLS to the endpoint.
#[derive(Clone, Debug)]
pub(crate) struct ProbeTlsTarget {
    pub(crate) server_name: ServerName<'static>,
    pub(crate) configuration: Arc<ClientConfig>,
}

/// Whom is asked what.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) check: &'a HealthCheck,
    pub(crate) address: SocketAddr,
    pub(crate) host: HeaderValue,
    /// Absent: plain.
    pub(crate) tls: Option<ProbeTlsTarget>,
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("no TLS connection: {0}")]
    Tls(#[source] std::io::Error),
    #[error("no valid HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("grpc-status {0}")]
    GrpcStatus(String),
    #[error("not serving")]
    NotServing,
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// Asks once. The caller limits the time.
pub(crate) async fn send(target: &Target<'_>) -> Result<(), ProbeError> {
    let stream = TcpStream::connect(target.address).await.map_err(ProbeError::Connect)?;
    match &target.tls {
        Some(ProbeTlsTarget { server_name, configuration }) => {
            let connector = TlsConnector::from(Arc::clone(configuration));
            let stream = connector.connect(server_name.clone(), stream).await.map_err(ProbeError::Tls)?;
            ask(target, stream).await
        }
        None => ask(target, stream).await,
    }
}

async fn ask(target: &Target<'_>, stream: impl Transport) -> Result<(), ProbeError> {
    match target.check.kind {
        ProbeKind::Tcp => Ok(()),
        ProbeKind::Http | ProbeKind::Https => ask_http(target, stream).await,
        ProbeKind::Grpc => ask_grpc(target, stream).await,
    }
}

async fn ask_http(target: &Target<'_>, stream: impl Transport) -> Result<(), ProbeError> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(&target.check.path)
        .header(HOST, &target.host)
        .header(USER_AGENT, AGENT)
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection is polled here and ends with the probe: no task is left behind.
    tokio::pin!(connection);
    let answer = async { sender.send_request(request).await };
    tokio::pin!(answer);
    let mut open = true;
    let status = loop {
        tokio::select! {
            answered = &mut answer => break answered?.status(),
            ended = &mut connection, if open => {
                ended?;
                open = false;
            }
        }
    };
    if target.check.expects(status.as_u16()) { Ok(()) } else { Err(ProbeError::Status(status)) }
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A gRPC message: not compressed, its length, its bytes.
fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut framed = Vec::with_capacity(body.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&body);
    Bytes::from(framed)
}

async fn ask_grpc(target: &Target<'_>, stream: impl Transport) -> Result<(), ProbeError> {
    let uri = Uri::builder()
        .scheme(if target.tls.is_some() { "https" } else { "http" })
        .authority(target.host.as_bytes())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()?;
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(Full::new(frame(&HealthCheckRequest { service: target.check.path.clone() })))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::pin!(connection);
    let answer = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(ProbeError::Status(answer.status()));
        }
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, GRPC_ANSWER_BYTES).collect().await.map_err(|_| ProbeError::NotServing)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        judge_grpc(trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status")), &body.to_bytes())
    };
    tokio::pin!(answer);
    let mut open = true;
    loop {
        tokio::select! {
            judged = &mut answer => return judged,
            ended = &mut connection, if open => {
                ended?;
                open = false;
            }
        }
    }
}

fn judge_grpc(status: Option<&HeaderValue>, body: &[u8]) -> Result<(), ProbeError> {
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(other) => return Err(ProbeError::GrpcStatus(String::from_utf8_lossy(other).into_owned())),
        None => return Err(ProbeError::GrpcStatus("missing".to_owned())),
    }
    let message = body.get(5..).and_then(|message| HealthCheckResponse::decode(message).ok());
    match message {
        Some(HealthCheckResponse { status: GRPC_SERVING }) => Ok(()),
        Some(_) | None => Err(ProbeError::NotServing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_grpc(status: Option<&'static str>, body: &[u8], expected: Result<(), &str>) {
        let status = status.map(HeaderValue::from_static);
        let judged = judge_grpc(status.as_ref(), body).map_err(|error| error.to_string());
        assert_eq!(judged, expected.map_err(str::to_owned));
    }

    #[test]
    fn only_a_server_that_serves_is_healthy() {
        let serving = frame(&HealthCheckResponse { status: GRPC_SERVING });
        let stopping = frame(&HealthCheckResponse { status: 2 });
        check_grpc(Some("0"), &serving, Ok(()));
        check_grpc(Some("0"), &stopping, Err("not serving"));
        check_grpc(Some("12"), &[], Err("grpc-status 12"));
        check_grpc(None, &serving, Err("grpc-status missing"));
    }

    #[test]
    fn a_request_is_framed_as_grpc_says() {
        let framed = frame(&HealthCheckRequest { service: "chat".into() });
        assert_eq!(framed.as_ref(), b"\x00\x00\x00\x00\x06\x0a\x04chat");
    }
}
