//! The control plane of standalone: everything between the files and the hub, under one lock.
//!
//! Each method is one step of the pipeline and returns; nothing here waits. What is said of the objects has a lock of
//! its own: whoever asks for status takes a copy of the state, which shares the objects, and lets go of it before
//! anything is computed or written, so that a curious dashboard never delays an edit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use headgate_operator::hub::{Hub, Publication};
use headgate_operator::status::{Installation, StatusList, Statuses};
use headgate_operator::world::{Object, ObjectKind, World};
use headgate_snapshot::{Key, Resource, StateUrl};
use headgate_translate::{AddressPolicy, Kind, MasterKey, ObjectKey, ObjectRef, Options, Problem, Reason, Verdict};
use parking_lot::Mutex;

use crate::manifest::catalogue::Catalogue;
use crate::manifest::complaint::Complaint;
use crate::manifest::library::{Library, Suspects};
use crate::registry::{Changes, Registry};
use crate::{clock, review};

/// The control plane.
#[derive(Debug)]
pub struct Control {
    hub: Arc<Hub>,
    controller: String,
    state: Mutex<State>,
    statuses: Mutex<Statuses>,
}

#[derive(Debug)]
struct State {
    library: Library,
    registry: Registry,
    world: World,
    verdicts: Arc<BTreeMap<ObjectRef, Arc<Verdict>>>,
    complaints: BTreeSet<Complaint>,
    /// What the proxy started with from its disk. It stays in force as long as a file was never readable, because
    /// that file may hold it.
    kept: BTreeSet<Key>,
}

/// What a look at the files led to.
#[derive(Clone, Debug)]
pub struct Step {
    /// What changed in the world.
    pub changes: Changes,
    /// What is published now.
    pub publication: Publication,
    /// Complaints that were not there before.
    pub complaints: Vec<Complaint>,
    /// Complaints that are settled.
    pub settled: usize,
}

impl Control {
    /// A control plane of these files. `kept` is what the proxy enforces already, `own` where this process listens.
    pub fn new(
        hub: Arc<Hub>,
        library: Library,
        kept: BTreeSet<Key>,
        own: Vec<SocketAddr>,
        master_key: MasterKey,
    ) -> Self {
        let addresses = AddressPolicy::Any { denied: own };
        let options = Options { addresses, master_key, ..Options::standalone() };
        let controller = options.gateway_controller.clone();
        let state = State {
            library,
            registry: Registry::default(),
            world: World::new(options),
            verdicts: Arc::default(),
            complaints: BTreeSet::new(),
            kept,
        };
        Self { hub, controller, state: Mutex::new(state), statuses: Mutex::default() }
    }

    /// Looks at the files and publishes what follows. Nothing where nothing changed.
    pub fn look(&self, suspects: &Suspects) -> Option<Step> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let first = state.verdicts.is_empty() && self.hub.progress().sequence == 0;
        if !state.library.refresh(suspects) && !first {
            return None;
        }
        let catalogue = Catalogue::of(&state.library);
        let changes = state.registry.sync(&catalogue, &mut state.world);
        let translation = state.world.translate(clock::timestamp());
        if state.library.is_known() {
            state.kept.clear();
        }
        let mut holds = translation.holds;
        holds.extend(state.kept.iter().cloned());
        let mut resources = translation.resources;
        if !state.kept.is_empty() {
            resources.retain(|resource| !is_kept_whole(resource, &state.kept, &translation.verdicts));
        }
        let publication = self.hub.publish(resources, holds);

        let complaints = review::complaints(&catalogue, &translation.verdicts);
        let new = complaints.difference(&state.complaints).cloned().collect();
        let settled = state.complaints.difference(&complaints).count();
        state.complaints = complaints;
        state.verdicts = Arc::new(translation.verdicts);
        Some(Step { changes, publication, complaints: new, settled })
    }

    /// Joins what the proxies have told since with the verdicts.
    pub fn observe(&self) {
        let verdicts = Arc::clone(&self.state.lock().verdicts);
        self.say(&mut self.statuses.lock(), &verdicts);
    }

    fn say(&self, statuses: &mut Statuses, verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>) {
        // There is one proxy, so that nobody counts apart from another one.
        let installation = Installation { controller: &self.controller, addresses: &[], state: &StateUrl::Memory };
        statuses.update(verdicts, &self.hub.progress(), installation, clock::timestamp());
    }

    /// Every object that headgate governs with its status, as `kubectl get -o json` shows it, and beside them what
    /// belongs to no object: the proxies with their troubles, and what is wrong with the files.
    pub fn list(&self) -> StatusList {
        let (verdicts, objects, complaints) = {
            let state = self.state.lock();
            let verdicts = Arc::clone(&state.verdicts);
            let get = |object: &ObjectRef| {
                state.world.get(ObjectKind::from(object.kind), &object.key).map(|found| (object.clone(), found))
            };
            let objects: BTreeMap<ObjectRef, Object> = verdicts.keys().filter_map(get).collect();
            let complaints: Vec<String> = state.complaints.iter().map(ToString::to_string).collect();
            (verdicts, objects, complaints)
        };
        let mut statuses = self.statuses.lock();
        self.say(&mut statuses, &verdicts);
        let list = StatusList::new(&verdicts, |object| objects.get(object).cloned(), &statuses, &self.hub.progress());
        drop(statuses);
        StatusList { complaints, ..list }
    }
}

/// Whether a resource of the plan from disk is better than what follows from the files: while some file was never
/// readable, what an object refers to may be in it.
fn is_kept_whole(resource: &Resource, kept: &BTreeSet<Key>, verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>) -> bool {
    let Some(key) = resource.key.as_ref().filter(|key| kept.contains(*key)) else { return false };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == key.kind) else { return false };
    let object = ObjectRef::new(kind, ObjectKey::new(key.namespace.as_str(), key.name.as_str()));
    let missing = |problem: &Problem| matches!(problem.reason, Reason::BackendNotFound | Reason::RefNotFound);
    verdicts.get(&object).is_some_and(|verdict| {
        let of_parents = verdict.parents.iter().flat_map(|parent| &parent.problems);
        verdict.problems.iter().chain(of_parents).any(missing)
    })
}
