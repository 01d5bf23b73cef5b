//! Which replica of the operator the proxy takes configuration from, and whether a batch of it may be applied.
//!
//! A pure state machine: it is told what was heard and when, and says whom to follow. Its rules:
//!
//! - Configuration comes from the leader alone. The leader is the replica that claims to lead in the highest term
//!   that is heard; a claim of a lower term is one of the past, and is ignored.
//! - A term counts until every replica that spoke of it said goodbye or was silent for one lease. It outlives a
//!   broken connection, so that an old leader that thaws meanwhile is not believed.
//! - While there is no leader the proxy keeps what it has. One that has nothing takes one batch from any replica that
//!   is synced, once it has heard every replica that it knows of, or after a short while.
//! - Each change of mind has a number of its own, and a batch counts only as an answer to the newest. So nothing that
//!   a replica prepared earlier is applied, also where the proxy went from it to another and came back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a term counts after it was heard last: the lease of the leader.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How long a proxy that has nothing waits for a leader to be heard, from the first replica that it hears.
pub(crate) const HEARING: Duration = Duration::from_secs(1);

/// What a replica says it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    /// The term as the replica saw it last.
    pub(crate) term: u64,
    /// Whether it leads in that term.
    pub(crate) leads: bool,
    /// Whether it has seen everything.
    pub(crate) synced: bool,
}

/// A decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Followed<R> {
    pub(crate) replica: R,
    /// The term of the leader, or nothing where the replica does not lead.
    pub(crate) term: Option<u64>,
    /// Never 0, and higher than that of each decision before.
    pub(crate) number: u64,
}

/// The claim of a replica, and when the replica was heard last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    claim: Claim,
    at: Instant,
}

/// The replicas that a proxy hears, and its decision between them.
#[derive(Debug)]
pub(crate) struct Allegiance<R> {
    /// Those that are known, connected or not.
    replicas: BTreeMap<R, Option<Heard>>,
    /// When each replica was heard last in a term. The highest term is the last key.
    terms: BTreeMap<(u64, R), Instant>,
    /// When the first replica was heard.
    first_heard: Option<Instant>,
    has_something: bool,
    followed: Option<Followed<R>>,
    decisions: u64,
}

impl<R: Copy + Ord> Allegiance<R> {
    /// Nobody is known yet. `has_something`: whether the proxy has a plan already.
    pub(crate) fn new(has_something: bool) -> Self {
        Self {
            replicas: BTreeMap::new(),
            terms: BTreeMap::new(),
            first_heard: None,
            has_something,
            followed: None,
            decisions: 0,
        }
    }

    /// A replica is there to be heard.
    pub(crate) fn known(&mut self, replica: R) {
        self.replicas.entry(replica).or_insert(None);
    }

    /// A replica is nothing that could be heard any more.
    pub(crate) fn gone(&mut self, replica: R) {
        self.replicas.remove(&replica);
    }

    /// A connected replica says what it is.
    pub(crate) fn claims(&mut self, replica: R, claim: Claim, now: Instant) {
        self.first_heard.get_or_insert(now);
        self.replicas.insert(replica, Some(Heard { claim, at: now }));
        self.terms.insert((claim.term, replica), now);
    }

    /// A connected replica says anything else.
    pub(crate) fn heard(&mut self, replica: R, now: Instant) {
        self.forget_the_silent(now);
        if let Some(Some(heard)) = self.replicas.get_mut(&replica) {
            heard.at = now;
            self.terms.insert((heard.claim.term, replica), now);
        }
    }

    /// A replica is about to stop.
    pub(crate) fn said_goodbye(&mut self, replica: R) {
        self.terms.retain(|(_, speaker), _| *speaker != replica);
        self.disconnected(replica);
    }

    /// The connection to a replica is over. What it said of the term still counts.
    pub(crate) fn disconnected(&mut self, replica: R) {
        if let Some(heard) = self.replicas.get_mut(&replica) {
            *heard = None;
        }
        self.followed.take_if(|followed| followed.replica == replica);
    }

    /// Whom to follow now, or nobody: then the proxy keeps what it has.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Followed<R>> {
        self.forget_the_silent(now);
        let choice = self.leader().or_else(|| self.stand_in(now));
        let current = self.followed.map(|followed| (followed.replica, followed.term));
        if choice != current {
            self.followed = choice.map(|(replica, term)| {
                self.decisions += 1;
                Followed { replica, term, number: self.decisions }
            });
        }
        self.followed
    }

    /// Whether a batch of a replica, sent as an answer to a decision, is to be applied. Where it is, the proxy has
    /// something from then on.
    pub(crate) fn takes(&mut self, replica: R, number: u64, now: Instant) -> bool {
        self.heard(replica, now);
        let takes = self.look(now).is_some_and(|followed| followed.replica == replica && followed.number == number);
        self.has_something |= takes;
        takes
    }

    /// When to look again although nothing may be heard.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let silent = self.terms.values().map(|heard| *heard + LEASE);
        let waited = self.first_heard.filter(|_| !self.has_something).map(|first| first + HEARING);
        silent.chain(waited).filter(|time| *time > now).min()
    }

    /// The replica that leads in the highest term. Of several that claim it the one that is followed stays.
    fn leader(&self) -> Option<(R, Option<u64>)> {
        let highest = self.highest_term()?;
        let leads = |claim: &Claim| claim.leads && claim.term == highest;
        self.choose(leads, |_| ()).map(|replica| (replica, Some(highest)))
    }

    /// The replica that a proxy with nothing may take a batch from.
    fn stand_in(&self, now: Instant) -> Option<(R, Option<u64>)> {
        if self.has_something {
            return None;
        }
        let all_heard = self.replicas.values().all(Option::is_some);
        let waited = self.first_heard.is_some_and(|first| now >= first + HEARING);
        if !all_heard && !waited {
            return None;
        }
        // Who claims to lead here does so in a term of the past.
        self.choose(|claim| claim.synced && !claim.leads, |claim| claim.term).map(|replica| (replica, None))
    }

    /// A replica whose claim is eligible: the one that is followed, else one of the highest rank, the first of them.
    fn choose<K: Ord>(&self, eligible: impl Fn(&Claim) -> bool, rank: impl Fn(&Claim) -> K) -> Option<R> {
        let claim_of = |replica: &R| self.replicas.get(replica).copied().flatten().map(|heard| heard.claim);
        if let Some(followed) = self.followed
            && claim_of(&followed.replica).is_some_and(|claim| eligible(&claim))
        {
            return Some(followed.replica);
        }
        let candidates = self.replicas.keys().filter_map(|replica| Some((*replica, claim_of(replica)?)));
        // Of equals `max_by_key` takes the last.
        candidates
            .filter(|(_, claim)| eligible(claim))
            .rev()
            .max_by_key(|(_, claim)| rank(claim))
            .map(|(replica, _)| replica)
    }

    fn highest_term(&self) -> Option<u64> {
        self.terms.keys().next_back().map(|(term, _)| *term)
    }

    fn forget_the_silent(&mut self, now: Instant) {
        let silent = |at: Instant| now >= at + LEASE;
        self.terms.retain(|_, heard| !silent(*heard));
        for heard in self.replicas.values_mut() {
            heard.take_if(|heard| silent(heard.at));
        }
    }
}
