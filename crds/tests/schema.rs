//! What all schemas of ours have in common, and what those of OriginPool and RateLimit say about manifests.

use headgate_crds::origin_pool::{
    AffinityType, EndpointPolicy, HealthCheck, OriginPoolSpec, OutlierDetection, Retry, SessionAffinity,
    SteeringPolicy, Timeouts,
};
use headgate_crds::rate_limit::{Algorithm, ClientIpPart, Consistency, LimitAction, LimitScope, StoreFailure};
use headgate_crds::schema::{SchemaProblem, check};
use headgate_crds::{KINDS, Kind, OriginPool, RateLimit, RateLimitSpec};
use serde_json::{Value, json};

fn schema_of(kind: &Kind) -> Value {
    serde_json::to_value((kind.definition)()).expect("JSON")["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with each schema of `spec` and `status` and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), visit);
    }
}

fn walk_all(visit: &mut impl FnMut(&str, &Value)) {
    for kind in KINDS {
        let schema = schema_of(kind);
        for part in ["spec", "status"] {
            walk(&schema["properties"][part], &format!("{} {part}", kind.name), visit);
        }
    }
}

/// Conditions are of Kubernetes' own type.
fn is_ours(path: &str) -> bool {
    !path.contains(" status.conditions[]")
}

#[test]
fn every_list_and_string_has_a_bound() {
    walk_all(&mut |path, schema| {
        if !is_ours(path) || schema["enum"].is_array() || schema["format"] == "date-time" {
            return;
        }
        match schema["type"].as_str() {
            Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no maxItems"),
            Some("string") => assert!(schema["maxLength"].is_u64(), "{path} has no maxLength"),
            _ => {}
        }
    });
}

#[test]
fn every_field_is_documented_in_words_of_its_own() {
    walk_all(&mut |path, schema| {
        if is_ours(path) && !path.ends_with("[]") {
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(text.len() > 10 && text.ends_with(['.', ')']), "{path} is not documented: {text:?}");
        }
    });
}

#[test]
fn no_enum_value_is_a_boolean_of_yaml_1_1() {
    let booleans = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    walk_all(&mut |path, schema| {
        for value in schema["enum"].as_array().into_iter().flatten() {
            let word = value.as_str().unwrap_or_default();
            assert!(!booleans.contains(&word.to_ascii_lowercase().as_str()), "{path}: {word}");
        }
    });
}

#[test]
fn every_rule_has_a_sentence() {
    walk_all(&mut |path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(rule["message"].as_str().is_some_and(|message| message.len() > 10), "{path}: {rule}");
        }
    });
}

