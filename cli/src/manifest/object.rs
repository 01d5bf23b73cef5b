//! From a document to the objects in it: which kind, which name, what is wrong with each.
//!
//! Nothing here stops at the first mistake. An object with mistakes keeps its identity, so that whoever loads it
//! can leave its last good state in force and say so; only what has no identity is a mistake of the document.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use headgate_crds::schema::{self, SchemaProblem};
use headgate_operator::world::{Object, ObjectKind, Scope};
use headgate_translate::ObjectKey;

use super::decode::{Mistake, decode, suggestion};
use super::tree::{Node, Place, Value};

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Longest name that an API server accepts.
const NAME_BYTES: usize = 253;

/// An object with an identity.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its kind.
    pub kind: ObjectKind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Where it begins.
    pub place: Place,
    /// The object, unless something is wrong with it.
    pub object: Option<Object>,
    /// The object as far as it could be read, where something is wrong with it.
    pub in_spite_of_mistakes: Option<Object>,
    /// What is wrong with it; empty where it could be read.
    pub mistakes: Vec<Mistake>,
    /// Equal for equal content apart from metadata and status: what an API server counts generations of.
    pub fingerprint: u64,
}

/// Something to tell about a document that belongs to no readable identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about as far as that is known: `Deployment/web`, may be empty.
    pub label: String,
    /// Where and what.
    pub mistake: Mistake,
}

/// Everything that a document holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Objects of kinds that headgate reads.
    pub manifests: Vec<Manifest>,
    /// What must be corrected and has no identity.
    pub mistakes: Vec<Note>,
    /// Objects of kinds that headgate does not read.
    pub skipped: Vec<Note>,
}

/// How manifests, people and error messages write an object: `HTTPRoute/shop`, with the namespace where it is not
/// the default one.
pub fn label(kind: &str, key: &ObjectKey) -> String {
    let ObjectKey { namespace, name } = key;
    if namespace.is_empty() || namespace == DEFAULT_NAMESPACE {
        format!("{kind}/{name}")
    } else {
        format!("{kind}/{namespace}/{name}")
    }
}

/// The nodes of a document that are objects, in order: the document itself, or the items of a `List`.
pub fn objects(document: &Node) -> Vec<&Node> {
    match (document.get("kind").and_then(Node::text), document.get("items").map(|items| &items.value)) {
        (Some(kind), Some(Value::Sequence(items))) if kind.ends_with("List") => {
            items.iter().flat_map(objects).collect()
        }
        _ => vec![document],
    }
}

/// Reads all objects of a document.
pub fn read(document: &Node) -> Contents {
    let mut contents = Contents::default();
    for node in objects(document) {
        match identify(node) {
            Ok(Identity { kind: Class::Read(kind), key }) => contents.manifests.push(manifest(node, kind, key)),
            Ok(Identity { kind: Class::Skip(kind, message), key }) => {
                let mistake = Mistake { place: node.place, field: String::new(), message };
                contents.skipped.push(Note { label: label(&kind, &key), mistake });
            }
            Err(note) => contents.mistakes.push(note),
        }
    }
    contents
}

struct Identity {
    kind: Class,
    key: ObjectKey,
}

enum Class {
    Read(ObjectKind),
    /// The kind and why it is not read.
    Skip(String, String),
}

fn identify(node: &Node) -> Result<Identity, Note> {
    let about = |label: String, field: &str, message: String| Note {
        label,
        mistake: Mistake { place: node.locate(field), field: field.to_owned(), message },
    };
    if !matches!(node.value, Value::Mapping(_)) {
        let message = "expected a Kubernetes object with apiVersion, kind and metadata".to_owned();
        return Err(about(String::new(), "", message));
    }
    let kind = required_text(node, "kind", "add it, for instance `kind: OriginPool`")
        .map_err(|message| about(String::new(), "kind", message))?;
    let api_version = required_text(node, "apiVersion", "add it, for instance `apiVersion: headgate.dev/v1alpha1`")
        .map_err(|message| about(kind.to_owned(), "apiVersion", message))?;
    let class = classify(api_version, kind).map_err(|(field, message)| about(kind.to_owned(), field, message))?;

    let metadata = node.get("metadata");
    let name = metadata
        .ok_or_else(|| "the field is missing; add `metadata: { name: … }`".to_owned())
        .and_then(|metadata| required_text(metadata, "name", "add it; a file cannot use generateName"))
        .and_then(|name| checked_name(name).map(|()| name))
        .map_err(|message| about(kind.to_owned(), "metadata.name", message))?;
    let namespaced = match &class {
        Class::Read(kind) => kind.scope() == Scope::Namespaced,
        Class::Skip(..) => false,
    };
    let namespace = match metadata.and_then(|metadata| metadata.get("namespace")).map(|node| &node.value) {
        _ if !namespaced => "",
        None | Some(Value::Null) => DEFAULT_NAMESPACE,
        Some(Value::Text(namespace)) if namespace.is_empty() => DEFAULT_NAMESPACE,
        Some(Value::Text(namespace)) => {
            checked_name(namespace)
                .map_err(|message| about(format!("{kind}/{name}"), "metadata.namespace", message))?;
            namespace
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Sequence(_) | Value::Mapping(_)) => {
            let message = "expected text; put the value in quotes".to_owned();
            return Err(about(format!("{kind}/{name}"), "metadata.namespace", message));
        }
    };
    Ok(Identity { kind: class, key: ObjectKey::new(namespace, name) })
}

