//! One proxy's presence at the hub.

use std::sync::Arc;
use std::time::Instant;

use headgate_snapshot::{Fleet, Report, ResourceSet};
use tokio::sync::watch;

use super::scope::Scope;
use super::subscription::Subscription;
use super::{Hub, reported};

/// A connected proxy. It counts as connected until this and all of its subscriptions are dropped; then it is lost,
/// unless it said goodbye.
#[derive(Clone, Debug)]
pub struct Connection(pub(super) Arc<Link>);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) hub: Arc<Hub>,
    pub(super) proxy: String,
    /// Which of the connections of the hub this is. A newer one of the same name takes its place.
    pub(super) number: u64,
    /// Ends with its place among the proxies.
    pub(super) place: watch::Receiver<()>,
    pub(super) scope: Scope,
}

/// What a proxy that wants configuration needs first.
#[derive(Debug)]
pub enum Start {
    /// Nothing: here it comes.
    Ready(Subscription),
    /// The proxy has something else than what is published; an inventory tells what.
    InventoryWanted,
    /// Nothing is published yet; ask again after the first publication.
    Unpublished,
}

impl Connection {
    /// Name of the proxy.
    pub fn proxy(&self) -> &str {
        &self.0.proxy
    }

    /// Waits until the connection counts no more: a newer one of the same name took its place, or it said goodbye.
    pub async fn superseded(&self) {
        let mut place = self.0.place.clone();
        while place.changed().await.is_ok() {}
    }

    /// The proxy has given a sign of life.
    pub fn hear(&self, now: Instant) {
        let Link { hub, .. } = &*self.0;
        let changed = hub.state.lock().connected(&self.0).is_some_and(|proxy| proxy.presence.hear(now));
        if changed {
            hub.announce_report();
        }
    }

    /// Takes what the proxy tells, as far as it may speak of it. Whose report it is the connection says, not the
    /// report.
    pub fn report(&self, report: Report) {
        let Link { hub, proxy, scope, .. } = &*self.0;
        let report = reported::within(scope, Report { proxy: proxy.clone(), ..report });
        let known = hub.state.lock().connected(&self.0).map(|proxy| proxy.take(report));
        if known.is_some() {
            hub.announce_report();
        }
    }

    /// The proxy ends on purpose: nothing is expected of it any more.
    pub fn goodbye(&self) {
        let Link { hub, .. } = &*self.0;
        hub.state.lock().forget(&self.0);
        hub.announce_presence();
    }

    /// Starts a subscription for a proxy that says to be at a content version, empty: it has nothing.
    pub fn follow(&self, version: &str) -> Start {
        let has = {
            let mut state = self.0.hub.state.lock();
            if state.sequence == 0 {
                return Start::Unpublished;
            }
            let view = state.view(&self.0.scope);
            match version {
                "" => None,
                version if *version == *view.version => Some(Arc::clone(&view.set)),
                _ => return Start::InventoryWanted,
            }
        };
        Start::Ready(Subscription::new(Arc::clone(&self.0), has))
    }

    /// How many proxies there are, for this one.
    pub fn fleet(&self) -> Fleet {
        self.0.hub.state.lock().fleet(&self.0.proxy, &self.0.scope)
    }

    /// What is published for the proxy.
    pub fn published(&self) -> Arc<ResourceSet> {
        Arc::clone(&self.0.hub.state.lock().view(&self.0.scope).set)
    }

    /// Starts a subscription for a proxy that has this.
    pub fn subscribe(&self, has: Option<ResourceSet>) -> Subscription {
        Subscription::new(Arc::clone(&self.0), has.map(Arc::new))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.hub.state.lock().lose(self) {
            self.hub.announce_presence();
        }
    }
}
