//! One request on its way through the limits that govern it, and its answer on the way back.
//!
//! The adapter keeps a screening beside the request. Where a limit has to ask the store, deciding stops with the
//! question; the adapter asks, hands the answer in and decides again, and the screening goes on where it stopped.
//! Dropping it, in whichever way the request ends, gives back what the request holds.

use std::sync::Arc;

use headgate_snapshot::Key;
use http::HeaderName;
use smallvec::SmallVec;

use super::book::Limits;
use super::fields::{Fields, Item};
use super::governs::Governing;
use super::in_flight::InFlight;
use super::key::KeyHash;
use super::limit::{Action, LimitAnswer, RateLimit};
use super::store::{StoreError, Take, Taken};
use super::terms::{Charge, Figures, Verdict, Why};
use crate::facts::Facts;
use crate::headers::Headers;
use crate::reason::Reason;
use crate::time::EpochMillis;
use crate::waiting_room::Visit;

/// Told to a client that has too many requests in flight: nobody knows when one of them ends.
const TRY_AGAIN_MS: u64 = 1_000;

/// What the limits have made of a request so far.
#[derive(Debug, Default)]
pub struct Screening {
    /// The limits that govern the request, found once.
    governing: Option<Governing>,
    next: usize,
    question: Option<Question>,
    met: SmallVec<[Met; 2]>,
    /// What the room has made of the request, which comes after the limits.
    pub visit: Option<Visit>,
}

/// A limit that a request has met and that let it pass.
#[derive(Debug)]
struct Met {
    limit: Arc<RateLimit>,
    hash: KeyHash,
    variant: u8,
    figures: Figures,
    /// Why it would have been refused, by a limit that refuses nothing.
    beyond: Option<Why>,
    _in_flight: Option<InFlight>,
}

/// What a limit asks the store.
#[derive(Debug)]
struct Question {
    limit: Arc<RateLimit>,
    take: Take,
    variant: u8,
    charge: Charge,
    asked: EpochMillis,
    in_flight: Option<InFlight>,
    answer: Option<Result<Taken, StoreError>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.limit.set.asked(self.take.hash, self.charge);
    }
}

/// A request that a limit refuses.
#[derive(Clone, Debug)]
pub struct Limited {
    limit: Arc<RateLimit>,
    variant: u8,
    /// Why.
    pub why: Why,
    /// What the client may know.
    pub figures: Figures,
}

impl Limited {
    /// The limit.
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// The word of the answer.
    pub fn reason(&self) -> Reason {
        match self.why {
            Why::OverLimit | Why::Blocked | Why::TooManyAtOnce => Reason::RateLimited,
            Why::StoreUnavailable => Reason::StoreUnavailable,
        }
    }

    /// What the limit answers in place of what every error has. A store that is away is no fault of the client.
    pub fn answer(&self) -> Option<&LimitAnswer> {
        match (self.limit.action(), self.why) {
            (_, Why::StoreUnavailable) | (Action::Audit | Action::Mark(..), _) => None,
            (Action::Enforce(answer), _) => answer.as_ref(),
        }
    }

    /// The first whole second after which one more request would pass, if none did before.
    pub fn retry_after(&self) -> u64 {
        self.figures.reset_after.div_ceil(1_000).max(1)
    }
}

/// How far the limits have come with a request.
#[derive(Debug)]
#[must_use]
pub(crate) enum Screened {
    /// All of them let it pass.
    Passed,
    /// One refuses it.
    Refused(Limited),
    /// One has a question.
    Asks,
}

impl Screening {
    /// What the store is asked, while a decision waits for it.
    pub fn question(&self) -> Option<&Take> {
        self.question.as_ref().map(|question| &question.take)
    }

    /// Hands in the store's answer.
    pub fn answer(&mut self, answer: Result<Taken, StoreError>) {
        if let Some(question) = &mut self.question {
            question.answer = Some(answer);
        }
    }

    /// Asks each limit in turn, from where it stopped.
    pub(crate) fn screen(
        &mut self,
        find: impl FnOnce() -> Governing,
        facts: &Facts<'_>,
        limits: &Limits,
        now: EpochMillis,
    ) -> Screened {
        let governing = self.governing.take().unwrap_or_else(find);
        let screened = self.go_on(&governing, facts, limits, now);
        self.governing = Some(governing);
        screened
    }

