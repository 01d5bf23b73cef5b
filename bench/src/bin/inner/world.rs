//! Worlds of many routes: one Gateway, one Service, and N HTTPRoutes.

use std::fmt;
use std::sync::Arc;

use headgate_crds::gateway_api::{Gateway, HttpRoute};
use headgate_translate::{Inputs, ObjectKey, Options};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

const NAMESPACE: &str = "default";

/// How the routes differ.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Each has a host of its own.
    HostEach,
    /// They share a host, each has a path prefix of its own.
    OneHost,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostEach => "a host each",
            Self::OneHost => "one host, a path each",
        })
    }
}

impl Shape {
    /// The host of a route.
    pub fn host(self, index: usize) -> String {
        match self {
            Self::HostEach => format!("h{index}.bench.test"),
            Self::OneHost => "bench.test".to_owned(),
        }
    }

    /// A path that the route answers.
    pub fn path(self, index: usize) -> String {
        match self {
            Self::HostEach => "/1k".to_owned(),
            Self::OneHost => format!("{}/1k", prefix(index)),
        }
    }

    fn matches(self, index: usize) -> Value {
        match self {
            Self::HostEach => json!([]),
            Self::OneHost => json!([{ "path": { "type": "PathPrefix", "value": prefix(index) } }]),
        }
    }
}

fn prefix(index: usize) -> String {
    format!("/area-{}/item-{index}", index / 100)
}

/// A world with this many routes.
pub fn inputs(shape: Shape, routes: usize) -> serde_json::Result<Inputs> {
    let mut inputs = Inputs { options: Options::standalone(), ..Inputs::default() };
    let gateway: Gateway = serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "public", "namespace": NAMESPACE },
        "spec": { "gatewayClassName": "headgate", "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80 }] },
    }))?;
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "origin", "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    }))?;
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {
            "name": "origin-1", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "origin" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 9000 }],
        "endpoints": [{ "addresses": ["127.0.0.1"], "conditions": { "ready": true } }],
    }))?;
    inputs.gateways.insert(ObjectKey::new(NAMESPACE, "public"), Arc::new(gateway));
    inputs.services.insert(ObjectKey::new(NAMESPACE, "origin"), Arc::new(service));
    inputs.endpoint_slices.insert(ObjectKey::new(NAMESPACE, "origin-1"), Arc::new(slice));
    for index in 0..routes {
        put(&mut inputs, index, route(shape, index, &json!([])))?;
    }
    Ok(inputs)
}

/// Edits one route: its answers get a header.
pub fn edit(inputs: &mut Inputs, shape: Shape, index: usize) -> serde_json::Result<()> {
    let filters = json!([{
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": { "set": [{ "name": "bench-edit", "value": "1" }] },
    }]);
    put(inputs, index, route(shape, index, &filters))
}

fn put(inputs: &mut Inputs, index: usize, route: Value) -> serde_json::Result<()> {
    let route: HttpRoute = serde_json::from_value(route)?;
    inputs.http_routes.insert(ObjectKey::new(NAMESPACE, name(index)), Arc::new(route));
    Ok(())
}

fn name(index: usize) -> String {
    format!("route-{index:05}")
}

fn route(shape: Shape, index: usize, filters: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": name(index), "namespace": NAMESPACE },
        "spec": {
            "parentRefs": [{ "name": "public" }],
            "hostnames": [shape.host(index)],
            "rules": [{
                "matches": shape.matches(index),
                "filters": filters,
                "backendRefs": [{ "name": "origin", "port": 80 }],
            }],
        },
    })
}
