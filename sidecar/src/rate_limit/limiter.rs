//! The book of counters with the clock, the store and the breaker in front of it.
//!
//! A call to the store has 250 ms. Without a connection nothing waits, and nothing counts as tried but connecting. After
//! five failures in a row the store counts as lost: the book then decides without it. The heartbeat goes on once a second
//! and makes another connection, since a server that vanished without a word leaves one that only looks alive; the first
//! call that is answered ends it, and everything is told again. Behind another connection may be a store that started
//! anew, so that the first answer after it has everything told again, too.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use headgate_engine::{LimitStore as _, Limits, Member, Plan, Sharing, StoreError, TELL_AFTER_MS, Take, Taken};
use headgate_snapshot::{Fleet, LimitFigures, RoomFigures, Trouble};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::shared_store::SharedStore;
use crate::access_log::rfc3339;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::metrics::store::{Call, Outcome};
use crate::shared::CALL_LIMIT;

/// Failures in a row after which nobody waits for the store any more.
const MOST_FAILURES: u32 = 5;
/// How long a proxy counts as alive after its last heartbeat.
const LIVES_FOR: Duration = Duration::from_secs(5);
/// Keys that are told in one trip.
const MOST_TOLD: usize = 512;

/// What limits need of a process.
pub(crate) struct Limiter {
    clock: Clock,
    limits: Limits,
    store: Option<SharedStore>,
    /// The store's address, for people.
    place: String,
    /// The proxies that enforce the same limits.
    group: String,
    metrics: Arc<Metrics>,
    /// Told when the store is lost or found.
    changed: Arc<Notify>,
    breaker: Breaker,
}

#[derive(Debug, Default)]
struct Breaker {
    /// In a row.
    failures: AtomicU32,
    /// A connection broke: what was told before may be gone.
    may_have_forgotten: AtomicBool,
    last: Mutex<Option<StoreError>>,
}

impl Limiter {
    /// An empty book. `group`: the proxies that enforce the same limits.
    pub(crate) fn new(
        group: &str,
        store: Option<SharedStore>,
        place: String,
        clock: Clock,
        metrics: Arc<Metrics>,
        changed: Arc<Notify>,
    ) -> Self {
        let sharing = if store.is_some() { Sharing::Store } else { Sharing::Nothing };
        Self {
            clock,
            limits: Limits::new(rand::random(), rand::random(), sharing),
            store,
            place,
            group: group.to_owned(),
            metrics,
            changed,
            breaker: Breaker::default(),
        }
    }

