//! The stream to one replica: dialled again and again, pings answered, everything else passed on to the follower.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use headgate_snapshot::configuration_client::ConfigurationClient;
use headgate_snapshot::{
    Goodbye, Hello, OperatorMessage, Pong, ProxyMessage, Report, Token, operator_message, proxy_message,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::OperatorAddress;
use super::backoff;
use super::connect::{ConnectError, connect, innermost};
use super::credentials::Credentials;
use super::follower::{Event, Told, What};
use super::replicas::Replicas;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Until a replica has accepted the token and the stream.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Messages that may wait for a replica that does not read. Reports are not among them.
const MOST_WAITING: usize = 64;
/// The largest message of a replica: all resources of a large cluster.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// Where messages for one replica are put.
pub(crate) type Urgent = mpsc::Sender<proxy_message::Message>;

/// What all sessions have in common.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) hello: Hello,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) told: watch::Receiver<Told>,
    pub(crate) replicas: Arc<Replicas>,
    /// True once the proxy says goodbye.
    pub(crate) leaving: watch::Receiver<bool>,
}

/// A token as metadata has it, where it can be one.
pub(super) fn bearer(token: &str) -> Option<MetadataValue<Ascii>> {
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    NotConnected(#[from] ConnectError),
    #[error("refuses this proxy: {0}; check --token and --gateway-identity")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    #[error("no answer within {} s", CALL_LIMIT.as_secs())]
    NoAnswer,
    #[error("has ended the stream")]
    Ended,
    #[error("has stopped")]
    SaidGoodbye,
    #[error("does not read")]
    DoesNotRead,
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused(status.message().to_owned()),
            _ => Self::Failed(format!("{:?}: {}", status.code(), innermost(&status))),
        }
    }
}

/// Counts a stream as long as it lives.
struct Connected<'a>(&'a Metrics);

impl<'a> Connected<'a> {
    fn count(metrics: &'a Metrics) -> Self {
        metrics.operator.connected.inc();
        Self(metrics)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.operator.connected.dec();
    }
}

impl Session {
    /// Keeps a stream to one address as long as it is wanted.
    pub(crate) async fn keep(
        self,
        operator: OperatorAddress,
        address: SocketAddr,
        wanted: watch::Receiver<BTreeSet<SocketAddr>>,
    ) -> SocketAddr {
        let mut leaving = self.leaving.clone();
        self.pass_on(address, What::Known).await;
        let (mut failures, mut told) = (0u32, None);
        loop {
            let mut spoke = false;
            let broken = self.converse(&operator, address, &mut spoke).await;
            self.pass_on(address, What::Disconnected).await;
            if *leaving.borrow() || !wanted.borrow().contains(&address) {
                break;
            }
            if spoke {
                (failures, told) = (0, None);
            }
            failures = failures.saturating_add(1);
            self.metrics.operator.disconnections.inc();
            let sentence = broken.to_string();
            if told.as_ref() != Some(&sentence) {
                tracing::warn!(operator = %operator, %address, "the operator is not connected: {sentence}");
                told = Some(sentence);
            }
            tokio::select! {
                () = sleep(backoff::pause(failures, rand::random())) => {}
                () = left(&mut leaving) => break,
            }
        }
        self.pass_on(address, What::Gone).await;
        address
    }

    async fn pass_on(&self, replica: SocketAddr, what: What) {
        let event = Event { replica, at: self.clock.now(), what };
        // An error means that the proxy is being dropped.
        let _ = self.events.send(event).await;
    }

    /// One stream from its begin to its end. `spoke`: whether the replica said what it is.
    async fn converse(&self, operator: &OperatorAddress, address: SocketAddr, spoke: &mut bool) -> Broken {
        let mut leaving = self.leaving.clone();
        let channel = tokio::select! {
            channel = connect(operator, address, self.credentials.tls()) => match channel {
                Ok(channel) => channel,
                Err(error) => return error.into(),
            },
            () = left(&mut leaving) => return Broken::Ended,
        };
        let (urgent, waiting) = mpsc::channel(MOST_WAITING);
        let mut tokens = self.credentials.tokens();
        self.credentials.token();
        let token = Arc::clone(&tokens.borrow_and_update());
        let mut gone = false;
        let shared = channel.clone();
        let mut called =
            pin!(timeout(CALL_LIMIT, self.call(channel, &token, outgoing(address, waiting, self.told.clone()))));
        // The queue is new, and has room.
        let _ = urgent.try_send(proxy_message::Message::Hello(self.hello.clone()));
        let called = tokio::select! {
            called = &mut called => called,
            // The replica may know of the proxy already.
            () = left(&mut leaving) => {
                gone = true;
                let _ = urgent.try_send(proxy_message::Message::Goodbye(Goodbye {}));
                called.await
            }
        };
        let mut messages = match called {
            Ok(Ok(messages)) => messages,
            Ok(Err(status)) => return status.into(),
            Err(_) => return Broken::NoAnswer,
        };
        let _connected = Connected::count(&self.metrics);
        let _present = self.replicas.enter(address, shared, &self.credentials);
        tracing::info!(operator = %operator, %address, "connected to the operator");
        self.pass_on(address, What::Connected(urgent.clone())).await;
        loop {
            let sent = tokio::select! {
                message = messages.message() => match message {
                    Ok(Some(message)) => match self.hear(address, message, &urgent).await {
                        Ok(said_standing) => { *spoke |= said_standing; Ok(()) }
                        Err(broken) => return broken,
                    },
                    Ok(None) => return Broken::Ended,
                    Err(status) => return status.into(),
                },
                Ok(()) = tokens.changed() => {
                    let token = tokens.borrow_and_update().to_string();
                    urgent.try_send(proxy_message::Message::Token(Token { token }))
                }
                () = left(&mut leaving), if !gone => {
                    gone = true;
                    urgent.try_send(proxy_message::Message::Goodbye(Goodbye {}))
                }
            };
            if sent.is_err() {
                return Broken::DoesNotRead;
            }
        }
    }

