//! What is written, and when.

use std::time::Duration;

use headgate_crds::gateway_api::{HttpRouteStatus, ParentReference, RouteParentStatus};
use headgate_translate::{GatewayAddress, Kind, ObjectKey};

use super::pacer::{FIGURES, LONGEST_PAUSE, Pacer};
use super::plan::{Site, may_clear, patch, wanted};
use super::*;
use crate::status::{IngressStatus, Status, load_balancer};

fn site() -> Site {
    let addresses = ["192.0.2.10", "gate.example.com"].map(|text| text.parse().expect("an address")).into();
    Site { controller: "headgate.dev/gateway".to_owned(), addresses }
}

fn route(parents: &[&str]) -> Status {
    let parents = parents.iter().map(|name| RouteParentStatus {
        parent_ref: ParentReference { name: (*name).to_owned(), ..ParentReference::default() },
        controller_name: site().controller,
        conditions: Vec::new(),
    });
    Status::HttpRoute(HttpRouteStatus { parents: parents.collect() })
}

fn entry(name: &str, controller: &str) -> Value {
    json!({ "parentRef": { "name": name }, "controllerName": controller, "conditions": [] })
}

#[track_caller]
fn check(kind: Kind, status: Option<&Status>, stored: &Value, expected: &Value) {
    let fields = wanted(kind, status, Some(stored), &site());
    assert_eq!(json!(patch(kind, &fields, Some(stored))), *expected);
}

#[test]
fn entries_of_others_in_a_route_stay_and_ours_come_and_go() {
    let (other, ours) = (entry("mesh", "example.com/mesh"), entry("edge", "headgate.dev/gateway"));
    let both = json!({ "parents": [other, ours] });
    check(Kind::HttpRoute, Some(&route(&["edge"])), &json!({ "parents": [other] }), &both);
    check(Kind::HttpRoute, Some(&route(&["edge"])), &both, &Value::Null);
    check(Kind::HttpRoute, Some(&route(&[])), &both, &json!({ "parents": [other] }));
    check(Kind::HttpRoute, None, &json!({ "parents": [ours] }), &json!({ "parents": [] }));
    check(Kind::HttpRoute, None, &json!({}), &Value::Null);
}

#[test]
fn a_gateway_says_where_it_is_reached_and_fields_of_others_stay() {
    let addresses = json!([
        { "type": "IPAddress", "value": "192.0.2.10" },
        { "type": "Hostname", "value": "gate.example.com" },
    ]);
    let status = json!({ "addresses": addresses, "conditions": [], "listeners": [] });
    let status = Status::Gateway(serde_json::from_value(status).expect("a status"));
    check(Kind::Gateway, Some(&status), &json!({ "attachedListenerSets": 1 }), &json!({ "addresses": addresses }));
    check(Kind::Gateway, Some(&status), &json!({ "addresses": addresses }), &Value::Null);
    assert!(!may_clear(Kind::Gateway, Some(&json!({ "addresses": addresses })), &site()));
}

fn ingress(addresses: &[GatewayAddress]) -> Status {
    Status::Ingress(IngressStatus { load_balancer: load_balancer(addresses), ..IngressStatus::default() })
}

#[test]
fn an_ingress_has_the_addresses_of_the_gateway_while_it_is_served() {
    let written =
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.10" }, { "hostname": "gate.example.com" }] } });
    check(Kind::Ingress, Some(&ingress(&site().addresses)), &json!({ "loadBalancer": {} }), &written);
    check(Kind::Ingress, Some(&ingress(&site().addresses)), &written, &Value::Null);
    check(Kind::Ingress, Some(&ingress(&[])), &written, &json!({ "loadBalancer": null }));
    let others = json!({ "loadBalancer": { "ingress": [{ "ip": "198.51.100.1" }] } });
    assert_eq!([&written, &others].map(|stored| may_clear(Kind::Ingress, Some(stored), &site())), [true, false]);
}

fn pool() -> ObjectRef {
    ObjectRef::new(Kind::OriginPool, ObjectKey::new("shop", "chat"))
}

fn fields(healthy: &str, ready: &str, message: &str) -> Map<String, Value> {
    let fields = json!({
        "healthy": healthy,
        "conditions": [{ "type": "Ready", "status": ready, "message": message, "lastTransitionTime": "now" }],
    });
    fields.as_object().expect("an object").clone()
}

#[test]
fn transitions_are_due_at_once_and_figures_ten_seconds_after_the_last_write() {
    let start = clock::instant();
    let mut pacer = Pacer::default();
    let first = fields("3/4", "True", "");
    assert_eq!(pacer.due(&pool(), &first, start), start);
    pacer.written(&pool(), first.clone(), None, start);
    let now = start + Duration::from_secs(1);
    let due = |fields| pacer.due(&pool(), &fields, now);
    assert_eq!(due(fields("2/4", "True", "")), start + FIGURES);
    assert_eq!(due(fields("2/4", "True", "other words")), start + FIGURES);
    assert_eq!(due(fields("0/4", "False", "")), now);
}

#[test]
fn what_the_server_makes_of_a_write_is_not_written_again_until_somebody_changes_it() {
    let start = clock::instant();
    let mut pacer = Pacer::default();
    let (wanted, made) = (fields("3/4", "True", ""), json!({ "healthy": "3/4", "defaulted": true }));
    pacer.written(&pool(), wanted.clone(), Some(made.clone()), start);
    assert!(pacer.is_done(&pool(), &wanted, Some(&made)));
    assert!(!pacer.is_done(&pool(), &wanted, Some(&json!({ "healthy": "9/9" }))));
    assert!(!pacer.is_done(&pool(), &fields("2/4", "True", ""), Some(&made)));
}

proptest::proptest! {
    #[test]
    fn failures_are_ever_rarer_and_an_object_is_never_written_in_a_hot_loop(chances in proptest::collection::vec(0.0..=1.0, 1..200)) {
        let start = clock::instant();
        let mut pacer = Pacer::default();
        let (mut now, mut writes) = (start, 0_u64);
        for chance in chances {
            let due = pacer.due(&pool(), &fields("1/1", "True", ""), now);
            proptest::prop_assert!(due >= now && due <= now + LONGEST_PAUSE);
            writes += 1;
            now = pacer.failed(&pool(), chance, due);
        }
        // Ten doublings reach the longest pause, of which at least the half is waited.
        let least = writes.saturating_sub(10) * LONGEST_PAUSE.as_secs() / 2;
        proptest::prop_assert!(now.saturating_duration_since(start).as_secs() >= least);
    }
}
