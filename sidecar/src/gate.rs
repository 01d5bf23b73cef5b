//! The adapter between Pingora's phases and the engine. Each phase is a thin call; what is decided is decided there.
//!
//! ```text
//! early_request_filter   timeouts of the connection
//! request_filter         arrive (arrival.rs): normalise, route, limit, decide, select -> an answer of our own, or onwards
//! upstream_peer          the selected endpoint, again after each failure that the engine lets try again
//! connected_to_upstream  the guard gets the attempt's deadline, unless a body is still to be sent
//! upstream_request_filter  what the origin sees
//! request_body_filter    the guard gets the attempt's deadline at the body's end
//! upstream_response_filter the answer's headers are here: the guard rests
//! response_filter        counted where a limit counts answers; what the client sees
//! fail_to_proxy          an answer of our own, if none has begun
//! logging                the one end: counted and logged, and given back what the request held of a limit
//! ```

use std::sync::Arc;

use ::http::header::{EXPECT, TRANSFER_ENCODING};
use ::http::{HeaderMap, Version};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use headgate_engine::{Body, Failure, Reason, Screening, TrustedProxies};
use headgate_snapshot::Key;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::access_log::AccessLogger;
use crate::arrival::{Arrived, set_path};
use crate::clock::Clock;
use crate::config::{ClientLimits, Frontends};
use crate::http::answer::{redirect, refuse, refuse_limited, tell, write};
use crate::http::headers::{RequestHeaders, ResponseHeaders, consume_commands, restore_request_id};
use crate::listen::connection::Connection;
use crate::metrics::{AttemptResult, Metrics};
use crate::origin::connect::guard_of;
use crate::origin::peer::{PeerSettings, Peers};
use crate::passage::{Attempt, Passage, Stage, failure_of, fault_of_client};
use crate::rate_limit::Limiter;
use crate::state::Current;
use crate::waiting_room::make_wait;

/// The status in the log of a request whose client went away before an answer.
const CLIENT_CLOSED: u16 = 499;

