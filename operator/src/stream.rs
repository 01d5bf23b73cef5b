//! The server of the conversation with proxies: one task a proxy, none waits for another.
//!
//! ```text
//! TLS -> token -> Caller -> Hello -> ProxyIdentity -> Scope -> Connection (presence) -> Standing, Ping, ...
//!                                                                  |
//!                                                   Follow -> Fleet, Subscription -> Batch, Batch, ...
//! ```
//!
//! Every replica serves every proxy; only the leader's batches go on. A replica that does not lead gives one complete
//! batch to a proxy that has nothing, so that it can serve while there is no leader.

mod fleet;
mod metrics;
mod place;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use headgate_snapshot::configuration_server::{Configuration, ConfigurationServer};
use headgate_snapshot::{OperatorMessage, ProxyMessage, ReviewAnswer, ReviewQuestion};
use headgate_translate::Kind;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub use metrics::StreamMetrics;

use crate::access::{Access, Caller, Denial, Door, ProxyIdentity, Question, Role};
use crate::clock;
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::tls::TlsListener;
use crate::world::ObjectKind;
use session::Session;

/// Between two pings to a proxy.
pub const PING_PERIOD: Duration = Duration::from_millis(500);
/// Between two looks at who is silent.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Messages on their way to one proxy.
const QUEUE: usize = 8;
/// Largest message of a proxy, in bytes: an inventory of a hundred thousand resources.
const LARGEST_MESSAGE: usize = 16 * 1_024 * 1_024;
/// Calls at once on one connection: a stream, the one that takes its place, and reviews.
const CALLS_PER_CONNECTION: u32 = 16;
/// Between two signs of life that HTTP/2 asks a peer for, whatever it is doing.
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(20);
/// Headers of a call hold a token and little else, in bytes.
const LARGEST_HEADERS: u32 = 32 * 1_024;

/// What all streams have in common.
#[derive(Clone, Debug)]
pub struct Streams {
    /// What is published, and who has it.
    pub hub: Arc<Hub>,
    /// Who may have what.
    pub access: Arc<Access>,
    /// What this replica is.
    pub leadership: watch::Receiver<Leadership>,
    /// Name of this replica.
    pub replica: Arc<str>,
    /// True once the process is about to end.
    pub stopping: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: StreamMetrics,
}

/// Serves proxies, and looks after who of them is silent, until `streams.stopping`: then every proxy is told goodbye.
pub async fn serve(listener: TlsListener, streams: Streams) -> Result<(), tonic::transport::Error> {
    let mut stopping = streams.stopping.clone();
    let hub = Arc::clone(&streams.hub);
    // Who started this and is gone cannot want it any longer.
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let service = ConfigurationServer::new(streams).max_decoding_message_size(LARGEST_MESSAGE);
    let served = Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_PERIOD))
        .http2_max_header_list_size(LARGEST_HEADERS)
        .add_service(service)
        .serve_with_incoming_shutdown(listener, stopped);
    tokio::select! {
        served = served => served,
        never = look(hub) => match never {},
    }
}

async fn look(hub: Arc<Hub>) -> std::convert::Infallible {
    let mut looks = interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        hub.look(clock::instant(), clock::timestamp());
    }
}

#[tonic::async_trait]
impl Configuration for Streams {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<OperatorMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let token = bearer(request.metadata());
        let caller = self.access.caller(Door::Stream, token, clock::instant(), clock::timestamp()).await;
        let caller = caller.map_err(|denial| self.refuse(&denial))?;
        let (out, messages) = mpsc::channel(QUEUE);
        tokio::spawn(Session::run(self.clone(), caller, request.into_inner(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn review(&self, request: Request<ReviewQuestion>) -> Result<Response<ReviewAnswer>, Status> {
        let proxy = self.access.caller(Door::Stream, bearer(request.metadata()), clock::instant(), clock::timestamp());
        let proxy = proxy.await.map_err(|denial| self.refuse(&denial))?;
        let ReviewQuestion { token, namespace } = request.into_inner();
        if !self.serves(&proxy, &namespace) {
            let sentence = format!("{} is no gateway, and no sidecar of namespace {namespace}", proxy.name);
            return Err(Status::permission_denied(sentence));
        }
        let denial = match self.may_ask(&token, &namespace).await {
            Ok(()) => String::new(),
            Err(denial) if denial.is_temporary() => return Err(Status::unavailable(denial.to_string())),
            Err(denial) => denial.to_string(),
        };
        Ok(Response::new(ReviewAnswer { denial }))
    }
}

impl Streams {
    /// Whether a proxy has limits of a namespace.
    fn serves(&self, proxy: &Caller, namespace: &str) -> bool {
        let own = |identity: ProxyIdentity| match identity {
            ProxyIdentity::Gateway { .. } => true,
            ProxyIdentity::Sidecar { namespace: own, .. } => own == namespace,
        };
        [Role::Gateway, Role::Sidecar].into_iter().any(|role| self.access.proxy(proxy, role).is_ok_and(own))
    }

    /// Whether who has a token may ask for the limits of a namespace: whoever may read them may.
    async fn may_ask(&self, token: &str, namespace: &str) -> Result<(), Denial> {
        let caller = self.access.caller(Door::Api, token, clock::instant(), clock::timestamp()).await?;
        let question = Question {
            verb: "get",
            group: ObjectKind::from(Kind::RateLimit).group(),
            resource: "ratelimits".to_owned(),
            namespace: namespace.to_owned(),
        };
        if self.access.allows(&caller, &question, clock::instant()).await? {
            Ok(())
        } else {
            Err(Denial::NotAllowed { caller: caller.name, namespace: namespace.to_owned() })
        }
    }

    /// The answer to a proxy that gets nothing.
    fn refuse(&self, denial: &Denial) -> Status {
        self.metrics.denied(denial);
        tracing::info!(reason = "Denied", "{denial}");
        match denial {
            Denial::NoToken | Denial::NotAuthenticated | Denial::Ended => Status::unauthenticated(denial.to_string()),
            Denial::WrongAudience
            | Denial::Endless
            | Denial::NoGateway { .. }
            | Denial::Unbound { .. }
            | Denial::NotAllowed { .. }
            | Denial::AnotherIdentity => Status::permission_denied(denial.to_string()),
            Denial::Unanswered(_) => Status::unavailable(denial.to_string()),
        }
    }
}

/// The token of a call, empty where there is none.
fn bearer(metadata: &MetadataMap) -> &str {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.strip_prefix("Bearer ").unwrap_or_default()
}
