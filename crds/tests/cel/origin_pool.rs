//! The rules of OriginPool.

use serde_json::{Value, json};

use super::{merge, sentences};

#[track_caller]
fn check(accepted: &[Value], refused: &[Value], sentence: &str) {
    super::check("OriginPool", &valid(), accepted, refused, sentence);
}

fn valid() -> Value {
    json!({ "origins": [{ "name": "eu", "endpoints": ["192.0.2.1:80"] }] })
}

fn origin(fields: &Value) -> Value {
    let mut origin = json!({ "name": "eu", "endpoints": ["192.0.2.1:80"] });
    merge(&mut origin, fields);
    json!({ "origins": [origin] })
}

#[test]
fn the_pool_of_the_contract_breaks_no_rule() {
    let object: Value = serde_saphyr::from_str(include_str!("../fixtures/contract-origin-pool.yaml")).expect("JSON");
    assert_eq!(sentences("OriginPool", &valid(), &object["spec"]), Vec::<String>::new());
}

#[test]
fn an_origin_has_a_service_or_endpoints() {
    check(
        &[origin(&json!({})), origin(&json!({ "endpoints": null, "service": { "name": "chat", "port": 80 } }))],
        &[origin(&json!({ "endpoints": null })), origin(&json!({ "service": { "name": "chat", "port": 80 } }))],
        "an origin has either service or endpoints: write exactly one of them",
    );
}

#[test]
fn an_endpoint_has_a_port() {
    check(
        &[origin(&json!({ "endpoints": ["192.0.2.7:8080", "[2001:db8::7]:443", "origin.example.com:443"] }))],
        &[origin(&json!({ "endpoints": ["192.0.2.7"] })), origin(&json!({ "endpoints": ["a.example.com:http"] }))],
        "an endpoint is an address or a DNS name with a port, such as 192.0.2.7:8080, [2001:db8::7]:443 or \
         origin.example.com:443",
    );
}

#[test]
fn a_latitude_comes_with_a_longitude() {
    check(
        &[
            origin(&json!({ "location": { "latitude": 50.1, "longitude": 8.7 } })),
            origin(&json!({ "location": { "regions": ["WEU"] } })),
        ],
        &[origin(&json!({ "location": { "latitude": 50.1 } })), origin(&json!({ "location": { "longitude": 8.7 } }))],
        "location.latitude and location.longitude belong together: write both or none",
    );
}

#[test]
fn proximity_needs_the_place_of_every_origin() {
    let pool = |other: Value| {
        json!({
            "steering": { "policy": "Proximity" },
            "origins": [
                { "name": "eu", "endpoints": ["192.0.2.1:80"], "location": { "latitude": 50.1, "longitude": 8.7 } },
                { "name": "asia", "endpoints": ["192.0.2.2:80"], "location": other },
            ],
        })
    };
    check(
        &[pool(json!({ "latitude": 1, "longitude": 103.8 }))],
        &[pool(json!({ "regions": ["SEAS"] }))],
        "steering policy Proximity needs location.latitude and location.longitude on every origin",
    );
}

#[test]
fn geo_needs_regions_somewhere() {
    let pool = |fields: Value| {
        let mut pool = origin(&fields);
        merge(&mut pool, &json!({ "steering": { "policy": "Geo" } }));
        pool
    };
    check(
        &[pool(json!({ "location": { "regions": ["WEU"] } }))],
        &[pool(json!({}))],
        "steering policy Geo needs location.regions on at least one origin",
    );
}

#[test]
fn hosts_are_names_in_lower_case() {
    let hosts = |host: &str| json!({ "hosts": [host] });
    check(
        &[hosts("chat.example.com"), hosts("*.example.com"), hosts("localhost")],
        &[hosts("Chat.example.com"), hosts("https://chat.example.com"), hosts("a.*.com"), hosts("*"), hosts("a:80")],
        "a host is a name in lower case such as chat.example.com or *.example.com, without scheme, port or path",
    );
}

#[test]
fn a_probe_ends_before_the_next_begins() {
    let probe = |interval: &str, timeout: &str| json!({ "healthCheck": { "interval": interval, "timeout": timeout } });
    check(
        &[probe("1s", "500ms"), probe("1s", "1s"), probe("1m", "30s")],
        &[probe("1s", "1s1ms"), probe("2s", "1m")],
        "healthCheck.timeout is longer than healthCheck.interval: a probe ends before the next one begins",
    );
}

