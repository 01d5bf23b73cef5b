//! All objects with their status, as `kubectl get -o json` shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_translate::{ObjectRef, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Status, Statuses};
use crate::hub::{Attendance, Progress};
use crate::world::{Object, ObjectKind};

/// What is asked of `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct StatusQuestion {
    /// Only objects of this namespace.
    pub namespace: Option<String>,
}

/// What `GET /v1/status` tells.
#[derive(Clone, Debug, Default)]
pub struct StatusList {
    /// Every object that headgate governs.
    pub items: Vec<(ObjectRef, Value)>,
    /// What belongs to no object: the proxies with their troubles.
    pub proxies: Vec<Value>,
    /// What is wrong with the source of the objects.
    pub complaints: Vec<String>,
}

impl StatusList {
    /// The list of what the verdicts are about. `get` finds an object as it is in force.
    pub fn new(
        verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>,
        get: impl Fn(&ObjectRef) -> Option<Object>,
        statuses: &Statuses,
        progress: &Progress,
    ) -> Self {
        let items = verdicts.keys().map(|object| {
            let item = item(object, get(object).as_ref(), statuses.get(object));
            (object.clone(), item)
        });
        Self { items: items.collect(), proxies: proxies(progress), complaints: Vec::new() }
    }

    /// The part that is asked for.
    #[must_use]
    pub fn about(mut self, question: &StatusQuestion) -> Self {
        if let Some(namespace) = &question.namespace {
            self.items.retain(|(object, _)| object.key.namespace == *namespace);
        }
        self
    }

    /// The list as JSON.
    pub fn into_json(self) -> Value {
        let Self { items, proxies, complaints } = self;
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "metadata": { "resourceVersion": "" },
            "items": items.into_iter().map(|(_, item)| item).collect::<Vec<_>>(),
            "proxies": proxies,
            "complaints": complaints,
        })
    }
}

fn proxies(progress: &Progress) -> Vec<Value> {
    let proxies = progress.proxies.iter().map(|proxy| {
        let troubles = proxy.report.troubles.iter();
        let troubles = troubles.map(|trouble| json!({ "reason": trouble.reason, "message": trouble.message }));
        let state = match proxy.attendance {
            Attendance::Present => "Connected",
            Attendance::Silent => "Silent",
            Attendance::Lost => "Lost",
            Attendance::Away { .. } => "Away",
        };
        json!({
            "name": proxy.name,
            "state": state,
            "version": proxy.report.version,
            "current": proxy.is_present() && proxy.applied == progress.sequence,
            "troubles": troubles.collect::<Vec<_>>(),
        })
    });
    proxies.collect()
}

fn item(object: &ObjectRef, now: Option<&Object>, status: Option<&Status>) -> Value {
    let kind = ObjectKind::from(object.kind);
    let mut item = now.map_or_else(|| json!({}), shown);
    let namespace = (!object.key.namespace.is_empty()).then_some(&object.key.namespace);
    if item.get("metadata").is_none() {
        item["metadata"] = json!({ "name": object.key.name });
        if let Some(namespace) = namespace {
            item["metadata"]["namespace"] = json!(namespace);
        }
    }
    item["apiVersion"] = json!(kind.api_version());
    item["kind"] = json!(kind.as_str());
    if let Some(status) = status {
        item["status"] = status.shown();
    }
    item
}

/// An object as JSON. Kinds without a status are not shown; Secrets are among them.
fn shown(object: &Object) -> Value {
    match object {
        Object::OriginPool(object) => serde_json::to_value(object),
        Object::RateLimit(object) => serde_json::to_value(object),
        Object::WaitingRoom(object) => serde_json::to_value(object),
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