    fn go_on(&mut self, governing: &Governing, facts: &Facts<'_>, limits: &Limits, now: EpochMillis) -> Screened {
        if let Some(mut question) = self.question.take() {
            let Some(answer) = question.answer.take() else {
                self.question = Some(question);
                return Screened::Asks;
            };
            let verdict = question.resolve(&answer, limits, now);
            let (limit, in_flight) = (Arc::clone(&question.limit), question.in_flight.take());
            let (hash, variant) = (question.take.hash, question.variant);
            drop(question);
            if let Some(refusal) = self.settle(limit, hash, variant, &verdict, in_flight, now) {
                return Screened::Refused(refusal);
            }
        }
        while let Some(limit) = governing.get(self.next) {
            if !limit.applies(facts) {
                self.next += 1;
                continue;
            }
            let (hash, variant, charge) = (limit.hash(facts), limit.variant(facts), limit.charge());
            let most = limit.most_in_flight(limits);
            let in_flight = most.map(|most| limit.state.in_flight.enter(hash, most));
            let (terms, time) = limit.terms(variant, limits, now);
            let verdict = match &in_flight {
                Some(None) => Verdict::Refuse(Why::TooManyAtOnce, Figures { remaining: 0, reset_after: TRY_AGAIN_MS }),
                Some(Some(_)) | None => limit.set.decide(hash, &terms, charge, time),
            };
            let in_flight = in_flight.flatten();
            if let Verdict::Ask(take) = verdict {
                let limit = Arc::clone(limit);
                self.question = Some(Question { limit, take, variant, charge, asked: now, in_flight, answer: None });
                return Screened::Asks;
            }
            if let Some(refusal) = self.settle(Arc::clone(limit), hash, variant, &verdict, in_flight, now) {
                return Screened::Refused(refusal);
            }
        }
        Screened::Passed
    }

    /// Writes a verdict down, and gives a refusal back where the limit enforces it.
    fn settle(
        &mut self,
        limit: Arc<RateLimit>,
        hash: KeyHash,
        variant: u8,
        verdict: &Verdict,
        in_flight: Option<InFlight>,
        now: EpochMillis,
    ) -> Option<Limited> {
        let (beyond, figures) = match verdict {
            Verdict::Pass(figures) => (None, *figures),
            Verdict::Refuse(why, figures) => (Some(*why), *figures),
            // Whoever decides after an answer has no more questions.
            Verdict::Ask(_) => (None, Figures { remaining: 0, reset_after: 0 }),
        };
        limit.state.tally.count(beyond, now);
        self.next += 1;
        match (beyond, limit.action()) {
            (Some(why), Action::Enforce(_)) => Some(Limited { limit, variant, why, figures }),
            (None, _) | (Some(_), Action::Audit | Action::Mark(..)) => {
                self.met.push(Met { limit, hash, variant, figures, beyond, _in_flight: in_flight });
                None
            }
        }
    }

    /// Changes the headers that the origin gets: marks of limits that were crossed, and no such mark of the client.
    pub fn change_request(&self, headers: &mut impl Headers) {
        for name in self.governing.iter().flatten().filter_map(|limit| limit.mark_header()) {
            if headers.map().contains_key(name) {
                headers.remove(name);
            }
        }
        for Met { limit, beyond, .. } in &self.met {
            if let (Action::Mark(name, value), Some(_)) = (limit.action(), beyond) {
                headers.set(name, value.clone());
            }
        }
    }

    /// Counts what hangs on the answer of the origin.
    pub fn count(&self, facts: &Facts<'_>, limits: &Limits, now: EpochMillis) {
        for Met { limit, hash, variant, .. } in &self.met {
            if let Some(cost) = limit.cost(facts) {
                let (terms, time) = limit.terms(*variant, limits, now);
                limit.set.charge_later(*hash, cost, &terms, time);
            }
        }
    }

    /// Whether some limit counts by the answer.
    pub fn waits_for_answer(&self) -> bool {
        self.met.iter().any(|met| met.limit.counts_answers())
    }

    /// The first limit that was crossed of those that refuse nothing, and how.
    pub fn crossed(&self) -> Option<(&Key, Why)> {
        self.met.iter().find_map(|met| Some((met.limit.key(), met.beyond?)))
    }

    /// Headers of an answer that are for us alone, whether the request counts or not.
    pub fn consumed(&self) -> impl Iterator<Item = &HeaderName> {
        self.governing.iter().flatten().filter_map(|limit| limit.cost_header())
    }

    /// Whether an answer has to be looked at.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// What the client is told of its limits: those it has met, and the one that refuses it.
    pub fn fields(&self, refusal: Option<&Limited>) -> Option<Fields> {
        let met = self.met.iter().filter(|met| met.limit.enforces());
        let met = met.map(|Met { limit, variant, figures, .. }| Item::new(limit, *variant, *figures));
        let refused = refusal.map(|Limited { limit, variant, why: _, figures }| Item::new(limit, *variant, *figures));
        Fields::write(met.chain(refused))
    }
}

impl Question {
    /// What the answer makes of the request. Without one, what holds while the store is away does.
    fn resolve(&self, answer: &Result<Taken, StoreError>, limits: &Limits, now: EpochMillis) -> Verdict {
        if let Ok(taken) = answer {
            limits.heard(self.asked, taken.now);
            let (terms, time) = self.limit.terms(self.variant, limits, now);
            self.limit.set.answered(&self.take, taken, &terms, self.charge, time)
        } else {
            let terms = self.limit.terms_apart(self.variant, limits);
            self.limit.set.decide(self.take.hash, &terms, self.charge, limits.shared_time(now))
        }
    }
}