#[test]
fn the_times_of_a_probe_have_limits() {
    let interval = |interval: &str| json!({ "healthCheck": { "interval": interval, "timeout": "50ms" } });
    check(
        &[interval("100ms"), interval("1h")],
        &[interval("99ms"), interval("1h1s")],
        "healthCheck.interval is from 100ms to 1h",
    );
    check(
        &[json!({ "healthCheck": { "timeout": "10ms" } })],
        &[json!({ "healthCheck": { "timeout": "9ms" } })],
        "healthCheck.timeout is from 10ms to 1h",
    );
}

#[test]
fn fields_of_a_probe_go_with_its_type() {
    let probe = |kind: &str, field: &str, value: Value| json!({ "healthCheck": { "type": kind, field: value } });
    check(
        &[probe("HTTPS", "path", json!("/healthz"))],
        &[probe("TCP", "path", json!("/healthz")), probe("GRPC", "path", json!("/healthz"))],
        "healthCheck.path is for the types HTTP and HTTPS: remove it",
    );
    check(
        &[probe("HTTP", "expectedStatuses", json!(["204"]))],
        &[probe("TCP", "expectedStatuses", json!(["204"]))],
        "healthCheck.expectedStatuses is for the types HTTP and HTTPS: remove it",
    );
    check(
        &[probe("HTTP", "host", json!("a.example.com")), probe("GRPC", "host", json!("a.example.com"))],
        &[probe("TCP", "host", json!("a.example.com"))],
        "healthCheck.host is for the types HTTP, HTTPS and GRPC: remove it",
    );
    check(
        &[probe("GRPC", "service", json!("chat.Chat"))],
        &[probe("HTTP", "service", json!("chat.Chat"))],
        "healthCheck.service is for the type GRPC: remove it",
    );
}

#[test]
fn a_range_of_statuses_begins_with_its_lower_end() {
    let statuses = |range: &str| json!({ "healthCheck": { "expectedStatuses": ["204", range] } });
    check(
        &[statuses("200-299"), statuses("200-200")],
        &[statuses("299-200")],
        "a range in healthCheck.expectedStatuses begins with its lower end, such as 200-299",
    );
}

#[test]
fn a_header_is_named_for_the_affinity_by_header_only() {
    let affinity = |fields: Value| json!({ "sessionAffinity": fields });
    check(
        &[affinity(json!({ "type": "Header", "header": "X-User" })), affinity(json!({ "type": "Cookie" }))],
        &[affinity(json!({ "type": "Header" })), affinity(json!({ "type": "Cookie", "header": "X-User" }))],
        "sessionAffinity.header is for the type Header, and that needs it",
    );
}

#[test]
fn other_durations_have_limits() {
    let check_field = |part: &str, field: &str, accepted: [&str; 2], refused: [&str; 2], sentence: &str| {
        let patch = |duration: &str| json!({ part: { field: duration } });
        check(&accepted.map(patch), &refused.map(patch), sentence);
    };
    check_field("timeouts", "connect", ["1ms", "1m"], ["0s", "61s"], "timeouts.connect is from 1ms to 1m");
    check_field("timeouts", "request", ["1ms", "24h"], ["0s", "25h"], "timeouts.request is from 1ms to 24h");
    check_field("timeouts", "idle", ["1ms", "24h"], ["0s", "25h"], "timeouts.idle is from 1ms to 24h");
    check_field("sessionAffinity", "ttl", ["1s", "168h"], ["1ms", "169h"], "sessionAffinity.ttl is from 1s to 168h");
    check_field(
        "sessionAffinity",
        "drain",
        ["0s", "168h"],
        ["169h", "168h1s"],
        "sessionAffinity.drain is from 0s to 168h",
    );
    let ejection = "outlierDetection.baseEjection is from 1s to 1h";
    check_field("outlierDetection", "baseEjection", ["1s", "1h"], ["999ms", "2h"], ejection);
}

#[test]
fn a_pool_is_not_its_own_fallback() {
    check(
        &[json!({ "fallback": { "name": "static-site" } })],
        &[json!({ "fallback": { "name": "chat" } })],
        "spec.fallback names the pool itself: name another OriginPool of the namespace",
    );
}
