//! The conversation with one proxy, from its hello to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use headgate_snapshot::operator_message::Message as Said;
use headgate_snapshot::proxy_message::Message as Heard;
use headgate_snapshot::{
    Batch, Follow, Goodbye, InventoryWanted, OperatorMessage, Ping, ProxyMessage, ProxyRole, Report, ResourceSet,
    Standing,
};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Status, Streaming};

use super::fleet::FleetBook;
use super::place::{place, release};
use super::{PING_PERIOD, Streams};
use crate::access::{Caller, Denial, Door, ProxyIdentity, Role};
use crate::clock;
use crate::hub::{Connection, EXPECTED_FOR, Start, Subscription};

/// How long a stream may wait for its first message.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a message that must arrive waits for its place in the queue.
const SEND_LIMIT: Duration = Duration::from_secs(5);

type Out = mpsc::Sender<Result<OperatorMessage, Status>>;

/// One proxy that has said hello.
pub(super) struct Session {
    streams: Streams,
    out: Out,
    connection: Connection,
    role: Role,
    identity: ProxyIdentity,
    caller: Caller,
    heard: Instant,
    pings: u64,
    told: Option<Standing>,
    /// Number of the newest Follow.
    follow: u64,
    following: Following,
    fleet: FleetBook,
    /// Content version that the proxy says to be at.
    version: String,
    renewal: Option<BoxFuture<'static, Result<Caller, Denial>>>,
    /// The last batch, and when it was sent, until its answer.
    unanswered: Option<(u64, Instant)>,
}

/// Where the proxy is in taking configuration from here.
enum Following {
    /// It takes it from elsewhere, or has got what it gets from here.
    Elsewhere,
    /// It asked, and this replica is not in a state to begin.
    Asked(Follow),
    /// It was asked what it has.
    Inventory { term: u64 },
    /// It takes all batches of a leader of this term.
    Leader { term: u64, subscription: Subscription },
    /// It had nothing, and takes one batch of a replica that does not lead.
    Spare(Subscription),
}

/// How a session ends.
enum End {
    /// The proxy is gone, with or without goodbye.
    Gone,
    /// The replica stops.
    Stopping,
    /// The proxy is told why.
    Refused(Status),
}

/// What a session waits for.
enum Event {
    Heard(Result<Option<ProxyMessage>, Status>),
    Batch(Batch),
    Renewed(Result<Caller, Denial>),
    Tick,
    News,
    Stopping,
    Superseded,
    Closed,
}

impl Session {
    /// Runs until one of both sides ends the stream.
    pub(super) async fn run(streams: Streams, caller: Caller, mut incoming: Streaming<ProxyMessage>, out: Out) {
        let status = match Self::greet(&streams, caller, &mut incoming, &out).await {
            Err(status) => Some(status),
            Ok(mut session) => {
                let (metrics, role) = (streams.metrics.clone(), session.role);
                metrics.connected(role);
                let end = session.converse(&mut incoming).await;
                metrics.disconnected(role);
                match end {
                    End::Gone => None,
                    End::Stopping => {
                        // The last word; the proxy may be gone already.
                        let _ = say(&session.out, session.follow, Said::Goodbye(Goodbye {})).await;
                        None
                    }
                    End::Refused(status) => Some(status),
                }
            }
        };
        if let Some(status) = status {
            let _ = timeout(SEND_LIMIT, out.send(Err(status))).await;
        }
    }

