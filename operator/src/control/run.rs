//! The loop: takes news in, publishes, observes, keeps claims, and says when this replica is synced.
//!
//! The first change of a quiet time is published at once; later ones wait until [`PACE`] has passed since the last
//! publication. Translation runs beside the runtime's threads, so that a large world delays no stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_translate::{Kind, ObjectRef};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use super::{Control, Step};
use crate::claims::{self, Shard, Write};
use crate::clock;
use crate::events::{self, Happening};
use crate::hub::{Hub, PACE};
use crate::leadership::{Leadership, Pen};
use crate::metrics::Metrics;
use crate::status::Change;
use crate::watch::{News, Watches};
use crate::write::{Desk, MANAGER};

/// Between two looks at what the proxies report.
const OBSERVATION_PAUSE: Duration = Duration::from_millis(50);

/// Also without a report: time alone makes a proxy silent, or lost.
const OBSERVATION_PERIOD: Duration = Duration::from_secs(1);

/// Until a world that is not known well enough is looked at again.
const SETTLING_PAUSE: Duration = Duration::from_millis(250);

/// Until claims that could not be kept are tried again; each further time it is twice as long.
const LEAST_CLAIM_PAUSE: Duration = Duration::from_millis(500);

/// The longest of these pauses.
const LONGEST_CLAIM_PAUSE: Duration = Duration::from_secs(30);

/// News taken in between two looks at what is due.
const TAKEN_AT_ONCE: usize = 1024;

/// What the loop joins.
pub struct Parts {
    /// The control plane.
    pub control: Arc<Control>,
    /// Where it publishes.
    pub hub: Arc<Hub>,
    /// The sources.
    pub watches: Watches,
    /// What they tell.
    pub news: mpsc::Receiver<News>,
    /// Term and deadline by the election; `synced` is set here.
    pub leadership: watch::Sender<Leadership>,
    /// The right to write.
    pub pen: Pen,
    /// Who writes statuses.
    pub desk: Arc<Desk>,
    /// Who tells events.
    pub happenings: mpsc::Sender<(ObjectRef, Happening)>,
    /// For claims.
    pub client: Client,
    /// The operator's namespace.
    pub namespace: String,
    /// Counters.
    pub metrics: Metrics,
}

/// What is due, and what is under way.
struct Loop {
    parts: Parts,
    claims: Api<ConfigMap>,
    /// When to publish next, absent: nothing changed.
    due: Option<Instant>,
    published: Option<Instant>,
    /// The first change that is not published.
    changed: Option<Instant>,
    observe: Instant,
    /// The term of this replica.
    term: Option<Term>,
    /// The last translation waits for Secrets and ConfigMaps.
    waits: bool,
    claiming: JoinSet<(String, anyhow::Result<Shard>)>,
    claim_after: Option<Instant>,
    /// How often in a row claims could not be kept.
    claim_failures: u32,
}

/// The pause after so many failures in a row.
fn claim_pause(failures: u32) -> Duration {
    let doubled = LEAST_CLAIM_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_CLAIM_PAUSE)
}

/// A term of this replica, as the loop knows it.
#[derive(Debug)]
struct Term {
    number: u64,
    /// When it was noticed.
    began: Instant,
    synced: bool,
}

impl Term {
    fn new(number: u64, began: Instant) -> Self {
        Self { number, began, synced: false }
    }

    /// Whether everything was seen since the term began. Once it was, no later trouble of a source takes that back:
    /// what cannot be read then stays as it is, and the rest must go on.
    fn is_synced(&mut self, is_fresh: impl FnOnce(Instant) -> bool) -> bool {
        self.synced = self.synced || is_fresh(self.began);
        self.synced
    }
}

/// Runs for ever.
pub async fn run(parts: Parts) {
    let now = clock::instant();
    let claims = Api::namespaced(parts.client.clone(), &parts.namespace);
    let mut reports = parts.hub.reports();
    let mut leadership = parts.leadership.subscribe();
    let mut state = Loop {
        parts,
        claims,
        due: Some(now),
        published: None,
        changed: None,
        observe: now + OBSERVATION_PERIOD,
        term: None,
        waits: false,
        claiming: JoinSet::new(),
        claim_after: None,
        claim_failures: 0,
    };
    loop {
        let next = [state.due, state.claim_after].into_iter().flatten().fold(state.observe, Instant::min);
        tokio::select! {
            news = state.parts.news.recv() => match news {
                Some(news) => state.take(news),
                None => return,
            },
            _ = reports.changed() => {
                let soon = clock::instant() + OBSERVATION_PAUSE;
                state.observe = state.observe.min(soon);
            }
            _ = leadership.changed() => state.follow_term(),
            Some(done) = state.claiming.join_next() => state.claimed(done),
            () = sleep_until(next.into()) => {}
        }
        state.act().await;
    }
}

