#![allow(dead_code, reason = "each test uses a part of it")]
//! Reads a world from YAML: the objects of a cluster, and what is kept between translations.
//!
//! Beside Kubernetes objects a document may be of kind `Claim` (`host`, `namespace`, `since`), `LastAccepted` (`object`),
//! `Unread` (`all`: a kind, or `secret` with `namespace`)
//! or `Options` (`addresses: Public` or `Any`, `allowed`, `denied`, `assumedClasses: None`, `gatewayAddresses`), with the
//! version `test`.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use headgate_translate::{
    AddressPolicy, AssumedClasses, Claim, Dependency, Inputs, Kind, MasterKey, ObjectKey, ObjectRef, Objects, Options,
    Problem, Reason, Reference, ReferredKind, Translation,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A world from one or many YAML documents. Standalone's options hold unless the world says otherwise.
pub fn read(yaml: &str) -> Inputs {
    of(documents(yaml))
}

/// The documents of a world.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("the world is YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// A world of documents.
pub fn of(documents: Vec<Value>) -> Inputs {
    let now = "2026-01-02T00:00:00Z".parse().expect("a time");
    let options = Options { master_key: MasterKey::for_checks(), ..Options::standalone() };
    let mut inputs = Inputs { options, now, ..Inputs::default() };
    for document in documents {
        add(&mut inputs, document);
    }
    inputs
}

fn add(inputs: &mut Inputs, document: Value) {
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let metadata = |field: &str| document["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(metadata("namespace"), metadata("name"));
    match text("kind").as_str() {
        "OriginPool" => {
            if let Some(document) = fitting(inputs, Kind::OriginPool, &key, document) {
                let read = put(&mut inputs.origin_pools, key.clone(), document);
                note_malformed(inputs, Kind::OriginPool, key, read);
            }
        }
        "WaitingRoom" => {
            if let Some(document) = fitting(inputs, Kind::WaitingRoom, &key, document) {
                let read = put(&mut inputs.waiting_rooms, key.clone(), document);
                note_malformed(inputs, Kind::WaitingRoom, key, read);
            }
        }
        "RateLimit" => {
            if let Some(document) = fitting(inputs, Kind::RateLimit, &key, document) {
                let read = put(&mut inputs.rate_limits, key.clone(), document);
                note_malformed(inputs, Kind::RateLimit, key, read);
            }
        }
        "GatewayClass" => {
            let read = put(&mut inputs.gateway_classes, key.clone(), document);
            note_malformed(inputs, Kind::GatewayClass, key, read);
        }
        "Gateway" => {
            let read = put(&mut inputs.gateways, key.clone(), document);
            note_malformed(inputs, Kind::Gateway, key, read);
        }
        "HTTPRoute" => {
            let read = put(&mut inputs.http_routes, key.clone(), document);
            note_malformed(inputs, Kind::HttpRoute, key, read);
        }
        "IngressClass" => {
            let read = put(&mut inputs.ingress_classes, key.clone(), document);
            note_malformed(inputs, Kind::IngressClass, key, read);
        }
        "Ingress" => {
            let read = put(&mut inputs.ingresses, key.clone(), document);
            note_malformed(inputs, Kind::Ingress, key, read);
        }
        "ReferenceGrant" => drop(put(&mut inputs.reference_grants, key, document)),
        "Service" => drop(put(&mut inputs.services, key, document)),
        "EndpointSlice" => drop(put(&mut inputs.endpoint_slices, key, document)),
        "Secret" => drop(put(&mut inputs.secrets, key, document)),
        "ConfigMap" => drop(put(&mut inputs.config_maps, key, document)),
        "Namespace" => drop(put(&mut inputs.namespaces, key, document)),
        "Claim" => {
            let since: Timestamp = text("since").parse().expect("a time");
            Arc::make_mut(&mut inputs.claims).insert(text("host"), Claim { namespace: text("namespace"), since });
        }
        "LastAccepted" => {
            let object = document["object"].clone();
            let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let key = ObjectKey::new(metadata("namespace"), metadata("name"));
            match object["kind"].as_str() {
                Some("OriginPool") => put(&mut inputs.last_accepted.origin_pools, key, object),
                Some("RateLimit") => put(&mut inputs.last_accepted.rate_limits, key, object),
                Some("WaitingRoom") => put(&mut inputs.last_accepted.waiting_rooms, key, object),
                other => Err(format!("{other:?}")),
            }
            .expect("an object of ours");
        }
        "Unread" => drop(inputs.unread.insert(unread(&text("all"), &text("namespace"), &text("secret")))),
        "Options" => read_options(&mut inputs.options, &document),
        other => assert_eq!(other, "a kind that headgate reads"),
    }
}

/// What a process was told at its start, as far as a case says so.
fn read_options(options: &mut Options, document: &Value) {
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let (allowed, denied) = (read_all(&document["allowed"]), read_all(&document["denied"]));
    match text("addresses").as_str() {
        "Public" => options.addresses = AddressPolicy::Public { allowed, denied },
        "Any" => options.addresses = AddressPolicy::Any { denied },
        other => assert_eq!(other, "", "a policy of addresses"),
    }
    match text("assumedClasses").as_str() {
        "None" => options.assumed_classes = AssumedClasses::None,
        other => assert_eq!(other, "", "None, or what standalone assumes"),
    }
    match text("masterKey").as_str() {
        "None" => options.master_key = MasterKey::default(),
        other => assert_eq!(other, "", "None, or one for tests"),
    }
    options.gateway_addresses = read_all(&document["gatewayAddresses"]);
}

fn unread(all: &str, namespace: &str, secret: &str) -> Dependency {
    match all {
        "OriginPool" => Dependency::OriginPools,
        "GatewayClass" => Dependency::GatewayClasses,
        "Gateway" => Dependency::Gateways,
        "HTTPRoute" => Dependency::HttpRoutes,
        "Ingress" => Dependency::Ingresses,
        "ReferenceGrant" => Dependency::ReferenceGrants,
        "IngressClass" => Dependency::IngressClasses,
        "Service" => Dependency::Services,
        "EndpointSlice" => Dependency::EndpointSlices,
        "Namespace" => Dependency::Namespaces,
        _ => Dependency::One(Reference { kind: ReferredKind::Secret, key: ObjectKey::new(namespace, secret) }),
    }
}

fn read_all<T: FromStr<Err: Debug>>(list: &Value) -> Vec<T> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| text.parse().expect("a value of an option")).collect()
}

