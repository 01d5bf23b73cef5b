//! A scripted replica of the operator: the generated service over TLS, which says what a test tells it to say.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot::configuration_server::{Configuration, ConfigurationServer};
use headgate_snapshot::{
    Batch, Follow, Goodbye, InventoryWanted, OperatorMessage, Ping, ProxyMessage, Report, ReviewAnswer, ReviewQuestion,
    Standing, operator_message, proxy_message,
};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tower::Service as _;

use crate::support::LIMIT;

/// A certificate authority.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// One stream of the proxy.
pub struct Connection {
    /// The `authorization` of the call.
    pub bearer: String,
    sender: mpsc::Sender<Result<OperatorMessage, Status>>,
    received: Streaming<ProxyMessage>,
    /// What was received while something else was waited for.
    reports: VecDeque<Report>,
    follow: u64,
}

impl Connection {
    /// Says something, as an answer to the last Follow.
    pub async fn say(&self, message: operator_message::Message) {
        self.say_as_of(self.follow, message).await;
    }

    /// Says something, as an answer to a Follow.
    pub async fn say_as_of(&self, follow: u64, message: operator_message::Message) {
        self.sender.send(Ok(OperatorMessage { message: Some(message), follow })).await.unwrap();
    }

    pub async fn stands(&self, term: u64, leads: bool) {
        let standing = Standing { replica: "scripted".into(), term, leads, synced: true };
        self.say(operator_message::Message::Standing(standing)).await;
    }

    pub async fn sends(&self, batch: Batch) {
        self.say(operator_message::Message::Batch(batch)).await;
    }

    pub async fn wants_inventory(&self) {
        self.say(operator_message::Message::InventoryWanted(InventoryWanted {})).await;
    }

    pub async fn pings(&self, number: u64) {
        self.say(operator_message::Message::Ping(Ping { number })).await;
    }

    pub async fn says_goodbye(&self) {
        self.say(operator_message::Message::Goodbye(Goodbye {})).await;
    }

    /// The next message that is no report; nothing at the end of the stream.
    pub async fn next(&mut self) -> Option<proxy_message::Message> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.received.message()).await.expect("a message in time");
            match message.ok()??.message? {
                proxy_message::Message::Report(report) => self.reports.push_back(report),
                proxy_message::Message::Follow(follow) => {
                    self.follow = follow.number;
                    return Some(proxy_message::Message::Follow(follow));
                }
                other => return Some(other),
            }
        }
    }

    /// The next message, which must be Follow.
    pub async fn followed(&mut self) -> Follow {
        match self.next().await {
            Some(proxy_message::Message::Follow(follow)) => follow,
            other => panic!("not Follow: {other:?}"),
        }
    }

    /// The first report from now on that is as wanted.
    pub async fn report(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            let report = match self.reports.pop_front() {
                Some(report) => report,
                None => match tokio::time::timeout(LIMIT, self.received.message()).await.expect("a report in time") {
                    Ok(Some(ProxyMessage { message: Some(proxy_message::Message::Report(report)) })) => report,
                    other => panic!("not a report: {other:?}"),
                },
            };
            if wanted(&report) {
                return report;
            }
        }
    }
}

#[derive(Clone)]
struct Service {
    connections: mpsc::Sender<Connection>,
    refuses: Arc<Mutex<bool>>,
}

#[tonic::async_trait]
impl Configuration for Service {
    type ConnectStream = ReceiverStream<Result<OperatorMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if *self.refuses.lock() {
            return Err(Status::unauthenticated("the token has another audience"));
        }
        let bearer = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        let (sender, messages) = mpsc::channel(64);
        let received = request.into_inner();
        let connection = Connection { bearer, sender, received, reports: VecDeque::new(), follow: 0 };
        self.connections.send(connection).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    /// Namespaces `default` are open to whoever comes, all others to nobody.
    async fn review(&self, request: Request<ReviewQuestion>) -> Result<Response<ReviewAnswer>, Status> {
        let namespace = &request.get_ref().namespace;
        let denial = if namespace == "default" { String::new() } else { format!("not in {namespace}") };
        Ok(Response::new(ReviewAnswer { denial }))
    }
}

/// A replica that listens.
pub struct Replica {
    pub address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
    refuses: Arc<Mutex<bool>>,
    accepting: AbortHandle,
}

impl Replica {
    pub async fn start(authority: &Authority) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), authority).await
    }

    pub async fn start_on(address: SocketAddr, authority: &Authority) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = authority.acceptor();
        let (sender, connections) = mpsc::channel(16);
        let refuses = Arc::new(Mutex::new(false));
        let service = ConfigurationServer::new(Service { connections: sender, refuses: Arc::clone(&refuses) });
        let accepting = tokio::spawn(async move {
            // Connections end with the replica.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), service.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(move |request| service.clone().call(request));
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = http2.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { address, connections, refuses, accepting: accepting.abort_handle() }
    }

    pub fn refuses(&self, refuses: bool) {
        *self.refuses.lock() = refuses;
    }

    /// The next stream of the proxy, after its Hello.
    pub async fn connection(&mut self) -> (Connection, headgate_snapshot::Hello) {
        let mut connection = self.silent_connection().await;
        match connection.next().await {
            Some(proxy_message::Message::Hello(hello)) => (connection, hello),
            other => panic!("not Hello: {other:?}"),
        }
    }

    async fn silent_connection(&mut self) -> Connection {
        tokio::time::timeout(LIMIT, self.connections.recv()).await.expect("a stream in time").unwrap()
    }

    /// Whether a stream comes within a while.
    pub async fn is_dialled_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.connections.recv()).await.is_ok()
    }

    /// Ends like a process that is killed: connections break.
    pub fn stop(self) {
        self.accepting.abort();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
