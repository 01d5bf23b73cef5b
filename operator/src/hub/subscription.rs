//! One proxy's view of the hub: what it was sent, and the difference to what is published.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use headgate_snapshot::{Batch, Key, ResourceSet};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::connection::Link;
use super::view::View;
use super::{Doubt, PACE};

/// Batches for one proxy, in order, each the whole difference since the one before.
#[derive(Debug)]
pub struct Subscription {
    link: Arc<Link>,
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
    pub(super) fn new(link: Arc<Link>, has: Option<Arc<ResourceSet>>) -> Self {
        let published = link.hub.published.subscribe();
        link.hub.state.lock().turn(&link);
        Self { link, published, has, holds: Arc::default(), seen: 0, pace: None }
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
        let link = Arc::clone(&self.link);
        let mut state = link.hub.state.lock();
        let sequence = state.sequence;
        if sequence == self.seen {
            return None;
        }
        let doubt = Arc::clone(&state.doubt);
        let (pending, set, holds, version, is_part) = {
            let view = state.view(&link.scope);
            (
                self.pending(view, &doubt),
                Arc::clone(&view.set),
                Arc::clone(&view.holds),
                Arc::clone(&view.version),
                view.is_part,
            )
        };
        state.send(&link, sequence, pending.is_some().then_some(version));
        // A complete batch copies the whole set; nobody waits for that.
        drop(state);
        let batch = pending.map(|pending| match pending {
            Pending::Complete => set.complete(holds.iter().cloned().collect()),
            Pending::Difference(batch) => batch,
        });
        self.has =
            Some(self.has.take().map_or_else(|| Arc::clone(&set), |had| with_doubtful(&had, &set, &doubt, is_part)));
        self.holds = holds;
        self.seen = sequence;
        batch.map(|batch| Batch { sequence, ..batch })
    }

    /// What leads from what was sent to what is published, or nothing where the proxy has it all. The first batch is
    /// never nothing: it tells the proxy the version that it is at.
    fn pending(&self, view: &mut View, doubt: &Arc<Doubt>) -> Option<Pending> {
        let Some(has) = &self.has else { return Some(Pending::Complete) };
        let mut batch = view.difference(has, doubt).map_or_else(
            || Batch {
                version: view.version.to_string(),
                holds: view.holds.iter().cloned().collect(),
                ..Batch::default()
            },
            |batch| Batch::clone(&batch),
        );
        // What the proxy kept for an ended hold is not in `has`, so the difference cannot see it.
        let released = self.holds.difference(&view.holds);
        batch.removals.extend(released.filter(|key| has.get(key).is_none() && view.set.get(key).is_none()).cloned());
        let news = self.seen == 0 || !batch.upserts.is_empty() || !batch.removals.is_empty();
        news.then_some(Pending::Difference(batch))
    }
}

/// What a proxy has once it is at `set`: also, as it had it, what is in doubt. When that can be read, it becomes what is
/// published then.
fn with_doubtful(had: &ResourceSet, set: &Arc<ResourceSet>, doubt: &Doubt, is_part: bool) -> Arc<ResourceSet> {
    if doubt.is_empty() {
        return Arc::clone(set);
    }
    let kept = had.entries().iter().filter(|(key, entry)| {
        let is_same = set.get(key).is_some_and(|published| published.resource == entry.resource);
        doubt.keeps(key, set, is_part) && !is_same
    });
    let mut kept = kept.peekable();
    // The same allocation, so that what is asked for next is the difference that others ask for as well.
    if kept.peek().is_none() {
        return Arc::clone(set);
    }
    let mut all = ResourceSet::clone(set);
    kept.for_each(|(key, entry)| all.insert(Key::clone(key), entry.clone()));
    Arc::new(all)
}

/// What is to be sent.
enum Pending {
    Complete,
    Difference(Batch),
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.link.hub.state.lock().turn(&self.link);
    }
}

#[cfg(test)]
mod tests {
    use headgate_snapshot::Resource;

    use super::*;

    #[test]
    fn the_set_is_shared_where_nothing_of_it_is_the_proxys_own() {
        let set_of = |kinds: &[&str]| -> Arc<ResourceSet> {
            let of = |kind: &&str| Resource { key: Some(Key::new(*kind, "shop", "one")), ..Resource::default() };
            Arc::new(kinds.iter().map(of).map(Arc::new).collect())
        };
        let doubt = Doubt { kinds: BTreeSet::from(["HTTPRoute".to_owned()]), ..Doubt::default() };
        let published = set_of(&["OriginPool"]);
        assert!(Arc::ptr_eq(&with_doubtful(&set_of(&["Ingress"]), &published, &doubt, false), &published));
        let kept = with_doubtful(&set_of(&["HTTPRoute"]), &published, &doubt, false);
        assert_eq!(kept.version(), set_of(&["HTTPRoute", "OriginPool"]).version());
    }
}
