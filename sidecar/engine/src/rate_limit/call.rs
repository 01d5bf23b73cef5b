//! A limit that the application asks by name.

use std::sync::Arc;

use super::book::Limits;
use super::key::KeyText;
use super::limit::RateLimit;
use super::quota::Quota;
use super::store::{StoreError, Take, Taken};
use super::terms::{Charge, Figures, Verdict, Why};
use crate::time::EpochMillis;

/// A question of the application.
#[derive(Debug)]
pub struct Call {
    limit: Arc<RateLimit>,
    charge: Charge,
    take: Take,
    asked: EpochMillis,
}

/// What comes of a question of the application.
#[derive(Debug)]
pub enum Called {
    /// An answer.
    Told(Told),
    /// A question to the store.
    Asks(Call),
}

/// What the application is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Why it should refuse; absent: it may go on.
    pub refused: Option<Why>,
    /// The limit that applies.
    pub limit: u32,
    /// Its period, in milliseconds.
    pub period: u32,
    /// What is left, and when there is more.
    pub figures: Figures,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.limit.set.asked(self.take.hash, self.charge);
    }
}

impl Call {
    /// Asks a limit for so many requests of a key, whose parts are texts of the application.
    pub fn begin(limit: &Arc<RateLimit>, key: &[&str], cost: u32, limits: &Limits, now: EpochMillis) -> Called {
        let mut text = KeyText::default();
        for part in key {
            text.text(part.as_bytes());
        }
        let charge = Charge::of(cost);
        let (terms, time) = limit.terms(0, limits, now);
        match limit.set.decide(limit.set.hash(&text), &terms, charge, time) {
            Verdict::Ask(take) => Called::Asks(Self { limit: Arc::clone(limit), charge, take, asked: now }),
            verdict => Called::Told(told(limit, &verdict, now)),
        }
    }

    /// What the store is asked.
    pub fn question(&self) -> &Take {
        &self.take
    }

    /// What its answer makes of the call.
    pub fn answered(self, answer: &Result<Taken, StoreError>, limits: &Limits, now: EpochMillis) -> Told {
        let (terms, time) = self.limit.terms(0, limits, now);
        let verdict = if let Ok(taken) = answer {
            limits.heard(self.asked, taken.now);
            self.limit.set.answered(&self.take, taken, &terms, self.charge, time)
        } else {
            let apart = self.limit.terms_apart(0, limits);
            self.limit.set.decide(self.take.hash, &apart, self.charge, time)
        };
        told(&self.limit, &verdict, now)
    }
}

fn told(limit: &RateLimit, verdict: &Verdict, now: EpochMillis) -> Told {
    let (refused, figures) = match verdict {
        Verdict::Pass(figures) => (None, *figures),
        Verdict::Refuse(why, figures) => (Some(*why), *figures),
        Verdict::Ask(_) => (None, Figures { remaining: 0, reset_after: 0 }),
    };
    limit.state.tally.count(refused, now);
    // A limit that only watches tells the application to go on.
    let refused = refused.filter(|_| limit.enforces());
    let Quota { limit, period, .. } = limit.quota(0);
    Told { refused, limit, period, figures }
}
