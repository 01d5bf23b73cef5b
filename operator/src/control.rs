//! The control plane in a cluster: everything between the watches and the hub, under one lock.
//!
//! ```text
//! watches -> take -> World -> publish (translate -> withhold unclaimed hosts -> hub)
//!                      |                                         reports -> observe -> statuses -> writer
//!                      '- stored: status and version of each object, as the API server has them
//! ```
//!
//! Each method is one step and returns; nothing here waits. `run.rs` calls them when it is time.

pub mod run;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_snapshot::StateUrl;
use headgate_translate::{
    Dependency, Force, GatewayAddress, MasterKey, ObjectKey, ObjectRef, Options, Reference, Verdict,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tracing::warn;

use crate::claims::{self, Shard, Shards, Write};
use crate::hub::{Doubt, Hub, Publication, Referred};
use crate::metrics::Metrics;
use crate::status::{Change, Installation, Status, StatusList, Statuses};
use crate::watch::{News, Read, Source, Told, Watches};
use crate::world::{Object, ObjectKind, Own, World};
use sources::{REFERENCE_LIMIT, Sources};

/// How long proxies that lost all operators may need to find a new one.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);

/// What the API server has of an object beside what translation sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: String,
    /// `status`
    pub status: Option<Value>,
}

/// The control plane.
#[derive(Debug)]
pub struct Control {
    hub: Arc<Hub>,
    /// When this process began.
    began: Instant,
    controller: String,
    addresses: Vec<GatewayAddress>,
    shared: StateUrl,
    metrics: Metrics,
    state: Mutex<State>,
    book: Mutex<Book>,
}

/// What is said of the objects.
#[derive(Debug, Default)]
struct Book {
    statuses: Statuses,
    /// The verdicts that it follows from. An object that is in here and has no status is not ours.
    verdicts: Arc<BTreeMap<ObjectRef, Arc<Verdict>>>,
}

#[derive(Debug)]
struct State {
    world: World,
    sources: Sources,
    stored: BTreeMap<ObjectRef, Stored>,
    shards: Shards,
    references: BTreeSet<Reference>,
    verdicts: Arc<BTreeMap<ObjectRef, Arc<Verdict>>>,
    is_published: bool,
    /// The world is not as it was when it was translated last, though no source said so.
    is_stale: bool,
    /// Since when a translation has waited for Secrets and ConfigMaps.
    waits_since: Option<Instant>,
}

/// What something told by a source led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Whether translation sees something new.
    pub world: bool,
    /// The object whose stored status may have changed.
    pub status: Option<ObjectRef>,
}

/// What a translation led to.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is published now, absent: it waits for Secrets and ConfigMaps.
    pub publication: Option<Publication>,
    /// The Secrets and ConfigMaps to follow.
    pub references: BTreeSet<Reference>,
    /// The claims to keep before what needs them is published. For the leader.
    pub claims: Vec<Write>,
}

impl Control {
    /// A control plane that has seen nothing. `shared` is where the proxies keep shared state.
    pub fn new(hub: Arc<Hub>, options: Options, own: Own, shared: StateUrl, metrics: Metrics, now: Instant) -> Self {
        let sources = Watches::kinds().map(Source::Kind).chain([Source::Claims]);
        let (controller, addresses) = (options.gateway_controller.clone(), options.gateway_addresses.clone());
        let state = State {
            world: World::of_cluster(options, own),
            sources: Sources::new(sources, now),
            stored: BTreeMap::new(),
            shards: Shards::new(),
            references: BTreeSet::new(),
            verdicts: Arc::default(),
            is_published: false,
            is_stale: false,
            waits_since: None,
        };
        let (state, book) = (Mutex::new(state), Mutex::default());
        Self { hub, began: now, controller, addresses, shared, metrics, state, book }
    }

    /// `controllerName` that signs entries of a route's status.
    pub fn controller(&self) -> &str {
        &self.controller
    }

    /// From now on there are keys.
    pub fn set_master_key(&self, key: MasterKey) {
        let mut state = self.state.lock();
        state.world.set_master_key(key);
        state.is_stale = true;
    }

    /// Takes in what a source tells.
    pub fn take(&self, news: News, now: Instant) -> Taken {
        let News { source, told } = news;
        let mut state = self.state.lock();
        if !state.sources.follows(&source) {
            return Taken::default();
        }
        match told {
            Told::Upsert(read) => state.upsert(&source, *read, &self.metrics),
            Told::Remove(key) => state.remove(&source, &key),
            Told::Listed { began } => {
                state.sources.listed(&source, began);
                self.mark_synced(&source, true);
                Taken { world: !state.is_published || matches!(source, Source::One(_)), status: None }
            }
            Told::Resumed => {
                state.sources.resumed(&source);
                self.mark_synced(&source, true);
                Taken::default()
            }
            Told::Absent { absence, message } => {
                state.sources.absent(&source, absence, message, now);
                self.mark_synced(&source, false);
                Taken { world: !state.is_published, status: None }
            }
        }
    }

