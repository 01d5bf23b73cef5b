//! Worlds for tests: small builders of wire resources, and the plans compiled from them.

use std::sync::{Arc, LazyLock};

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource, ResourceSet};
use http::{HeaderMap, Method};

use crate::{
    Arrival, Body as RequestBody, Chance, Context, Decision, EpochMillis, Exchange, Facts, FrontendId, Limits,
    Listening, Millis, Plan, Pool, ProbeResult, Protocol, Replay, Request, Resolutions, Screening, Sharing,
};

pub const HTTP: FrontendId = FrontendId { port: 80, protocol: Protocol::Http };
pub const HTTPS: FrontendId = FrontendId { port: 443, protocol: Protocol::Https };

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

pub fn resource(key: Key, body: Body) -> Resource {
    Resource { key: Some(key), generation: 1, requires: Vec::new(), body: Some(body) }
}

/// A Gateway whose listeners are named by their hostname, empty for all.
pub fn gateway(name: &str, hostnames: &[&str]) -> Resource {
    let listeners = hostnames.iter().map(|hostname| listener(hostname, hostname, wire::Protocol::Http)).collect();
    resource(Key::new("Gateway", "default", name), Body::Gateway(wire::Gateway { listeners }))
}

pub fn listener(name: &str, hostname: &str, protocol: wire::Protocol) -> wire::Listener {
    let port = if protocol == wire::Protocol::Https { 443 } else { 80 };
    wire::Listener {
        name: name.to_owned(),
        port,
        protocol: protocol.into(),
        hostname: hostname.to_owned(),
        certificates: Vec::new(),
    }
}

pub fn default_listeners() -> Resource {
    let listeners = vec![listener("http", "", wire::Protocol::Http), listener("https", "", wire::Protocol::Https)];
    resource(Key::default_listeners(), Body::Gateway(wire::Gateway { listeners }))
}

/// A route on the listener for all hosts of Gateway `public`.
pub fn route(name: &str, hosts: &[&str], rules: Vec<wire::Rule>) -> Resource {
    let attachment = attachment(Key::new("Gateway", "default", "public"), "", hosts);
    let body = wire::Route { attachments: vec![attachment], rules, created_at: 0 };
    resource(Key::new("HTTPRoute", "default", name), Body::Route(body))
}

pub fn attachment(gateway: Key, listener: &str, hosts: &[&str]) -> wire::Attachment {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    wire::Attachment { gateway: Some(gateway), listener: listener.to_owned(), hosts }
}

