//! What the hub keeps under its lock, and each change of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use headgate_snapshot::{Entry, Key, Report, Resource, ResourceSet, changes};
use jiff::Timestamp;
use tokio::sync::watch;

use super::connection::Link;
use super::presence::{Attendance, Presence};
use super::progress::{Progress, ProxyProgress, ScopeProgress};
use super::view::View;
use super::{Doubt, Publication, Scope, fleet};

/// Most batches of one proxy that wait for its word; of older ones it is not known any more what they were.
const UNANSWERED: usize = 64;

/// Most proxies that are remembered as away; the longest away are forgotten first.
const MOST_AWAY: usize = 256;

/// Everything that the hub knows.
#[derive(Debug)]
pub(super) struct State {
    /// Number of publications that changed something; 0 before the first, which may be empty.
    pub(super) sequence: u64,
    set: Arc<ResourceSet>,
    holds: Arc<BTreeSet<Key>>,
    pub(super) doubt: Arc<Doubt>,
    /// Who holds what with how many others may be another since it was told last.
    shares_changed: bool,
    /// What each scope in use sees of it. Everything is always in use.
    views: BTreeMap<Scope, View>,
    proxies: BTreeMap<String, Proxy>,
    pub(super) connections: u64,
}

/// One known proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Number of its newest connection.
    connection: u64,
    /// Is dropped with the place of that connection.
    _place: watch::Sender<()>,
    scope: Scope,
    pub(super) presence: Presence,
    /// The batches sent to it by a subscription that lives, from the one that it has applied last on. Empty: it takes
    /// its batches elsewhere.
    sent: VecDeque<Sent>,
    /// The publication that the last batch brings the proxy to: a later one than the batch's own where what was
    /// published since was taken back.
    reaches: u64,
    /// The batch that the proxy has told to have applied.
    applied: u64,
    report: Arc<Report>,
}

/// A batch on its way.
#[derive(Clone, Debug)]
struct Sent {
    batch: u64,
    version: Arc<str>,
}

/// The place of a connection among the proxies.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) number: u64,
    /// Ends with the place.
    pub(super) holder: watch::Receiver<()>,
    /// A connection of the same name that still answered had it.
    pub(super) was_taken: bool,
}

impl Proxy {
    /// Takes a report. A number counts only together with the version that was sent with it: numbers of another
    /// replica mean nothing here.
    pub(super) fn take(&mut self, report: Report) {
        let is_known = |sent: &Sent| sent.batch == report.sequence && *sent.version == *report.version;
        if let Some(position) = self.sent.iter().position(is_known) {
            self.sent.drain(..position);
            self.applied = report.sequence;
        }
        self.report = Arc::new(report);
    }

    /// The latest publication that the proxy has applied; `version` is what its scope is at, and `sequence` the
    /// publication that brought it there.
    fn applied(&self, version: &str, sequence: u64) -> u64 {
        match self.sent.back() {
            Some(last) if last.batch == self.applied => self.reaches,
            // The first batch of a subscription to a proxy that has the same already.
            Some(_) if self.applied == 0 && self.sent.len() == 1 && self.report.version == version => self.reaches,
            Some(_) => self.applied,
            None if sequence > 0 && self.report.version == version => sequence,
            None => 0,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            sequence: 0,
            set: Arc::default(),
            holds: Arc::default(),
            doubt: Arc::default(),
            shares_changed: false,
            views: BTreeMap::from([(Scope::All, View::default())]),
            proxies: BTreeMap::new(),
            connections: 0,
        }
    }
}

impl State {
    pub(super) fn publish(
        &mut self,
        mut resources: Vec<Arc<Resource>>,
        holds: BTreeSet<Key>,
        doubt: Doubt,
    ) -> Publication {
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
        let changed = upserts.iter().map(|(key, _)| key).chain(&removals);
        // What proxies of some Gateways hold follows from routes as well.
        let by_content = self.views.keys().any(|scope| matches!(scope, Scope::Gateways(_)));
        self.shares_changed |= changed.into_iter().any(|key| by_content || fleet::is_shared(key));
        // It may change something at a proxy although the set is the same.
        let doubt_changed = *self.doubt != doubt;
        if doubt_changed {
            self.doubt = Arc::new(doubt);
        }
        if self.sequence == 0 || upserted > 0 || removed > 0 || *self.holds != holds || doubt_changed {
            self.sequence += 1;
            self.holds = Arc::new(holds);
            let set = Arc::make_mut(&mut self.set);
            for key in &removals {
                set.remove(key);
            }
            for (key, entry) in upserts {
                set.insert(key, entry);
            }
            for (scope, view) in &mut self.views {
                view.follow(scope, &self.set, &self.holds, self.sequence);
            }
        }
        Publication { sequence: self.sequence, version: self.set.version(), upserts: upserted, removals: removed }
    }

    /// Whether fleets may be others since the last call.
    pub(super) fn take_shares_changed(&mut self) -> bool {
        std::mem::take(&mut self.shares_changed)
    }

    /// What a scope sees.
    pub(super) fn view(&mut self, scope: &Scope) -> &mut View {
        let Self { sequence, set, holds, views, .. } = self;
        // A scope is copied only where it is new.
        if !views.contains_key(scope) {
            let mut view = View::default();
            view.follow(scope, set, holds, *sequence);
            views.insert(scope.clone(), view);
        }
        views.entry(scope.clone()).or_default()
    }

    /// Names of the proxies that are expected, each with what it is for.
    pub(super) fn expected(&self) -> impl Iterator<Item = (&str, &Scope)> {
        let expected = self.proxies.iter().filter(|(_, proxy)| proxy.presence.attendance.is_expected());
        expected.map(|(name, proxy)| (name.as_str(), &proxy.scope))
    }

