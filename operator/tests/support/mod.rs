//! An operator's stream server with a reviewer that believes what tokens say, and a proxy that is a script.

#![allow(dead_code, clippy::missing_docs_in_private_items, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use headgate_operator::access::{Access, Caller, Question, ReviewFailed, Reviewer};
use headgate_operator::clock;
use headgate_operator::hub::{Hub, Progress, Standing};
use headgate_operator::leadership::Leadership;
use headgate_operator::stream::{StreamMetrics, Streams, serve};
use headgate_operator::tls::{HTTP_2, TlsListener, server_config};
use headgate_snapshot::configuration_client::ConfigurationClient;
use headgate_snapshot::operator_message::Message as Said;
use headgate_snapshot::proxy_message::Message as Heard;
use headgate_snapshot::{
    Batch, Fleet, Follow, Hello, Key, OperatorMessage, Ping, Pong, ProxyMessage, ProxyRole, Report, Resource,
    ResourceSet,
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The user of a gateway.
pub const EDGE: &str = "system:serviceaccount:edge:gateway";
/// The user of a sidecar.
pub const SHOP: &str = "system:serviceaccount:shop:default";

/// Believes every token.
struct Credulous;

impl Reviewer for Credulous {
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, ReviewFailed>> {
        let payload = token.split('.').nth(1).and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
        let claims: Option<Value> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
        let status = claims.map_or_else(TokenReviewStatus::default, |claims| {
            let text = |name: &str| claims[name].as_str().map(str::to_owned);
            let extra = text("pod").map(|pod| {
                BTreeMap::from([
                    ("authentication.kubernetes.io/pod-uid".to_owned(), vec![format!("uid of {pod}")]),
                    ("authentication.kubernetes.io/pod-name".to_owned(), vec![pod]),
                ])
            });
            TokenReviewStatus {
                authenticated: Some(true),
                audiences: text("aud").map(|audience| vec![audience]),
                user: Some(UserInfo { username: text("sub"), extra, ..UserInfo::default() }),
                error: None,
            }
        });
        std::future::ready(Ok(status)).boxed()
    }

    fn permission<'a>(&'a self, who: &'a Caller, what: &'a Question) -> BoxFuture<'a, Result<bool, ReviewFailed>> {
        let allowed = match who.name.as_str() {
            EDGE => true,
            SHOP => what.namespace == "shop",
            _ => false,
        };
        std::future::ready(Ok(allowed)).boxed()
    }
}