/// A rule for one path that leads to one pool.
pub fn rule(kind: wire::PathMatchType, path: &str, pool: &str) -> wire::Rule {
    let path = wire::PathMatch { r#type: kind.into(), value: path.to_owned() };
    let backend = wire::Backend { pool: Some(pool_key(pool)), weight: 1, filters: Vec::new() };
    wire::Rule {
        matches: vec![wire::Match { path: Some(path), ..wire::Match::default() }],
        action: Some(wire::rule::Action::Backends(wire::Backends { backends: vec![backend] })),
        ..wire::Rule::default()
    }
}

pub fn prefix(path: &str, pool: &str) -> wire::Rule {
    rule(wire::PathMatchType::Prefix, path, pool)
}

pub fn pool_key(name: &str) -> Key {
    Key::new("OriginPool", "default", name)
}

pub fn pool(name: &str, body: wire::OriginPool) -> Resource {
    resource(pool_key(name), Body::OriginPool(body))
}

/// An origin with these endpoints on port 80.
pub fn origin(name: &str, priority: u32, weight: u32, hosts: &[&str]) -> wire::Origin {
    let endpoints = hosts.iter().map(|host| wire::Endpoint { host: (*host).to_owned(), port: 80 }).collect();
    wire::Origin { name: name.to_owned(), endpoints, priority, weight, ..wire::Origin::default() }
}

pub fn health_check() -> wire::HealthCheck {
    wire::HealthCheck {
        r#type: wire::HealthCheckType::HttpGet.into(),
        path: "/healthz".to_owned(),
        interval_ms: 1_000,
        timeout_ms: 500,
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        expected_statuses: vec![wire::StatusRange { from: 200, to: 299 }],
        ..wire::HealthCheck::default()
    }
}

pub fn set(resources: impl IntoIterator<Item = Resource>) -> Arc<ResourceSet> {
    Arc::new(resources.into_iter().collect())
}

/// Compiles a set after a plan. A certificate whose key says `bad` is refused.
pub fn compile_after(previous: Option<&Plan>, resources: &Arc<ResourceSet>, resolutions: &Resolutions) -> Arc<Plan> {
    compile_with(&no_limits(), previous, resources, resolutions)
}

/// The same with a book of counters.
pub fn compile_with(
    limits: &Limits,
    previous: Option<&Plan>,
    resources: &Arc<ResourceSet>,
    resolutions: &Resolutions,
) -> Arc<Plan> {
    let check_certificate = |certificate: &wire::Certificate| {
        if certificate.key_pem == "bad" { Err("the key does not fit the certificate".to_owned()) } else { Ok(()) }
    };
    let context = Context { listening: Listening::Merged, resolutions, limits, check_certificate: &check_certificate };
    Arc::new(Plan::compile(resources, previous, &context))
}

pub fn compile(resources: impl IntoIterator<Item = Resource>) -> Arc<Plan> {
    compile_after(None, &set(resources), &Resolutions::default())
}

/// The plan after resources were put in.
pub fn after(plan: &Plan, resources: impl IntoIterator<Item = Resource>) -> Arc<Plan> {
    let mut next = ResourceSet::clone(plan.resources());
    for resource in resources {
        next.insert(resource.key.clone().unwrap_or_default(), wire::Entry::new(resource));
    }
    compile_after(Some(plan), &Arc::new(next), &Resolutions::default())
}

/// The plan after a key was withdrawn.
pub fn without(plan: &Plan, key: &Key) -> Arc<Plan> {
    let mut next = ResourceSet::clone(plan.resources());
    next.remove(key);
    compile_after(Some(plan), &Arc::new(next), &Resolutions::default())
}

pub fn get<'a>(host: &'a str, path: &'a str) -> Request<'a> {
    Request { method: &Method::GET, host, path, query: None, headers: &NO_HEADERS }
}

/// An empty book.
pub fn no_limits() -> Limits {
    Limits::new(1, [0; 16], Sharing::Nothing)
}

/// A request that came in by port 80 from 192.0.2.1, with an empty book.
pub fn arrival<'a>(request: &Request<'a>) -> Arrival<'a> {
    static NO_LIMITS: LazyLock<Limits> = LazyLock::new(no_limits);
    let facts = Facts { request: *request, scheme: "http", client: [192, 0, 2, 1].into(), size: Some(0), answer: None };
    let replay = Replay::of(request.method, RequestBody::Absent);
    Arrival { facts, frontend: HTTP, port: 80, replay, limits: &NO_LIMITS, now: EpochMillis(1_795_776_012_345) }
}

/// The word of what serves a request: the key of its route with the rule, or the reason.
pub fn served(plan: &Plan, frontend: FrontendId, request: &Request<'_>) -> String {
    match plan.route(frontend, request) {
        Ok(matched) => format!("{} {}", matched.route().key(), matched.rule_index()),
        Err(reason) => reason.to_string(),
    }
}

/// The exchange of a request that its route sends to an origin.
pub fn forward(plan: &Arc<Plan>, request: &Request<'_>, chance: &mut Chance) -> Exchange {
    let matched = plan.route(HTTP, request).unwrap();
    match matched.decide(plan, &arrival(request), &mut Screening::default(), chance).unwrap() {
        Decision::Forward(exchange) => *exchange,
        other => panic!("{other:?}"),
    }
}

/// A plan in which host `a.test` is served by pool `pool`.
pub fn pool_plan(body: wire::OriginPool) -> Arc<Plan> {
    let body = wire::OriginPool { hosts: vec!["a.test".to_owned()], ..body };
    compile([default_listeners(), pool("pool", body)])
}

/// One round of probes; the result by address, nothing where the probe is lost.
pub fn probe(pool: &Arc<Pool>, now: Millis, result: impl Fn(&str) -> Option<ProbeResult>) {
    for probe in pool.due_probes(now, &mut Chance::new(now.0)) {
        let address = probe.address().ip().to_string();
        if let Some(result) = result(&address) {
            probe.report(result);
        }
    }
}
