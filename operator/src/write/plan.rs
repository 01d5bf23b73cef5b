//! What to write into the status of one object: only what is ours, and only what differs.

use headgate_crds::conditions::PROGRAMMED;
use headgate_translate::{GatewayAddress, Kind};
use serde_json::{Map, Value, json};

use crate::status::{Status, load_balancer};

/// What an installation writes into every status.
#[derive(Clone, Debug)]
pub struct Site {
    /// `controllerName` that signs entries of a route's status.
    pub controller: String,
    /// Where the gateway can be reached.
    pub addresses: Vec<GatewayAddress>,
}

/// Fields of the status that are ours, in the order of the kinds' schemas.
fn owned(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::OriginPool => {
            &["conditions", "observedGeneration", "proxies", "away", "healthy", "active", "origins", "hosts"]
        }
        Kind::RateLimit => &["conditions", "observedGeneration", "proxies", "away", "enforcedBy", "lastMinute"],
        Kind::WaitingRoom => {
            &["conditions", "observedGeneration", "proxies", "away", "state", "active", "queued", "waitSeconds"]
        }
        Kind::Gateway => &["addresses", "conditions", "listeners"],
        Kind::GatewayClass => &["conditions", "supportedFeatures"],
        Kind::HttpRoute => &["parents"],
        Kind::Ingress => &["loadBalancer"],
        Kind::IngressClass => &[],
    }
}

/// The fields of ours as they should be. `status` is absent where the object is not ours (any more), `stored` is the
/// status that the API server has.
pub fn wanted(kind: Kind, status: Option<&Status>, stored: Option<&Value>, site: &Site) -> Map<String, Value> {
    let mut fields = match status.and_then(Status::stored) {
        Some(Value::Object(fields)) => fields,
        Some(_) | None => Map::new(),
    };
    if kind == Kind::HttpRoute {
        let parents = parents(fields.remove("parents"), stored, &site.controller);
        fields.insert("parents".to_owned(), Value::Array(parents));
    }
    fields.retain(|name, _| owned(kind).contains(&name.as_str()));
    fields
}

/// Entries of other controllers as they are, in their order, then ours.
fn parents(ours: Option<Value>, stored: Option<&Value>, controller: &str) -> Vec<Value> {
    let stored = stored.and_then(|status| status.get("parents")).and_then(Value::as_array);
    let others = stored.into_iter().flatten();
    let others = others.filter(|parent| parent.get("controllerName").and_then(Value::as_str) != Some(controller));
    let mut all: Vec<Value> = others.cloned().collect();
    if let Some(Value::Array(ours)) = ours {
        all.extend(ours);
    }
    all
}

/// Whether what is stored may be cleared where an object is not ours (any more): another controller's words stay.
pub fn may_clear(kind: Kind, stored: Option<&Value>, site: &Site) -> bool {
    match kind {
        // Entries are signed.
        Kind::HttpRoute => true,
        // Addresses are not: those of the site were written by us.
        Kind::Ingress => {
            let written = stored.and_then(|status| status.get("loadBalancer"));
            !site.addresses.is_empty() && written == Some(&json!(load_balancer(&site.addresses)))
        }
        // The whole status is of whoever governs the object now.
        Kind::Gateway
        | Kind::GatewayClass
        | Kind::OriginPool
        | Kind::RateLimit
        | Kind::WaitingRoom
        | Kind::IngressClass => false,
    }
}

/// Whether a status says that proxies enforce the object.
pub fn says_programmed(stored: Option<&Value>) -> bool {
    let of = |status: &Value| {
        let conditions = status.get("conditions").and_then(Value::as_array);
        let is_it = |condition: &Value| condition["type"] == PROGRAMMED && condition["status"] == "True";
        conditions.is_some_and(|conditions| conditions.iter().any(is_it))
    };
    let Some(stored) = stored else { return false };
    let parents = stored.get("parents").and_then(Value::as_array);
    of(stored) || parents.is_some_and(|parents| parents.iter().any(of))
}

/// A merge patch of the status that makes our fields what they should be, absent where they are.
pub fn patch(kind: Kind, wanted: &Map<String, Value>, stored: Option<&Value>) -> Option<Map<String, Value>> {
    let mut patch = Map::new();
    for field in owned(kind) {
        let before = stored.and_then(|status| status.get(field)).filter(|value| !is_empty(value));
        let after = wanted.get(*field).filter(|value| !is_empty(value));
        if before != after {
            patch.insert((*field).to_owned(), changed(before, after, wanted.get(*field)));
        }
    }
    (!patch.is_empty()).then_some(patch)
}

/// The value to write. A merge patch merges objects, so what is gone of one is named.
fn changed(before: Option<&Value>, after: Option<&Value>, exact: Option<&Value>) -> Value {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut merged = after.clone();
            for gone in before.keys().filter(|name| !after.contains_key(*name)) {
                merged.insert(gone.clone(), Value::Null);
            }
            Value::Object(merged)
        }
        (_, Some(after)) => after.clone(),
        // An empty list where the schema asks for one. An empty object would take nothing away.
        (_, None) => exact.filter(|exact| exact.is_array()).cloned().unwrap_or(Value::Null),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
