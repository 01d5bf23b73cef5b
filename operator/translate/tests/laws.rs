//! Laws that hold for every world, also for the oddest.
//!
//! The worlds of the golden cases are the material: their documents are shuffled, and single fields of them are
//! replaced by odd values.

mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use headgate_snapshot::Key;
use headgate_snapshot::governs::By;
use headgate_snapshot::resource::Body;
use headgate_translate::{Dependency, Inputs, Kind, ObjectKey, ObjectRef, REFERRED, Reason, Translator, translate};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

/// The documents of every golden case.
fn worlds() -> Vec<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> =
        fs::read_dir(folder).expect("the folder of cases").map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases.iter().map(|case| world::documents(&fs::read_to_string(case.join("in.yaml")).expect("in.yaml"))).collect()
}

fn any_world() -> impl Strategy<Value = Vec<Value>> {
    prop::sample::select(worlds())
}

/// A document, a field of it, and something odd to put there.
fn any_replacement() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, Value)> {
    let odd = prop::sample::select(vec![
        json!(null),
        json!(""),
        json!("*"),
        json!("odd"),
        json!("\u{0}ü/\n"),
        json!("99999h"),
        json!(-1),
        json!(0),
        json!(70_000),
        json!(i64::MAX),
        json!(1.5),
        json!(true),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "name": "odd" }),
    ]);
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), odd)
}

fn replace(documents: &mut [Value], (document, field, odd): (prop::sample::Index, prop::sample::Index, Value)) {
    if documents.is_empty() {
        return;
    }
    let document = document.get_mut(documents);
    let mut pointers = Vec::new();
    list_pointers(document, String::new(), &mut pointers);
    if pointers.is_empty() {
        return;
    }
    let pointer: &String = field.get(&pointers);
    if let Some(value) = document.pointer_mut(pointer) {
        *value = odd;
    }
}

/// A world with up to three fields replaced by something odd.
fn any_odd_world() -> impl Strategy<Value = Vec<Value>> {
    (any_world(), prop::collection::vec(any_replacement(), 1..4)).prop_map(|(mut documents, edits)| {
        for edit in edits {
            replace(&mut documents, edit);
        }
        documents
    })
}

/// What somebody does to a world.
#[derive(Clone, Debug)]
enum Edit {
    /// Puts something odd in place of a field.
    Replace(Vec<(prop::sample::Index, prop::sample::Index, Value)>),
    /// Puts a document in place of the one of its identity, or adds it.
    Apply(Value),
    /// Removes a document.
    Delete(prop::sample::Index),
}

impl Edit {
    fn make(self, documents: &mut Vec<Value>) {
        match self {
            Self::Replace(edits) => {
                for edit in edits {
                    replace(documents, edit);
                }
            }
            Self::Apply(document) => {
                let identity = |document: &Value| {
                    let Value::Object(_) = document["metadata"] else { return document.clone() };
                    json!([document["kind"], document["metadata"]["namespace"], document["metadata"]["name"]])
                };
                documents.retain(|known| identity(known) != identity(&document));
                documents.push(document);
            }
            Self::Delete(_) if documents.is_empty() => {}
            Self::Delete(document) => drop(documents.remove(document.index(documents.len()))),
        }
    }
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let all: Vec<Value> = worlds().into_iter().flatten().collect();
    let document = || prop::sample::select(all.clone());
    let replacements = prop::collection::vec(any_replacement(), 1..3);
    prop_oneof![
        2 => replacements.prop_map(Edit::Replace),
        2 => document().prop_map(Edit::Apply),
        1 => any::<prop::sample::Index>().prop_map(Edit::Delete),
    ]
}

/// Pointers to all values, except those that say what and who the object is.
fn list_pointers(value: &Value, at: String, pointers: &mut Vec<String>) {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| *name != "kind" || !at.is_empty()) {
                list_pointers(value, format!("{at}/{}", escape(name)), pointers);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                list_pointers(value, format!("{at}/{index}"), pointers);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    let is_test_data = [
        "",
        "/metadata",
        "/metadata/name",
        "/metadata/namespace",
        "/since",
        "/all",
        "/secret",
        "/addresses",
        "/assumedClasses",
        "/masterKey",
        "/object",
    ];
    if !is_test_data.contains(&at.as_str())
        && !["/object/", "/allowed", "/denied", "/gatewayAddresses"].iter().any(|own| at.starts_with(own))
    {
        pointers.push(at);
    }
}