impl Loop {
    fn take(&mut self, first: News) {
        let now = clock::instant();
        let mut news = Some(first);
        for _ in 0..TAKEN_AT_ONCE {
            let Some(told) = news.take().or_else(|| self.parts.news.try_recv().ok()) else { break };
            let taken = self.parts.control.take(told, now);
            if taken.world {
                self.changed.get_or_insert(now);
                self.plan_publication(now);
            }
            if let Some(object) = taken.status {
                self.parts.desk.ask([object]);
            }
        }
        self.parts.metrics.queue.set(i64::try_from(self.parts.watches.waiting()).unwrap_or(i64::MAX));
    }

    fn plan_publication(&mut self, now: Instant) {
        let at = self.published.map_or(now, |published| now.max(published + PACE));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    async fn act(&mut self) {
        let now = clock::instant();
        if self.due.is_some_and(|due| due <= now) {
            self.publish().await;
        }
        if self.claim_after.is_some_and(|after| after <= now) {
            self.claim_after = None;
            self.plan_publication(now);
        }
        self.judge_sync().await;
        if self.observe <= clock::instant() {
            self.observe().await;
        }
    }

    async fn publish(&mut self) {
        let started = clock::instant();
        self.due = None;
        let control = Arc::clone(&self.parts.control);
        let step = tokio::task::spawn_blocking(move || control.publish(clock::instant(), clock::timestamp())).await;
        let now = clock::instant();
        let step = match step {
            Ok(Some(step)) => step,
            Ok(None) => {
                self.due = Some(now + SETTLING_PAUSE);
                return;
            }
            Err(failure) => {
                error!(%failure, "a translation failed; what is published stays");
                return;
            }
        };
        let Step { publication, references, claims } = step;
        self.parts.watches.refer(&references);
        self.parts.metrics.reconciles.inc();
        self.parts.metrics.reconcile_seconds.observe(now.saturating_duration_since(started).as_secs_f64());
        self.waits = publication.is_none();
        if self.waits {
            self.due = Some(now + SETTLING_PAUSE);
            return;
        }
        if self.published.is_none() {
            info!("published for the first time");
        }
        self.published = Some(now);
        if let Some(changed) = self.changed.take() {
            self.parts.metrics.publish_seconds.observe(now.saturating_duration_since(changed).as_secs_f64());
        }
        self.keep_claims(claims, now);
        self.observe = self.observe.min(now);
    }

    /// Writes claims, if this replica leads. While some are under way nothing else is written: their end leads to the
    /// next publication, which says what is still to write.
    fn keep_claims(&mut self, writes: Vec<Write>, now: Instant) {
        if !self.parts.leadership.borrow().leads(now) || !self.claiming.is_empty() || self.claim_after.is_some() {
            return;
        }
        for write in writes {
            let (api, pen) = (self.claims.clone(), self.parts.pen.clone());
            self.claiming.spawn(async move {
                let written = claims::store::write(&api, &write, MANAGER, &pen).await;
                (write.name, written)
            });
        }
    }

    fn claimed(&mut self, done: Result<(String, anyhow::Result<Shard>), tokio::task::JoinError>) {
        let now = clock::instant();
        let result = match done {
            Ok((name, Ok(shard))) => {
                if self.parts.control.claimed(name, shard) {
                    self.changed.get_or_insert(now);
                }
                "written"
            }
            Ok((name, Err(error))) => {
                if self.claim_failures == 0 {
                    warn!(config_map = name, %error, "cannot keep host claims; new hosts wait for it; tries again");
                }
                self.fail_to_claim(now);
                "error"
            }
            Err(_) => {
                self.fail_to_claim(now);
                "error"
            }
        };
        self.parts.metrics.claim_writes.with_label_values(&[result]).inc();
        if self.claiming.is_empty() && self.claim_after.is_none() {
            self.claim_failures = 0;
            self.plan_publication(now);
        }
    }

    /// Several of one round count once.
    fn fail_to_claim(&mut self, now: Instant) {
        if self.claim_after.is_none() {
            self.claim_failures = self.claim_failures.saturating_add(1);
            self.claim_after = Some(now + claim_pause(self.claim_failures));
        }
    }

    /// A term of this replica begins or ends.
    fn follow_term(&mut self) {
        let now = clock::instant();
        let Leadership { term, until, synced: _ } = *self.parts.leadership.borrow();
        let leads = until.is_some_and(|until| now < until);
        match (leads, &self.term) {
            (true, Some(known)) if known.number == term => {}
            (true, _) => {
                self.term = Some(Term::new(term, now));
                self.parts.watches.resync();
            }
            (false, _) => self.term = None,
        }
        self.parts.metrics.leader.set(i64::from(leads));
    }

    /// A replica is synced once it has published everything; a leader, everything since its term began. What the leader
    /// before wrote is read from what is stored before anything is written.
    async fn judge_sync(&mut self) {
        let now = clock::instant();
        if self.due.is_some_and(|due| due <= now) {
            return;
        }
        let (control, waits) = (&self.parts.control, self.waits);
        let is_synced = match &mut self.term {
            Some(term) => term.is_synced(|began| !waits && control.is_fresh(began, now)),
            None => control.is_published(),
        };
        let term = self.term.as_ref().map(|term| term.number);
        let begins = is_synced && term.is_some() && !self.parts.leadership.borrow().synced;
        let changes = if begins { self.look(true).await } else { Vec::new() };
        let is_changed = self.parts.leadership.send_if_modified(|known| {
            // The election may have begun a term that this loop has not noticed yet.
            let is_behind = known.until.is_some() && term != Some(known.term);
            let is_changed = !is_behind && known.synced != is_synced;
            known.synced = if is_changed { is_synced } else { known.synced };
            is_changed
        });
        if begins && is_changed {
            info!(term, "has seen everything and leads");
            // Nothing of an Ingress is stored, so a new leader does not know what was told of those that it finds.
            self.tell(changes.iter().filter(|change| change.before.is_some() || !is_untold(change.object.kind)));
            self.parts.desk.ask(self.parts.control.objects());
            self.plan_publication(now);
        }
    }

    async fn observe(&mut self) {
        let changes = self.look(false).await;
        let now = clock::instant();
        self.observe = now + OBSERVATION_PERIOD;
        if self.parts.control.is_behind(now) {
            self.plan_publication(now);
        }
        if self.parts.leadership.borrow().leads(clock::instant()) {
            self.tell(&changes);
            self.parts.desk.ask(changes.into_iter().map(|change| change.object));
        }
    }

    /// Brings the book of statuses up to date, beginning it anew where a term begins.
    async fn look(&self, begins: bool) -> Vec<Change> {
        let control = Arc::clone(&self.parts.control);
        let looked = tokio::task::spawn_blocking(move || {
            if begins { control.begin_statuses(clock::timestamp()) } else { control.observe(clock::timestamp()) }
        });
        // A panic in there is told by the runtime; the next look tries again.
        looked.await.unwrap_or_default()
    }

    fn tell<'c>(&self, changes: impl IntoIterator<Item = &'c Change>) {
        for Change { object, before } in changes {
            let Some(after) = self.parts.control.status(object) else { continue };
            for happening in events::of(before.as_ref(), &after) {
                self.parts.metrics.events.with_label_values(&[happening.reason.as_str()]).inc();
                // Events are a courtesy: where too many wait, some are not told.
                let _ = self.parts.happenings.try_send((object.clone(), happening));
            }
        }
    }
}

/// Whether the API server keeps no conditions of a kind.
fn is_untold(kind: Kind) -> bool {
    matches!(kind, Kind::Ingress | Kind::IngressClass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_cannot_be_kept_are_tried_again_ever_later() {
        let pauses = [1, 2, 3, 6, 7, 8, u32::MAX].map(|failures| claim_pause(failures).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_term_that_was_synced_once_stays_so() {
        let began = clock::instant();
        let mut term = Term::new(1, began);
        assert!(!term.is_synced(|_| false));
        assert!(term.is_synced(|since| since == began));
        assert!(term.is_synced(|_| false));
    }
}
