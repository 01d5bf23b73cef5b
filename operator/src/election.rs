//! Who leads: a Lease that one replica holds, and the rules by which it is taken, renewed and let go.
//!
//! ```text
//! read the lease -> Elector::decide(record, now) -> write it with its resourceVersion -> Elector::written(…)
//! ```
//!
//! Two replicas never lead at once, whatever their wall clocks say:
//!
//! - A write succeeds only against the version that was read, so one of two rivals gets a conflict.
//! - Whoever wants the lease of another waits until the record has not changed for [`STANDING`] by its own monotonic
//!   clock. The holder counts [`DEADLINE`], which is shorter, from before it sent its last successful renewal. So the
//!   holder has stopped before anyone may begin, also when it was frozen or its answers were lost.
//! - A lease that does not exist is never taken: it is founded, in the name of nobody, and taken like any other once it
//!   has stood for its time. So it does not matter who deleted it, when, and how often: whoever held the one before
//!   wrote to it before the new one was there.
//! - A process never continues what an earlier one of its name held: each has an identity of its own.
//!
//! What a replica tells others as the term is that of the present record, not the highest that it ever saw: after a
//! deletion, terms may begin anew, and whoever repeated an older and higher one would keep proxies from the new leader.
//!
//! [`Elector`] is pure; `lease.rs` reads and writes.

pub mod lease;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// By when another replica leads where the holder is gone; `leaseDurationSeconds` of the lease.
pub const LEASE: Duration = Duration::from_secs(10);

/// How long a record must stand unchanged before another replica takes the lease. What is left of [`LEASE`] is for
/// what comes before and after: a look at the last renewal, the write, a listing of everything.
pub const STANDING: Duration = Duration::from_millis(8_500);

/// How long a successful renewal lasts for its holder. What it sends until then has 2.5 s to arrive before another
/// replica may begin.
pub const DEADLINE: Duration = Duration::from_secs(6);

/// Between two renewals.
pub const RENEWAL: Duration = Duration::from_secs(2);

/// Between two looks at the lease of another: how late a renewal may be seen.
pub const LOOK: Duration = Duration::from_millis(500);

/// The holder of a lease that was just founded. No replica has this name.
pub const NOBODY: &str = "nobody-yet";

/// The lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`
    pub version: String,
    /// `spec.holderIdentity`, empty where it was let go.
    pub holder: String,
    /// `spec.leaseTransitions`
    pub transitions: u64,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: look again after a while.
    Look,
    /// The lease does not exist: create it in the name of [`NOBODY`].
    Found {
        /// The last term that was seen.
        term: u64,
    },
    /// The lease is free: write it in the name of this replica.
    Take {
        /// Version that the write replaces.
        over: String,
        /// The term that begins.
        term: u64,
    },
    /// The lease is this replica's: write it again.
    Renew {
        /// Version that the write replaces.
        over: String,
        /// The term that goes on.
        term: u64,
    },
}

/// A record, and since when it has been unchanged.
#[derive(Clone, Debug)]
struct Sight {
    record: Option<Record>,
    since: Instant,
    /// The last look that found it so.
    looked: Instant,
}

/// What one replica knows of the lease.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    sight: Option<Sight>,
    /// The highest term that was seen.
    term: u64,
    /// The term of this replica, and until when it may believe in it.
    held: Option<(u64, Instant)>,
}

impl Elector {
    /// A replica that has not looked yet. `identity` is unique to this process.
    pub fn new(identity: impl Into<String>) -> Self {
        Self { identity: identity.into(), sight: None, term: 0, held: None }
    }

    /// The name under which it holds the lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The term of the lease as it is now, 0 where there is none, or where it could not be read for one [`LEASE`]: who
    /// repeated an old term then would speak for a lease that may be another by now.
    pub fn term(&self, now: Instant) -> u64 {
        let sight = self.sight.as_ref().filter(|sight| now.saturating_duration_since(sight.looked) < LEASE);
        sight.and_then(|sight| sight.record.as_ref()).map_or(0, |record| record.transitions)
    }

    /// Until when this replica leads, absent where it does not.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.held.map(|(_, until)| until).filter(|until| now < *until)
    }

    /// How long to wait until the next turn. Whoever waits for the lease looks in the moment in which it may take it.
    pub fn pause(&self, now: Instant) -> Duration {
        if self.until(now).is_some() {
            return RENEWAL;
        }
        let rest = self.sight.as_ref().map(|sight| (sight.since + STANDING).saturating_duration_since(now));
        rest.filter(|rest| !rest.is_zero()).map_or(LOOK, |rest| rest.min(LOOK))
    }

    /// What to do about the lease as it was read. `now` is the time at which the answer had arrived.
    pub fn decide(&mut self, record: Option<&Record>, now: Instant) -> Action {
        self.term = self.term.max(record.map_or(0, |record| record.transitions));
        let since = match &self.sight {
            Some(sight) if sight.record.as_ref() == record => sight.since,
            _ => now,
        };
        self.sight = Some(Sight { record: record.cloned(), since, looked: now });
        let is_own = record.is_some_and(|record| record.holder == self.identity);
        // Another's, or gone: whatever this replica held was another lease.
        self.held.take_if(|_| !is_own);
        let has_stood = now.saturating_duration_since(since) >= STANDING;
        match record {
            Some(record) if is_own => {
                let term = record.transitions;
                match self.held {
                    // A deadline that has passed ends the term, although nobody took the lease.
                    Some((held, until)) if held == term && now < until => {
                        Action::Renew { over: record.version.clone(), term }
                    }
                    _ => self.take(record),
                }
            }
            Some(record) if record.holder.is_empty() || has_stood => self.take(record),
            Some(_) => Action::Look,
            None => Action::Found { term: self.term },
        }
    }

    fn take(&self, record: &Record) -> Action {
        Action::Take { over: record.version.clone(), term: self.term + 1 }
    }

    /// A write of this replica succeeded. `sent` is the time before it was sent, `version` what the lease is at now.
    pub fn written(&mut self, term: u64, version: String, sent: Instant, now: Instant) {
        self.term = self.term.max(term);
        self.held = Some((term, sent + DEADLINE));
        let record = Record { version, holder: self.identity.clone(), transitions: term };
        self.sight = Some(Sight { record: Some(record), since: now, looked: now });
    }

    /// Another replica was faster, or the lease is not as it was read: this replica leads no more.
    pub fn refused(&mut self) {
        self.held = None;
    }

    /// What to write to let the lease go: the version to replace and the term that ends. Leadership ends with it.
    pub fn release(&mut self) -> Option<(String, u64)> {
        let (term, _) = self.held.take()?;
        let record = self.sight.as_ref()?.record.as_ref().filter(|record| record.holder == self.identity)?;
        Some((record.version.clone(), term))
    }
}
