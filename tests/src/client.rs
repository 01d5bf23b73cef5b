//! Clients: one request with its answer, a kept connection, raw bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// No answer that a test waits for takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    host: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A GET of this path at this host.
pub fn get(host: &str, path: &str) -> Ask {
    let (host, path) = (host.to_owned(), path.to_owned());
    Ask { method: Method::GET, host, path, headers: HeaderMap::new(), body: Bytes::new() }
}

impl Ask {
    /// With another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With one more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("a test's header name is valid");
        self.headers.append(name, HeaderValue::try_from(value).expect("a test's header value is valid"));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it on a connection of its own; no answer fails the test.
    pub async fn to(&self, address: SocketAddr) -> Answer {
        self.try_to(address)
            .await
            .unwrap_or_else(|failure| panic!("{} {}{}: {failure:?}", self.method, self.host, self.path))
    }

    /// Sends it on a connection of its own.
    pub async fn try_to(&self, address: SocketAddr) -> Result<Answer, Failure> {
        Connection::plain(address).await?.send(self).await
    }

    fn request(&self, version: Version) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(&self.method);
        if version == Version::HTTP_2 {
            request = request.uri(format!("http://{}{}", self.host, self.path));
        } else {
            request = request.uri(&self.path).header(header::HOST, &self.host);
        }
        let mut request = request.body(Full::new(self.body.clone())).expect("a test's request is valid");
        request.headers_mut().extend(self.headers.clone());
        request
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header field's value, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header value is text"))
    }

    /// The name of the origin that answered, empty for answers that headgate made.
    pub fn origin(&self) -> &str {
        self.header("x-origin")
    }

    /// `Headgate-Reason`, empty for answers of origins.
    pub fn reason(&self) -> &str {
        self.header("headgate-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// What the origin says it received as this header, empty when it received none.
    pub fn received(&self, header: &str) -> String {
        self.json()["headers"][header].as_str().unwrap_or_default().to_owned()
    }
}

/// Why there is no answer, or not a whole one.
#[derive(Debug)]
pub enum Failure {
    /// No connection.
    Connect(std::io::Error),
    /// The connection ended or broke before the answer.
    NoAnswer(hyper::Error),
    /// The connection ended or broke within the answer.
    CutShort(hyper::Error),
    /// Nothing within the limit.
    Timeout,
}

impl Failure {
    /// A word for tallies.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "no connection",
            Self::NoAnswer(_) => "no answer",
            Self::CutShort(_) => "cut short",
            Self::Timeout => "timeout",
        }
    }
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection that is kept between requests.
pub struct Connection {
    sender: Sender,
    server_certificate: Option<Vec<u8>>,
}

impl Connection {
    /// HTTP/1.1 over TCP.
    pub async fn plain(address: SocketAddr) -> Result<Self, Failure> {
        Self::one(connect(address).await?, None).await
    }

    /// HTTP/2 with prior knowledge over TCP.
    pub async fn h2c(address: SocketAddr) -> Result<Self, Failure> {
        Self::two(connect(address).await?, None).await
    }

    /// HTTP over TLS, in the version that the two sides agree on.
    pub async fn tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Result<Self, Failure> {
        let name = ServerName::try_from(name.to_owned()).expect("a test's server name is valid");
        let handshake = TlsConnector::from(config).connect(name, connect(address).await?);
        let stream = timeout(ANSWER_LIMIT, handshake).await.map_err(|_| Failure::Timeout)?.map_err(Failure::Connect)?;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
        if session.alpn_protocol() == Some(b"h2") {
            Self::two(stream, certificate).await
        } else {
            Self::one(stream, certificate).await
        }
    }

    /// The certificate that the server showed, DER.
    pub fn server_certificate(&self) -> Option<&[u8]> {
        self.server_certificate.as_deref()
    }

    /// The version of HTTP that is spoken on it.
    pub fn version(&self) -> Version {
        match self.sender {
            Sender::One(_) => Version::HTTP_11,
            Sender::Two(_) => Version::HTTP_2,
        }
    }

    /// True when it can take another request.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        timeout(ANSWER_LIMIT, self.exchange(ask)).await.map_err(|_| Failure::Timeout)?
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        let request = ask.request(self.version());
        let response = match &mut self.sender {
            Sender::One(sender) => {
                // It takes a moment after an answer until the connection takes the next request.
                sender.ready().await.map_err(Failure::NoAnswer)?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => sender.send_request(request).await,
        };
        let (head, body) = response.map_err(Failure::NoAnswer)?.into_parts();
        let collected = body.collect().await.map_err(Failure::CutShort)?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
    }

    async fn one(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        server_certificate: Option<Vec<u8>>,
    ) -> Result<Self, Failure> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::NoAnswer)?;
        // Its error reaches whoever waits for an answer.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender: Sender::One(sender), server_certificate })
    }

    async fn two(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        server_certificate: Option<Vec<u8>>,
    ) -> Result<Self, Failure> {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(Failure::NoAnswer)?;
        // Its error reaches whoever waits for an answer.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender: Sender::Two(sender), server_certificate })
    }
}

/// Sends bytes as they are and gives back all that comes until the server closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<String, Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        let mut received = Vec::new();
        // A reset after the answer is as good an end as a close.
        let _ = stream.read_to_end(&mut received).await;
        Ok(String::from_utf8_lossy(&received).into_owned())
    };
    timeout(ANSWER_LIMIT, exchange).await.map_err(|_| Failure::Timeout)?.map_err(Failure::Connect)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = timeout(ANSWER_LIMIT, TcpStream::connect(address)).await.map_err(|_| Failure::Timeout)?;
    let stream = stream.map_err(Failure::Connect)?;
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    Ok(stream)
}
