//! What the API server checks with a schema, for places without an API server.
//!
//! [`check`] walks an object along the structural schema of its kind and does what the API server does before an
//! object is stored: nulls are dropped, unknown fields and values of the wrong type, length, range, pattern or enum
//! are named, each with its path. CEL rules are left to the translation, which says them with more context.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::{KINDS, Kind};

/// The definitions of all kinds. Deriving one costs more than checking a hundred objects.
static DEFINITIONS: LazyLock<Vec<(&str, CustomResourceDefinition)>> =
    LazyLock::new(|| KINDS.iter().map(|kind| (kind.name, (kind.definition)())).collect());

/// A value that the schema refuses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemaProblem {
    /// Path of the field: `spec.origins[0].weight`.
    pub field: String,
    /// What is wrong with it and what to write instead, without the path.
    pub sentence: String,
}

/// Checks an object of one of our kinds. Nulls are removed from it, as the API server removes them.
pub fn check(kind: &Kind, object: &mut Value) -> Vec<SchemaProblem> {
    let definition = DEFINITIONS.iter().find(|(name, _)| *name == kind.name).map(|(_, definition)| definition);
    let versions = definition.map_or(&[][..], |definition| &definition.spec.versions);
    let schema = versions.iter().find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let mut walk = Walk { problems: Vec::new() };
    if let (Some(schema), Value::Object(fields)) = (schema, &mut *object) {
        // The API server owns these three; their form is its own.
        let own = ["apiVersion", "kind", "metadata"].map(|name| fields.remove_entry(name));
        walk.value(schema, object, "");
        if let Value::Object(fields) = object {
            fields.extend(own.into_iter().flatten());
        }
    }
    walk.problems
}

/// Makes a derived definition plain: `nullable` is dropped, since the API server drops nulls of other fields and
/// so `field: null` means the same as no field.
pub fn tidy(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy_schema(schema);
        }
    }
    definition
}

fn tidy_schema(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => tidy_schema(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy_schema),
        None => {}
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy_schema);
}

struct Walk {
    problems: Vec<SchemaProblem>,
}

impl Walk {
    fn refuse(&mut self, field: &str, sentence: impl Into<String>) {
        self.problems.push(SchemaProblem { field: field.to_owned(), sentence: sentence.into() });
    }

    fn value(&mut self, schema: &JSONSchemaProps, value: &mut Value, path: &str) {
        if schema.x_kubernetes_int_or_string == Some(true) {
            match value {
                Value::String(text) => self.string(schema, text, path),
                Value::Number(number) if !number.is_f64() => self.number(schema, value, path),
                _ => self.refuse(path, format!("is {}, write a whole number or a string", describe(value))),
            }
            return;
        }
        match (schema.type_.as_deref(), &mut *value) {
            (Some("object"), Value::Object(_)) => self.object(schema, value, path),
            (Some("array"), Value::Array(_)) => self.array(schema, value, path),
            (Some("string"), Value::String(text)) => self.string(schema, text, path),
            (Some("integer"), Value::Number(number)) if number.is_f64() => {
                self.refuse(path, format!("is the number {number}, write a whole number"));
            }
            (Some("integer" | "number"), Value::Number(_)) => self.number(schema, value, path),
            (Some("boolean"), Value::Bool(_)) | (None, _) => {}
            (Some(wanted), _) => self.refuse(path, format!("is {}, write {}", describe(value), with_article(wanted))),
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, value: &mut Value, path: &str) {
        let (Value::Object(fields), Some(properties)) = (value, &schema.properties) else { return };
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        fields.retain(|_, value| !value.is_null());
        for (name, value) in fields.iter_mut() {
            match properties.get(name) {
                Some(property) => self.value(property, value, &below(name)),
                None => self.refuse(&below(name), unknown_field(name, properties.keys())),
            }
        }
        for name in schema.required.iter().flatten() {
            if !fields.contains_key(name) {
                self.refuse(&below(name), "is missing, it is required");
            }
        }
    }

    fn array(&mut self, schema: &JSONSchemaProps, value: &mut Value, path: &str) {
        let Value::Array(items) = value else { return };
        self.count(items.len(), [schema.min_items, schema.max_items], ["entry", "entries"], path);
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
            for (index, value) in items.iter_mut().enumerate() {
                self.value(item, value, &format!("{path}[{index}]"));
            }
        }
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let (field, identity) = match (schema.x_kubernetes_list_type.as_deref(), &schema.x_kubernetes_list_map_keys)
            {
                (Some("set"), _) => (format!("{path}[{index}]"), Some(item)),
                (Some("map"), Some(keys)) => {
                    let key = keys.first().map(String::as_str).unwrap_or_default();
                    (format!("{path}[{index}].{key}"), item.get(key))
                }
                _ => return,
            };
            if let Some(identity) = identity.map(ToString::to_string)
                && !seen.insert(identity.clone())
            {
                self.refuse(&field, format!("{identity} is in the list already, write it once"));
            }
        }
    }

    fn string(&mut self, schema: &JSONSchemaProps, text: &str, path: &str) {
        let before = self.problems.len();
        let limits = [schema.min_length, schema.max_length];
        self.count(text.chars().count(), limits, ["character", "characters"], path);
        if let Some(allowed) = &schema.enum_ {
            let allowed: Vec<&str> = allowed.iter().filter_map(|value| value.0.as_str()).collect();
            if !allowed.contains(&text) {
                self.refuse(path, format!("{text:?} is not known, write one of {}", allowed.join(", ")));
            }
        }
        if schema.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
            self.refuse(path, format!("{text:?} is no time: write one such as 2026-11-27T09:00:00Z"));
        }
        if let Some(pattern) = &schema.pattern
            && self.problems.len() == before
            && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
        {
            let sentence = if pattern == crate::duration::PATTERN {
                format!("{text:?} is {}", crate::duration::NotADuration)
            } else {
                format!("{text:?} does not match {pattern}")
            };
            self.refuse(path, sentence);
        }
    }

    fn number(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str) {
        let Some(number) = value.as_f64() else { return };
        let limits = match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) if number < least || number > most => format!("from {least} to {most}"),
            (Some(least), None) if number < least => format!("of {least} or more"),
            (None, Some(most)) if number > most => format!("of {most} or less"),
            _ => return,
        };
        self.refuse(path, format!("{value} is out of range, write a number {limits}"));
    }

    fn count(&mut self, count: usize, [least, most]: [Option<i64>; 2], [one, many]: [&str; 2], path: &str) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let unit = if count == 1 { one } else { many };
        if let Some(least) = least.filter(|least| count < *least) {
            self.refuse(path, format!("has {count} {unit}, at least {least} is needed"));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            self.refuse(path, format!("has {count} {unit}, at most {most} are allowed"));
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(_) => format!("the string {value}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn with_article(schema_type: &str) -> &'static str {
    match schema_type {
        "object" => "a map of fields",
        "array" => "a list",
        "string" => "a string (in quotes where YAML reads something else)",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "true or false",
    }
}

/// Names the field that was perhaps meant: written the same but for case and separators, or shorter or longer.
fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let (written, known) = (plain(name), known.map(String::as_str).collect::<Vec<_>>());
    let alike = known.iter().find(|field| plain(field).starts_with(&written) || written.starts_with(&plain(field)));
    match alike {
        Some(meant) => format!("is not a field, {meant} was perhaps meant"),
        None => format!("is not a field, there are {}", known.join(", ")),
    }
}