/// A token with these claims.
pub fn token(claims: &Value) -> String {
    format!("head.{}.signature", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Seconds since the epoch, some seconds from now.
pub fn end(seconds: i64) -> i64 {
    clock::timestamp().as_second() + seconds
}

/// A good token of a gateway.
pub fn gateway_token() -> String {
    token(&json!({ "sub": EDGE, "aud": "headgate", "exp": end(3_600) }))
}

/// What a gateway says first.
pub fn gateway(name: &str) -> Hello {
    Hello { name: name.to_owned(), role: ProxyRole::Gateway.into(), ..Hello::default() }
}

pub fn pool(namespace: &str, name: &str, generation: i64) -> Resource {
    Resource { key: Some(Key::new("OriginPool", namespace, name)), generation, ..Resource::default() }
}

/// A certificate that is its own authority.
pub fn certificate() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let der = CertificateDer::from(cert.der().to_vec());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(vec![der.clone()], key, &provider).expect("a key");
    (der, Arc::new(key))
}

/// Access by what tokens say: [`EDGE`] may be a gateway and read everything, [`SHOP`] may read its namespace.
pub fn access() -> Arc<Access> {
    let gateways = BTreeSet::from(["edge/gateway".parse().expect("an account")]);
    Arc::new(Access::new(Arc::new(Credulous), gateways))
}

/// One replica.
pub struct Operator {
    pub hub: Arc<Hub>,
    pub leadership: watch::Sender<Leadership>,
    pub stopping: watch::Sender<bool>,
    pub serving: watch::Sender<Option<Arc<CertifiedKey>>>,
    pub address: SocketAddr,
    pub root: CertificateDer<'static>,
}

impl Operator {
    /// A replica that serves, leads nothing, and has published nothing.
    pub async fn start() -> Self {
        let (root, key) = certificate();
        let (serving, current) = watch::channel(Some(key));
        let (leadership, led) = watch::channel(Leadership::default());
        let (stopping, stops) = watch::channel(false);
        let hub = Arc::new(Hub::default());
        let streams = Streams {
            hub: Arc::clone(&hub),
            access: access(),
            leadership: led,
            replica: "replica-1".into(),
            stopping: stops,
            metrics: StreamMetrics::register(&prometheus::Registry::new()).expect("metrics"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config = server_config(current, HTTP_2).expect("a configuration");
        let listener = TlsListener::start(listener, config).expect("a listener");
        let address = listener.local_addr();
        tokio::spawn(serve(listener, streams));
        Self { hub, leadership, stopping, serving, address, root }
    }

    /// A replica that leads in a term.
    pub async fn leading(term: u64) -> Self {
        let operator = Self::start().await;
        operator.lead(term);
        operator
    }

    pub fn lead(&self, term: u64) {
        let until = Some(clock::instant() + Duration::from_hours(1));
        self.leadership.send_replace(Leadership { term, until, synced: true });
    }

    pub fn publish(&self, resources: &[Resource]) -> u64 {
        self.hub.publish(resources.iter().cloned().map(Arc::new), BTreeSet::new()).sequence
    }

    /// Waits until the hub's progress is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Progress) -> bool) -> Progress {
        let mut reports = self.hub.reports();
        let reached = timeout(LIMIT, async {
            loop {
                let progress = self.hub.progress();
                if wanted(&progress) {
                    return progress;
                }
                reports.changed().await.expect("the hub lives");
            }
        });
        reached.await.unwrap_or_else(|_| panic!("not reached: {:?}", self.hub.progress()))
    }

    /// Waits until a key stands as wanted.
    pub async fn until_standing(&self, key: &Key, wanted: &Standing) {
        self.until(|progress| progress.standing(key) == *wanted).await;
    }

    async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let address = self.address;
        let connect = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await
    }
}

/// A proxy that says what the test wants, answers pings, and applies batches.
pub struct Proxy {
    out: mpsc::Sender<ProxyMessage>,
    incoming: Streaming<OperatorMessage>,
    pub set: ResourceSet,
    /// What it was told of how many proxies there are.
    pub fleets: Vec<Fleet>,
    follows: u64,
}

impl Proxy {
    /// Connects and says hello.
    pub async fn connect(operator: &Operator, token: &str, hello: Hello) -> Result<Self, Status> {
        let channel = operator.channel().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        let (out, messages) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(messages));
        if !token.is_empty() {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.metadata_mut().insert("authorization", value);
        }
        let say = |message| ProxyMessage { message: Some(message) };
        out.send(say(Heard::Hello(hello))).await.expect("room");
        let incoming = ConfigurationClient::new(channel).connect(request).await?.into_inner();
        Ok(Self { out, incoming, set: ResourceSet::default(), fleets: Vec::new(), follows: 0 })
    }

    /// A gateway that has said hello.
    pub async fn gateway(operator: &Operator, name: &str) -> Self {
        Self::connect(operator, &gateway_token(), gateway(name)).await.expect("a stream")
    }

    pub async fn say(&self, message: Heard) {
        self.out.send(ProxyMessage { message: Some(message) }).await.expect("the stream lives");
    }

    pub async fn follow(&mut self, term: u64, version: &str) {
        self.follows += 1;
        self.say(Heard::Follow(Follow { term, version: version.to_owned(), number: self.follows })).await;
    }

    /// The next message that is neither a ping, which is answered, nor a fleet, which is noted. An end with or without a reason is an error.
    pub async fn message(&mut self) -> Result<Said, Status> {
        loop {
            let message = timeout(LIMIT, self.incoming.message()).await.expect("a message in time")?;
            let Some(OperatorMessage { message: Some(message), follow: _ }) = message else {
                return Err(Status::ok("the end"));
            };
            match message {
                Said::Ping(Ping { number }) => {
                    // The stream may have ended behind the ping; then the next message says so.
                    let pong = ProxyMessage { message: Some(Heard::Pong(Pong { number })) };
                    let _ = self.out.send(pong).await;
                }
                Said::Fleet(fleet) => self.fleets.push(fleet),
                other => return Ok(other),
            }
        }
    }

    /// Waits until it was told of this many proxies, during which no batch may come.
    pub async fn until_fleet(&mut self, proxies: u32) {
        while self.fleets.last().is_none_or(|fleet| fleet.proxies != proxies) {
            let said = self.message().await;
            assert!(matches!(said, Ok(Said::Standing(_))), "a standing, not {said:?}");
        }
    }

    /// The next message that is neither a ping nor a standing.
    pub async fn news(&mut self) -> Result<Said, Status> {
        loop {
            match self.message().await? {
                Said::Standing(_) => {}
                other => return Ok(other),
            }
        }
    }

    /// The next batch, which is applied and answered.
    pub async fn apply(&mut self) -> Batch {
        let said = self.news().await;
        let Ok(Said::Batch(batch)) = said else { panic!("a batch, not {said:?}") };
        self.set = self.set.after(&batch);
        let (version, sequence) = (batch.version.clone(), batch.sequence);
        self.say(Heard::Report(Report { version, sequence, ..Report::default() })).await;
        batch
    }

    /// Waits for a standing as wanted, during which no batch may come.
    pub async fn until_standing(&mut self, wanted: impl Fn(&headgate_snapshot::Standing) -> bool) {
        loop {
            match self.message().await {
                Ok(Said::Standing(standing)) if wanted(&standing) => return,
                Ok(Said::Standing(_)) => {}
                other => panic!("a standing, not {other:?}"),
            }
        }
    }

    /// Waits for this many pings and standings, during which nothing else may come.
    pub async fn nothing_for_pings(&mut self, pings: usize) {
        let mut standings = 0;
        while standings < pings {
            match self.message().await {
                Ok(Said::Standing(_)) => standings += 1,
                other => panic!("nothing, not {other:?}"),
            }
        }
    }

    /// Waits for the end of the stream.
    pub async fn ended(&mut self) -> Status {
        loop {
            if let Err(status) = self.news().await {
                return status;
            }
        }
    }
}

/// Seconds that something took.
pub fn since(start: Instant) -> f64 {
    clock::instant().saturating_duration_since(start).as_secs_f64()
}
