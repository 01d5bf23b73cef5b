//! Attempts, fallbacks, rewrites and limits of one request.

use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot as wire;
use http::{HeaderMap, Method};

use super::fixtures::{
    HTTP, arrival, compile, default_listeners, forward, gateway, get, origin, pool, pool_plan, prefix, route,
};
use crate::{Chance, Decision, Exchange, Failure, Next, Plan, Reason, Request, Screening, Timeouts};

/// Sends a request whose attempts fail as written, and says where each went and how it ended.
fn attempts(plan: &Arc<Plan>, request: &Request<'_>, failures: &[Failure]) -> (Vec<String>, Option<Reason>) {
    let mut chance = Chance::new(5);
    let mut exchange = forward(plan, request, &mut chance);
    let mut tried = Vec::new();
    for failure in failures {
        match exchange.select(&mut chance) {
            Ok(selection) => tried.push(selection.endpoint().address().ip().to_string()),
            Err(reason) => return (tried, Some(reason)),
        }
        if let Next::GiveUp(reason) = exchange.failed(*failure, &mut chance) {
            return (tried, Some(reason));
        }
    }
    (tried, None)
}

fn check(plan: &Arc<Plan>, failures: &[Failure], expected: &[&str], reason: Option<Reason>) {
    let (tried, found) = attempts(plan, &get("a.test", "/"), failures);
    assert_eq!((tried.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), found), (expected, reason));
}

