//! The CEL rules of our kinds: each refuses what it says and accepts what it should.

mod origin_pool;
mod rate_limit;

use headgate_crds::Kind;
use kube::core::cel::Validator;
use serde_json::{Value, json};

/// The sentences with which the API server would refuse an object of a kind whose spec is this one, changed by a merge
/// patch.
fn sentences(kind: &str, spec: &Value, patch: &Value) -> Vec<String> {
    let definition = serde_json::to_value((Kind::named(kind).expect("a kind of ours").definition)()).expect("JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut object = json!({ "metadata": { "name": "chat" }, "spec": spec });
    merge(&mut object["spec"], patch);
    default(schema, &mut object);
    match Validator::new().validate(schema, &object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

#[track_caller]
fn check(kind: &str, spec: &Value, accepted: &[Value], refused: &[Value], sentence: &str) {
    for patch in accepted {
        assert_eq!(sentences(kind, spec, patch), Vec::<String>::new(), "{patch}");
    }
    for patch in refused {
        assert_eq!(sentences(kind, spec, patch), [sentence], "{patch}");
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name).or_insert(json!({})), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// Defaults as the API server writes them before rules are evaluated.
fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if !fields.contains_key(name) && !property["default"].is_null() {
                    fields.insert(name.clone(), property["default"].clone());
                }
                if let Some(field) = fields.get_mut(name) {
                    default(property, field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| default(&schema["items"], item)),
        _ => {}
    }
}