    /// What a scope in use sees, from a key on.
    pub(super) fn entries_of(&self, scope: &Scope, first: &Key) -> impl Iterator<Item = (&Arc<Key>, &Entry)> {
        self.views
            .get(scope)
            .into_iter()
            .flat_map(move |view| view.set.entries().range::<Key, _>((Bound::Included(first), Bound::Unbounded)))
    }

    /// Whether a scope in use sees a key.
    pub(super) fn holds_key(&self, scope: &Scope, key: &Key) -> bool {
        self.views.get(scope).is_some_and(|view| view.set.get(key).is_some())
    }

    pub(super) fn connect(&mut self, proxy: &str, scope: Scope, presence: Presence) -> Place {
        self.connections += 1;
        self.view(&scope);
        let (place, holder) = watch::channel(());
        let connected = Proxy {
            connection: self.connections,
            _place: place,
            scope,
            presence,
            sent: VecDeque::new(),
            reaches: 0,
            applied: 0,
            report: Arc::new(Report { proxy: proxy.to_owned(), ..Report::default() }),
        };
        let before = self.proxies.insert(proxy.to_owned(), connected);
        self.drop_unused_views();
        let was_taken = before.is_some_and(|before| before.presence.attendance == Attendance::Present);
        Place { number: self.connections, holder, was_taken }
    }

    /// A report by the name of its proxy. False where that is not connected.
    pub(super) fn report(&mut self, report: Report) -> bool {
        let Some(proxy) = self.proxies.get_mut(&report.proxy) else { return false };
        proxy.take(report);
        true
    }

    /// The proxy of a connection, unless a newer connection took its place.
    pub(super) fn connected(&mut self, link: &Link) -> Option<&mut Proxy> {
        self.proxies.get_mut(&link.proxy).filter(|known| known.connection == link.number)
    }

    /// A subscription begins or ends: batches of the one before, and what was said of them, count no more.
    pub(super) fn turn(&mut self, link: &Link) {
        if let Some(proxy) = self.connected(link) {
            proxy.sent.clear();
            (proxy.reaches, proxy.applied) = (0, 0);
        }
    }

    /// A subscription brings the proxy to a publication, by a batch of this version or by nothing at all.
    pub(super) fn send(&mut self, link: &Link, sequence: u64, version: Option<Arc<str>>) {
        if let Some(proxy) = self.connected(link) {
            if let Some(version) = version {
                if proxy.sent.len() == UNANSWERED {
                    proxy.sent.pop_front();
                }
                proxy.sent.push_back(Sent { batch: sequence, version });
            }
            proxy.reaches = sequence;
        }
    }

    /// The connection ended without goodbye. True where that changed something.
    pub(super) fn lose(&mut self, link: &Link) -> bool {
        let Some(proxy) = self.connected(link) else { return false };
        proxy.sent.clear();
        if !proxy.presence.lose() {
            self.forget(link);
        }
        true
    }

    /// Nothing is expected of the proxy any more.
    pub(super) fn forget(&mut self, link: &Link) {
        if self.connected(link).is_some() {
            self.proxies.remove(&link.proxy);
            self.drop_unused_views();
        }
    }

    /// Brings the presence of all proxies up to date. True where one changed.
    pub(super) fn look(&mut self, now: Instant, wall: Timestamp) -> bool {
        let mut changed = false;
        for proxy in self.proxies.values_mut() {
            changed |= proxy.presence.look(now, wall);
        }
        let known = self.proxies.len();
        self.proxies.retain(|_, proxy| !proxy.presence.is_forgotten(now));
        let is_away = |proxy: &Proxy| matches!(proxy.presence.attendance, Attendance::Away { .. });
        while self.proxies.values().filter(|proxy| is_away(proxy)).count() > MOST_AWAY {
            let away = self.proxies.iter().filter(|(_, proxy)| is_away(proxy));
            let longest = away.max_by_key(|(_, proxy)| proxy.presence.silence(now)).map(|(name, _)| name.clone());
            self.proxies.retain(|name, _| Some(name) != longest.as_ref());
        }
        if self.proxies.len() < known {
            self.drop_unused_views();
            changed = true;
        }
        changed
    }

    /// How far every known proxy is.
    pub(super) fn progress(&self) -> Progress {
        let Self { sequence, set, holds: _, doubt: _, shares_changed: _, views, proxies, connections: _ } = self;
        let positions: BTreeMap<&Scope, (usize, &View)> =
            views.iter().enumerate().map(|(position, (scope, view))| (scope, (position, view))).collect();
        let proxies = proxies.iter().filter_map(|(name, proxy)| {
            let (position, view) = positions.get(&proxy.scope)?;
            Some(ProxyProgress {
                name: name.clone(),
                attendance: proxy.presence.attendance,
                applied: proxy.applied(&view.version, *sequence),
                report: Arc::clone(&proxy.report),
                view: *position,
            })
        });
        let views = views
            .iter()
            .map(|(scope, view)| ScopeProgress { scope: scope.clone(), changed: Arc::clone(&view.changed) });
        Progress { sequence: *sequence, set: Arc::clone(set), views: views.collect(), proxies: proxies.collect() }
    }

    fn drop_unused_views(&mut self) {
        let Self { views, proxies, .. } = self;
        let used: BTreeSet<&Scope> = proxies.values().map(|proxy| &proxy.scope).collect();
        views.retain(|scope, _| *scope == Scope::All || used.contains(scope));
    }
}
