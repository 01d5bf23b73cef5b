//! The control plane of standalone: everything between the files and the hub, under one lock.
//!
//! Each method is one step of the pipeline and returns; nothing here waits. The admin routes read under the same
//! lock, so what they show is always one state, never a mixture of two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_operator::hub::{Hub, Publication};
use headgate_operator::status::{Status, Statuses};
use headgate_operator::world::{Object, ObjectKind, World};
use headgate_snapshot::Key;
use headgate_translate::{ObjectRef, Options, Verdict};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::manifest::catalogue::Catalogue;
use crate::manifest::complaint::Complaint;
use crate::manifest::library::{Library, Suspects};
use crate::registry::{Changes, Registry};
use crate::{clock, review};

/// The control plane.
#[derive(Debug)]
pub struct Control {
    hub: Arc<Hub>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    library: Library,
    registry: Registry,
    world: World,
    controller: String,
    verdicts: BTreeMap<ObjectRef, Verdict>,
    statuses: Statuses,
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
    /// A control plane of these files. `kept` is what the proxy enforces already.
    pub fn new(hub: Arc<Hub>, library: Library, kept: BTreeSet<Key>) -> Self {
        let options = Options::standalone();
        let controller = options.gateway_controller.clone();
        let state = State {
            library,
            registry: Registry::default(),
            world: World::new(options),
            controller,
            verdicts: BTreeMap::new(),
            statuses: Statuses::default(),
            complaints: BTreeSet::new(),
            kept,
        };
        Self { hub, state: Mutex::new(state) }
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
        let publication = self.hub.publish(translation.resources, holds);

        let complaints = review::complaints(&catalogue, &translation.verdicts);
        let new = complaints.difference(&state.complaints).cloned().collect();
        let settled = state.complaints.difference(&complaints).count();
        state.complaints = complaints;
        state.verdicts = translation.verdicts;
        Some(Step { changes, publication, complaints: new, settled })
    }

    /// Joins what the proxies have told since with the verdicts.
    pub fn observe(&self) {
        self.state.lock().observe(&self.hub);
    }

    /// Every object that headgate governs with its status, as `kubectl get -o json` shows it, and beside them what
    /// belongs to no object: the proxies with their troubles, and what is wrong with the files.
    pub fn status(&self) -> Value {
        let mut state = self.state.lock();
        state.observe(&self.hub);
        let items: Vec<Value> = state.verdicts.keys().map(|object| item(&state, object)).collect();
        let progress = self.hub.progress();
        let proxies = progress.proxies.iter().map(|proxy| {
            let troubles = proxy
                .report
                .troubles
                .iter()
                .map(|trouble| json!({ "reason": trouble.reason, "message": trouble.message }));
            json!({
                "name": proxy.name,
                "version": proxy.report.version,
                "current": proxy.applied == progress.sequence,
                "troubles": troubles.collect::<Vec<_>>(),
            })
        });
        let complaints: Vec<String> = state.complaints.iter().map(ToString::to_string).collect();
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "metadata": { "resourceVersion": "" },
            "items": items,
            "proxies": proxies.collect::<Vec<_>>(),
            "complaints": complaints,
        })
    }
}

impl State {
    fn observe(&mut self, hub: &Hub) {
        self.statuses.update(&self.verdicts, &hub.progress(), &self.controller, clock::timestamp());
    }
}

fn item(state: &State, object: &ObjectRef) -> Value {
    let kind = ObjectKind::from(object.kind);
    let mut item = state.world.get(kind, &object.key).map_or_else(|| json!({}), |object| shown(&object));
    let namespace = (!object.key.namespace.is_empty()).then_some(&object.key.namespace);
    if item.get("metadata").is_none() {
        item["metadata"] = json!({ "name": object.key.name });
        if let Some(namespace) = namespace {
            item["metadata"]["namespace"] = json!(namespace);
        }
    }
    item["apiVersion"] = json!(kind.api_version());
    item["kind"] = json!(kind.as_str());
    if let Some(status) = state.statuses.get(object) {
        item["status"] = status_json(status);
    }
    item
}

fn status_json(status: &Status) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// An object as JSON. Kinds without a status are not shown; Secrets are among them.
fn shown(object: &Object) -> Value {
    match object {
        Object::OriginPool(object) => serde_json::to_value(object),
        Object::GatewayClass(object) => serde_json::to_value(object),
        Object::Gateway(object) => serde_json::to_value(object),
        Object::HttpRoute(object) => serde_json::to_value(object),
        Object::IngressClass(object) => serde_json::to_value(object),
        Object::Ingress(object) => serde_json::to_value(object),
        Object::ReferenceGrant(_)
        | Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::ConfigMap(_)
        | Object::Namespace(_) => Ok(Value::Null),
    }
    .unwrap_or_default()
}
