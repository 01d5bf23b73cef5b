//! One request on its way to an origin: attempts, fallbacks and what is counted meanwhile.
//!
//! The adapter asks for an endpoint ([`Exchange::select`]), tells how an attempt failed ([`Exchange::failed`]),
//! and drops the exchange when the answer is complete. A failed connect goes on to the next endpoint, at most two
//! an origin, then to the next origin, then to the fallback pool. A reset before any byte of an answer is sent
//! again within the rules of [`crate::Replay`], to an endpoint that was not tried yet where there is one. A
//! connection that was used before may have been closed by the origin, which says nothing of the origin: what may be
//! sent again goes to the same endpoint over another connection, and costs no retry.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::chance::Chance;
use crate::endpoint::{Endpoint, InFlight};
use crate::headers::Headers;
use crate::origin::Origin;
use crate::plan::{Matched, Plan};
use crate::pool::Pool;
use crate::reason::Reason;
use crate::retry::{Replay, RequestTicket, RetryTicket};
use crate::route::Backend;
use crate::select::{Again, Ended, Tried, choose};

/// Endpoints of one origin that may fail to take a connection before the origin is given up.
const CONNECTS_PER_ORIGIN: usize = 2;

/// Connections in a row that the origin may have closed while they were not used.
const STALE_CONNECTIONS: u32 = 8;

/// A request on its way. Requests, retries and endpoints count it until it is dropped.
#[derive(Debug)]
pub struct Exchange {
    plan: Arc<Plan>,
    matched: Matched,
    backend: usize,
    replay: Replay,
    pool: Arc<Pool>,
    ticket: RequestTicket,
    retries: u32,
    retry_ticket: Option<RetryTicket>,
    stale_connections: u32,
    tried: Tried,
    /// Origins with a failed connect, one entry each time.
    unreachable: SmallVec<[usize; 4]>,
    /// Pools that were asked before this one.
    pools_left: SmallVec<[Arc<Pool>; 1]>,
    selection: Option<Selection>,
    /// The selection was made when the last attempt failed, and has not been handed out.
    selected_ahead: bool,
}

/// Where an attempt goes.
#[derive(Debug)]
pub struct Selection {
    index: usize,
    origin: Arc<Origin>,
    in_flight: InFlight,
}

impl Selection {
    /// The origin.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, in time or at all, or no TLS: nothing was sent.
    Connect,
    /// A connection that was used before broke before any byte of an answer.
    StaleConnection,
    /// A new connection broke after something was sent and before any byte of an answer.
    ResetBeforeAnswer,
    /// The connection broke within the answer.
    Reset,
    /// The answer is not valid HTTP.
    Protocol,
    /// No answer in time.
    TimedOut,
}

impl Failure {
    /// What the client is told when nothing else can be tried.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Connect => Reason::ConnectFailed,
            Self::StaleConnection | Self::ResetBeforeAnswer | Self::Reset => Reason::OriginReset,
            Self::Protocol => Reason::OriginProtocol,
            Self::TimedOut => Reason::OriginTimeout,
        }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// [`Exchange::select`] has another endpoint.
    TryAgain,
    /// The client gets this answer.
    GiveUp(Reason),
}

/// Time limits of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the headers of the answer, this attempt.
    pub answer: Duration,
    /// Silence after the headers.
    pub idle: Duration,
    /// From the request's arrival to the end of the answer, all attempts; absent: no limit.
    pub exchange: Option<Duration>,
}

impl Exchange {
    pub(crate) fn new(plan: Arc<Plan>, matched: Matched, backend: usize, pool: Arc<Pool>, replay: Replay) -> Self {
        Self {
            ticket: RequestTicket::new(pool.state.clone()),
            plan,
            matched,
            backend,
            replay,
            pool,
            retries: 0,
            retry_ticket: None,
            stale_connections: 0,
            tried: Tried::default(),
            unreachable: SmallVec::new(),
            pools_left: SmallVec::new(),
            selection: None,
            selected_ahead: false,
        }
    }

    /// The endpoint of the next attempt. The one before is no longer counted.
    pub fn select(&mut self, chance: &mut Chance) -> Result<&Selection, Reason> {
        if !std::mem::take(&mut self.selected_ahead) && !self.advance(chance) {
            return Err(Reason::NoHealthyOrigin);
        }
        self.selection.as_ref().ok_or(Reason::NoHealthyOrigin)
    }

