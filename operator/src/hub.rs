//! The hub: what is published, who was sent which part of it, and who has applied it.
//!
//! ```text
//! translate -> publish -> [ one set, one sequence number ] -> Subscription::next -> Batch -> proxy
//!                                                  ^                                          |
//!                                                  +------------ report <---------------------+
//! ```
//!
//! A subscription remembers the set that it sent last, not a queue of changes. Whatever was published since is
//! sent as one difference, so a slow proxy never has a backlog and always ends at the latest set. The first
//! change of a quiet time goes out at once; after a batch the next one waits [`PACE`].
//!
//! Every publication that changes something has a sequence number, and every key has the number of the
//! publication that changed it last. A proxy has applied a key when it has applied that publication or a later
//! one and does not refuse the key: so "has this proxy applied this object?" costs two look-ups.
//!
//! A proxy is sent the part of the set that its [`Scope`] lets it know. What proxies of one scope have in common is
//! computed once a publication. A proxy that takes its batches from another replica counts as having applied what is
//! published here when it is at the same content version.
//!
//! A held key is one whose state translate does not know. The hub keeps what it has for it, and tells proxies to
//! keep what they have where it has nothing. When a hold ends without a resource, the key is withdrawn.
//!
//! What is in [`Doubt`] is known in part: a proxy that has something for such a key keeps it as it is, and one that has
//! nothing takes what is published.

mod connection;
mod doubt;
mod fleet;
mod presence;
mod progress;
mod reported;
mod scope;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_snapshot::{Key, Report, Resource, ResourceSet};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::warn;

pub use connection::{Connection, Start};
pub use doubt::{Doubt, Referred};
pub use presence::{Attendance, EXPECTED_FOR, FORGOTTEN_AFTER, SILENT_AFTER};
pub use progress::{Progress, ProxyProgress, Standing};
pub use scope::{Scope, knows};
pub use subscription::Subscription;

use connection::Link;
use presence::Presence;
use state::{Place, State};

/// The least time between two batches to one proxy.
pub const PACE: Duration = Duration::from_millis(20);

/// Keyed resources, their subscribers, and how far each subscriber is.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    published: watch::Sender<u64>,
    reported: watch::Sender<u64>,
    fleets: watch::Sender<u64>,
}

/// What a publication changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Its sequence number; that of the publication before where nothing changed.
    pub sequence: u64,
    /// Content version of the whole set.
    pub version: String,
    /// Resources that are new or different.
    pub upserts: usize,
    /// Resources that are withdrawn.
    pub removals: usize,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            published: watch::Sender::new(0),
            reported: watch::Sender::new(0),
            fleets: watch::Sender::new(0),
        }
    }
}

impl Hub {
    /// Makes `resources` the whole set, except that held keys keep what they have. Nobody is told where nothing
    /// changed. Nothing is sent to anybody before the first publication.
    pub fn publish(&self, resources: impl IntoIterator<Item = Arc<Resource>>, holds: BTreeSet<Key>) -> Publication {
        self.publish_in_doubt(resources, holds, Doubt::default())
    }

    /// The same where not everything could be read.
    pub fn publish_in_doubt(
        &self,
        resources: impl IntoIterator<Item = Arc<Resource>>,
        holds: BTreeSet<Key>,
        doubt: Doubt,
    ) -> Publication {
        let resources = resources.into_iter().collect();
        let (publication, other_shares) = {
            let mut state = self.state.lock();
            (state.publish(resources, holds, doubt), state.take_shares_changed())
        };
        if other_shares {
            self.announce_fleets();
        }
        self.published.send_if_modified(|sequence| {
            let news = *sequence != publication.sequence;
            *sequence = publication.sequence;
            news
        });
        publication
    }

    /// A subscription for a proxy in this process, which gets everything. `has` is what the proxy has already; without
    /// it the first batch is complete. The proxy counts as connected until the subscription is dropped.
    pub fn subscribe(self: &Arc<Self>, proxy: &str, has: Option<ResourceSet>) -> Subscription {
        self.enter(proxy, Scope::All, Presence::local()).subscribe(has)
    }

    /// A proxy has connected over the network. A connection of the same name that is still there counts no more, and
    /// is told so by [`Connection::superseded`].
    pub fn connect(self: &Arc<Self>, proxy: &str, scope: Scope, now: Instant) -> Connection {
        self.enter(proxy, scope, Presence::connected(now))
    }

    fn enter(self: &Arc<Self>, proxy: &str, scope: Scope, presence: Presence) -> Connection {
        let Place { number, holder, was_taken } = self.state.lock().connect(proxy, scope.clone(), presence);
        if was_taken {
            warn!(
                proxy,
                "another stream takes the place of one that still answered; if these are two proxies, give each a \
                 --name of its own"
            );
        }
        self.announce_presence();
        Connection(Arc::new(Link { hub: Arc::clone(self), proxy: proxy.to_owned(), number, place: holder, scope }))
    }

    /// Whether any proxy ever came.
    pub fn was_met(&self) -> bool {
        self.state.lock().connections > 0
    }

    /// Takes what a proxy of this process tells. Reports of proxies that are not connected are ignored.
    pub fn report(&self, report: Report) {
        let known = self.state.lock().report(report);
        if known {
            self.announce_report();
        }
    }

    /// Looks at who is there. To be called a few times a second: what [`Hub::progress`] says of a proxy's presence is
    /// as of the last look.
    pub fn look(&self, now: Instant, wall: Timestamp) {
        if self.state.lock().look(now, wall) {
            self.announce_presence();
        }
    }

    /// How far every known proxy is.
    pub fn progress(&self) -> Progress {
        self.state.lock().progress()
    }

    /// Changes whenever [`Hub::progress`] may have changed by a report, a connection, silence, or the end of one.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.reported.subscribe()
    }

    /// The number of the latest publication, 0 before the first.
    pub fn publications(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Changes whenever [`Connection::fleet`] may have changed.
    pub fn fleets(&self) -> watch::Receiver<u64> {
        self.fleets.subscribe()
    }

    /// Who is there may have changed.
    fn announce_presence(&self) {
        self.announce_report();
        self.announce_fleets();
    }

    fn announce_fleets(&self) {
        self.fleets.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn announce_report(&self) {
        self.reported.send_modify(|count| *count = count.wrapping_add(1));
    }
}
