//! What the world remembers.

use super::*;

fn object(kind: ObjectKind, json: serde_json::Value) -> Object {
    kind.deserialize(json).expect("an object of its kind")
}

fn pool(address: &str) -> Object {
    object(
        ObjectKind::OriginPool,
        serde_json::json!({
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "OriginPool",
            "metadata": { "name": "chat", "namespace": "default" },
            "spec": { "origins": [{ "name": "only", "endpoints": [address] }] },
        }),
    )
}

fn chat() -> ObjectKey {
    ObjectKey::new("default", "chat")
}

fn world() -> World {
    World::new(Options::standalone())
}

#[test]
fn an_object_is_found_by_kind_and_key_until_it_is_removed() {
    let mut world = world();
    world.upsert(pool("127.0.0.1:9001"));
    assert!(world.get(ObjectKind::OriginPool, &chat()).is_some());
    assert!(world.get(ObjectKind::Service, &chat()).is_none());
    world.remove(ObjectKind::OriginPool, &chat());
    assert!(world.get(ObjectKind::OriginPool, &chat()).is_none());
}

#[test]
fn an_object_that_becomes_unreadable_keeps_its_last_readable_state_and_tells_the_problem() {
    let mut world = world();
    world.upsert(pool("127.0.0.1:9001"));
    let before = world.translate(Timestamp::UNIX_EPOCH);
    let problem = Problem::new(headgate_translate::Reason::Malformed, "spec.origins", "expected a list");
    world.refuse(ObjectKind::OriginPool, chat(), problem);
    let after = world.translate(Timestamp::UNIX_EPOCH);
    assert_eq!(after.resources, before.resources);
    let accepted: Vec<bool> = after.verdicts.values().map(|verdict| verdict.is_accepted()).collect();
    assert_eq!(accepted, vec![false]);

    world.upsert(pool("127.0.0.1:9001"));
    assert_eq!(world.translate(Timestamp::UNIX_EPOCH), before);
}

#[test]
fn an_accepted_pool_edited_into_an_invalid_one_keeps_the_accepted_spec() {
    let mut world = world();
    world.upsert(pool("127.0.0.1:9001"));
    let before = world.translate(Timestamp::UNIX_EPOCH);
    assert_eq!(before.resources.len(), 1);
    world.upsert(pool("127.0.0.1:notaport"));
    let after = world.translate(Timestamp::UNIX_EPOCH);
    assert_eq!(after.resources, before.resources);

    world.remove(ObjectKind::OriginPool, &chat());
    assert_eq!(world.translate(Timestamp::UNIX_EPOCH).resources, vec![]);
}

#[test]
fn an_accepted_limit_edited_into_an_invalid_one_keeps_the_accepted_spec() {
    let limit = |when: &str| {
        let json = serde_json::json!({
            "apiVersion": "headgate.dev/v1alpha1", "kind": "RateLimit",
            "metadata": { "name": "login", "namespace": "default" },
            "spec": { "when": when, "limit": 5, "period": "1s" },
        });
        object(ObjectKind::RateLimit, json)
    };
    let mut world = world();
    world.upsert(limit("true"));
    let before = world.translate(Timestamp::UNIX_EPOCH);
    world.upsert(limit("true &&"));
    assert_eq!(world.translate(Timestamp::UNIX_EPOCH).resources, before.resources);
    world.remove(ObjectKind::RateLimit, &ObjectKey::new("default", "login"));
    assert_eq!(world.translate(Timestamp::UNIX_EPOCH).resources, vec![]);
}

#[test]
fn addresses_that_are_never_origins_follow_the_world_and_are_the_same_for_every_replica() {
    let slice = |namespace: &str, service: &str, address: &str, port: u16| {
        object(
            ObjectKind::EndpointSlice,
            serde_json::json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": service, "namespace": namespace, "labels": { "kubernetes.io/service-name": service },
                },
                "endpoints": [{ "addresses": [address] }], "ports": [{ "port": port }],
            }),
        )
    };
    let service = object(
        ObjectKind::Service,
        serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "kubernetes", "namespace": "default" },
            "spec": { "clusterIPs": ["10.96.0.1"], "ports": [{ "port": 443 }] },
        }),
    );
    let own = Own { namespace: "system".to_owned(), ports: vec![9901], fixed: Vec::new() };
    let mut world = World::of_cluster(Options::standalone(), own);
    let mut denied = |object: Object| {
        world.upsert(object);
        world.translate(Timestamp::UNIX_EPOCH);
        let (headgate_translate::AddressPolicy::Any { denied }
        | headgate_translate::AddressPolicy::Public { allowed: _, denied }) = &world.inputs().options.addresses;
        denied.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(denied(service), ["10.96.0.1:443"]);
    assert_eq!(denied(slice("default", "kubernetes", "203.0.113.9", 6443)), ["10.96.0.1:443", "203.0.113.9:6443"]);
    let operator = denied(slice("system", "headgate-operator", "10.1.0.7", 9443));
    assert_eq!(operator, ["10.1.0.7:9443", "10.1.0.7:9901", "10.96.0.1:443", "203.0.113.9:6443"]);
    assert_eq!(denied(slice("shop", "kubernetes", "10.1.0.9", 80)), operator, "a user's Service");
}
