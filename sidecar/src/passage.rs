//! One request on its way through the proxy: what is kept of it between the phases.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_engine::{Body, Chance, Exchange, Failure, Limited, Next, Reason, Screening};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::access_log::{Record, rfc3339};
use crate::arrival::RequestId;
use crate::clock::Clock;
use crate::metrics::{AttemptResult, Metrics};
use crate::origin::guard::{Armed, Guard, NEVER};
use crate::state::Current;

/// How far the attempt under way has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attempt {
    /// None is under way.
    None,
    /// Connecting, or sent and waiting for headers.
    Waiting,
    /// The answer's headers have come.
    Answered,
}

/// What the time of an attempt is counted for. While the client sends its body, the client's own limits hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The body is on its way: only the whole exchange has a limit.
    Sending,
    /// Nothing more will come before the origin's answer, which has a limit.
    Sent,
}

/// One request.
pub(crate) struct Passage {
    pub(crate) began: Instant,
    pub(crate) chance: Chance,
    pub(crate) request_id: RequestId,
    pub(crate) client: Option<IpAddr>,
    pub(crate) body: Body,
    /// What the limits have made of it. What it holds of them is given back when this is dropped.
    pub(crate) screening: Screening,
    /// The limit that refuses it.
    pub(crate) limited: Option<Box<Limited>>,
    pub(crate) exchange: Option<Box<Exchange>>,
    /// The plan of the exchange, with what the adapter made of it.
    pub(crate) pinned: Option<Arc<Current>>,
    pub(crate) guard: Option<(Arc<Guard>, Armed)>,
    pub(crate) attempt: Attempt,
    pub(crate) attempts: u32,
    /// Why the proxy itself answers.
    pub(crate) reason: Option<Reason>,
}

impl Passage {
    /// A request whose headers are about to come.
    pub(crate) fn begin(began: Instant) -> Self {
        let mut chance = Chance::new(rand::random());
        Self {
            began,
            request_id: RequestId::new(&mut chance),
            chance,
            client: None,
            body: Body::Absent,
            screening: Screening::default(),
            limited: None,
            exchange: None,
            pinned: None,
            guard: None,
            attempt: Attempt::None,
            attempts: 0,
            reason: None,
        }
    }

    /// When the whole exchange has to be over.
    pub(crate) fn exchange_deadline(&self) -> Option<Instant> {
        Some(self.began + self.exchange.as_ref()?.timeouts().exchange?)
    }

    /// What is left of the whole exchange's time, absent: no limit.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        self.exchange_deadline().map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Gives a guard the deadline of what the attempt does from now on.
    pub(crate) fn arm(&mut self, guard: Arc<Guard>, stage: Stage, clock: Clock) {
        let Some(exchange) = &self.exchange else { return };
        let attempt = match stage {
            Stage::Sending => None,
            Stage::Sent => Some(clock.now() + exchange.timeouts().answer),
        };
        let deadline = attempt.into_iter().chain(self.exchange_deadline()).min();
        let armed = guard.arm(deadline.map_or(NEVER, |deadline| clock.millis_at(deadline)));
        self.guard = Some((guard, armed));
    }

    /// Tells the engine of a failed attempt, and the error whether there is another.
    pub(crate) fn attempt_failed(&mut self, failure: Failure, error: &mut Error, metrics: &Metrics) {
        self.attempt = Attempt::None;
        self.guard = None;
        metrics.count_attempt(AttemptResult::Failed(failure.reason()));
        let next = match self.exchange.as_mut() {
            Some(exchange) => exchange.failed(failure, &mut self.chance),
            None => Next::GiveUp(failure.reason()),
        };
        match next {
            Next::TryAgain => error.set_retry(true),
            Next::GiveUp(reason) => {
                self.reason = Some(reason);
                error.set_retry(false);
            }
        }
    }

    /// The line of the access log.
    pub(crate) fn record(&self, session: &Session, status: u16, now: Instant, since_epoch: Duration) -> Record {
        let request = session.req_header();
        let header =
            |name: &str| request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let exchange = self.exchange.as_ref();
        let selection = exchange.and_then(|exchange| exchange.selection());
        let refused = self.limited.as_ref().map(|limited| (limited.limit().key(), limited.why));
        let crossed = refused.or_else(|| self.screening.crossed());
        let elapsed = now.saturating_duration_since(self.began);
        let authority = request.uri.authority().map(ToString::to_string);
        Record {
            time: rfc3339(since_epoch.saturating_sub(elapsed)),
            client: self.client.unwrap_or(IpAddr::from([0, 0, 0, 0])),
            method: request.method.to_string(),
            host: authority.or_else(|| header("host")).unwrap_or_default(),
            path: request.uri.path().to_owned(),
            status,
            reason: self.reason.map(Reason::word),
            limit: crossed.map(|(limit, _)| limit.to_string()),
            limit_reason: crossed.map(|(_, why)| why.word()),
            route: exchange.map(|exchange| exchange.matched().route().key().to_string()),
            pool: exchange.map(|exchange| exchange.pool().key().to_string()),
            origin: selection.map(|selection| selection.origin().name.clone()),
            endpoint: selection.map(|selection| selection.endpoint().address().to_string()),
            attempts: self.attempts,
            duration_ms: elapsed.as_secs_f64() * 1_000.0,
            bytes: session.body_bytes_sent(),
            request_id: header("x-request-id").unwrap_or_else(|| self.request_id.as_str().to_owned()),
            user_agent: header("user-agent"),
        }
    }
}

/// Why an attempt failed on which something was sent, or nothing where the origin is not to blame. `reused` says
/// whether its connection had served before.
pub(crate) fn failure_of(error: &Error, passage: &Passage, answer_begun: bool, reused: bool) -> Option<Failure> {
    if passage.guard.as_ref().is_some_and(|(guard, _)| guard.has_fired()) {
        return Some(Failure::TimedOut);
    }
    if error.esource() == &ErrorSource::Downstream {
        return None;
    }
    Some(match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Failure::TimedOut,
        ErrorType::InvalidHTTPHeader
        | ErrorType::InvalidH2
        | ErrorType::H2Error
        | ErrorType::H2Downgrade
        | ErrorType::HTTPStatus(_) => Failure::Protocol,
        _ if answer_begun => Failure::Reset,
        _ if reused => Failure::StaleConnection,
        _ => Failure::ResetBeforeAnswer,
    })
}

/// What a client is told whose own request is at fault, or nothing where it has gone.
pub(crate) fn fault_of_client(error: &Error) -> Option<Reason> {
    match error.etype() {
        ErrorType::ReadTimedout => Some(Reason::RequestTimeout),
        // A client of HTTP/2 that needs no answer any more resets the stream.
        ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ReadError
        | ErrorType::ConnectionClosed
        | ErrorType::H2Error => None,
        _ => Some(Reason::BadRequest),
    }
}
