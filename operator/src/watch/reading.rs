//! One object as the API server stores it, read by itself, so that one that cannot be read stops no other.

use headgate_translate::{ObjectKey, Problem, Reason};
use kube::core::DynamicObject;
use serde_json::Value;

use crate::world::{Object, ObjectKind};

/// An object that was read, and what of it is not for translation.
#[derive(Clone, Debug)]
pub struct Read {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: String,
    /// `status`, of kinds that headgate governs.
    pub status: Option<Value>,
    /// The object without what translation must not see: it changes only when something changes that matters.
    pub object: Result<Object, Problem>,
}

impl Read {
    /// Reads an object of a kind.
    pub fn new(kind: ObjectKind, object: DynamicObject) -> Self {
        let DynamicObject { types: _, mut metadata, mut data } = object;
        let key =
            ObjectKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        let uid = metadata.uid.clone().unwrap_or_default();
        let version = metadata.resource_version.take().unwrap_or_default();
        metadata.managed_fields = None;
        let status = data.as_object_mut().and_then(|fields| fields.remove("status"));
        let status = status.filter(|_| kind.governed().is_some());
        let object = assemble(kind, &metadata, data).and_then(|whole| {
            kind.deserialize(whole).map_err(|error| {
                let sentence = format!("cannot be read as {}: {error}; correct the object", kind.as_str());
                Problem::new(Reason::Malformed, "", sentence)
            })
        });
        Self { key, uid, version, status, object }
    }
}

/// The object as one value again.
fn assemble(kind: ObjectKind, metadata: &impl serde::Serialize, data: Value) -> Result<Value, Problem> {
    let malformed = |sentence: String| Problem::new(Reason::Malformed, "", sentence);
    let mut whole = match data {
        Value::Object(fields) => fields,
        Value::Null => serde_json::Map::new(),
        _ => return Err(malformed("is not an object; correct it".to_owned())),
    };
    let metadata = serde_json::to_value(metadata).map_err(|error| malformed(format!("has bad metadata: {error}")))?;
    whole.insert("apiVersion".to_owned(), Value::String(kind.api_version()));
    whole.insert("kind".to_owned(), Value::String(kind.as_str().to_owned()));
    whole.insert("metadata".to_owned(), metadata);
    Ok(Value::Object(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: &Value, version: &str, status: &Value) -> Read {
        let object = json!({
            "apiVersion": "headgate.dev/v1alpha1", "kind": "OriginPool",
            "metadata": {
                "name": "chat", "namespace": "shop", "uid": "u1", "resourceVersion": version, "generation": 3,
                "managedFields": [{ "manager": version, "operation": "Update" }],
            },
            "spec": spec,
            "status": status,
        });
        Read::new(ObjectKind::OriginPool, serde_json::from_value(object).expect("any object"))
    }

    #[test]
    fn what_translation_sees_does_not_change_with_status_and_bookkeeping() {
        let spec = json!({ "origins": [{ "name": "only", "endpoints": ["192.0.2.1:80"] }] });
        let (one, other) = (read(&spec, "7", &json!({ "healthy": "1/1" })), read(&spec, "8", &json!({})));
        assert_eq!((one.version.as_str(), other.version.as_str()), ("7", "8"));
        assert_eq!((one.status, other.status), (Some(json!({ "healthy": "1/1" })), Some(json!({}))));
        assert_eq!(one.object, other.object);
        let key = one.object.expect("readable").key();
        assert_eq!(key, ObjectKey::new("shop", "chat"));
    }

    #[test]
    fn an_object_that_cannot_be_read_has_its_name_and_a_sentence() {
        let Read { key, object, .. } = read(&json!({ "origins": "none" }), "7", &json!({}));
        assert_eq!(key, ObjectKey::new("shop", "chat"));
        let problem = object.expect_err("a text is no list");
        assert_eq!(problem.reason, Reason::Malformed);
        assert!(problem.message.contains("cannot be read as OriginPool"), "{problem}");
    }
}
