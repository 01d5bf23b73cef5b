//! What is enforced on a request that matched a rule, in one order.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::chance::Chance;
use crate::exchange::Exchange;
use crate::facts::Facts;
use crate::frontend::FrontendId;
use crate::matcher::Request;
use crate::plan::{Matched, Plan};
use crate::rate_limit::{Limited, Limits, Screened, Screening};
use crate::reason::Reason;
use crate::redirect::Place;
use crate::retry::Replay;
use crate::route::Action;
use crate::time::EpochMillis;
use crate::waiting_room::{Outcome, Waits};

/// What can be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Limits on requests.
    RateLimit,
    /// Rooms that visitors wait for.
    WaitingRoom,
    /// The rule's action: a redirect, or an origin of a pool.
    OriginPool,
}

/// The order of enforcement: the first policy that decides ends it.
///
/// Limits come first: what they refuse shall cost nothing more, and a flood shall take no places. The origin comes last, since it always decides:
/// whatever may spare it a request has to come before it.
pub const ORDER: [Policy; 3] = [Policy::RateLimit, Policy::WaitingRoom, Policy::OriginPool];

/// What happens to a request.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The header.
        location: String,
    },
    /// A limit refuses the request.
    Limited(Box<Limited>),
    /// A limit has to ask the store: [`Screening::question`] says what. Once [`Screening::answer`] has the answer, the
    /// request is decided again, and goes on where it stopped.
    Ask,
    /// A room does not let the request pass now.
    Waits(Box<Waits>),
    /// An origin is asked. Boxed, since it lives as long as the request and moves often at its begin.
    Forward(Box<Exchange>),
}

/// What a request brings along to the policies.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// What it says, and who sent it.
    pub facts: Facts<'a>,
    /// Where it came in.
    pub frontend: FrontendId,
    /// The port that the client reached.
    pub port: u16,
    /// Whether it may be sent again.
    pub replay: Replay,
    /// Where counters are kept.
    pub limits: &'a Limits,
    /// When it came in; after an answer of the store, now.
    pub now: EpochMillis,
}

impl<'a> Arrival<'a> {
    fn place(&self) -> Place<'a> {
        let Facts { request: Request { host, path, query, .. }, scheme, .. } = self.facts;
        Place { scheme, host, port: self.port, path, query }
    }
}

impl Matched {
    /// Asks each policy in turn. The match goes into the exchange, where one follows.
    pub fn decide(
        self,
        plan: &Arc<Plan>,
        arrival: &Arrival<'_>,
        screening: &mut Screening,
        chance: &mut Chance,
    ) -> Result<Decision, Reason> {
        let decided =
            ORDER.iter().try_fold(self, |matched, policy| matched.enforce(*policy, plan, arrival, screening, chance));
        // An order without the last policy has nothing that leads to an origin.
        decided.break_value().unwrap_or(Err(Reason::RefNotResolved))
    }

    /// What a policy decides; it continues with the match where the next one is asked.
    fn enforce(
        self,
        policy: Policy,
        plan: &Arc<Plan>,
        arrival: &Arrival<'_>,
        screening: &mut Screening,
        chance: &mut Chance,
    ) -> ControlFlow<Result<Decision, Reason>, Self> {
        match policy {
            Policy::RateLimit => {
                let governing = || plan.governing(arrival.frontend, arrival.facts.request.host, &self);
                match screening.screen(governing, &arrival.facts, arrival.limits, arrival.now) {
                    Screened::Passed => ControlFlow::Continue(self),
                    Screened::Refused(limited) => ControlFlow::Break(Ok(Decision::Limited(Box::new(limited)))),
                    Screened::Asks => ControlFlow::Break(Ok(Decision::Ask)),
                }
            }
            Policy::WaitingRoom => {
                let Request { host, path, .. } = arrival.facts.request;
                let Some(room) = plan.room_of(host, path, &self).filter(|_| screening.visit.is_none()) else {
                    return ControlFlow::Continue(self);
                };
                match room.enter(&arrival.facts, arrival.limits, arrival.now, chance) {
                    Outcome::Ungoverned => ControlFlow::Continue(self),
                    Outcome::Passes(visit) => {
                        screening.visit = Some(visit);
                        ControlFlow::Continue(self)
                    }
                    Outcome::Waits(waits) => ControlFlow::Break(Ok(Decision::Waits(waits))),
                }
            }
            Policy::OriginPool => ControlFlow::Break(self.act(plan, arrival, chance)),
        }
    }

    pub(crate) fn act(self, plan: &Arc<Plan>, arrival: &Arrival<'_>, chance: &mut Chance) -> Result<Decision, Reason> {
        match &self.rule().action {
            Action::Redirect(redirect) => {
                let location = redirect.location(&arrival.place(), self.prefix_length());
                Ok(Decision::Redirect { status: redirect.status(), location })
            }
            Action::Split(split) => {
                let backend = split.choose(chance).ok_or(Reason::RefNotResolved)?;
                let key = split.backends[backend].pool.as_ref().ok_or(Reason::RefNotResolved)?;
                let pool = plan.pool(key).ok_or(Reason::RefNotResolved)?.clone();
                let exchange = Exchange::new(plan.clone(), self, backend, pool, arrival.replay);
                Ok(Decision::Forward(Box::new(exchange)))
            }
        }
    }
}
