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
//! A held key is one whose state translate does not know. The hub keeps what it has for it, and tells proxies to
//! keep what they have where it has nothing. When a hold ends without a resource, the key is withdrawn.

mod progress;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot::{Entry, Key, Report, Resource, ResourceSet, changes};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use progress::{Progress, ProxyProgress, Standing, Standings};
pub use subscription::Subscription;

/// The least time between two batches to one proxy.
pub const PACE: Duration = Duration::from_millis(20);

/// Keyed resources, their subscribers, and how far each subscriber is.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    published: watch::Sender<u64>,
    reported: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of publications that changed something; 0 before the first, which may be empty.
    sequence: u64,
    set: Arc<ResourceSet>,
    holds: Arc<BTreeSet<Key>>,
    /// The publication that changed a key last.
    changed: Arc<BTreeMap<Key, u64>>,
    proxies: BTreeMap<String, Proxy>,
    connections: u64,
}

/// One connected proxy.
#[derive(Debug)]
struct Proxy {
    connection: u64,
    /// The last batch, and the publication that it brings the proxy to: a later one where what was published since
    /// was taken back.
    sent: Sent,
    /// The publication that the proxy has told to have applied.
    applied: u64,
    report: Arc<Report>,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sent {
    batch: u64,
    reaches: u64,
}

impl Proxy {
    fn applied(&self) -> u64 {
        if self.applied == self.sent.batch { self.sent.reaches } else { self.applied }
    }
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
        Self { state: Mutex::default(), published: watch::Sender::new(0), reported: watch::Sender::new(0) }
    }
}

impl Hub {
    /// Makes `resources` the whole set, except that held keys keep what they have. Nobody is told where nothing
    /// changed. Nothing is sent to anybody before the first publication.
    pub fn publish(&self, resources: impl IntoIterator<Item = Arc<Resource>>, holds: BTreeSet<Key>) -> Publication {
        let resources = resources.into_iter().collect();
        let publication = self.state.lock().publish(resources, holds);
        self.published.send_if_modified(|sequence| {
            let news = *sequence != publication.sequence;
            *sequence = publication.sequence;
            news
        });
        publication
    }

    /// A subscription for a proxy. `has` is what the proxy says it has; without it the first batch is complete.
    /// The proxy counts as connected until the subscription is dropped.
    pub fn subscribe(self: &Arc<Self>, proxy: &str, has: Option<ResourceSet>) -> Subscription {
        let connection = self.state.lock().connect(proxy);
        self.announce_report();
        Subscription::new(Arc::clone(self), proxy.to_owned(), connection, has)
    }

    /// Takes what a proxy tells. Reports of proxies that are not connected are ignored.
    pub fn report(&self, report: Report) {
        if self.state.lock().report(report) {
            self.announce_report();
        }
    }

    /// How far every connected proxy is.
    pub fn progress(&self) -> Progress {
        let state = self.state.lock();
        let proxies = state
            .proxies
            .iter()
            .map(|(name, proxy)| ProxyProgress {
                name: name.clone(),
                applied: proxy.applied(),
                report: Arc::clone(&proxy.report),
            })
            .collect();
        Progress { sequence: state.sequence, set: Arc::clone(&state.set), changed: Arc::clone(&state.changed), proxies }
    }

    /// Changes whenever [`Hub::progress`] may have changed by a report, a connection or the end of one.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.reported.subscribe()
    }

    fn announce_report(&self) {
        self.reported.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl State {
    fn publish(&mut self, mut resources: Vec<Arc<Resource>>, holds: BTreeSet<Key>) -> Publication {
        // What translate gives is in this order already, which makes it one walk.
        resources.sort_by(|one, other| one.key.cmp(&other.key));
        let old = self.set.entries().iter().map(|(key, entry)| (&**key, entry));
        let new = resources.iter().filter_map(|resource| Some((resource.key.as_ref()?, resource)));
        // Comparing costs less than hashing, so an entry is made only of what changed. What translate did not make anew
        // is the resource that is published already.
        let same = |entry: &&Entry, resource: &&Arc<Resource>| {
            Arc::ptr_eq(&entry.resource, resource) || entry.resource == **resource
        };
        let (mut upserts, mut removals) = (Vec::new(), Vec::new());
        for (key, resource) in changes(old, new, same) {
            match resource {
                Some(resource) => upserts.push((key.clone(), Entry::new(Arc::clone(resource)))),
                None if holds.contains(key) => {}
                None => removals.push(key.clone()),
            }
        }

        let (upserted, removed) = (upserts.len(), removals.len());
        if self.sequence == 0 || upserted > 0 || removed > 0 || *self.holds != holds {
            self.sequence += 1;
            self.holds = Arc::new(holds);
            let changed = Arc::make_mut(&mut self.changed);
            let set = Arc::make_mut(&mut self.set);
            for key in &removals {
                set.remove(key);
                changed.remove(key);
            }
            for (key, entry) in upserts {
                changed.insert(key.clone(), self.sequence);
                set.insert(key, entry);
            }
        }
        Publication { sequence: self.sequence, version: self.set.version(), upserts: upserted, removals: removed }
    }

    fn connect(&mut self, proxy: &str) -> u64 {
        self.connections += 1;
        let connected = Proxy {
            connection: self.connections,
            sent: Sent::default(),
            applied: 0,
            report: Arc::new(Report { proxy: proxy.to_owned(), ..Report::default() }),
        };
        self.proxies.insert(proxy.to_owned(), connected);
        self.connections
    }

    /// The proxy of a connection, unless a newer connection took its place.
    fn connected(&mut self, proxy: &str, connection: u64) -> Option<&mut Proxy> {
        self.proxies.get_mut(proxy).filter(|known| known.connection == connection)
    }

    /// True where the report belongs to a connected proxy.
    fn report(&mut self, report: Report) -> bool {
        let Some(proxy) = self.proxies.get_mut(&report.proxy) else { return false };
        proxy.applied = report.sequence;
        proxy.report = Arc::new(report);
        true
    }
}