/// What the API server checks with the schema is checked first, as for files. Nothing where it refuses the object.
fn fitting(inputs: &mut Inputs, kind: Kind, key: &ObjectKey, mut document: Value) -> Option<Value> {
    let schema = headgate_crds::Kind::named(kind.as_str()).expect("a kind of ours");
    let problem = headgate_crds::schema::check(schema, &mut document).into_iter().next();
    if let Some(problem) = problem {
        let problem = Problem::new(Reason::Malformed, problem.field, problem.sentence);
        inputs.malformed.insert(ObjectRef::new(kind, key.clone()), problem);
        return None;
    }
    Some(document)
}

fn put<K: DeserializeOwned>(objects: &mut Objects<K>, key: ObjectKey, document: Value) -> Result<(), String> {
    let object = serde_json::from_value(document).map_err(|error| error.to_string())?;
    objects.insert(key, Arc::new(object));
    Ok(())
}

fn note_malformed(inputs: &mut Inputs, kind: Kind, key: ObjectKey, read: Result<(), String>) {
    if let Err(sentence) = read {
        inputs.malformed.insert(ObjectRef::new(kind, key), Problem::new(Reason::Malformed, "", sentence));
    }
}

/// Takes objects over from a world before where they are equal, as whoever keeps a world does.
pub fn share(before: &Inputs, now: &mut Inputs) {
    fn take<K: PartialEq>(before: &Objects<K>, now: &mut Objects<K>) {
        for (key, object) in now.iter_mut() {
            if let Some(known) = before.get(key).filter(|known| **known == *object) {
                *object = Arc::clone(known);
            }
        }
    }
    take(&before.origin_pools, &mut now.origin_pools);
    take(&before.rate_limits, &mut now.rate_limits);
    take(&before.waiting_rooms, &mut now.waiting_rooms);
    take(&before.gateway_classes, &mut now.gateway_classes);
    take(&before.gateways, &mut now.gateways);
    take(&before.http_routes, &mut now.http_routes);
    take(&before.reference_grants, &mut now.reference_grants);
    take(&before.ingress_classes, &mut now.ingress_classes);
    take(&before.ingresses, &mut now.ingresses);
    take(&before.services, &mut now.services);
    take(&before.endpoint_slices, &mut now.endpoint_slices);
    take(&before.secrets, &mut now.secrets);
    take(&before.config_maps, &mut now.config_maps);
    take(&before.namespaces, &mut now.namespaces);
    take(&before.last_accepted.origin_pools, &mut now.last_accepted.origin_pools);
    take(&before.last_accepted.rate_limits, &mut now.last_accepted.rate_limits);
    take(&before.last_accepted.waiting_rooms, &mut now.last_accepted.waiting_rooms);
}

/// A team that minds its own business, and was there first.
pub const BYSTANDER: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: gate, namespace: bystander, creationTimestamp: 2020-01-01T00:00:00Z }
spec:
  gatewayClassName: headgate
  listeners: [{ name: http, protocol: HTTP, port: 80, hostname: "*.bystander.net" }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: bystander, creationTimestamp: 2020-01-01T00:00:00Z }
spec:
  parentRefs: [{ name: gate }]
  hostnames: [web.bystander.net]
  rules: [{ backendRefs: [{ name: web, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: old, namespace: bystander, creationTimestamp: 2020-01-01T00:00:00Z }
spec:
  ingressClassName: headgate
  rules: [{ host: old.bystander.net, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]
---
apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: { name: all, namespace: bystander }
spec: { targetRefs: [{ kind: Gateway, name: gate }], key: [{ clientIP: {} }], limit: 100, period: 1m }
---
apiVersion: headgate.dev/v1alpha1
kind: WaitingRoom
metadata: { name: door, namespace: bystander }
spec: { host: web.bystander.net, totalActiveUsers: 10, newUsersPerMinute: 10 }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: bystander }
spec: { ports: [{ port: 80 }] }
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: headgate }
spec: { controller: headgate.dev/ingress }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: headgate }
spec: { controllerName: headgate.dev/gateway }
"#;

/// What the bystander gets, as text.
pub fn of_bystander(translation: &Translation) -> String {
    let namespace = "bystander";
    let Translation { resources, holds, uncertain, verdicts, claims: _, references: _ } = translation;
    let is_its = |key: &headgate_snapshot::Key| key.namespace == namespace;
    let resources: Vec<_> = resources.iter().filter(|resource| resource.key.as_ref().is_some_and(is_its)).collect();
    let holds: Vec<_> = holds.iter().chain(uncertain).filter(|key| is_its(key)).collect();
    let verdicts: Vec<_> = verdicts.iter().filter(|(object, _)| object.key.namespace == namespace).collect();
    format!("{resources:#?}\n{holds:?}\n{verdicts:#?}")
}