fn two_regions(retry: Option<wire::Retry>) -> wire::OriginPool {
    wire::OriginPool {
        origins: vec![
            origin("eu", 0, 1, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
            origin("asia", 1, 1, &["10.0.1.1"]),
            origin("checked-only", 0, 0, &["10.0.2.1"]),
        ],
        endpoint_policy: wire::EndpointPolicy::RoundRobin.into(),
        retry,
        ..Default::default()
    }
}

#[test]
fn a_failed_connect_goes_to_the_next_endpoint_then_origin_then_fallback() {
    let hosts = vec!["a.test".to_owned()];
    let fallback = Some(super::fixtures::pool_key("static"));
    let last = wire::OriginPool {
        origins: vec![origin("site", 0, 1, &["10.9.9.9"])],
        fallback: Some(super::fixtures::pool_key("pool")),
        ..Default::default()
    };
    let body = wire::OriginPool { hosts, fallback, ..two_regions(Some(wire::Retry::default())) };
    let plan = compile([default_listeners(), pool("pool", body), pool("static", last)]);
    check(
        &plan,
        &[Failure::Connect; 9],
        &["10.0.0.1", "10.0.0.3", "10.0.1.1", "10.9.9.9"],
        Some(Reason::ConnectFailed),
    );
}

#[test]
fn what_was_sent_is_sent_again_as_often_as_the_pool_says() {
    let retry = |attempts| Some(wire::Retry { attempts, budget_percent: 20 });
    let reset = Failure::ResetBeforeAnswer;
    check(&pool_plan(two_regions(retry(0))), &[reset; 5], &["10.0.0.1"], Some(Reason::OriginReset));
    check(&pool_plan(two_regions(None)), &[reset; 5], &["10.0.0.1", "10.0.0.3"], Some(Reason::OriginReset));
    check(
        &pool_plan(two_regions(retry(9))),
        &[reset; 5],
        &["10.0.0.1", "10.0.0.3", "10.0.0.2", "10.0.1.1", "10.0.0.1"],
        None,
    );
    check(
        &pool_plan(two_regions(retry(1))),
        &[Failure::Connect, reset, Failure::Connect, reset],
        &["10.0.0.1", "10.0.0.3", "10.0.0.2", "10.0.1.1"],
        Some(Reason::OriginReset),
    );
}

#[test]
fn a_connection_that_the_origin_had_closed_costs_no_retry_and_stays_with_the_endpoint() {
    let body = wire::OriginPool {
        hosts: vec!["a.test".to_owned()],
        ..two_regions(Some(wire::Retry { attempts: 1, budget_percent: 20 }))
    };
    let plan = compile([default_listeners(), pool("pool", body)]);
    let mut failures = vec![Failure::StaleConnection; 8];
    failures.extend([Failure::ResetBeforeAnswer, Failure::ResetBeforeAnswer]);
    let mut expected = vec!["10.0.0.1"; 9];
    expected.push("10.0.0.3");
    check(&plan, &failures, &expected, Some(Reason::OriginReset));

    let mut chance = Chance::new(5);
    let post = Request { method: &Method::POST, ..get("a.test", "/") };
    let mut exchange = forward(&plan, &post, &mut chance);
    assert!(exchange.select(&mut chance).is_ok());
    assert_eq!(exchange.failed(Failure::StaleConnection, &mut chance), Next::GiveUp(Reason::OriginReset));
}

#[test]
fn an_origin_that_answered_or_was_slow_is_not_asked_again() {
    for (failure, reason) in [
        (Failure::Reset, Reason::OriginReset),
        (Failure::Protocol, Reason::OriginProtocol),
        (Failure::TimedOut, Reason::OriginTimeout),
    ] {
        check(&pool_plan(two_regions(None)), &[failure; 2], &["10.0.0.1"], Some(reason));
    }
}

#[test]
fn a_request_that_changes_something_is_sent_once() {
    let plan = pool_plan(two_regions(None));
    let request = Request { method: &Method::POST, ..get("a.test", "/") };
    let (tried, reason) = attempts(&plan, &request, &[Failure::Connect, Failure::ResetBeforeAnswer]);
    assert_eq!((tried.len(), reason), (2, Some(Reason::OriginReset)));
}

#[test]
fn the_last_endpoint_is_known_after_all_have_failed() {
    let plan = pool_plan(wire::OriginPool { origins: vec![origin("eu", 0, 1, &["10.0.0.1"])], ..Default::default() });
    let mut chance = Chance::new(0);
    let mut exchange = forward(&plan, &get("a.test", "/"), &mut chance);
    assert!(exchange.select(&mut chance).is_ok());
    assert_eq!(exchange.failed(Failure::Connect, &mut chance), Next::GiveUp(Reason::ConnectFailed));
    let last = exchange.selection().map(|selection| selection.origin().name.as_str());
    assert_eq!(last, Some("eu"));
    assert_eq!(exchange.select(&mut chance).map(|_| ()), Err(Reason::NoHealthyOrigin));
}

#[test]
fn pools_that_fall_back_to_each_other_end() {
    let empty = |fallback: &str| wire::OriginPool {
        hosts: vec!["a.test".to_owned()],
        fallback: Some(super::fixtures::pool_key(fallback)),
        ..Default::default()
    };
    let plan = compile([default_listeners(), pool("one", empty("two")), pool("two", empty("one"))]);
    check(&plan, &[Failure::Connect], &[], Some(Reason::NoHealthyOrigin));
}

#[test]
fn a_backend_that_does_not_exist_takes_its_share_of_errors() {
    let missing = wire::Backend { pool: None, weight: 1, filters: Vec::new() };
    let mut rule = prefix("/", "pool");
    if let Some(wire::rule::Action::Backends(backends)) = &mut rule.action {
        backends.backends.push(missing);
    }
    let plan = compile([
        gateway("public", &[""]),
        route("shop", &["a.test"], vec![rule, prefix("/gone", "gone")]),
        pool("pool", two_regions(None)),
    ]);
    let errors = |path: &str| {
        let request = get("a.test", path);
        let matched = plan.route(HTTP, &request).unwrap();
        let decide = |seed| {
            matched
                .clone()
                .decide(&plan, &arrival(&request), &mut Screening::default(), &mut Chance::new(seed))
                .map(|_| ())
        };
        (0..1_000).filter(|seed| decide(*seed) == Err(Reason::RefNotResolved)).count()
    };
    assert!((450..550).contains(&errors("/")), "{}", errors("/"));
    assert_eq!(errors("/gone"), 1_000);
}

fn exchange(plan: &Arc<Plan>, path: &str) -> Exchange {
    let mut exchange = forward(plan, &get("a.test", path), &mut Chance::new(0));
    exchange.select(&mut Chance::new(0)).unwrap();
    exchange
}

#[test]
fn the_origin_gets_the_host_path_and_headers_that_were_asked_for() {
    let rewrite = |hostname: &str, prefix: &str| {
        let rewrite = Some(wire::path_rewrite::Rewrite::Prefix(prefix.to_owned()));
        let path = Some(wire::PathRewrite { rewrite });
        wire::Filter {
            filter: Some(wire::filter::Filter::UrlRewrite(wire::UrlRewrite { hostname: hostname.to_owned(), path })),
        }
    };
    let add = |value: &str| {
        let header = wire::Header { name: "x-seen".to_owned(), value: value.to_owned() };
        let modifier = wire::HeaderModifier { add: vec![header], ..Default::default() };
        wire::Filter { filter: Some(wire::filter::Filter::RequestHeaders(modifier)) }
    };
    let mut with_filters = prefix("/old", "pool");
    with_filters.filters = vec![add("rule"), rewrite("inner.test", "/new")];
    if let Some(wire::rule::Action::Backends(backends)) = &mut with_filters.action {
        backends.backends[0].filters = vec![add("backend")];
    }
    let named = wire::Origin { host_header: "own.test".to_owned(), ..origin("eu", 0, 1, &["10.0.0.1"]) };
    let plan = compile([
        gateway("public", &[""]),
        route("shop", &["a.test"], vec![with_filters, prefix("/plain", "pool"), prefix("/own", "named")]),
        pool("pool", two_regions(None)),
        pool("named", wire::OriginPool { origins: vec![named], ..Default::default() }),
    ]);
    let of = |path: &str| {
        let exchange = exchange(&plan, path);
        let mut headers = HeaderMap::new();
        exchange.change_request(&mut headers);
        let seen: Vec<String> = headers.values().map(|value| value.to_str().unwrap().to_owned()).collect();
        (exchange.host().map(str::to_owned), exchange.path(path).into_owned(), seen.join(","))
    };
    assert_eq!(of("/old/x"), (Some("inner.test".to_owned()), "/new/x".to_owned(), "rule,backend".to_owned()));
    assert_eq!(of("/plain/x"), (None, "/plain/x".to_owned(), String::new()));
    assert_eq!(of("/own"), (Some("own.test".to_owned()), "/own".to_owned(), String::new()));
}

#[test]
fn time_limits_of_a_route_win_over_those_of_the_pool() {
    let timeouts = Some(wire::Timeouts { connect_ms: 100, request_ms: 200, idle_ms: 300 });
    let limited = |request_timeout_ms, backend_timeout_ms, path| wire::Rule {
        request_timeout_ms,
        backend_timeout_ms,
        ..prefix(path, "pool")
    };
    let rules = vec![limited(0, 0, "/none"), limited(900, 0, "/all"), limited(900, 50, "/both")];
    let plan = compile([
        gateway("public", &[""]),
        route("shop", &["a.test"], rules),
        pool("pool", wire::OriginPool { timeouts, ..two_regions(None) }),
    ]);
    let millis = Duration::from_millis;
    let limits = |answer, exchange: Option<u64>| Timeouts {
        connect: millis(100),
        answer: millis(answer),
        idle: millis(300),
        exchange: exchange.map(millis),
    };
    assert_eq!(exchange(&plan, "/none").timeouts(), limits(200, None));
    assert_eq!(exchange(&plan, "/all").timeouts(), limits(900, Some(900)));
    assert_eq!(exchange(&plan, "/both").timeouts(), limits(50, Some(900)));
}

#[test]
fn a_redirect_needs_no_origin() {
    let redirect = wire::Redirect { scheme: "https".to_owned(), status: 301, ..Default::default() };
    let action = Some(wire::rule::Action::Redirect(redirect));
    let rules = vec![wire::Rule { action, ..prefix("/", "x") }];
    let plan = compile([gateway("public", &[""]), route("shop", &["a.test"], rules)]);
    let request = Request { query: Some("q=1"), ..get("a.test", "/x") };
    let matched = plan.route(HTTP, &request).unwrap();
    match matched.decide(&plan, &arrival(&request), &mut Screening::default(), &mut Chance::new(0)) {
        Ok(Decision::Redirect { status, location }) => {
            assert_eq!((status, location.as_str()), (301, "https://a.test/x?q=1"));
        }
        other => panic!("{other:?}"),
    }
}
