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
use headgate_snapshot::{OperatorMessage, ProxyMessage};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub use metrics::StreamMetrics;

use crate::access::{Access, Denial, Door};
use crate::clock;
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::tls::TlsListener;
use session::Session;

/// Between two pings to a proxy.
pub const PING_PERIOD: Duration = Duration::from_millis(500);
/// Between two looks at who is silent.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Messages on their way to one proxy.
const QUEUE: usize = 8;
/// Largest message of a proxy, in bytes: an inventory of a hundred thousand resources.
const LARGEST_MESSAGE: usize = 16 * 1_024 * 1_024;
/// Calls at once on one connection: a stream, and the one that takes its place.
const CALLS_PER_CONNECTION: u32 = 4;
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
}

impl Streams {
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
