//! Which rule a request meets.

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::fixtures::{
    HTTP, HTTPS, attachment, compile, default_listeners, gateway, get, listener, pool, prefix, resource, route, rule,
    served,
};
use crate::Request;

const HOSTS: [&str; 6] = ["a.test", "b.a.test", "c.b.a.test", "*.a.test", "*.test", "*"];
const LISTENERS: [&str; 3] = ["", "*.a.test", "b.a.test"];

#[test]
fn paths_are_found_in_the_order_of_the_gateway_api() {
    use wire::PathMatchType::{Exact, Prefix, Regex};
    let rules = vec![
        rule(Prefix, "/", "x"),
        rule(Prefix, "/a", "x"),
        rule(Prefix, "/a/b/", "x"),
        rule(Exact, "/a/b", "x"),
        rule(Regex, "/r.*", "x"),
        rule(Exact, "/r/exact", "x"),
        rule(Prefix, "/r/longer/prefix", "x"),
    ];
    let plan = compile([gateway("public", &[""]), route("shop", &["*"], rules)]);
    for (path, rule) in [
        ("/", 0),
        ("/ab", 0),
        ("/a", 1),
        ("/a/", 1),
        ("/a//b", 1),
        ("/a/b", 3),
        ("/a/b/", 2),
        ("/a/b/c", 2),
        ("/r", 4),
        ("/r/exact", 5),
        ("/r/longer/prefix/x", 4),
    ] {
        assert_eq!(served(&plan, HTTP, &get("any.test", path)), format!("HTTPRoute/default/shop {rule}"), "{path}");
    }
}

#[test]
fn routes_win_over_the_hosts_of_pools() {
    let body = |created_at| wire::OriginPool { hosts: vec!["a.test".to_owned()], created_at, ..Default::default() };
    let plan = compile([
        default_listeners(),
        gateway("public", &[""]),
        route("shop", &["a.test"], vec![prefix("/shop", "x")]),
        pool("younger", body(2)),
        pool("older", body(1)),
    ]);
    assert_eq!(served(&plan, HTTP, &get("a.test", "/shop/1")), "HTTPRoute/default/shop 0");
    assert_eq!(served(&plan, HTTP, &get("a.test", "/other")), "OriginPool/default/older 0");
    assert_eq!(served(&plan, HTTPS, &get("a.test", "/shop/1")), "OriginPool/default/older 0");
    assert_eq!(served(&plan, HTTP, &get("b.test", "/")), "NoRoute");
}

#[test]
fn default_listeners_are_merged_with_all_others() {
    let mut ingress = route("ignored", &[], vec![prefix("/admin", "x"), prefix("/", "x")]);
    ingress.key = Some(Key::new("Ingress", "default", "legacy"));
    if let Some(Body::Route(route)) = &mut ingress.body {
        route.attachments = vec![attachment(Key::default_listeners(), "http", &["a.test"])];
    }
    let mut own = route("own", &[], vec![prefix("/", "x"), prefix("/own", "x")]);
    if let Some(Body::Route(route)) = &mut own.body {
        route.attachments = vec![attachment(Key::new("Gateway", "default", "public"), "*.test", &["a.test"])];
        route.created_at = -1;
    }
    let plan = compile([default_listeners(), gateway("public", &["", "*.test"]), ingress, own]);
    assert_eq!(served(&plan, HTTP, &get("a.test", "/admin")), "Ingress/default/legacy 0");
    assert_eq!(served(&plan, HTTP, &get("a.test", "/own")), "HTTPRoute/default/own 1");
    assert_eq!(served(&plan, HTTP, &get("a.test", "/")), "HTTPRoute/default/own 0");
}

#[test]
fn a_listener_keeps_its_hosts_to_itself() {
    let plan = compile([gateway("public", &["", "*.a.test"]), route("all", &["*"], vec![prefix("/", "x")])]);
    assert_eq!(served(&plan, HTTP, &get("x.test", "/")), "HTTPRoute/default/all 0");
    assert_eq!(served(&plan, HTTP, &get("x.a.test", "/")), "NoRoute");
}

#[test]
fn a_rule_for_some_hosts_is_found_on_those_alone() {
    let rules = vec![
        wire::Rule { hosts: vec!["a.test".to_owned()], ..prefix("/", "x") },
        wire::Rule { hosts: vec!["b.test".to_owned()], ..prefix("/", "x") },
        prefix("/all", "x"),
    ];
    let plan = compile([gateway("public", &[""]), route("legacy", &["a.test", "b.test"], rules)]);
    assert_eq!(served(&plan, HTTP, &get("a.test", "/")), "HTTPRoute/default/legacy 0");
    assert_eq!(served(&plan, HTTP, &get("b.test", "/")), "HTTPRoute/default/legacy 1");
    assert_eq!(served(&plan, HTTP, &get("b.test", "/all/1")), "HTTPRoute/default/legacy 2");
}