#[test]
fn a_pool_with_nothing_but_origins_gets_the_defaults_of_the_contract() {
    let spec: OriginPoolSpec = serde_json::from_value(json!({ "origins": [{ "name": "a" }] })).expect("JSON");
    let OriginPoolSpec {
        hosts,
        steering,
        origins,
        endpoint_policy,
        health_check,
        outlier_detection,
        session_affinity,
        retry,
        timeouts,
        fallback,
    } = spec;
    let origin = &origins[0];
    assert_eq!((origin.priority, origin.weight, origin.enabled), (0, 100, true));
    assert_eq!((hosts, health_check, outlier_detection, fallback), (vec![], None, None, None));
    assert_eq!((steering.policy, endpoint_policy), (SteeringPolicy::Failover, EndpointPolicy::LeastOutstanding));
    assert_eq!(session_affinity.r#type, AffinityType::None);
    assert_eq!((retry.attempts, retry.budget_percent), (1, 20));
    let texts = [timeouts.connect, timeouts.request, timeouts.idle].map(|timeout| timeout.to_string());
    assert_eq!(texts, ["1s", "60s", "10m"]);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_types() {
    let schema = schema_of(Kind::named("OriginPool").expect("a kind of ours"));
    let spec = &schema["properties"]["spec"]["properties"];
    let of = |field: &str| -> Value {
        let properties = spec[field]["properties"].as_object().expect("JSON");
        let defaults = properties.iter().filter(|(_, property)| !property["default"].is_null());
        defaults.map(|(name, property)| (name.clone(), property["default"].clone())).collect()
    };
    assert_eq!(of("healthCheck"), serde_json::to_value(HealthCheck::default()).expect("JSON"));
    assert_eq!(of("outlierDetection"), serde_json::to_value(OutlierDetection::default()).expect("JSON"));
    assert_eq!(of("sessionAffinity"), serde_json::to_value(SessionAffinity::default()).expect("JSON"));
    assert_eq!(of("retry"), serde_json::to_value(Retry::default()).expect("JSON"));
    assert_eq!(of("timeouts"), serde_json::to_value(Timeouts::default()).expect("JSON"));
    for field in ["sessionAffinity", "retry", "timeouts"] {
        assert_eq!(spec[field]["default"], of(field), "{field}");
    }
    assert_eq!(spec["origins"]["items"]["properties"]["weight"]["default"], 100);
    assert_eq!(spec["endpointPolicy"]["default"], "LeastOutstanding");
    assert_eq!(spec["steering"]["default"], json!({ "policy": "Failover" }));
}

#[test]
fn the_pool_of_the_contract_is_accepted_and_written_as_it_was_read() {
    let mut object: Value = serde_saphyr::from_str(include_str!("fixtures/contract-origin-pool.yaml")).expect("JSON");
    assert_eq!(check(Kind::named("OriginPool").expect("a kind of ours"), &mut object), []);
    let pool: OriginPool = serde_json::from_value(object.clone()).expect("JSON");
    let written = serde_json::to_value(&pool).expect("JSON");
    assert_eq!(written["spec"]["healthCheck"]["timeout"], "500ms");
    assert_eq!(written["spec"]["origins"][1]["endpoints"], object["spec"]["origins"][1]["endpoints"]);
}

#[test]
fn a_limit_with_nothing_but_its_number_gets_the_defaults_of_the_contract() {
    let spec: RateLimitSpec = serde_json::from_value(json!({ "limit": 10, "period": "10s" })).expect("JSON");
    let RateLimitSpec {
        hosts,
        target_refs,
        when,
        key,
        limit: _,
        period: _,
        algorithm,
        burst,
        scope,
        consistency,
        block_for,
        action,
        mark,
        queue,
        response,
        exceptions,
        count,
        concurrent_requests,
        application_only,
        on_store_failure,
    } = spec;
    assert_eq!((hosts, target_refs, when, key, exceptions), (vec![], vec![], None, vec![], vec![]));
    assert_eq!((mark, queue, response, count), (None, None, None, None));
    assert_eq!((burst, concurrent_requests, application_only), (None, None, false));
    assert_eq!((algorithm, scope, consistency), (Algorithm::SlidingWindow, LimitScope::Cluster, Consistency::Eventual));
    assert_eq!((action, on_store_failure), (LimitAction::Enforce, StoreFailure::LocalShare));
    assert_eq!(block_for.to_string(), "0s");
    let schema = schema_of(Kind::named("RateLimit").expect("a kind of ours"));
    let spec = &schema["properties"]["spec"]["properties"];
    let expected = [
        ("algorithm", json!("SlidingWindow")),
        ("scope", json!("Cluster")),
        ("consistency", json!("Eventual")),
        ("blockFor", json!("0s")),
        ("action", json!("Enforce")),
        ("applicationOnly", json!(false)),
        ("onStoreFailure", json!("LocalShare")),
    ];
    for (field, default) in expected {
        assert_eq!(spec[field]["default"], default, "{field}");
    }
    let prefixes = &spec["key"]["items"]["properties"]["clientIP"]["properties"];
    let ClientIpPart { prefix_v4, prefix_v6 } = ClientIpPart::default();
    assert_eq!((&prefixes["prefixV4"]["default"], &prefixes["prefixV6"]["default"]), (&json!(32), &json!(64)));
    assert_eq!((prefix_v4, prefix_v6), (32, 64));
    assert_eq!(spec["response"]["properties"]["status"]["default"], 429);
}

#[test]
fn the_limits_of_the_contract_are_accepted_and_written_as_they_were_read() {
    let documents: Vec<&str> = include_str!("fixtures/contract-rate-limit.yaml").split("\n---\n").collect();
    assert_eq!(documents.len(), 3);
    for document in documents {
        let mut object: Value = serde_saphyr::from_str(document).expect("JSON");
        assert_eq!(check(Kind::named("RateLimit").expect("a kind of ours"), &mut object), []);
        let limit: RateLimit = serde_json::from_value(object.clone()).expect("JSON");
        let written = serde_json::to_value(&limit).expect("JSON");
        for (field, value) in object["spec"].as_object().expect("a spec") {
            assert_eq!(&written["spec"][field], value, "{field}");
        }
    }
}

#[track_caller]
fn check_spec(spec: &Value, expected: &[(&str, &str)]) {
    let mut object = json!({
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "OriginPool",
        "metadata": { "name": "chat", "namespace": "default" },
        "spec": spec,
    });
    let found = check(Kind::named("OriginPool").expect("a kind of ours"), &mut object);
    let expected: Vec<SchemaProblem> = expected
        .iter()
        .map(|(field, sentence)| SchemaProblem { field: (*field).to_owned(), sentence: (*sentence).to_owned() })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_null_means_the_same_as_no_field() {
    check_spec(&json!({ "healthCheck": null, "origins": [{ "name": "a", "service": null, "weight": null }] }), &[]);
}

#[test]
fn what_the_schema_refuses_is_told_by_field() {
    let origins = json!([{ "name": "a" }]);
    check_spec(&json!({}), &[("spec.origins", "is missing, it is required")]);
    check_spec(&json!({ "origins": [] }), &[("spec.origins", "has 0 entries, at least 1 is needed")]);
    check_spec(
        &json!({ "origins": origins, "health_check": {} }),
        &[("spec.health_check", "is not a field, healthCheck was perhaps meant")],
    );
    check_spec(
        &json!({ "origins": origins, "retry": { "tries": 1 } }),
        &[("spec.retry.tries", "is not a field, there are attempts, budgetPercent")],
    );
    check_spec(
        &json!({ "origins": [{ "name": "a", "priority": 1.5 }] }),
        &[("spec.origins[0].priority", "is the number 1.5, write a whole number")],
    );
    check_spec(
        &json!({ "origins": [{ "name": "a", "service": { "name": "x", "port": true } }] }),
        &[("spec.origins[0].service.port", "is the boolean true, write a whole number or a string")],
    );
    check_spec(
        &json!({ "origins": [{ "name": "a", "service": { "name": "x", "port": 65536 } }] }),
        &[("spec.origins[0].service.port", "65536 is out of range, write a number from 1 to 65535")],
    );
    check_spec(
        &json!({ "origins": origins, "timeouts": { "connect": "1" } }),
        &[(
            "spec.timeouts.connect",
            "\"1\" is not a duration: write numbers with the units h, m, s or ms, such as 30s, 1m30s or 500ms",
        )],
    );
}