    /// The first message, and who sends it.
    async fn greet(
        streams: &Streams,
        caller: Caller,
        incoming: &mut Streaming<ProxyMessage>,
        out: &Out,
    ) -> Result<Self, Status> {
        let first = timeout(HELLO_LIMIT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("a stream begins with Hello"))??;
        let Some(Heard::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("a stream begins with Hello"));
        };
        let role = match hello.role() {
            ProxyRole::Gateway => Role::Gateway,
            ProxyRole::Sidecar => Role::Sidecar,
            ProxyRole::Unspecified => return Err(Status::invalid_argument("Hello names no role")),
        };
        let identity = streams.access.proxy(&caller, role).map_err(|denial| streams.refuse(&denial))?;
        let (name, scope) = place(&identity, &hello).map_err(Status::invalid_argument)?;
        let heard = clock::instant();
        tracing::info!(proxy = name, release = release(&hello), "connected");
        Ok(Self {
            connection: streams.hub.connect(&name, scope, heard),
            streams: streams.clone(),
            out: out.clone(),
            role,
            identity,
            caller,
            heard,
            pings: 0,
            told: None,
            follow: 0,
            following: Following::Elsewhere,
            fleet: FleetBook::new(&streams.hub),
            version: String::new(),
            renewal: None,
            unanswered: None,
        })
    }

    async fn converse(&mut self, incoming: &mut Streaming<ProxyMessage>) -> End {
        let mut leadership = self.streams.leadership.clone();
        let mut published = self.streams.hub.publications();
        let mut stopping = self.streams.stopping.clone();
        let connection = self.connection.clone();
        let mut ticks = interval(PING_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waits = matches!(self.following, Following::Asked(_));
            let event = tokio::select! {
                heard = incoming.message() => Event::Heard(heard),
                batch = next_batch(&mut self.following, &self.out) => Event::Batch(batch),
                renewed = finished(&mut self.renewal) => Event::Renewed(renewed),
                _ = ticks.tick() => Event::Tick,
                () = changed(&mut leadership) => Event::News,
                () = changed(&mut published), if waits => Event::News,
                () = self.fleet.changed() => Event::News,
                _ = stopping.wait_for(|stopping| *stopping) => Event::Stopping,
                () = connection.superseded() => Event::Superseded,
                () = self.out.closed() => Event::Closed,
            };
            if let Err(end) = self.handle(event).await {
                return end;
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Heard(Ok(Some(ProxyMessage { message }))) => self.hear(message)?,
            Event::Heard(Ok(None) | Err(_)) | Event::Closed => return Err(End::Gone),
            Event::Batch(batch) => self.send(batch).await?,
            Event::Renewed(renewed) => self.renew(renewed).map_err(|denial| self.refused(&denial))?,
            Event::Tick => self.tick()?,
            Event::News => {}
            Event::Stopping => return Err(End::Stopping),
            Event::Superseded => {
                let told = "another stream of this name took the place; give each proxy a --name of its own";
                return Err(End::Refused(Status::aborted(told)));
            }
        }
        self.tell_standing(false);
        self.pause();
        self.begin().await?;
        self.tell_fleet();
        Ok(())
    }

    fn hear(&mut self, message: Option<Heard>) -> Result<(), End> {
        self.heard = clock::instant();
        self.connection.hear(self.heard);
        match message {
            Some(Heard::Hello(_)) => return Err(End::Refused(Status::invalid_argument("a stream has one Hello"))),
            Some(Heard::Follow(follow)) => {
                self.follow = follow.number;
                self.version.clone_from(&follow.version);
                self.following = Following::Asked(follow);
                self.fleet.begin();
            }
            Some(Heard::Inventory(inventory)) => {
                if let Following::Inventory { term } = self.following {
                    let has = ResourceSet::of_inventory(&inventory, &self.connection.published());
                    self.following = Following::Leader { term, subscription: self.connection.subscribe(Some(has)) };
                }
            }
            Some(Heard::Report(report)) => self.report(report),
            Some(Heard::Token(token)) => {
                let access = Arc::clone(&self.streams.access);
                let review = async move {
                    access.caller(Door::Stream, &token.token, clock::instant(), clock::timestamp()).await
                };
                self.renewal = Some(review.boxed());
            }
            Some(Heard::Goodbye(Goodbye {})) => {
                tracing::info!(proxy = self.connection.proxy(), "said goodbye");
                self.connection.goodbye();
                return Err(End::Gone);
            }
            // A message of a later release is a sign of life and nothing else.
            Some(Heard::Pong(_)) | None => {}
        }
        Ok(())
    }

    fn report(&mut self, report: Report) {
        if let Some((batch, sent)) = self.unanswered
            && report.sequence >= batch
        {
            self.streams.metrics.acknowledged(self.heard.saturating_duration_since(sent));
            self.unanswered = None;
        }
        self.version.clone_from(&report.version);
        self.connection.report(report);
    }

    /// A renewed token takes the place of the one before where it is of the same proxy.
    fn renew(&mut self, renewed: Result<Caller, Denial>) -> Result<(), Denial> {
        self.renewal = None;
        match renewed {
            Ok(caller) if self.streams.access.proxy(&caller, self.role)? == self.identity => self.caller = caller,
            Ok(_) => return Err(Denial::AnotherIdentity),
            // The token before still holds; the proxy sends another one before its end.
            Err(denial) if denial.is_temporary() => tracing::warn!(proxy = self.connection.proxy(), "{denial}"),
            Err(denial) => return Err(denial),
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.caller.ends <= clock::timestamp() {
            return Err(self.refused(&Denial::Ended));
        }
        if clock::instant().saturating_duration_since(self.heard) >= EXPECTED_FOR {
            return Err(End::Refused(Status::deadline_exceeded("no answer to pings")));
        }
        self.tell_standing(true);
        self.pings += 1;
        // A proxy that reads nothing has a full queue, and answers nothing: it is told as silent.
        self.try_say(Said::Ping(Ping { number: self.pings }));
        Ok(())
    }

    /// Tells what this replica is, where it changed since it was told last, or always.
    fn tell_standing(&mut self, always: bool) {
        let leadership = *self.streams.leadership.borrow();
        let standing = Standing {
            replica: self.streams.replica.to_string(),
            term: leadership.term,
            leads: leadership.leads(clock::instant()),
            synced: leadership.synced,
        };
        let news = self.told.as_ref() != Some(&standing);
        if (news || always) && self.try_say(Said::Standing(standing.clone())) {
            self.told = Some(standing);
        }
    }

    /// Tells a proxy that takes configuration from here how many proxies there are.
    fn tell_fleet(&mut self) {
        if let Following::Leader { .. } | Following::Spare(_) = self.following {
            let Self { fleet, connection, out, follow, .. } = self;
            fleet.tell(connection, |fleet| {
                out.try_send(Ok(OperatorMessage { message: Some(Said::Fleet(fleet)), follow: *follow })).is_ok()
            });
        }
    }

    /// Ends a subscription that this replica may not go on with. It begins again, should the replica lead once more in
    /// the same term; a proxy that turned to another leader meanwhile is of another term.
    fn pause(&mut self) {
        if let Following::Leader { term, .. } | Following::Inventory { term } = self.following
            && !self.leads(term)
        {
            let (version, number) = (self.version.clone(), self.follow);
            self.following = Following::Asked(Follow { term, version, number });
        }
    }

    /// Whether this replica leads now, in this term.
    fn leads(&self, term: u64) -> bool {
        let leadership = *self.streams.leadership.borrow();
        leadership.leads(clock::instant()) && leadership.term == term
    }

    /// Begins to give configuration to a proxy that asked, as soon as this replica may.
    async fn begin(&mut self) -> Result<(), End> {
        let Following::Asked(follow) = &self.following else { return Ok(()) };
        let (term, leads) = (follow.term, self.leads(follow.term));
        let newcomer = follow.version.is_empty() && self.streams.leadership.borrow().synced;
        if !leads && !newcomer {
            return Ok(());
        }
        match self.connection.follow(&follow.version) {
            Start::Ready(subscription) if leads => self.following = Following::Leader { term, subscription },
            Start::Ready(subscription) => self.following = Following::Spare(subscription),
            Start::InventoryWanted => {
                self.following = Following::Inventory { term };
                say(&self.out, self.follow, Said::InventoryWanted(InventoryWanted {})).await?;
            }
            Start::Unpublished => {}
        }
        Ok(())
    }

    /// Sends a batch, unless this replica may not any more.
    async fn send(&mut self, batch: Batch) -> Result<(), End> {
        let may = match &self.following {
            Following::Leader { term, .. } => self.leads(*term),
            Following::Spare(_) => self.streams.leadership.borrow().synced,
            Following::Elsewhere | Following::Asked(_) | Following::Inventory { .. } => false,
        };
        if may {
            self.streams.metrics.sent(batch.encoded_len());
            self.unanswered = Some((batch.sequence, clock::instant()));
            say(&self.out, self.follow, Said::Batch(batch)).await?;
        }
        if matches!(self.following, Following::Spare(_)) {
            self.following = Following::Elsewhere;
        }
        Ok(())
    }

    /// False where the queue is full.
    fn try_say(&self, message: Said) -> bool {
        self.out.try_send(Ok(OperatorMessage { message: Some(message), follow: self.follow })).is_ok()
    }

    fn refused(&self, denial: &Denial) -> End {
        End::Refused(self.streams.refuse(denial))
    }
}

/// Sends a message that must arrive. A function of its own, because a session cannot be shared while it waits.
async fn say(out: &Out, follow: u64, message: Said) -> Result<(), End> {
    match timeout(SEND_LIMIT, out.send(Ok(OperatorMessage { message: Some(message), follow }))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Refused(Status::deadline_exceeded("the proxy does not read what it is sent"))),
    }
}

/// The next batch, once there is room for it: what is published meanwhile goes into the same batch.
async fn next_batch(following: &mut Following, out: &Out) -> Batch {
    let (Following::Leader { subscription, .. } | Following::Spare(subscription)) = following else {
        return std::future::pending().await;
    };
    match out.reserve().await {
        // The place is free again when this returns, and nobody else takes it: only this task sends.
        Ok(_) => subscription.next().await,
        Err(_) => std::future::pending().await,
    }
}

async fn finished(renewal: &mut Option<BoxFuture<'static, Result<Caller, Denial>>>) -> Result<Caller, Denial> {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// The next change, never where nobody can change it any more.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
