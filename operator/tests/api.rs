//! The API as callers with different permissions see it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use headgate_operator::api::{StatusSource, routes};
use headgate_operator::hub::Hub;
use headgate_operator::status::{Installation, StatusList, Statuses};
use headgate_snapshot::StateUrl;
use headgate_translate::{Kind, ObjectKey, ObjectRef, Verdict};
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use support::{EDGE, SHOP, access, end, token};

/// A pool in each of two namespaces, a class, and one proxy.
fn status() -> StatusSource {
    let hub = Arc::new(Hub::default());
    let subscription = hub.subscribe("edge-1", None);
    let object = |kind, namespace: &str| ObjectRef::new(kind, ObjectKey::new(namespace, "one"));
    let objects = [object(Kind::GatewayClass, ""), object(Kind::OriginPool, "bank"), object(Kind::OriginPool, "shop")];
    let verdicts: BTreeMap<ObjectRef, Arc<Verdict>> =
        objects.into_iter().map(|object| (object, Arc::new(Verdict::default()))).collect();
    Arc::new(move || {
        let mut statuses = Statuses::default();
        let installation =
            Installation { controller: "headgate.dev/gateway", addresses: &[], state: &StateUrl::Memory };
        statuses.update(&verdicts, &hub.progress(), installation, Timestamp::UNIX_EPOCH);
        let _connected = &subscription;
        Some(StatusList::new(&verdicts, |_| None, &statuses, &hub.progress()))
    })
}

async fn ask(path: &str, user: Option<&str>) -> (StatusCode, String, Value) {
    let mut request = Request::get(path);
    if let Some(user) = user {
        let token = token(&json!({ "sub": user, "aud": "headgate", "exp": end(60) }));
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = routes(access(), status()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, serde_json::from_slice(&body).unwrap())
}

/// `Kind/namespace` of each item, and how many proxies are told.
async fn check(path: &str, user: &str, expected: &[&str], proxies: usize) {
    let (status, _, list) = ask(path, Some(user)).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| format!("{}/{}", text(&item["kind"]), text(&item["metadata"]["namespace"])))
        .collect();
    assert_eq!((status, items), (StatusCode::OK, expected.iter().map(|&item| item.to_owned()).collect()));
    assert_eq!(list["proxies"].as_array().unwrap().len(), proxies, "{path} {user}");
}

#[tokio::test]
async fn a_caller_sees_what_it_may_read() {
    check("/v1/status", EDGE, &["GatewayClass/", "OriginPool/bank", "OriginPool/shop"], 1).await;
    check("/v1/status?namespace=bank", EDGE, &["OriginPool/bank"], 1).await;
    check("/v1/status", SHOP, &["OriginPool/shop"], 0).await;
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let check = async |path: &str, user: Option<&str>, expected: StatusCode, sentence: &str| {
        let (status, kind, body) = ask(path, user).await;
        assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{path}");
        assert!(body["detail"].as_str().unwrap().contains(sentence), "{body}");
    };
    check("/v1/status", None, StatusCode::UNAUTHORIZED, "a bearer token is needed").await;
    check("/v1/status", Some("somebody"), StatusCode::FORBIDDEN, "somebody may not `get`").await;
    check("/v1/status?namespace=bank", Some(SHOP), StatusCode::FORBIDDEN, "may not `get`").await;
    check("/v2", Some(EDGE), StatusCode::NOT_FOUND, "/openapi.json").await;
}

#[tokio::test]
async fn every_path_of_the_document_exists() {
    let (status, _, document) = ask("/openapi.json", None).await;
    assert_eq!(status, StatusCode::OK);
    for path in document["paths"].as_object().unwrap().keys() {
        assert_ne!(ask(path, Some(EDGE)).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
