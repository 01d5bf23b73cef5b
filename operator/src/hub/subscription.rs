//! One proxy's view of the hub: what it was sent, and the difference to what is published.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use headgate_snapshot::{Batch, Key, ResourceSet, diff};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::{Hub, PACE, Sent, State};

/// Batches for one proxy, in order, each the whole difference since the one before.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    proxy: String,
    connection: u64,
    published: watch::Receiver<u64>,
    /// What the proxy has once it has applied all that was sent; nothing before a complete batch.
    has: Option<Arc<ResourceSet>>,
    /// The holds that the proxy was told last.
    holds: Arc<BTreeSet<Key>>,
    /// The publication that was looked at last, sent or not.
    seen: u64,
    /// Ends when the next batch may go out.
    pace: Option<Pin<Box<Sleep>>>,
}

impl Subscription {
    pub(super) fn new(hub: Arc<Hub>, proxy: String, connection: u64, has: Option<ResourceSet>) -> Self {
        let published = hub.published.subscribe();
        Self { hub, proxy, connection, published, has: has.map(Arc::new), holds: Arc::default(), seen: 0, pace: None }
    }

    /// Waits for the next batch. Cancelling loses nothing.
    pub async fn next(&mut self) -> Batch {
        loop {
            if let Some(pace) = &mut self.pace {
                pace.await;
                self.pace = None;
            }
            self.published.mark_unchanged();
            if let Some(batch) = self.take() {
                self.pace = Some(Box::pin(sleep(PACE)));
                return batch;
            }
            // The hub lives as long as this subscription, so its sender cannot be gone.
            let _ = self.published.changed().await;
        }
    }

    /// What is pending now, without waiting and without pace.
    pub fn take(&mut self) -> Option<Batch> {
        let hub = Arc::clone(&self.hub);
        let mut state = hub.state.lock();
        if state.sequence == self.seen {
            return None;
        }
        let batch = self.pending(&state);
        self.has = Some(Arc::clone(&state.set));
        self.holds = Arc::clone(&state.holds);
        self.seen = state.sequence;
        let sequence = state.sequence;
        if let Some(proxy) = state.connected(&self.proxy, self.connection) {
            let last = if batch.is_some() { sequence } else { proxy.sent.batch };
            proxy.sent = Sent { batch: last, reaches: sequence };
        }
        batch.map(|batch| Batch { sequence, ..batch })
    }

    /// The batch that leads from what was sent to what is published, or nothing where the proxy has it all. The
    /// first batch is never nothing: it tells the proxy the version that it is at.
    fn pending(&self, state: &State) -> Option<Batch> {
        let Some(has) = &self.has else {
            return Some(state.set.complete(state.holds.iter().cloned().collect()));
        };
        let mut batch = diff(has, &state.set, &state.holds).unwrap_or_else(|| Batch {
            version: state.set.version(),
            holds: state.holds.iter().cloned().collect(),
            ..Batch::default()
        });
        // What the proxy kept for an ended hold is not in `has`, so the difference cannot see it.
        let released = self.holds.difference(&state.holds);
        batch.removals.extend(released.filter(|key| has.get(key).is_none() && state.set.get(key).is_none()).cloned());
        let news = self.seen == 0 || !batch.upserts.is_empty() || !batch.removals.is_empty();
        news.then_some(batch)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.state.lock();
        if state.connected(&self.proxy, self.connection).is_some() {
            state.proxies.remove(&self.proxy);
            drop(state);
            self.hub.announce_report();
        }
    }
}