fn required_text<'n>(node: &'n Node, field: &str, remedy: &str) -> Result<&'n str, String> {
    match node.get(field).map(|node| &node.value) {
        None | Some(Value::Null) => Err(format!("the field is missing; {remedy}")),
        Some(Value::Text(text)) if text.is_empty() => Err(format!("the field is empty; {remedy}")),
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Bool(_) | Value::Number(_)) => Err("expected text; put the value in quotes".to_owned()),
        Some(Value::Sequence(_) | Value::Mapping(_)) => Err("expected text, found a list or fields".to_owned()),
    }
}

/// The names that an API server accepts for nearly all kinds.
fn checked_name(name: &str) -> Result<(), String> {
    let edges = [name.chars().next(), name.chars().next_back()];
    let lawful = name.len() <= NAME_BYTES
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && edges.iter().flatten().all(char::is_ascii_alphanumeric);
    if lawful {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not a name that Kubernetes accepts; use lower case letters, digits, `-` and `.`, begin and end \
         with a letter or digit, at most {NAME_BYTES} characters"
    ))
}

fn classify(api_version: &str, kind: &str) -> Result<Class, (&'static str, String)> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let skip = |message: String| Ok(Class::Skip(kind.to_owned(), message));
    let known = ObjectKind::ALL.iter().copied().find(|known| known.group() == group && known.as_str() == kind);
    match known {
        Some(known) if known.versions().contains(&version) => Ok(Class::Read(known)),
        Some(known) if group == headgate_crds::GROUP => {
            let message = format!("{api_version} does not exist; write `apiVersion: {}`", known.api_version());
            Err(("apiVersion", message))
        }
        Some(known) => skip(format!("{api_version} is not read; write `apiVersion: {}`", known.api_version())),
        None if group == headgate_crds::GROUP => {
            let kinds = headgate_crds::KINDS.iter().map(|kind| kind.name);
            let near = suggestion(kind, kinds.clone());
            let all = kinds.collect::<Vec<_>>().join(", ");
            Err(("kind", format!("{group} has no kind `{kind}`; this release has {all}{near}")))
        }
        None => match ObjectKind::ALL.iter().find(|known| known.as_str() == kind) {
            Some(known) => skip(format!(
                "{kind} of {api_version} is not read; write `apiVersion: {}` if that kind is meant",
                known.api_version()
            )),
            None => skip("headgate does not read this kind".to_owned()),
        },
    }
}

fn manifest(node: &Node, kind: ObjectKind, key: ObjectKey) -> Manifest {
    // Status is written by controllers; what a file says of it has no meaning.
    let mut node = node.clone();
    if let Value::Mapping(fields) = &mut node.value {
        fields.retain(|field| field.name != "status");
    }
    let node = &node;
    let mut json = node.to_json();
    let mut mistakes: BTreeMap<String, Mistake> = BTreeMap::new();
    if let Some(own) = headgate_crds::Kind::named(kind.as_str()) {
        for SchemaProblem { field, sentence } in schema::check(own, &mut json) {
            let mistake = Mistake { place: node.locate(&field), field, message: sentence };
            mistakes.entry(mistake.field.clone()).or_insert(mistake);
        }
    }
    let (result, unknown) = decode(node, |decoder| kind.deserialize(decoder));
    for mistake in unknown {
        mistakes.entry(mistake.field.clone()).or_insert(mistake);
    }
    let object = match result {
        Ok(object) => Some(object),
        // The schema has named it already, and more precisely.
        Err(_) if !mistakes.is_empty() => None,
        Err(mistake) => {
            let mistake = if is_secret(kind, &mistake.field) { without_value(mistake) } else { mistake };
            mistakes.insert(mistake.field.clone(), mistake);
            None
        }
    };
    let object = object.map(|mut object| {
        let meta = object.meta_mut();
        meta.namespace = (!key.namespace.is_empty()).then(|| key.namespace.clone());
        object
    });
    let (object, in_spite_of_mistakes) = if mistakes.is_empty() { (object, None) } else { (None, object) };
    let mut mistakes: Vec<Mistake> = mistakes.into_values().collect();
    mistakes.sort();
    Manifest { kind, key, place: node.place, object, in_spite_of_mistakes, mistakes, fingerprint: fingerprint(json) }
}

fn fingerprint(mut json: serde_json::Value) -> u64 {
    if let Some(fields) = json.as_object_mut() {
        fields.remove("metadata");
    }
    let mut hasher = DefaultHasher::new();
    json.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Whether what stands in a field is nobody's business.
fn is_secret(kind: ObjectKind, field: &str) -> bool {
    let top = field.split(['.', '[']).next().unwrap_or_default();
    kind == ObjectKind::Secret && matches!(top, "data" | "stringData")
}

/// The mistake in words that do not repeat what was found.
fn without_value(mistake: Mistake) -> Mistake {
    let message = "expected text; values below `data` are base64, those below `stringData` plain, both in quotes";
    Mistake { message: message.to_owned(), ..mistake }
}