/// What all requests share.
pub(crate) struct Gate {
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) access_log: Option<AccessLogger>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) limits: ClientLimits,
    pub(crate) frontends: Frontends,
}

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::begin(self.clock.now())
    }

    /// No modules: compression is not ours.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _passage: &mut Passage) -> Result<()> {
        self.metrics.requests_in_flight.inc();
        // Pingora keeps a connection for ever where the client does not say otherwise.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.limits.keep_alive.as_secs()));
        }
        session.set_read_timeout(Some(self.limits.body));
        session.set_write_timeout(Some(self.limits.body));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        match self.arrive(session, passage).await {
            Ok(Arrived::Onwards) => return Ok(false),
            Ok(Arrived::Redirected { status, location }) => {
                self.count_answer(session, passage, status, &HeaderMap::new());
                redirect(session, status, &location, &passage.screening).await?;
            }
            Ok(Arrived::Limited(limited)) => {
                passage.reason = Some(limited.reason());
                let limited = passage.limited.insert(limited);
                let fields = passage.screening.fields(Some(limited));
                refuse_limited(session, limited, fields).await?;
            }
            Ok(Arrived::Waits(waits)) => {
                passage.reason = Some(waits.reason);
                self.count_answer(session, passage, waits.status, &HeaderMap::new());
                let request = session.req_header();
                let (header, body) = make_wait(&waits, &request.method, &request.headers)?;
                write(session, header, body).await?;
            }
            Err(reason) => {
                passage.reason = Some(reason);
                self.count_answer(session, passage, reason.status(), &HeaderMap::new());
                refuse(session, reason, &passage.screening).await?;
            }
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        let give_up = |reason: Reason| Error::explain(ErrorType::HTTPStatus(reason.status()), reason.word());
        let left = passage.left(self.clock.now());
        if left.is_some_and(|left| left.is_zero()) {
            passage.reason = Some(Reason::OriginTimeout);
            return Err(give_up(Reason::OriginTimeout));
        }
        let Passage { exchange: Some(exchange), pinned: Some(pinned), chance, attempts, .. } = passage else {
            return Err(give_up(Reason::NoRoute));
        };
        // The first selection was made on arrival, so that "none" is answered before anything is begun.
        if *attempts > 0
            && let Err(reason) = exchange.select(chance)
        {
            passage.reason = Some(reason);
            return Err(give_up(reason));
        }
        *attempts += 1;
        if *attempts > 1 {
            self.metrics.retries.inc();
        }
        let timeouts = exchange.timeouts();
        let pool: &Key = exchange.pool().key();
        let peer = exchange.selection().and_then(|selection| {
            let settings = PeerSettings {
                origin: selection.origin(),
                address: selection.endpoint().address(),
                namespace: &pool.namespace,
                connect: left.map_or(timeouts.connect, |left| left.min(timeouts.connect)),
                idle: timeouts.idle,
            };
            self.peers.peer(&settings, &pinned.trust)
        });
        passage.attempt = Attempt::Waiting;
        peer.ok_or_else(|| {
            // The CA of the origin cannot be used, so that it cannot be reached; another may be.
            let mut error = give_up(Reason::ConnectFailed);
            passage.attempt_failed(Failure::Connect, &mut error, &self.metrics);
            error
        })
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        passage: &mut Passage,
        mut error: Box<Error>,
    ) -> Box<Error> {
        passage.attempt_failed(Failure::Connect, &mut error, &self.metrics);
        error
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _descriptor: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        passage: &mut Passage,
    ) -> Result<()> {
        passage.guard = None;
        if let Some(guard) = guard_of(digest) {
            // A client that expects 100 (Continue) sends nothing before the origin has said something.
            let waits = passage.body == Body::Absent || session.req_header().headers.contains_key(EXPECT);
            passage.arm(guard, if waits { Stage::Sent } else { Stage::Sending }, self.clock);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        passage.screening.change_request(&mut RequestHeaders(request));
        let Some(exchange) = &passage.exchange else { return Ok(()) };
        restore_request_id(request, session.req_header())?;
        exchange.change_request(&mut RequestHeaders(request));
        let rewritten = match exchange.path(request.uri.path()) {
            path if path == request.uri.path() => None,
            path => Some(path.into_owned()),
        };
        if let Some(path) = rewritten {
            set_path(request, &path)?;
        }
        if let Some(host) = exchange.host() {
            request.insert_header(::http::header::HOST, host)?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        passage: &mut Passage,
    ) -> Result<()> {
        // The time of an attempt begins when the request has been sent, however long that takes.
        if (body.is_some() || end_of_stream)
            && passage.attempt == Attempt::Waiting
            && let Some((guard, _)) = passage.guard.take()
        {
            passage.arm(guard, if end_of_stream { Stage::Sent } else { Stage::Sending }, self.clock);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let is_interim = response.status.is_informational() && response.status != 101;
        if is_interim {
            return Ok(());
        }
        if let Some((guard, armed)) = passage.guard.take() {
            guard.disarm(armed);
            let fired = guard.has_fired();
            if let Some(deadline) = passage.exchange_deadline()
                && response.status != 101
            {
                let armed = guard.arm(self.clock.millis_at(deadline));
                passage.guard = Some((guard, armed));
            }
            if fired {
                return Err(Error::explain(ErrorType::ReadTimedout, "the attempt's time was over").into_up());
            }
        }
        passage.attempt = Attempt::Answered;
        self.metrics.count_attempt(AttemptResult::Answered);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        let is_interim = response.status.is_informational() && response.status != 101;
        if !is_interim {
            self.count_answer(session, passage, response.status.as_u16(), &response.headers);
        }
        for name in passage.screening.consumed() {
            response.remove_header(name);
        }
        if !is_interim && let Some(visit) = &passage.screening.visit {
            visit.room().obey(visit, &response.headers);
        }
        consume_commands(response);
        if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
            // A client of HTTP/1.0 knows no chunks: its answer ends with the connection.
            response.remove_header(&TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if let Some(exchange) = &passage.exchange {
            if response.status == 101 {
                // From now on both sides may be silent as long as the pool says.
                let idle = exchange.timeouts().idle;
                session.set_read_timeout(Some(idle));
                session.set_write_timeout(Some(idle));
            }
            exchange.change_response(&mut ResponseHeaders(response));
        }
        if is_interim { Ok(()) } else { tell(response, &passage.screening) }
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage,
        reused: bool,
    ) -> Box<Error> {
        let answer_begun = passage.attempt == Attempt::Answered || session.response_written().is_some();
        match failure_of(&error, passage, answer_begun, reused) {
            Some(failure) if !answer_begun => passage.attempt_failed(failure, &mut error, &self.metrics),
            Some(failure) => {
                passage.reason = Some(failure.reason());
                error.set_retry(false);
            }
            None => {
                if passage.attempt == Attempt::Waiting {
                    self.metrics.count_attempt(AttemptResult::Abandoned);
                }
                passage.reason = fault_of_client(&error);
                error.set_retry(false);
            }
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, passage: &mut Passage) -> FailToProxy {
        let reason = passage.reason.or_else(|| match error.esource() {
            ErrorSource::Downstream => fault_of_client(error),
            ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset => Some(Reason::OriginProtocol),
        });
        passage.reason = reason;
        // After 101 the connection speaks another protocol, and an answer of ours would be taken for a part of it.
        let begun = session
            .response_written()
            .is_some_and(|response| response.status == 101 || !response.status.is_informational());
        if let Some(reason) = reason
            && !begun
        {
            // Pingora closes the connection after a failed attempt, and the client should know.
            session.set_keepalive(None);
            self.count_answer(session, passage, reason.status(), &HeaderMap::new());
            // An error means that the client has gone.
            let _ = refuse(session, reason, &passage.screening).await;
        }
        FailToProxy { error_code: reason.map_or(0, Reason::status), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, passage: &mut Passage) {
        if let Some((guard, armed)) = passage.guard.take() {
            guard.disarm(armed);
        }
        let status = session.response_written().map_or(CLIENT_CLOSED, |response| response.status.as_u16());
        self.metrics.requests_in_flight.dec();
        self.metrics.count_request(passage.reason, status);
        let now = self.clock.now();
        let elapsed = now.saturating_duration_since(passage.began);
        self.metrics.request_duration.observe(elapsed.as_secs_f64());
        if let Some(access_log) = &self.access_log {
            access_log.log(passage.record(session, status, now, self.clock.since_epoch()));
        }
        // The rest of a request's body may be read after this; a request in flight it is no more.
        passage.screening = Screening::default();
    }

    /// Pingora's own lines for each failed request are left out: the metrics and the access log say it.
    fn suppress_error_log(&self, _session: &Session, _passage: &Passage, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _passage: &Passage,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gate {
    /// The connection of a request.
    pub(crate) fn connection(session: &Session) -> Option<&Arc<Connection>> {
        Connection::of(session.digest())
    }
}