    /// Writes down how the attempt failed, and says what follows.
    pub fn failed(&mut self, failure: Failure, chance: &mut Chance) -> Next {
        let give_up = Next::GiveUp(failure.reason());
        let may_be_stale = failure == Failure::StaleConnection && self.replay == Replay::Allowed;
        if may_be_stale && self.selection.is_some() && self.stale_connections < STALE_CONNECTIONS {
            self.stale_connections += 1;
            self.selected_ahead = true;
            return Next::TryAgain;
        }
        let Some(Selection { index, origin: _, in_flight }) = &self.selection else { return give_up };
        let (index, endpoint) = (*index, in_flight.endpoint().clone());
        let ended = match failure {
            Failure::Connect => Ended::Unreachable,
            Failure::StaleConnection | Failure::ResetBeforeAnswer if self.may_retry() => Ended::Reset,
            Failure::StaleConnection
            | Failure::ResetBeforeAnswer
            | Failure::Reset
            | Failure::Protocol
            | Failure::TimedOut => return give_up,
        };
        self.tried.attempt(endpoint, ended);
        if ended == Ended::Unreachable {
            self.unreachable.push(index);
            if self.unreachable.iter().filter(|failed| **failed == index).count() >= CONNECTS_PER_ORIGIN {
                self.tried.give_up_origin(index);
            }
        }
        self.selected_ahead = self.advance(chance);
        if self.selected_ahead { Next::TryAgain } else { give_up }
    }

    /// Where the attempt under way goes, or the last one went.
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// The pool that the attempt under way is in: the backend's, or a fallback.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What the request matched.
    pub fn matched(&self) -> &Matched {
        &self.matched
    }

    /// How often the request was sent again after it had been sent.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Time limits of the attempt under way; those of a route win over the pool's.
    pub fn timeouts(&self) -> Timeouts {
        let rule = self.matched.rule();
        let pool = &self.pool.timeouts;
        Timeouts {
            connect: pool.connect,
            answer: rule.backend_timeout.or(rule.request_timeout).unwrap_or(pool.answer),
            idle: pool.idle,
            exchange: rule.request_timeout,
        }
    }

    /// The path that the origin gets. The query stays.
    pub fn path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        match self.matched.rule().path_rewrite(self.backend()) {
            Some(rewrite) => rewrite.apply(path, self.matched.prefix_length()),
            None => Cow::Borrowed(path),
        }
    }

    /// The `Host` that the origin gets in place of the client's: the origin's own, else the route's; none where
    /// the client's stays.
    pub fn host(&self) -> Option<&str> {
        let own = self.selection.as_ref().and_then(|selection| selection.origin.host_header.as_deref());
        own.or_else(|| self.matched.rule().host_rewrite(self.backend()))
    }

    /// Changes the headers that go to the origin: the rule's filters, then the backend's.
    pub fn change_request(&self, headers: &mut impl Headers) {
        self.matched.rule().filters.change_request(headers);
        self.backend().filters.change_request(headers);
    }

    /// Changes the headers that go to the client: the rule's filters, then the backend's.
    pub fn change_response(&self, headers: &mut impl Headers) {
        self.matched.rule().filters.change_response(headers);
        self.backend().filters.change_response(headers);
    }

    fn backend(&self) -> &Backend {
        self.matched.backend(self.backend)
    }

    /// Selects the next endpoint, in this pool or a fallback. Where nothing is left the last one stays, for the log.
    fn advance(&mut self, chance: &mut Chance) -> bool {
        loop {
            let members = self.pool.members();
            let choice = choose(&self.pool, &members, &self.tried, Again::Never, chance)
                .or_else(|| choose(&self.pool, &members, &self.tried, Again::AfterReset, chance));
            if let Some((index, endpoint)) = choice {
                let origin = self.pool.origins[index].clone();
                self.selection = Some(Selection { index, origin, in_flight: InFlight::new(endpoint) });
                return true;
            }
            drop(members);
            if !self.fall_back() {
                return false;
            }
        }
    }

    /// Goes over to the fallback pool, each pool once.
    fn fall_back(&mut self) -> bool {
        let Some(fallback) = self.pool.fallback.as_ref().and_then(|key| self.plan.pool(key)).cloned() else {
            return false;
        };
        let asked = self.pools_left.iter().chain([&self.pool]).any(|pool| Arc::ptr_eq(pool, &fallback));
        if asked {
            return false;
        }
        self.ticket = RequestTicket::new(fallback.state.clone());
        self.retry_ticket = None;
        self.tried = Tried::default();
        self.unreachable.clear();
        self.pools_left.push(std::mem::replace(&mut self.pool, fallback));
        true
    }

    /// Whether what was sent may be sent again; if so it counts as a retry from now on.
    fn may_retry(&mut self) -> bool {
        let rules = self.pool.retry;
        if self.replay == Replay::Never || self.retries >= rules.attempts {
            return false;
        }
        if self.retry_ticket.is_none() {
            self.retry_ticket = RetryTicket::take(&self.pool.state, rules);
        }
        let taken = self.retry_ticket.is_some();
        self.retries += u32::from(taken);
        taken
    }
}
