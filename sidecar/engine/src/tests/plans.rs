//! Compiling: reuse, refusals, and what outlives an edit.

use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Refusal, Resource};
use proptest::prelude::*;

use super::fixtures::{
    HTTP, after, compile, compile_after, default_listeners, gateway, get, health_check, listener, origin, pool,
    pool_key, prefix, probe, resource, route, rule, served, set, without,
};
use super::routing::{any_route, route_resource};
use crate::{Health, Millis, Plan, ProbeResult, Resolutions};

fn refused(plan: &Plan) -> Vec<(String, String, String)> {
    let split = |Refusal { key, reason, message }| (key.unwrap_or_default().to_string(), reason, message);
    plan.refusals().into_iter().map(split).collect()
}

fn check_refusal(bad: Resource, expected: (&str, &str, &str)) {
    let good = route("good", &["a.test"], vec![prefix("/", "x")]);
    let plan = compile([gateway("public", &[""]), good, bad]);
    let (key, reason, message) = expected;
    assert_eq!(refused(&plan), [(key.to_owned(), reason.to_owned(), message.to_owned())]);
    assert_eq!(served(&plan, HTTP, &get("a.test", "/")), "HTTPRoute/default/good 0");
}

#[test]
fn a_resource_that_does_not_compile_is_refused_alone() {
    let with_rule = |rule| route("bad", &["a.test"], vec![rule]);
    let with_origin = |origin| pool("bad", wire::OriginPool { origins: vec![origin], ..Default::default() });
    let (route_key, pool_key) = ("HTTPRoute/default/bad", "OriginPool/default/bad");
    check_refusal(
        with_rule(rule(wire::PathMatchType::Exact, "/%zz", "x")),
        (
            route_key,
            "Invalid",
            "rules[0].matches[0].path: `/%zz` is no path: `%` is not followed by two hexadecimal digits",
        ),
    );
    check_refusal(
        with_rule(wire::Rule { matches: Vec::new(), ..prefix("/", "x") }),
        (route_key, "Invalid", "rules[0].matches: a rule without matches"),
    );
    check_refusal(
        with_rule(wire::Rule { action: None, ..prefix("/", "x") }),
        (route_key, "Invalid", "rules[0]: a rule without an action that this proxy knows"),
    );
    check_refusal(
        route("bad", &["a b"], vec![prefix("/", "x")]),
        (
            route_key,
            "Invalid",
            "attachments[0].hosts: `a b` is no host: the host name has a character that no host name may have",
        ),
    );
    check_refusal(
        Resource { requires: vec!["teleport".to_owned()], ..with_rule(prefix("/", "x")) },
        (
            route_key,
            "MissingFeature",
            "the resource requires `teleport`, which this proxy does not know; upgrade the proxy",
        ),
    );
    check_refusal(
        Resource { body: None, ..with_rule(prefix("/", "x")) },
        (route_key, "UnknownBody", "the resource has no body that this proxy knows; upgrade the proxy"),
    );
    let tls = Some(wire::OriginTls::default());
    check_refusal(
        with_origin(wire::Origin { tls, ..origin("eu", 0, 1, &["10.0.0.1"]) }),
        (pool_key, "Invalid", "origins[0].tls.serverName: must not be empty"),
    );
    check_refusal(
        with_origin(origin("eu", 0, 1, &["10.0.0.1", ""])),
        (pool_key, "Invalid", "origins[0].endpoints[1]: neither an address nor a name"),
    );
    let certificate = wire::Certificate { chain_pem: String::new(), key_pem: "bad".to_owned() };
    check_refusal(
        resource(Key::new("Secret", "default", "bad"), Body::Certificate(certificate)),
        ("Secret/default/bad", "Invalid", "certificate: the key does not fit the certificate"),
    );
    let ftp = wire::Listener { protocol: 9, ..listener("ftp", "", wire::Protocol::Http) };
    check_refusal(
        resource(Key::new("Gateway", "default", "bad"), Body::Gateway(wire::Gateway { listeners: vec![ftp] })),
        ("Gateway/default/bad", "Invalid", "listeners[0].protocol: a protocol that this proxy does not know"),
    );
}

