//! The table of our kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{OriginPool, RateLimit, WaitingRoom, schema};

/// API group of all kinds of ours.
pub const GROUP: &str = "headgate.dev";

/// The one version served.
pub const VERSION: &str = "v1alpha1";

/// One kind of ours.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As in a manifest's `kind`.
    pub name: &'static str,
    /// As in `kubectl get` and in the path of the API.
    pub plural: &'static str,
    /// The short form for `kubectl get`.
    pub short_name: &'static str,
    /// The definition to install.
    pub definition: fn() -> CustomResourceDefinition,
}

/// All kinds of the group [`GROUP`], in the order of their names.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "OriginPool",
        plural: "originpools",
        short_name: "op",
        definition: || schema::tidy(OriginPool::crd()),
    },
    Kind { name: "RateLimit", plural: "ratelimits", short_name: "rl", definition: || schema::tidy(RateLimit::crd()) },
    Kind {
        name: "WaitingRoom",
        plural: "waitingrooms",
        short_name: "wr",
        definition: || schema::tidy(WaitingRoom::crd()),
    },
];

impl Kind {
    /// The kind of a name, if it is one of ours.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Name of the file in `crds/yaml`.
    pub fn file_name(&self) -> String {
        format!("{}.yaml", self.plural)
    }

    /// The definition as `crds/yaml` has it.
    pub fn yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        let mut definition = serde_json::json!((self.definition)());
        write_whole_numbers(&mut definition);
        Ok(format!("# Generated from the Rust types by `make golden`.\n{}", serde_saphyr::to_string(&definition)?))
    }
}

/// Bounds are floating point numbers in the type of a schema; `10.0` reads as if a fraction were allowed.
fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().and_then(|number| format!("{number}").parse::<i64>().ok()) {
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
