//! The steps of the control plane, told by hand what sources would tell.

use std::time::Duration;

use headgate_translate::{AddressPolicy, Claim};
use kube::core::DynamicObject;
use prometheus::Registry;
use serde_json::json;

use super::*;
use crate::watch::Absence;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

struct Setup {
    control: Control,
    start: Instant,
}

impl Setup {
    fn new() -> Self {
        let start = crate::clock::instant();
        let metrics = Metrics::new(&Registry::new()).expect("names are free");
        let options = Options { addresses: AddressPolicy::Any { denied: Vec::new() }, ..Options::default() };
        Self {
            control: Control::new(Arc::new(Hub::default()), options, Own::default(), StateUrl::Memory, metrics, start),
            start,
        }
    }

    fn tell(&self, source: Source, told: Told) -> Taken {
        self.control.take(News { source, told }, self.start)
    }

    fn list(&self, source: Source) -> Taken {
        self.tell(source, Told::Listed { began: self.start })
    }

    fn list_all(&self) {
        for kind in Watches::kinds() {
            self.list(Source::Kind(kind));
        }
        self.list(Source::Claims);
    }

    fn upsert(&self, kind: ObjectKind, object: serde_json::Value) -> Taken {
        let object: DynamicObject = serde_json::from_value(object).expect("any object");
        self.tell(Source::Kind(kind), Told::Upsert(Box::new(Read::new(kind, object))))
    }

    fn pool(&self, version: &str, spec: &serde_json::Value, status: &serde_json::Value) -> Taken {
        let object = json!({
            "apiVersion": "headgate.dev/v1alpha1", "kind": "OriginPool",
            "metadata": { "name": "chat", "namespace": "shop", "uid": "u1", "resourceVersion": version, "generation": 1 },
            "spec": spec, "status": status,
        });
        self.upsert(ObjectKind::OriginPool, object)
    }

    /// The keys that are published; nothing where nothing is.
    fn publish(&self) -> Option<Vec<String>> {
        self.control.publish(self.start, WALL)?.publication?;
        let progress = self.control.hub.progress();
        Some(progress.set.entries().keys().map(ToString::to_string).collect())
    }
}

fn plain() -> serde_json::Value {
    json!({ "origins": [{ "name": "only", "endpoints": ["192.0.2.1:80"] }] })
}

fn with_host() -> serde_json::Value {
    json!({ "hosts": ["chat.example.com"], "origins": [{ "name": "only", "endpoints": ["192.0.2.1:80"] }] })
}

fn chat() -> ObjectRef {
    ObjectRef::new(headgate_translate::Kind::OriginPool, ObjectKey::new("shop", "chat"))
}

#[test]
fn nothing_is_published_before_every_kind_is_listed() {
    let setup = Setup::new();
    setup.pool("1", &plain(), &json!({}));
    for kind in Watches::kinds() {
        assert_eq!(setup.publish(), None, "{}", kind.as_str());
        setup.list(Source::Kind(kind));
    }
    assert_eq!(setup.publish(), None, "host claims");
    setup.list(Source::Claims);
    assert_eq!(setup.publish().expect("all is listed"), ["OriginPool/shop/chat"]);
}

#[test]
fn a_kind_whose_definition_is_missing_stops_no_other() {
    let setup = Setup::new();
    setup.list_all();
    setup.pool("1", &plain(), &json!({}));
    let told = Told::Absent { absence: Absence::Missing, message: "not found".to_owned() };
    setup.tell(Source::Kind(ObjectKind::HttpRoute), told);
    assert!(setup.publish().is_some());
    assert_eq!(setup.control.troubles().len(), 1);
    setup.tell(Source::Kind(ObjectKind::HttpRoute), Told::Resumed);
    assert_eq!(setup.control.troubles(), Vec::<String>::new());
}

#[test]
fn a_write_of_status_is_not_news_for_translation() {
    let setup = Setup::new();
    assert!(setup.pool("1", &plain(), &json!({})).world);
    let taken = setup.pool("2", &plain(), &json!({ "healthy": "1/1" }));
    assert_eq!(taken, Taken { world: false, status: Some(chat()) });
    assert!(setup.pool("3", &with_host(), &json!({ "healthy": "1/1" })).world);
}

#[test]
fn an_object_that_cannot_be_read_is_refused_alone_and_what_was_read_stays() {
    let setup = Setup::new();
    setup.list_all();
    setup.pool("1", &plain(), &json!({}));
    let before = setup.publish();
    assert!(setup.pool("2", &json!({ "origins": "none" }), &json!({})).world);
    assert_eq!(setup.publish(), before);
    setup.control.observe(WALL);
    let status = setup.control.status(&chat()).expect("a status");
    let accepted = crate::status::find(status.conditions(), "Accepted").expect("told");
    assert_eq!((accepted.status.as_str(), accepted.reason.as_str()), ("False", "Malformed"));
    assert!(setup.pool("3", &plain(), &json!({})).world);
}