#[test]
fn the_last_good_resource_stays_until_it_is_corrected_or_withdrawn() {
    let good = route("shop", &["a.test"], vec![prefix("/", "x")]);
    let bad = route("shop", &["a.test"], vec![rule(wire::PathMatchType::Regex, "(", "x")]);
    let corrected = route("shop", &["b.test"], vec![prefix("/", "x")]);
    let request = get("a.test", "/");

    let plan = compile([gateway("public", &[""]), good]);
    let plan = after(&plan, [bad.clone()]);
    assert_eq!((refused(&plan).len(), served(&plan, HTTP, &request).as_str()), (1, "HTTPRoute/default/shop 0"));
    let plan = after(&plan, [route("other", &["c.test"], vec![prefix("/", "x")])]);
    assert_eq!((refused(&plan).len(), served(&plan, HTTP, &request).as_str()), (1, "HTTPRoute/default/shop 0"));
    let plan = after(&plan, [corrected]);
    assert_eq!((refused(&plan).len(), served(&plan, HTTP, &request).as_str()), (0, "NoRoute"));
    let plan = without(&after(&plan, [bad]), &Key::new("HTTPRoute", "default", "shop"));
    assert_eq!((refused(&plan).len(), served(&plan, HTTP, &get("b.test", "/")).as_str()), (0, "NoRoute"));
}

#[test]
fn what_is_known_of_endpoints_survives_an_edit() {
    let body = |weight, address: &str| wire::OriginPool {
        origins: vec![origin("eu", 0, weight, &["10.0.0.1", address])],
        health_check: Some(health_check()),
        ..Default::default()
    };
    let healths = |plan: &Plan| -> Vec<Health> {
        let pool = plan.pool(&pool_key("pool")).unwrap();
        pool.members().origins[0].endpoints.iter().map(|endpoint| endpoint.health()).collect()
    };
    let plan = compile([pool("pool", body(1, "10.0.0.2"))]);
    probe(plan.pool(&pool_key("pool")).unwrap(), Millis(0), |address| {
        Some(if address == "10.0.0.1" { ProbeResult::Failed } else { ProbeResult::Passed })
    });
    assert_eq!(healths(&plan), [Health::Unhealthy, Health::Healthy]);
    let plan = after(&plan, [pool("pool", body(7, "10.0.0.2"))]);
    assert_eq!(healths(&plan), [Health::Unhealthy, Health::Healthy]);
    let plan = after(&plan, [pool("pool", body(7, "10.0.0.3"))]);
    assert_eq!(healths(&plan), [Health::Unhealthy, Health::Unknown]);
}