    /// The counters.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is a store to share counters in.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.is_some()
    }

    /// Asks the store what a decision waits for.
    pub(crate) async fn ask(&self, take: &Take) -> Result<Taken, StoreError> {
        let Some(store) = &self.store else { return Err(nowhere()) };
        let taken = self.call(Call::Ask, store.take(std::slice::from_ref(take))).await?;
        taken.into_iter().next().ok_or_else(|| StoreError::Protocol("no answer to a question".to_owned()))
    }

    /// Tells the store what is due.
    pub(crate) async fn tell(&self) {
        let Some(store) = self.store.as_ref().filter(|store| store.is_connected()) else { return };
        loop {
            let asked = self.clock.epoch();
            let errands = self.limits.due(asked, MOST_TOLD);
            if errands.is_empty() {
                return;
            }
            let takes: Vec<Take> = errands.iter().map(|errand| errand.take().clone()).collect();
            let answers = self.call(Call::Tell, store.take(&takes)).await;
            self.limits.told(&errands, answers.as_deref().ok(), asked, self.clock.epoch());
            if answers.is_err() || errands.len() < MOST_TOLD {
                return;
            }
        }
    }

    /// Tells what the store does not know yet, since nobody will later.
    pub(crate) async fn finish(&self) {
        if self.is_shared() {
            sleep(Duration::from_millis(TELL_AFTER_MS)).await;
            self.tell().await;
        }
    }

    /// Says that this proxy lives, and hears how many do.
    pub(crate) async fn join(&self) {
        let Some(store) = &self.store else { return };
        if self.limits.lost_since().is_some() || !store.is_connected() {
            if let Err(error) = store.connect().await {
                self.metrics.store.count(Call::Join, Outcome::of(Some(&error)), Duration::ZERO);
                return self.failed(&error);
            }
            self.breaker.may_have_forgotten.store(true, Ordering::Relaxed);
        }
        let asked = self.clock.epoch();
        // The secret that holds now: a store that lost it is told the same again.
        let member = Member {
            group: self.group.clone(),
            proxy: self.limits.proxy(),
            secret: self.limits.secret(),
            lives_for: u64::try_from(LIVES_FOR.as_millis()).unwrap_or(u64::MAX),
        };
        if let Ok(joined) = self.call(Call::Join, store.join(&member)).await {
            self.limits.joined(&joined, asked);
        }
    }

    /// Waits until the connection to the store breaks.
    pub(crate) async fn is_cut_off(&self) {
        match &self.store {
            Some(store) => store.is_broken().await,
            None => std::future::pending().await,
        }
    }

    /// Forgets what is idle.
    pub(crate) fn sweep(&self) {
        self.limits.sweep(self.clock.epoch());
    }

    /// What the operator says of the proxies that live.
    pub(crate) fn set_fleet(&self, fleet: Fleet) {
        self.limits.set_fleet(fleet);
    }

    /// What became of the requests of the last minute.
    pub(crate) fn figures(&self, plan: &Plan) -> Vec<LimitFigures> {
        plan.limit_figures(&self.limits, self.clock.epoch())
    }

    /// How the rooms stand.
    pub(crate) fn room_figures(&self, plan: &Plan) -> Vec<RoomFigures> {
        plan.room_figures(&self.limits, self.clock.epoch())
    }

    /// What is wrong with sharing.
    pub(crate) fn trouble(&self, plan: &Plan) -> Option<Trouble> {
        if let Some(since) = self.limits.lost_since() {
            let since = rfc3339(Duration::from_millis(since.0));
            let why = self.breaker.last.lock().as_ref().map_or_else(String::new, |error| format!(": {error}"));
            let message = format!(
                "the shared store {} is away since {since}{why}; limits do what their onStoreFailure says",
                self.place
            );
            return Some(Trouble { reason: "StoreUnavailable".to_owned(), message });
        }
        let proxies = self.limits.proxies();
        let shares_nothing = !self.is_shared() && proxies > 1 && plan.limits().iter().any(|limit| limit.is_shared());
        shares_nothing.then(|| Trouble {
            reason: "NoSharedStore".to_owned(),
            message: format!(
                "{proxies} proxies count limits of scope Cluster, and this one has no shared store: it passes its \
                 share of them; give --state to all"
            ),
        })
    }

    async fn call<T>(&self, call: Call, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let tried = self.store.as_ref().is_some_and(SharedStore::is_connected);
        let began = self.clock.now();
        let outcome = timeout(CALL_LIMIT, answer).await.unwrap_or(Err(StoreError::TimedOut));
        let elapsed = self.clock.now().saturating_duration_since(began);
        self.metrics.store.count(call, Outcome::of(outcome.as_ref().err()), elapsed);
        match &outcome {
            Ok(_) => self.answered(),
            Err(error) if tried => self.failed(error),
            Err(_) => {}
        }
        outcome
    }

    fn answered(&self) {
        let failures = self.breaker.failures.swap(0, Ordering::Relaxed);
        let forgot = self.breaker.may_have_forgotten.swap(false, Ordering::Relaxed);
        let was_lost = failures >= MOST_FAILURES;
        if was_lost || forgot {
            self.limits.found(self.clock.epoch());
        }
        if was_lost {
            self.metrics.store.lost.set(0);
            tracing::info!(store = self.place, "the shared store answers again");
            self.changed.notify_one();
        }
    }

    fn failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Unavailable(_)) {
            self.breaker.may_have_forgotten.store(true, Ordering::Relaxed);
        }
        if self.breaker.failures.fetch_add(1, Ordering::Relaxed) + 1 == MOST_FAILURES {
            *self.breaker.last.lock() = Some(error.clone());
            self.limits.lost(self.clock.epoch());
            self.metrics.store.lost.set(1);
            tracing::warn!(store = self.place, %error, "the shared store is away; limits do what onStoreFailure says");
            self.changed.notify_one();
        }
    }
}

fn nowhere() -> StoreError {
    StoreError::Unavailable("there is none".to_owned())
}

#[cfg(test)]
mod tests {
    use headgate_engine::MemoryStore;

    use super::*;

    fn limiter(store: Option<SharedStore>) -> Limiter {
        let metrics = Arc::new(Metrics::new().unwrap());
        Limiter::new("test", store, "redis://store:6379".to_owned(), Clock::start(), metrics, Arc::default())
    }

    fn two() -> [Limiter; 2] {
        let clock = Clock::start();
        let store = Arc::new(MemoryStore::new(move || clock.epoch()));
        [(), ()].map(|()| limiter(Some(SharedStore::Memory(Arc::clone(&store)))))
    }

    #[tokio::test]
    async fn proxies_meet_in_the_store_and_count_under_one_secret() {
        let [one, other] = two();
        for limiter in [&one, &other, &one] {
            limiter.join().await;
        }
        assert_eq!((one.limits().proxies(), other.limits().proxies()), (2, 2));
        assert_eq!(one.limits().secret(), other.limits().secret());
        assert_ne!(one.limits().proxy(), other.limits().proxy());
    }

    #[tokio::test]
    async fn a_store_is_lost_after_five_failures_in_a_row_and_found_by_the_next_answer() {
        let [limiter, _] = two();
        let trouble = || limiter.trouble(&Plan::default()).map(|trouble| (trouble.reason, trouble.message));
        for _ in 0..3 {
            (1..MOST_FAILURES).for_each(|_| limiter.failed(&StoreError::TimedOut));
            assert_eq!(trouble(), None);
            limiter.join().await;
        }
        (0..MOST_FAILURES + 2).for_each(|_| limiter.failed(&StoreError::TimedOut));
        let (reason, message) = trouble().unwrap();
        assert_eq!(reason, "StoreUnavailable");
        assert!(message.contains("redis://store:6379") && message.contains("did not answer in time"), "{message}");
        limiter.join().await;
        assert_eq!(trouble(), None);
    }

    #[tokio::test]
    async fn without_a_store_nothing_is_asked_and_nothing_is_lost() {
        let limiter = limiter(None);
        limiter.join().await;
        limiter.tell().await;
        limiter.finish().await;
        assert_eq!((limiter.limits().proxies(), limiter.limits().lost_since()), (1, None));
    }
}