    fn mark_synced(&self, source: &Source, is_synced: bool) {
        if let Source::Kind(kind) = source {
            self.metrics.watch_synced.with_label_values(&[kind.as_str()]).set(i64::from(is_synced));
        }
    }

    /// Translates and publishes the world, absent where it is not known well enough yet.
    pub fn publish(&self, now: Instant, wall: Timestamp) -> Option<Step> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !state.sources.are_settled(now) {
            return None;
        }
        let kept = claims::kept(&state.shards);
        state.world.set_claims(kept.clone());
        let unread = state.sources.unread(now);
        // Any namespace may have an object of a kind that was never read.
        let is_blind = unread.iter().any(|dependency| !matches!(dependency, Dependency::One(_)));
        state.world.set_unread(unread);
        state.is_stale = false;
        let translation = state.world.translate(wall);
        for dropped in state.sources.refer(&translation.references, now) {
            let source = Source::One(dropped);
            if let Source::One(Reference { kind: _, key }) = &source {
                state.world.remove(source.kind(), key);
            }
        }
        state.references.clone_from(&translation.references);
        if !state.sources.references_are_settled(!state.is_published, now) {
            let since = *state.waits_since.get_or_insert(now);
            if !state.is_published || now.saturating_duration_since(since) < REFERENCE_LIMIT {
                return Some(Step { publication: None, references: translation.references, claims: Vec::new() });
            }
        }
        state.waits_since = None;

        let (mut resources, mut holds) = (translation.resources, translation.holds);
        // Where nobody could say yet who holds which host, all that has hosts is held.
        claims::withhold(&mut resources, &mut holds, &translation.claims, &kept);
        let writes = if state.sources.knows_claims() {
            claims::writes(&state.shards, &translation.claims, state.sources.knows_all(now))
        } else {
            Vec::new()
        };
        let kinds = state.sources.unknown().into_iter().map(|kind| kind.as_str().to_owned()).collect();
        let unsure = || holds.iter().chain(&translation.uncertain).map(|key| key.namespace.clone()).collect();
        let referred = if is_blind { Referred::Everywhere } else { Referred::In(unsure()) };
        let doubt = Doubt { kinds, referred, keys: translation.uncertain };
        let publication = self.hub.publish_in_doubt(resources, holds, doubt);
        state.verdicts = Arc::new(translation.verdicts);
        state.is_published = true;
        Some(Step { publication: Some(publication), references: translation.references, claims: writes })
    }

    /// Whether what can be read is not what the last translation took it to be. Time alone may change that.
    pub fn is_behind(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.is_published && (state.is_stale || state.world.inputs().unread != state.sources.unread(now))
    }

    /// Joins what the proxies tell with the verdicts, and returns the objects whose status changed.
    pub fn observe(&self, wall: Timestamp) -> Vec<Change> {
        self.bring_up_to_date(&mut self.book.lock(), wall)
    }

    /// Begins the book of statuses anew from what is stored: what another leader wrote is not written again.
    pub fn begin_statuses(&self, wall: Timestamp) -> Vec<Change> {
        let mut fresh = Book::default();
        let changes = self.bring_up_to_date(&mut fresh, wall);
        *self.book.lock() = fresh;
        changes
    }

    fn bring_up_to_date(&self, book: &mut Book, wall: Timestamp) -> Vec<Change> {
        let Book { statuses, verdicts } = book;
        {
            let state = self.state.lock();
            verdicts.clone_from(&state.verdicts);
            // A status that an earlier leader wrote goes on, with its transition times.
            let unseen: Vec<&ObjectRef> = verdicts.keys().filter(|object| !statuses.knows(object)).collect();
            for object in unseen {
                let stored = state.stored.get(object).and_then(|stored| stored.status.as_ref());
                if let Some(status) = stored.and_then(|stored| Status::read(object.kind, stored, &self.controller)) {
                    statuses.seed(object.clone(), status);
                }
            }
        }
        let Self { controller, addresses, shared, .. } = self;
        let installation = Installation { controller, addresses, state: shared };
        statuses.update(verdicts, &self.hub.progress(), installation, wall)
    }

    /// The status that an object should have, absent where it is not ours.
    pub fn status(&self, object: &ObjectRef) -> Option<Status> {
        self.book.lock().statuses.get(object).cloned()
    }

    /// The status that an object should have and what is stored of it, absent where it is gone or cannot be judged.
    pub fn due(&self, object: &ObjectRef) -> Option<(Option<Status>, Stored)> {
        let status = {
            let book = self.book.lock();
            // Of what may be another controller's, nothing is said.
            book.verdicts.get(object).filter(|verdict| verdict.force != Force::Unknown)?;
            book.statuses.get(object).cloned()
        };
        Some((status, self.state.lock().stored.get(object).cloned()?))
    }

    /// Every object that has, or should have, a status of ours.
    pub fn objects(&self) -> BTreeSet<ObjectRef> {
        let state = self.state.lock();
        state.verdicts.keys().chain(state.stored.keys()).cloned().collect()
    }

    /// The object as events refer to it.
    pub fn object(&self, object: &ObjectRef) -> Option<Object> {
        self.state.lock().world.get(ObjectKind::from(object.kind), &object.key)
    }

    /// Until when proxies may still be on their way to this process, absent once one has come.
    pub fn awaits_proxies(&self, now: Instant) -> Option<Instant> {
        let until = self.began + ARRIVAL_LIMIT;
        (now < until && !self.hub.was_met()).then_some(until)
    }

    /// A write of ours brought an object to this state.
    pub fn wrote(&self, object: &ObjectRef, stored: Stored) {
        self.state.lock().keep(object.clone(), stored);
    }

    /// A write of ours brought claims to this state. Returns true where that is new.
    pub fn claimed(&self, name: String, shard: Shard) -> bool {
        self.state.lock().keep_shard(name, shard)
    }

    /// Whether something has been published.
    pub fn is_published(&self) -> bool {
        self.state.lock().is_published
    }

    /// Whether everything has been listed since a moment.
    pub fn is_fresh(&self, since: Instant, now: Instant) -> bool {
        let state = self.state.lock();
        state.is_published && state.sources.are_fresh(since, now)
    }

    /// What cannot be read, one sentence each.
    pub fn troubles(&self) -> Vec<String> {
        self.state.lock().sources.troubles()
    }

    /// Every object that headgate governs with its status; nothing before the first publication.
    pub fn list(&self) -> Option<StatusList> {
        let (verdicts, objects, troubles) = {
            let state = self.state.lock();
            if !state.is_published {
                return None;
            }
            let get = |object: &ObjectRef| {
                let found = state.world.get(ObjectKind::from(object.kind), &object.key)?;
                Some((object.clone(), found))
            };
            let objects: BTreeMap<ObjectRef, Object> = state.verdicts.keys().filter_map(get).collect();
            (Arc::clone(&state.verdicts), objects, state.sources.troubles())
        };
        let progress = self.hub.progress();
        let book = self.book.lock();
        let list = StatusList::new(&verdicts, |object| objects.get(object).cloned(), &book.statuses, &progress);
        Some(StatusList { complaints: troubles, ..list })
    }
}