#[test]
fn endpoints_follow_their_names_and_keep_the_last_good_answer() {
    let body = wire::OriginPool { origins: vec![origin("eu", 0, 1, &["Eu.Test", "10.0.0.9"])], ..Default::default() };
    let resources = set([pool("pool", body)]);
    let mut resolutions = Resolutions::default();
    let plan = compile_after(None, &resources, &resolutions);
    let report = |plan: &Plan| plan.health()[0].origins[0].clone();
    assert_eq!(plan.names().into_iter().collect::<Vec<_>>(), ["eu.test"]);
    assert_eq!((report(&plan).total, report(&plan).message.as_str()), (1, "eu.test: not resolved yet"));

    let answer = vec!["10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
    assert!(resolutions.answered("eu.test", answer.clone()));
    assert!(!resolutions.answered("eu.test", answer));
    plan.resolve(&resolutions);
    assert_eq!((report(&plan).total, report(&plan).message.as_str()), (3, ""));

    assert!(resolutions.failed("eu.test", "no such name"));
    plan.resolve(&resolutions);
    assert_eq!((report(&plan).total, report(&plan).message.as_str()), (3, "eu.test: no such name"));
    let plan = compile_after(Some(&plan), &resources, &resolutions);
    assert_eq!(report(&plan).total, 3);
}

#[test]
fn addresses_of_names_are_judged_after_each_answer_and_after_each_edit_of_the_policy() {
    let named = |policy: Option<wire::AddressPolicy>| {
        let origins = vec![origin("eu", 0, 1, &["eu.test", "10.0.0.9"])];
        pool("pool", wire::OriginPool { origins, addresses: policy, ..Default::default() })
    };
    let public = |allowed: &str, denied: &str| wire::AddressPolicy {
        scope: wire::AddressScope::Public.into(),
        allowed: vec![allowed.to_owned()],
        denied: vec![denied.to_owned()],
    };
    let told = |plan: &Plan| -> (Vec<String>, String) {
        let members = plan.pool(&pool_key("pool")).unwrap().members();
        let member = &members.origins[0];
        let addresses = member.endpoints.iter().map(|endpoint| endpoint.address().ip().to_string()).collect();
        (addresses, member.trouble.clone())
    };
    let check = |plan: &Plan, addresses: &[&str], trouble: &str| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        assert_eq!(told(plan), (addresses, trouble.to_owned()));
    };
    let mut resolutions = Resolutions::default();
    let resources = set([named(Some(public("192.168.0.0/16", "192.0.2.9:80")))]);
    let plan = compile_after(None, &resources, &resolutions);
    assert!(resolutions.answered("eu.test", vec!["192.0.2.7".parse().unwrap()]));
    plan.resolve(&resolutions);
    check(&plan, &["192.0.2.7", "10.0.0.9"], "");

    assert!(resolutions.answered("eu.test", vec!["10.0.0.7".parse().unwrap(), "192.168.0.1".parse().unwrap()]));
    plan.resolve(&resolutions);
    check(
        &plan,
        &["192.168.0.1", "10.0.0.9"],
        "eu.test: 10.0.0.7 is a private address; write a public address, name a Service instead, or have the operator \
         started with --allow-origins for it",
    );

    let plan = compile_after(Some(&plan), &set([named(Some(public("10.0.0.0/8", "192.0.2.9:80")))]), &resolutions);
    check(
        &plan,
        &["10.0.0.7", "10.0.0.9"],
        "eu.test: 192.168.0.1 is a private address; write a public address, name a Service instead, or have the \
         operator started with --allow-origins for it",
    );

    assert!(resolutions.answered("eu.test", vec!["192.0.2.9".parse().unwrap()]));
    plan.resolve(&resolutions);
    check(
        &plan,
        &["10.0.0.9"],
        "eu.test: 192.0.2.9:80 belongs to the control plane or to headgate itself, which is never an origin; write \
         another address",
    );

    // A policy that cannot be read is not dropped: the pool stays as it was.
    let plan = compile_after(Some(&plan), &set([named(Some(public("10.0.0.0/99", "192.0.2.9:80")))]), &resolutions);
    assert_eq!(plan.refusals().len(), 1);
    check(&plan, &["10.0.0.9"], &told(&plan).1);
}

#[test]
fn one_edit_among_many_compiles_one_resource() {
    let named = |number: usize, path: &str| {
        route(&format!("r{number}"), &[&format!("h{number}.test")], vec![prefix(path, "x")])
    };
    let pools = ["p1", "p2"].map(|name| pool(name, wire::OriginPool::default()));
    let before = compile((0..200).map(|number| named(number, "/")).chain(pools).chain([gateway("public", &[""])]));
    let after = after(&before, [named(7, "/new")]);
    let shared = (0..200).filter(|number| {
        let host = format!("h{number}.test");
        let request = get(&host, "/new");
        let of = |plan: &Plan| std::ptr::from_ref(plan.route(HTTP, &request).unwrap().route());
        of(&before) == of(&after)
    });
    assert_eq!(shared.count(), 199);
    let pool = |plan: &Plan| plan.pool(&pool_key("p1")).cloned().unwrap();
    assert!(Arc::ptr_eq(&pool(&before), &pool(&after)));
}