#[test]
fn a_host_that_belongs_to_another_listener_than_the_connection_is_misdirected() {
    let tls = |hostname: &str| listener(hostname, hostname, wire::Protocol::Https);
    let listeners = vec![tls("a.test"), tls("*.b.test")];
    let body = Body::Gateway(wire::Gateway { listeners });
    let plan = compile([resource(Key::new("Gateway", "default", "public"), body)]);
    for (server_name, host, expected) in [
        ("a.test", "a.test", false),
        ("x.b.test", "y.b.test", false),
        ("a.test", "x.b.test", true),
        ("a.test", "other.test", true),
        ("other.test", "another.test", false),
    ] {
        assert_eq!(plan.is_misdirected(HTTPS, server_name, host), expected, "{server_name} {host}");
    }
}

#[test]
fn certificates_are_asked_from_the_most_specific_listener_on_and_then_all() {
    let secret = |name: &str| Key::new("Secret", "default", name);
    let tls = |hostname: &str, names: &[&str]| wire::Listener {
        certificates: names.iter().map(|name| secret(name)).collect(),
        ..listener(hostname, hostname, wire::Protocol::Https)
    };
    let own = wire::Gateway { listeners: vec![tls("a.test", &["exact"]), tls("*.test", &["wild"]), tls("", &["all"])] };
    let defaults = wire::Gateway { listeners: vec![tls("", &["ingress", "wild"])] };
    let plan = compile([
        resource(Key::new("Gateway", "default", "public"), Body::Gateway(own)),
        resource(Key::default_listeners(), Body::Gateway(defaults)),
    ]);
    let names =
        |server_name| -> Vec<&str> { plan.certificates(HTTPS, server_name).map(|key| key.name.as_str()).collect() };
    let all = ["all", "exact", "wild"];
    assert_eq!(names("a.test"), [&["exact", "wild", "all", "ingress", "wild"][..], &all].concat());
    assert_eq!(names("b.test"), [&["wild", "all", "ingress", "wild"][..], &all].concat());
    assert_eq!(names("other"), [&["all", "ingress", "wild"][..], &all].concat());
}

#[test]
fn ten_thousand_routes_under_one_host_are_found_each() {
    let routes = (0..10_000).map(|number| {
        route(&format!("r{number}"), &["a.test"], vec![prefix(&format!("/p{}/q{number}", number % 100), "x")])
    });
    let plan = compile(routes.chain([gateway("public", &[""])]));
    for number in [0, 1, 4_999, 9_999] {
        let path = format!("/p{}/q{number}/x", number % 100);
        assert_eq!(served(&plan, HTTP, &get("a.test", &path)), format!("HTTPRoute/default/r{number} 0"));
    }
    assert_eq!(served(&plan, HTTP, &get("a.test", "/p1/q2")), "NoRoute");
}

/// A request with few possible values, so that matches are common.
#[derive(Clone, Debug)]
struct Sample {
    host: String,
    path: String,
    method: Method,
    header: Option<&'static str>,
    query: Option<&'static str>,
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (
        prop::sample::select(vec!["a.test", "b.a.test", "c.b.a.test", "x.test", "other"]),
        "(/[ab]{0,2}){1,3}",
        prop::sample::select(vec![Method::GET, Method::POST]),
        prop::option::of(prop::sample::select(vec!["1", "2"])),
        prop::option::of(prop::sample::select(vec!["q=1", "q=2"])),
    )
        .prop_map(|(host, path, method, header, query)| Sample {
            host: host.to_owned(),
            path,
            method,
            header,
            query,
        })
}