#[test]
fn a_new_host_is_served_once_its_claim_is_kept() {
    let setup = Setup::new();
    setup.list_all();
    setup.pool("1", &with_host(), &json!({}));
    let step = setup.control.publish(setup.start, WALL).expect("all is listed");
    assert_eq!(setup.publish(), Some(vec!["Defaults/listeners".to_owned()]), "it listens, and serves nothing");
    let [write] = step.claims.as_slice() else { panic!("one write: {:?}", step.claims) };
    let claim = Claim { namespace: "shop".to_owned(), since: WALL };
    assert_eq!(write.claims, BTreeMap::from([("chat.example.com".to_owned(), claim)]));
    let shard = Shard { version: "9".to_owned(), claims: write.claims.clone(), is_broken: false };
    assert!(setup.control.claimed(write.name.clone(), shard));
    assert_eq!(setup.publish().expect("published"), ["Defaults/listeners", "OriginPool/shop/chat"]);
}

#[test]
fn a_first_publication_waits_for_the_secrets_that_it_refers_to() {
    let setup = Setup::new();
    setup.list_all();
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": "headgate" },
        "spec": { "controllerName": "headgate.dev/gateway" },
    });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "edge", "namespace": "shop", "generation": 1 },
        "spec": { "gatewayClassName": "headgate", "listeners": [{
            "name": "https", "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": "tls" }] },
        }] },
    });
    setup.upsert(ObjectKind::GatewayClass, class);
    setup.upsert(ObjectKind::Gateway, gateway);
    let step = setup.control.publish(setup.start, WALL).expect("all kinds are listed");
    assert!(step.publication.is_none());
    let references: Vec<Reference> = step.references.into_iter().collect();
    let [reference] = references.as_slice() else { panic!("one reference: {references:?}") };
    assert_eq!(reference.key, ObjectKey::new("shop", "tls"));
    assert!(setup.list(Source::One(reference.clone())).world);
    assert!(setup.publish().is_some());
}

#[test]
fn a_status_that_another_leader_wrote_goes_on_with_its_times() {
    let setup = Setup::new();
    setup.list_all();
    let condition = json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    setup.pool("1", &plain(), &json!({ "conditions": [condition] }));
    assert!(setup.control.due(&chat()).is_none(), "it is not judged yet");
    setup.publish();
    setup.control.begin_statuses(WALL);
    let (status, stored) = setup.control.due(&chat()).expect("judged and stored");
    let status = status.expect("a status");
    let accepted = crate::status::find(status.conditions(), "Accepted").expect("told");
    assert_eq!(accepted.last_transition_time.0, "2026-01-01T00:00:00Z".parse().expect("a time"));
    assert_eq!((stored.uid.as_str(), stored.version.as_str()), ("u1", "1"));
}

#[test]
fn a_new_leader_is_fresh_once_all_was_listed_since_its_term_began() {
    let setup = Setup::new();
    setup.list_all();
    setup.publish();
    let began = setup.start + Duration::from_secs(1);
    assert!(!setup.control.is_fresh(began, began));
    for source in Watches::kinds().map(Source::Kind).chain([Source::Claims]) {
        setup.tell(source, Told::Listed { began });
    }
    assert!(setup.control.is_fresh(began, began));
}

#[test]
fn what_has_hosts_is_held_while_claims_may_not_be_read() {
    let setup = Setup::new();
    for kind in Watches::kinds() {
        setup.list(Source::Kind(kind));
    }
    let told = Told::Absent { absence: Absence::Denied, message: "forbidden".to_owned() };
    setup.tell(Source::Claims, told);
    setup.pool("1", &with_host(), &json!({}));
    let step = setup.control.publish(setup.start + Duration::from_mins(1), WALL).expect("the rest goes on");
    assert!(step.publication.is_some() && step.claims.is_empty(), "{step:?}");
    let published = setup.control.hub.progress().set;
    assert!(!published.entries().keys().any(|key| key.kind == "OriginPool"), "its host may be another's");
}

#[test]
fn claims_that_cannot_be_read_are_written_anew_and_what_was_read_before_counts() {
    let setup = Setup::new();
    setup.list_all();
    setup.pool("1", &with_host(), &json!({}));
    let name = claims::shard_of("chat.example.com");
    let map = |version: &str, text: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "claims.json": text },
            "metadata": { "name": name, "namespace": "headgate-system", "resourceVersion": version },
        });
        let object: DynamicObject = serde_json::from_value(object).expect("any object");
        setup.tell(Source::Claims, Told::Upsert(Box::new(Read::new(ObjectKind::ConfigMap, object))))
    };
    let claim = r#"{"chat.example.com":{"namespace":"shop","since":"1970-01-01T00:00:00Z"}}"#;
    assert!(map("4", claim).world);
    assert!(map("5", "{").world);
    let step = setup.control.publish(setup.start, WALL).expect("all is listed");
    let [write] = step.claims.as_slice() else { panic!("one write: {:?}", step.claims) };
    assert_eq!((write.over.as_deref(), write.claims.len()), (Some("5"), 1));
    assert!(setup.publish().expect("published").contains(&"OriginPool/shop/chat".to_owned()), "it is served on");
}