#[test]
fn other_certificates_leave_the_routes_attached() {
    let secret = |name: &str| Key::new("Secret", "default", name);
    let tls = |name: &str| {
        let own = |hostname| wire::Listener {
            certificates: vec![secret(name)],
            ..listener(hostname, hostname, wire::Protocol::Http)
        };
        let listeners = vec![own(""), own("*.test"), own("a.test")];
        resource(Key::new("Gateway", "default", "public"), Body::Gateway(wire::Gateway { listeners }))
    };
    let attached = |listener: &str, name: &str, host: &str| {
        let attachments =
            vec![super::fixtures::attachment(Key::new("Gateway", "default", "public"), listener, &[host])];
        route_resource(name, wire::Route { attachments, rules: vec![prefix("/", "x")], created_at: 0 })
    };
    let routes =
        [attached("", "any", "*"), attached("*.test", "wild", "b.test"), attached("a.test", "exact", "a.test")];
    let plan = after(&compile(routes.into_iter().chain([tls("old")])), [tls("new")]);
    for (host, name) in [("other", "any"), ("b.test", "wild"), ("a.test", "exact")] {
        assert_eq!(served(&plan, HTTP, &get(host, "/")), format!("HTTPRoute/default/{name} 0"));
        assert!(
            plan.certificates(HTTP, host).all(|key| *key == secret("new")) && plan.certificates(HTTP, host).count() > 0
        );
    }
}

/// An edit of the world: put or withdraw one of few names.
#[derive(Clone, Debug)]
enum Edit {
    Route(u8, wire::Route),
    NoRoute(u8),
    Pool(u8, &'static str),
    NoPool(u8),
    Gateway(Vec<&'static str>),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0u8..5, any_route()).prop_map(|(name, route)| Edit::Route(name, route)),
        2 => (0u8..5).prop_map(Edit::NoRoute),
        2 => (0u8..3, prop::sample::select(vec!["a.test", "*.a.test", "x.test"])).prop_map(|(name, host)| {
            Edit::Pool(name, host)
        }),
        1 => (0u8..3).prop_map(Edit::NoPool),
        1 => prop::sample::subsequence(vec!["", "*.a.test", "b.a.test"], 0..=3).prop_map(Edit::Gateway),
    ]
}

proptest! {
    #[test]
    fn a_plan_made_of_edits_enforces_what_a_fresh_one_does(edits in prop::collection::vec(any_edit(), 1..20)) {
        let mut plan = compile([default_listeners(), gateway("public", &["", "*.a.test"])]);
        for edit in edits {
            plan = match edit {
                Edit::Route(name, route) => after(&plan, [route_resource(&format!("r{name}"), route)]),
                Edit::NoRoute(name) => without(&plan, &Key::new("HTTPRoute", "default", format!("r{name}"))),
                Edit::Pool(name, host) => {
                    let body = wire::OriginPool { hosts: vec![host.to_owned()], ..Default::default() };
                    after(&plan, [pool(&format!("p{name}"), body)])
                }
                Edit::NoPool(name) => without(&plan, &pool_key(&format!("p{name}"))),
                Edit::Gateway(hostnames) => after(&plan, [gateway("public", &hostnames)]),
            };
            let fresh = compile_after(None, plan.resources(), &Resolutions::default());
            prop_assert_eq!(plan.version(), fresh.version());
            for host in ["a.test", "b.a.test", "c.b.a.test", "x.test", "other"] {
                for path in ["/", "/a", "/a/b", "/b/", "/bb/a"] {
                    let request = get(host, path);
                    prop_assert_eq!(served(&plan, HTTP, &request), served(&fresh, HTTP, &request), "{} {}", host, path);
                }
            }
        }
    }
}