    /// Opens the stream with the token.
    async fn call(
        &self,
        channel: Channel,
        token: &str,
        outgoing: impl Stream<Item = ProxyMessage> + Send + 'static,
    ) -> Result<Streaming<OperatorMessage>, Status> {
        let mut request = Request::new(outgoing);
        let bearer = bearer(token);
        let bearer = bearer.ok_or_else(|| Status::unauthenticated("the token has bytes that no header may have"))?;
        request.metadata_mut().insert("authorization", bearer);
        let mut client = ConfigurationClient::new(channel).max_decoding_message_size(MOST_BYTES);
        Ok(client.connect(request).await?.into_inner())
    }

    /// Says whether the replica said what it is.
    async fn hear(&self, replica: SocketAddr, message: OperatorMessage, urgent: &Urgent) -> Result<bool, Broken> {
        use operator_message::Message;
        let OperatorMessage { message, follow } = message;
        let what = match message {
            Some(Message::Standing(standing)) => What::Standing(standing),
            Some(Message::InventoryWanted(_)) => What::InventoryWanted { follow },
            Some(Message::Batch(batch)) => What::Batch { batch, follow },
            Some(Message::Ping(ping)) => {
                let answer = proxy_message::Message::Pong(Pong { number: ping.number });
                urgent.try_send(answer).map_err(|_| Broken::DoesNotRead)?;
                What::Heard
            }
            Some(Message::Goodbye(_)) => {
                self.pass_on(replica, What::Goodbye).await;
                return Err(Broken::SaidGoodbye);
            }
            Some(Message::Fleet(fleet)) => What::Fleet { fleet, follow },
            // A later release may say more.
            None => What::Heard,
        };
        let is_standing = matches!(what, What::Standing(_));
        self.pass_on(replica, what).await;
        Ok(is_standing)
    }
}

/// Waits until the proxy says goodbye. Where nobody is left to say so, it never does.
pub(crate) async fn left(leaving: &mut watch::Receiver<bool>) {
    if leaving.wait_for(|leaving| *leaving).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What a session sends, in the pace of the replica: first what waits, then the newest report where it is news.
struct Outgoing {
    replica: SocketAddr,
    waiting: mpsc::Receiver<proxy_message::Message>,
    told: watch::Receiver<Told>,
    last: Option<Report>,
    over: bool,
}

fn outgoing(
    replica: SocketAddr,
    waiting: mpsc::Receiver<proxy_message::Message>,
    mut told: watch::Receiver<Told>,
) -> impl Stream<Item = ProxyMessage> + Send + 'static {
    told.mark_changed();
    let outgoing = Outgoing { replica, waiting, told, last: None, over: false };
    stream::unfold(outgoing, |mut outgoing| async move {
        let message = outgoing.next().await?;
        Some((ProxyMessage { message: Some(message) }, outgoing))
    })
}

impl Outgoing {
    /// The next message; nothing after a goodbye.
    async fn next(&mut self) -> Option<proxy_message::Message> {
        if self.over {
            return None;
        }
        loop {
            tokio::select! {
                biased;
                message = self.waiting.recv() => {
                    self.over = matches!(message, Some(proxy_message::Message::Goodbye(_)));
                    return message;
                }
                Ok(()) = self.told.changed() => {
                    let report = self.told.borrow_and_update().report_for(self.replica);
                    if report.is_some() && report != self.last {
                        self.last.clone_from(&report);
                        return report.map(proxy_message::Message::Report);
                    }
                }
            }
        }
    }
}