impl State {
    fn upsert(&mut self, source: &Source, read: Read, metrics: &Metrics) -> Taken {
        let Read { key, uid, version, status, object } = read;
        let kind = source.kind();
        if let (Source::Claims, Ok(Object::ConfigMap(map))) = (source, &object) {
            return match claims::read(map) {
                Ok(claims) => {
                    let is_new = self.keep_shard(key.name, Shard { version, claims, is_broken: false });
                    Taken { world: is_new, ..Taken::default() }
                }
                Err(error) => {
                    warn!(config_map = %key, %error, "host claims cannot be read; the leader writes them anew");
                    let claims = self.shards.get(&key.name).map(|known| known.claims.clone()).unwrap_or_default();
                    let is_new = self.keep_shard(key.name, Shard { version, claims, is_broken: true });
                    Taken { world: is_new, ..Taken::default() }
                }
            };
        }
        let governed = kind.governed().map(|kind| ObjectRef::new(kind, key.clone()));
        if let Some(object) = &governed {
            self.keep(object.clone(), Stored { uid, version, status });
        }
        let world = match object {
            Ok(object) => self.world.upsert(object),
            Err(problem) => {
                metrics.malformed.with_label_values(&[kind.as_str()]).inc();
                warn!(kind = kind.as_str(), object = %key, %problem, "cannot be read; what was read before stays");
                self.world.refuse(kind, key, problem)
            }
        };
        Taken { world, status: governed }
    }

    fn remove(&mut self, source: &Source, key: &ObjectKey) -> Taken {
        let kind = source.kind();
        if *source == Source::Claims {
            let world = self.shards.remove(&key.name).is_some();
            return Taken { world, ..Taken::default() };
        }
        let governed = kind.governed().map(|kind| ObjectRef::new(kind, key.clone()));
        if let Some(object) = &governed {
            self.stored.remove(object);
        }
        self.world.remove(kind, key);
        // Whoever writes its status forgets it.
        Taken { world: true, status: governed }
    }

    /// Keeps the newer of two states of an object.
    fn keep(&mut self, object: ObjectRef, stored: Stored) {
        match self.stored.get(&object) {
            Some(known) if known.uid == stored.uid && is_newer(&known.version, &stored.version) => {}
            _ => {
                self.stored.insert(object, stored);
            }
        }
    }

    /// Keeps the newer of two states of a shard. True where its claims changed, or whether they can be read.
    fn keep_shard(&mut self, name: String, shard: Shard) -> bool {
        match self.shards.get(&name) {
            Some(known) if is_newer(&known.version, &shard.version) => false,
            known => {
                let is_new =
                    known.is_none_or(|known| known.claims != shard.claims || known.is_broken != shard.is_broken);
                self.shards.insert(name, shard);
                is_new
            }
        }
    }
}

/// Whether one `resourceVersion` of an object is newer than another.
fn is_newer(one: &str, other: &str) -> bool {
    (one.len(), one) > (other.len(), other)
}