fn any_match() -> impl Strategy<Value = wire::Match> {
    use wire::PathMatchType::{Exact, Prefix, Regex};
    let path = prop_oneof![
        ("(/[ab]{0,2}){1,2}").prop_map(|value| wire::PathMatch { r#type: Exact.into(), value }),
        ("(/[ab]{1,2}){0,2}/?")
            .prop_filter("a path", |path| path.starts_with('/'))
            .prop_map(|value| wire::PathMatch { r#type: Prefix.into(), value }),
        ("(/[ab.]{1,2}){1,2}").prop_map(|value| wire::PathMatch { r#type: Regex.into(), value }),
    ];
    let value = |name: &str, value: &str| wire::ValueMatch { name: name.into(), value: value.into(), regex: false };
    let header = prop::option::of(prop::sample::select(vec![value("x-h", "1"), value("x-h", "2")]));
    let query = prop::option::of(prop::sample::select(vec![value("q", "1"), value("q", "2")]));
    (path, prop::sample::select(vec!["", "", "GET"]), header, query).prop_map(|(path, method, header, query)| {
        wire::Match {
            path: Some(path),
            method: method.to_owned(),
            headers: header.into_iter().collect(),
            query: query.into_iter().collect(),
        }
    })
}

fn any_attachment() -> impl Strategy<Value = wire::Attachment> {
    let listener = prop_oneof![
        prop::sample::select(LISTENERS.to_vec()).prop_map(|name| (Key::new("Gateway", "default", "public"), name)),
        Just((Key::default_listeners(), "http")),
        Just((Key::new("Gateway", "default", "gone"), "")),
    ];
    (listener, prop::sample::subsequence(HOSTS.to_vec(), 1..3))
        .prop_map(|((gateway, listener), hosts)| attachment(gateway, listener, &hosts))
}

pub fn any_route() -> impl Strategy<Value = wire::Route> {
    let rule = prop::collection::vec(any_match(), 1..3).prop_map(|matches| wire::Rule { matches, ..prefix("/", "x") });
    (prop::collection::vec(any_attachment(), 1..3), prop::collection::vec(rule, 1..3), 0i64..2)
        .prop_map(|(attachments, rules, created_at)| wire::Route { attachments, rules, created_at })
}

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        None => pattern == host,
    }
}

/// Exact before wildcard before all, the longer first.
fn host_rank(pattern: &str) -> (bool, usize) {
    (!pattern.starts_with('*'), pattern.len())
}

fn path_rank(matching: &wire::Match, path: &str) -> Option<(u8, usize)> {
    let wire::PathMatch { r#type, value } = matching.path.as_ref()?;
    match wire::PathMatchType::try_from(*r#type).ok()? {
        wire::PathMatchType::Exact => (value == path).then_some((3, value.len())),
        wire::PathMatchType::Regex => {
            let whole = regex::Regex::new(&format!("^(?:{value})$")).unwrap();
            whole.is_match(path).then(|| (2, whole.as_str().len()))
        }
        wire::PathMatchType::Prefix => {
            let prefix = value.strip_suffix('/').unwrap_or(value);
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((1, prefix.len()))
        }
        wire::PathMatchType::Unspecified => None,
    }
}

/// The Gateway API read slowly: look at every match of every rule of every route, and keep the best.
fn naive(routes: &[(String, wire::Route)], sample: &Sample) -> String {
    let own = LISTENERS.into_iter().filter(|name| name.is_empty() || covers(name, &sample.host));
    let own = own.max_by_key(|name| (!name.is_empty(), host_rank(name)));
    let public = Key::new("Gateway", "default", "public");
    let defaults = Key::default_listeners();
    let mut best = None;
    for (name, route) in routes {
        for attachment in &route.attachments {
            let gateway = attachment.gateway.as_ref();
            let reached =
                gateway == Some(&defaults) || (gateway == Some(&public) && own == Some(attachment.listener.as_str()));
            for host in attachment.hosts.iter().filter(|host| reached && covers(host, &sample.host)) {
                for (index, rule) in route.rules.iter().enumerate() {
                    for (at, matching) in rule.matches.iter().enumerate() {
                        let Some(path) = path_rank(matching, &sample.path) else { continue };
                        let method = matching.method.is_empty() || matching.method == sample.method.as_str();
                        let header = matching.headers.iter().all(|wanted| sample.header == Some(wanted.value.as_str()));
                        let query = matching
                            .query
                            .iter()
                            .all(|wanted| sample.query.is_some_and(|query| query == format!("q={}", wanted.value)));
                        if !(method && header && query) {
                            continue;
                        }
                        let weight = (!matching.method.is_empty(), matching.headers.len(), matching.query.len());
                        let rank =
                            (std::cmp::Reverse((host_rank(host), path, weight)), (route.created_at, name, index, at));
                        if best.as_ref().is_none_or(|best| rank < *best) {
                            best = Some(rank);
                        }
                    }
                }
            }
        }
    }
    best.map_or("NoRoute".to_owned(), |(_, (_, name, index, _))| format!("HTTPRoute/default/{name} {index}"))
}

fn named(routes: Vec<wire::Route>) -> Vec<(String, wire::Route)> {
    routes.into_iter().enumerate().map(|(number, route)| (format!("r{number}"), route)).collect()
}

pub fn route_resource(name: &str, route: wire::Route) -> Resource {
    resource(Key::new("HTTPRoute", "default", name), Body::Route(route))
}

proptest! {
    #[test]
    fn the_tables_agree_with_a_search_of_every_match(
        routes in prop::collection::vec(any_route(), 0..8),
        samples in prop::collection::vec(any_sample(), 1..16),
    ) {
        let routes = named(routes);
        let resources = routes.iter().map(|(name, route)| route_resource(name, route.clone()));
        let plan = compile(resources.chain([gateway("public", &LISTENERS), default_listeners()]));
        for sample in &samples {
            let mut headers = HeaderMap::new();
            if let Some(value) = sample.header {
                headers.insert(HeaderName::from_static("x-h"), HeaderValue::from_static(value));
            }
            let request = Request {
                method: &sample.method,
                host: &sample.host,
                path: &sample.path,
                query: sample.query,
                headers: &headers,
            };
            prop_assert_eq!(served(&plan, HTTP, &request), naive(&routes, sample), "{:?}", sample);
        }
    }
}
