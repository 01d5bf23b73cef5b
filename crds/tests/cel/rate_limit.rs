//! The rules of RateLimit.

use serde_json::{Value, json};

use super::sentences;

#[track_caller]
fn check(accepted: &[Value], refused: &[Value], sentence: &str) {
    super::check("RateLimit", &valid(), accepted, refused, sentence);
}

fn valid() -> Value {
    json!({ "limit": 10, "period": "10s" })
}

#[test]
fn the_limits_of_the_contract_break_no_rule() {
    for document in include_str!("../fixtures/contract-rate-limit.yaml").split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).expect("JSON");
        assert_eq!(sentences("RateLimit", &valid(), &object["spec"]), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn a_part_of_the_key_is_one_thing() {
    let part = |part: Value| json!({ "key": [{ "header": "x-api-key" }, part] });
    check(
        &[
            part(json!({ "clientIP": {} })),
            part(json!({ "path": {} })),
            part(json!({ "jwtClaim": { "claim": "sub" } })),
            part(json!({ "query": "tenant" })),
            part(json!({ "expression": "request.path" })),
        ],
        &[part(json!({})), part(json!({ "header": "a", "cookie": "b" })), part(json!({ "clientIP": {}, "path": {} }))],
        "a part of the key is exactly one of clientIP, header, cookie, query, path, jwtClaim and expression: write \
         several parts for several of them",
    );
}

#[test]
fn a_token_is_in_one_place() {
    let claim = |fields: Value| {
        let mut claim = json!({ "claim": "sub" });
        super::merge(&mut claim, &fields);
        json!({ "key": [{ "jwtClaim": claim }] })
    };
    check(
        &[claim(json!({ "header": "x-token" })), claim(json!({ "cookie": "token" }))],
        &[claim(json!({ "header": "x-token", "cookie": "token" }))],
        "a token is in a header or in a cookie: write one of them",
    );
}

#[test]
fn a_target_is_of_a_group_and_has_sections_where_it_can() {
    let target = |fields: Value| json!({ "targetRefs": [fields] });
    check(
        &[
            target(json!({ "kind": "Service", "name": "a", "group": "" })),
            target(json!({ "kind": "HTTPRoute", "name": "a", "group": "gateway.networking.k8s.io" })),
            target(json!({ "kind": "OriginPool", "name": "a" })),
        ],
        &[
            target(json!({ "kind": "Service", "name": "a", "group": "core" })),
            target(json!({ "kind": "Ingress", "name": "a", "group": "headgate.dev" })),
        ],
        "the group of a target is that of its kind: leave it out",
    );
    check(
        &[
            target(json!({ "kind": "Gateway", "name": "a", "sectionName": "web" })),
            target(json!({ "kind": "HTTPRoute", "name": "a", "sectionName": "login" })),
        ],
        &[
            target(json!({ "kind": "Ingress", "name": "a", "sectionName": "web" })),
            target(json!({ "kind": "OriginPool", "name": "a", "sectionName": "web" })),
        ],
        "sectionName is for the kinds Gateway and HTTPRoute: remove it",
    );
}

#[test]
fn hosts_are_names_in_lower_case() {
    let hosts = |host: &str| json!({ "hosts": [host] });
    check(
        &[hosts("shop.example.com"), hosts("*.example.com")],
        &[hosts("Shop.example.com"), hosts("*"), hosts("shop.example.com/login")],
        "a host is a name in lower case such as chat.example.com or *.example.com, without scheme, port or path",
    );
}

#[test]
fn durations_have_limits() {
    let period = |period: &str| json!({ "period": period });
    check(
        &[period("1s"), period("1500ms"), period("24h")],
        &[period("999ms"), period("24h1ms")],
        "period is from 1s to 24h",
    );
    let block = |block: &str| json!({ "blockFor": block });
    check(&[block("0s"), block("24h")], &[block("25h")], "blockFor is from 0s to 24h");
}

#[test]
fn a_burst_is_of_a_bucket() {
    check(
        &[json!({ "algorithm": "TokenBucket" }), json!({ "algorithm": "TokenBucket", "burst": 5 })],
        &[json!({ "burst": 5 })],
        "burst is for the algorithm TokenBucket: remove it",
    );
}

#[test]
fn strict_is_for_several_proxies_and_counts_requests() {
    check(
        &[json!({ "consistency": "Strict" }), json!({ "scope": "Proxy" })],
        &[json!({ "consistency": "Strict", "scope": "Proxy" })],
        "consistency Strict is for the scope Cluster: one proxy alone is always exact",
    );
    let count = |fields: Value| json!({ "count": fields });
    check(
        &[count(json!({ "when": "response.status == 401" })), count(json!({ "costHeader": "x-cost" }))],
        &[json!({ "consistency": "Strict", "count": { "costHeader": "x-cost" } })],
        "count is for the consistency Eventual: what an answer costs is known after it has passed",
    );
    check(&[], &[count(json!({}))], "count has when, costHeader or both");
}

#[test]
fn fields_of_an_action_go_with_it() {
    let mark = json!({ "header": "x-over", "value": "1" });
    check(
        &[json!({ "action": "Mark", "mark": mark }), json!({ "action": "Audit" })],
        &[json!({ "action": "Mark" }), json!({ "mark": mark })],
        "mark is for the action Mark, and that needs it",
    );
    check(
        &[json!({ "action": "Queue", "queue": { "name": "shop" } })],
        &[json!({ "action": "Queue" }), json!({ "queue": { "name": "shop" } })],
        "queue is for the action Queue, and that needs it",
    );
    check(
        &[json!({ "response": {} }), json!({ "response": { "status": 403, "body": "", "contentType": "text/html" } })],
        &[json!({ "action": "Audit", "response": {} })],
        "response is for the action Enforce: remove it",
    );
    check(
        &[json!({ "response": { "body": "no" } })],
        &[json!({ "response": { "contentType": "text/html" } })],
        "response.contentType is that of response.body: write both, or remove it",
    );
}

#[test]
fn a_limit_of_the_application_sees_no_request() {
    let only = |fields: Value| {
        let mut patch = json!({ "applicationOnly": true });
        super::merge(&mut patch, &fields);
        patch
    };
    check(
        &[only(json!({})), only(json!({ "blockFor": "1m", "consistency": "Strict" }))],
        &[
            only(json!({ "hosts": ["a.example.com"] })),
            only(json!({ "when": "true" })),
            only(json!({ "key": [{ "path": {} }] })),
            only(json!({ "targetRefs": [{ "kind": "Service", "name": "a" }] })),
            only(json!({ "concurrentRequests": 1 })),
        ],
        "with applicationOnly there is no request: remove hosts, targetRefs, when, key, exceptions, count, \
         concurrentRequests and response",
    );
    check(
        &[only(json!({ "action": "Audit" }))],
        &[only(json!({ "action": "Mark", "mark": { "header": "x-over", "value": "1" } }))],
        "with applicationOnly the action is Enforce or Audit: the application acts on the answer",
    );
}