fn governed(inputs: &Inputs) -> Vec<ObjectRef> {
    let mut objects = Vec::new();
    for kind in Kind::ALL {
        let keys: Vec<_> = match kind {
            Kind::GatewayClass => inputs.gateway_classes.keys().collect(),
            Kind::Gateway => inputs.gateways.keys().collect(),
            Kind::HttpRoute => inputs.http_routes.keys().collect(),
            Kind::IngressClass => inputs.ingress_classes.keys().collect(),
            Kind::Ingress => inputs.ingresses.keys().collect(),
            Kind::OriginPool => inputs.origin_pools.keys().collect(),
            Kind::RateLimit => inputs.rate_limits.keys().collect(),
            Kind::WaitingRoom => inputs.waiting_rooms.keys().collect(),
        };
        objects.extend(keys.into_iter().map(|key| ObjectRef::new(kind, key.clone())));
    }
    objects.extend(inputs.malformed.keys().cloned());
    objects.sort();
    objects.dedup();
    objects
}

proptest! {
    // The seed of a failure is printed, and kept beside this file.
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_order_of_objects_changes_nothing(
        (documents, shuffled) in any_world().prop_flat_map(|documents| {
            (Just(documents.clone()), Just(documents).prop_shuffle())
        })
    ) {
        prop_assert_eq!(translate(&world::of(documents)), translate(&world::of(shuffled)));
    }

    #[test]
    fn every_object_gets_exactly_one_verdict_however_odd_it_is(documents in any_odd_world()) {
        let inputs = world::of(documents);
        let judged: Vec<ObjectRef> = translate(&inputs).verdicts.into_keys().collect();
        prop_assert_eq!(judged, governed(&inputs));
    }

    #[test]
    fn a_translation_leaves_its_inputs_alone_and_repeats_itself(documents in any_odd_world()) {
        let inputs = world::of(documents);
        let before = inputs.clone();
        let first = translate(&inputs);
        prop_assert_eq!(&inputs, &before);
        prop_assert_eq!(first, translate(&inputs));
    }

    #[test]
    fn what_was_translated_before_changes_nothing(worlds in prop::collection::vec(any_odd_world(), 1..4)) {
        let worlds: Vec<Inputs> = worlds.into_iter().map(world::of).collect();
        let mut translator = Translator::default();
        // Each twice in a row, and again after all others.
        for inputs in worlds.iter().flat_map(|inputs| [inputs, inputs]).chain(&worlds) {
            prop_assert_eq!(translator.translate(inputs), translate(inputs));
        }
    }

    #[test]
    fn what_a_translator_remembers_changes_nothing_however_the_world_is_edited(
        documents in any_world(),
        edits in prop::collection::vec(any_edit(), 1..12),
    ) {
        let mut documents = documents;
        let mut before = world::of(documents.clone());
        let mut translator = Translator::default();
        let mut claims = translator.translate(&before).claims;
        for edit in edits {
            edit.make(&mut documents);
            let mut inputs = world::of(documents.clone());
            world::share(&before, &mut inputs);
            inputs.claims = claims;
            let translation = translator.translate(&inputs);
            prop_assert_eq!(&translation, &translate(&inputs));
            claims = Arc::clone(&translation.claims);
            before = inputs;
        }
    }

    #[test]
    fn claims_settle_at_once(documents in any_odd_world()) {
        let inputs = world::of(documents);
        let first = translate(&inputs);
        let next = Inputs { claims: Arc::clone(&first.claims), ..inputs };
        prop_assert_eq!(translate(&next), first);
    }

    #[test]
    fn who_comes_later_takes_no_host_even_with_an_older_object(documents in any_odd_world()) {
        let inputs = world::of(documents.clone());
        let claims = translate(&inputs).claims;
        // An odd world may have claims of hosts that no pool can ask for.
        let hosts: Vec<&String> = claims.keys().filter(|host| *host != "*" && !host.is_empty()).take(64).collect();
        let thief = json!({
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "OriginPool",
            "metadata": { "name": "thief", "namespace": "thief", "creationTimestamp": "1971-01-01T00:00:00Z" },
            "spec": { "hosts": hosts, "origins": [{ "name": "a", "endpoints": ["192.0.2.7:80"] }] },
        });
        let mut next = world::of(documents.into_iter().chain([thief]).collect());
        next.claims.clone_from(&claims);
        let translation = translate(&next);
        prop_assert_eq!(&translation.claims, &claims);
        let thief = &translation.verdicts[&ObjectRef::new(Kind::OriginPool, ObjectKey::new("thief", "thief"))];
        prop_assert!(thief.hosts.iter().all(|host| !host.held));
        let told = thief.problems.iter().filter(|problem| problem.reason == Reason::HostHeld).count();
        prop_assert_eq!(told, hosts.len());
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_at_a_proxy_that_has_it(
        documents in any_odd_world(),
        kind in prop::sample::select(vec![
            "OriginPool", "GatewayClass", "Gateway", "ReferenceGrant", "IngressClass", "Service", "EndpointSlice",
            "Namespace", "Secret", "HTTPRoute", "Ingress",
        ]),
    ) {
        let whole = Inputs { unread: BTreeSet::new(), ..world::of(documents.clone()) };
        let before = translate(&whole);
        let is_of = |document: &Value| document["kind"] == kind;
        let unread = documents.iter().filter(|document| is_of(document)).map(|document| {
            let metadata = &document["metadata"];
            json!({ "kind": "Unread", "all": kind, "namespace": metadata["namespace"], "secret": metadata["name"] })
        });
        let rest = documents.iter().filter(|document| !is_of(document)).cloned();
        let part = Inputs { claims: Arc::clone(&before.claims), ..world::of(rest.chain(unread).collect()) };
        let after = translate(&part);
        let is_blind = part.unread.iter().any(|unread| !matches!(unread, Dependency::One(_)));
        let kept: BTreeSet<&str> = after.uncertain.iter().chain(&after.holds).map(|key| &*key.namespace).collect();
        let is_referred = |key: &Key| {
            REFERRED.contains(&key.kind.as_str()) && (is_blind || kind == "Secret" || kept.contains(&*key.namespace))
        };
        let keeps = |key: &Key| *key.kind == *kind || is_referred(key) || after.uncertain.contains(key) || after.holds.contains(key);
        for resource in &before.resources {
            let key = resource.key.as_ref().expect("a key");
            let now = after.resources.iter().find(|now| now.key == resource.key);
            prop_assert!(now == Some(resource) || keeps(key), "{} was {:?} and is {:?}", key, resource, now);
        }
        prop_assert_eq!(&after.claims, &before.claims);
    }

    #[test]
    fn a_claim_ends_with_the_last_object_that_may_need_it(documents in any_odd_world()) {
        let before = translate(&world::of(documents));
        let nothing = Inputs { claims: before.claims, ..Inputs::default() };
        prop_assert!(translate(&nothing).claims.is_empty());
    }

    #[test]
    fn what_others_write_changes_nothing_for_a_namespace(mut documents in any_odd_world()) {
        documents.extend(world::documents(world::BYSTANDER));
        // What cannot be read of a kind is everybody's trouble.
        documents.retain(|document| document["kind"] != "Unread");
        let beside_others = world::of(documents);
        let alone = Inputs { options: beside_others.options.clone(), ..world::read(world::BYSTANDER) };
        let (alone, beside_others) = (translate(&alone), translate(&beside_others));
        prop_assert_eq!(world::of_bystander(&alone), world::of_bystander(&beside_others));
    }

    #[test]
    fn a_limit_governs_nothing_but_what_its_namespace_has(documents in any_odd_world()) {
        let translation = translate(&world::of(documents));
        for resource in &translation.resources {
            let (Some(key), Some(Body::RateLimit(limit))) = (&resource.key, &resource.body) else { continue };
            let namespaces: Vec<&str> = match limit.governs.as_ref().and_then(|governs| governs.by.as_ref()) {
                Some(By::Namespace(namespace)) => vec![namespace],
                Some(By::Targets(targets)) => {
                    targets.targets.iter().map(|target| target.object.as_ref().expect("a key").namespace.as_str()).collect()
                }
                None => Vec::new(),
            };
            prop_assert!(namespaces.iter().all(|namespace| *namespace == key.namespace), "{:?}", resource);
        }
    }

    #[test]
    fn every_resource_has_a_key_of_its_own_and_is_sorted(documents in any_odd_world()) {
        let translation = translate(&world::of(documents));
        let keys: Vec<_> = translation.resources.iter().map(|resource| resource.key.clone()).collect();
        prop_assert!(keys.iter().all(Option::is_some));
        prop_assert!(keys.is_sorted_by(|one, other| one < other));
    }
}

#[test]
fn what_an_edit_does_not_touch_keeps_its_allocations() {
    let route = |index: u8| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{ name: route-{index}, namespace: bystander }}\n\
             spec: {{ parentRefs: [{{ name: gate }}], hostnames: [h{index}.bystander.net], \
             rules: [{{ backendRefs: [{{ name: web, port: 80 }}] }}] }}\n"
        )
    };
    let many = (0..20).map(route).collect::<Vec<String>>().concat();
    let before = world::read(&format!("{}{many}", world::BYSTANDER));
    let mut after = world::read(&format!("{}{}", world::BYSTANDER, many.replace("h7.bystander", "other.bystander")));
    world::share(&before, &mut after);
    let mut translator = Translator::default();
    let (first, second) = (translator.translate(&before), translator.translate(&after));

    let resources = first.resources.iter().zip(&second.resources);
    let made_anew: Vec<String> = resources
        .filter(|(one, other)| !Arc::ptr_eq(one, other))
        .map(|(_, other)| other.key.as_ref().expect("a key").to_string())
        .collect();
    // Gateways, and the listeners of no object, are lowered each time.
    assert_eq!(made_anew, ["Defaults/listeners", "Gateway/bystander/gate", "HTTPRoute/bystander/route-7"]);
    let verdicts = first.verdicts.values().zip(second.verdicts.values());
    assert_eq!(verdicts.filter(|(one, other)| Arc::ptr_eq(one, other)).count(), 3 + 20);
}
