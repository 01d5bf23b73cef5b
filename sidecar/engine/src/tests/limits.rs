//! Limits as a request meets them: who is governed, in which order, and what comes of it.

use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource, key_part, rate_limit};
use http::{HeaderMap, HeaderValue, Method};

use super::fixtures::{
    HTTP, arrival, attachment, compile_with, default_listeners, gateway, get, no_limits, origin, pool, prefix,
    resource, route, set,
};
use crate::{
    Arrival, Call, Called, Chance, Decision, EpochMillis, Facts, Figures, Limited, Limits, MemoryStore, Plan, Reason,
    Request, Resolutions, Screening, Sharing, StoreError, Why,
};

const NOW: EpochMillis = EpochMillis(1_795_776_012_345);

fn by_namespace() -> wire::Governs {
    wire::Governs { hosts: Vec::new(), by: Some(wire::governs::By::Namespace("default".to_owned())) }
}

fn targets(objects: &[(Key, &str)]) -> wire::Governs {
    let targets = objects
        .iter()
        .map(|(object, section)| wire::PolicyTarget { object: Some(object.clone()), section: (*section).to_owned() });
    let targets = wire::PolicyTargets { targets: targets.collect() };
    wire::Governs { hosts: Vec::new(), by: Some(wire::governs::By::Targets(targets)) }
}

/// A limit of one proxy, one counter for all requests of the namespace.
fn limit(requests: u64) -> wire::RateLimit {
    wire::RateLimit {
        governs: Some(by_namespace()),
        limit: requests,
        period_ms: 60_000,
        algorithm: Some(rate_limit::Algorithm::TokenBucket(wire::TokenBucket { burst: 0 })),
        scope: wire::LimitScope::Proxy.into(),
        action: Some(rate_limit::Action::Enforce(wire::Enforce {})),
        ..wire::RateLimit::default()
    }
}

fn key(name: &str) -> Key {
    Key::new("RateLimit", "default", name)
}

fn named(name: &str, body: wire::RateLimit) -> Resource {
    resource(key(name), Body::RateLimit(body))
}

/// A world with two routes, an Ingress-like pool with hosts, and limits.
struct World {
    limits: Limits,
    plan: Arc<Plan>,
}

impl World {
    fn new(limits: impl IntoIterator<Item = Resource>) -> Self {
        Self::with(no_limits(), limits)
    }

    fn with(book: Limits, limits: impl IntoIterator<Item = Resource>) -> Self {
        let hosts = vec!["pool.test".to_owned()];
        let mut resources = vec![
            gateway("public", &[""]),
            default_listeners(),
            route(
                "shop",
                &["a.test", "*.b.test"],
                vec![wire::Rule { name: "cart".to_owned(), ..prefix("/cart", "other") }, prefix("/", "pool")],
            ),
            pool(
                "pool",
                wire::OriginPool {
                    hosts,
                    origins: vec![origin("eu", 0, 1, &["10.0.0.1"])],
                    ..wire::OriginPool::default()
                },
            ),
            pool(
                "other",
                wire::OriginPool { origins: vec![origin("eu", 0, 1, &["10.0.0.2"])], ..wire::OriginPool::default() },
            ),
            stranger(),
        ];
        resources.extend(limits);
        let plan = compile_with(&book, None, &set(resources), &Resolutions::default());
        assert_eq!(plan.refusals(), []);
        Self { limits: book, plan }
    }

    fn arrival<'a>(&'a self, request: &Request<'a>, now: EpochMillis) -> Arrival<'a> {
        Arrival { limits: &self.limits, now, ..arrival(request) }
    }

    fn decide(&self, request: &Request<'_>, screening: &mut Screening, now: EpochMillis) -> Result<Decision, Reason> {
        let matched = self.plan.route(HTTP, request).unwrap();
        matched.decide(&self.plan, &self.arrival(request, now), screening, &mut Chance::new(0))
    }

    /// The limit that refuses a request, with why.
    fn refusal(&self, request: &Request<'_>) -> Option<Limited> {
        match self.decide(request, &mut Screening::default(), NOW).unwrap() {
            Decision::Limited(limited) => Some(*limited),
            Decision::Forward(_) => None,
            other => panic!("{other:?}"),
        }
    }

    /// How many of some requests pass.
    fn passed(&self, request: &Request<'_>, requests: usize) -> usize {
        (0..requests).filter(|_| self.refusal(request).is_none()).count()
    }
}

/// A route of another namespace on the same Gateway.
fn stranger() -> Resource {
    let gateway = Key::new("Gateway", "default", "public");
    let body = wire::Route {
        attachments: vec![attachment(gateway, "", &["stranger.test"])],
        rules: vec![prefix("/", "pool")],
        created_at: 0,
    };
    resource(Key::new("HTTPRoute", "other", "shop"), Body::Route(body))
}

fn check_governed(governs: &wire::Governs, expected: &[&str]) {
    let world = World::new([named("one", wire::RateLimit { governs: Some(governs.clone()), ..limit(1) })]);
    let all = [("a.test", "/cart"), ("a.test", "/x"), ("x.b.test", "/x"), ("pool.test", "/x"), ("stranger.test", "/x")];
    let governed: Vec<String> = all
        .iter()
        .filter(|(host, path)| {
            let matched = world.plan.route(HTTP, &get(host, path)).unwrap();
            !world.plan.governing(HTTP, host, &matched).is_empty()
        })
        .map(|(host, path)| format!("{host}{path}"))
        .collect();
    assert_eq!(governed, expected, "{governs:?}");
}

#[test]
fn a_limit_governs_what_its_namespace_routes_and_what_it_targets() {
    let on = |hosts: &[&str], governs: wire::Governs| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        wire::Governs { hosts, ..governs }
    };
    let object = |kind: &str, name: &str| Key::new(kind, "default", name);
    let all = ["a.test/cart", "a.test/x", "x.b.test/x", "pool.test/x"];
    check_governed(&by_namespace(), &all);
    check_governed(&on(&["a.test"], by_namespace()), &["a.test/cart", "a.test/x"]);
    check_governed(&on(&["*.b.test", "pool.test"], by_namespace()), &["x.b.test/x", "pool.test/x"]);
    check_governed(&on(&["stranger.test"], by_namespace()), &[]);
    check_governed(&targets(&[(object("HTTPRoute", "shop"), "")]), &["a.test/cart", "a.test/x", "x.b.test/x"]);
    check_governed(&targets(&[(object("HTTPRoute", "shop"), "cart")]), &["a.test/cart"]);
    check_governed(&targets(&[(object("OriginPool", "other"), "")]), &["a.test/cart"]);
    check_governed(&targets(&[(object("OriginPool", "pool"), "")]), &["a.test/x", "x.b.test/x", "pool.test/x"]);
    check_governed(
        &targets(&[(object("Gateway", "public"), "")]),
        &["a.test/cart", "a.test/x", "x.b.test/x", "pool.test/x", "stranger.test/x"],
    );
    check_governed(&targets(&[(object("Gateway", "public"), "none")]), &[]);
    check_governed(&targets(&[(object("Service", "shop"), "")]), &[]);
    check_governed(&targets(&[]), &[]);
    check_governed(&on(&["a.test"], targets(&[(object("Gateway", "public"), "")])), &["a.test/cart", "a.test/x"]);
}

#[test]
fn limits_apply_in_the_order_of_names_and_the_first_refusal_ends_it() {
    let world = World::new([named("b", limit(2)), named("a", limit(3)), named("c", limit(1))]);
    let request = get("a.test", "/");
    assert!(world.refusal(&request).is_none());
    // `a` and `b` count the request that `c` refuses; then `b` refuses, and `c` hears nothing of it.
    let names: Vec<String> = (0..4).map(|_| world.refusal(&request).unwrap().limit().key().name.clone()).collect();
    assert_eq!(names, ["c", "b", "a", "a"]);
    let allowed = |name: &str| world.plan.limit(&key(name)).unwrap().totals().0.allowed;
    assert_eq!((allowed("a"), allowed("b"), allowed("c")), (3, 2, 1));
}

#[test]
fn when_and_exceptions_hold_as_the_contract_says() {
    let when = wire::RateLimit { when: "request.path.startsWith('/login')".to_owned(), ..limit(2) };
    let world = World::new([named("one", when)]);
    assert_eq!((world.passed(&get("a.test", "/login"), 5), world.passed(&get("a.test", "/x"), 5)), (2, 5));
    // A failure does not lift the limit.
    let failing = wire::RateLimit { when: "request.headers['x-no'] == ''".to_owned(), ..limit(2) };
    let world = World::new([named("one", failing)]);
    assert_eq!(world.passed(&get("a.test", "/"), 5), 2);
    assert_eq!(world.plan.limit(&key("one")).unwrap().totals().1, 5);

    let exception = |when: &str, limit| wire::LimitException { when: when.to_owned(), limit };
    let exceptions = vec![
        exception("request.headers['x-no'] == ''", 1_000),
        exception("request.path == '/big'", 4),
        exception("client.ip == '192.0.2.1'", 3),
    ];
    let world = World::new([named("one", wire::RateLimit { exceptions, ..limit(2) })]);
    assert_eq!(world.passed(&get("a.test", "/"), 9), 3);
    assert_eq!(world.passed(&get("a.test", "/big"), 9), 1);
}

#[test]
fn keys_have_counters_of_their_own() {
    let parts = vec![wire::KeyPart { part: Some(key_part::Part::Path(wire::RequestPath {})) }];
    let world = World::new([named("one", wire::RateLimit { key: parts, ..limit(2) })]);
    assert_eq!((world.passed(&get("a.test", "/1"), 5), world.passed(&get("a.test", "/2"), 5)), (2, 2));
}

#[test]
fn audit_and_mark_refuse_nothing_and_count_what_they_would_have_refused() {
    let mark = wire::Mark { header: "x-over".to_owned(), value: "yes".to_owned() };
    let audit = wire::RateLimit { action: Some(rate_limit::Action::Audit(wire::Audit {})), ..limit(1) };
    let marking = wire::RateLimit { action: Some(rate_limit::Action::Mark(mark)), ..limit(2) };
    let world = World::new([named("audit", audit), named("mark", marking)]);
    let marks: Vec<Option<HeaderValue>> = (0..3)
        .map(|_| {
            let mut screening = Screening::default();
            let decision = world.decide(&get("a.test", "/"), &mut screening, NOW);
            assert!(matches!(decision, Ok(Decision::Forward(_))) && screening.fields(None).is_none());
            let mut headers = HeaderMap::from_iter([("x-over".parse().unwrap(), HeaderValue::from_static("forged"))]);
            screening.change_request(&mut headers);
            headers.get("x-over").cloned()
        })
        .collect();
    assert_eq!(marks, [None, None, Some(HeaderValue::from_static("yes"))]);
    let refused = |name: &str| world.plan.limit(&key(name)).unwrap().totals().0.refused[0];
    assert_eq!((refused("audit"), refused("mark")), (2, 1));
}

#[test]
fn a_refusal_says_when_to_come_back_and_what_was_asked_for() {
    let response =
        wire::LimitResponse { status: 420, content_type: "application/json".to_owned(), body: "{}".to_owned() };
    let body = wire::RateLimit { response: Some(response), ..limit(2) };
    let world = World::new([named("login", body), named("zone", limit(100))]);
    let request = get("a.test", "/");
    let mut screening = Screening::default();
    assert!(matches!(world.decide(&request, &mut screening, NOW), Ok(Decision::Forward(_))));
    let fields = screening.fields(None).unwrap();
    assert_eq!(fields.policy, "\"login\";q=2;w=60, \"zone\";q=100;w=60");
    assert_eq!(fields.limit, "\"login\";r=1;t=30, \"zone\";r=99;t=1");
    assert!(world.refusal(&request).is_none());
    let mut screening = Screening::default();
    let Ok(Decision::Limited(limited)) = world.decide(&request, &mut screening, EpochMillis(NOW.0 + 500)) else {
        panic!("it passed");
    };
    assert_eq!((limited.reason(), limited.why, limited.retry_after()), (Reason::RateLimited, Why::OverLimit, 30));
    assert_eq!(limited.figures, Figures { remaining: 0, reset_after: 29_500 });
    let answer = limited.answer().unwrap();
    assert_eq!((answer.status, answer.body.as_ref().map(|body| body.1.as_str())), (420, Some("{}")));
    assert_eq!(screening.fields(Some(&limited)).unwrap().limit, "\"login\";r=0;t=30");
}

#[test]
fn an_answer_counts_by_its_status_and_its_cost() {
    let count = wire::Count { when: "response.status == 401".to_owned(), cost_header: "x-cost".to_owned() };
    let world = World::new([named("abuse", wire::RateLimit { count: Some(count), ..limit(10) })]);
    let request = get("a.test", "/login");
    let answer = |status, cost: Option<&str>| {
        let mut screening = Screening::default();
        let decision = world.decide(&request, &mut screening, NOW).unwrap();
        if matches!(decision, Decision::Limited(_)) {
            return false;
        }
        assert_eq!(screening.consumed().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-cost"]);
        let mut headers = HeaderMap::new();
        if let Some(cost) = cost {
            headers.insert("x-cost", HeaderValue::from_str(cost).unwrap());
        }
        let facts = Facts { answer: Some((status, &headers)), ..world.arrival(&request, NOW).facts };
        screening.count(&facts, &world.limits, NOW);
        true
    };
    // None of these count: another status, or a cost that is none.
    let free = [(200, None), (200, Some("5")), (401, Some("0")), (401, Some("1000001")), (401, Some("many"))];
    assert!(free.iter().cycle().take(50).all(|(status, cost)| answer(*status, *cost)));
    assert!(answer(401, None) && answer(401, Some("4")) && answer(401, Some("4")));
    // Nine of ten: one more passes, whatever it costs.
    assert!(answer(401, Some("1000000")));
    assert!(!answer(200, None));
}

#[test]
fn no_more_than_the_cap_are_in_flight_and_every_end_makes_room() {
    let world = World::new([named("one", wire::RateLimit { concurrent_requests: 2, ..limit(100) })]);
    let request = get("a.test", "/");
    let enter = || {
        let mut screening = Screening::default();
        let decision = world.decide(&request, &mut screening, NOW).unwrap();
        match decision {
            Decision::Limited(limited) => Err(limited.why),
            _ => Ok(screening),
        }
    };
    let (first, second) = (enter().unwrap(), enter().unwrap());
    assert_eq!(enter().map(|_| ()), Err(Why::TooManyAtOnce));
    drop(first);
    let third = enter().unwrap();
    assert_eq!(enter().map(|_| ()), Err(Why::TooManyAtOnce));
    drop((second, third));
    assert!(enter().is_ok());
    // Those that were refused did not count.
    assert_eq!(world.plan.limit(&key("one")).unwrap().totals().0.allowed, 4);
}

/// Two proxies that live, and a store.
fn shared(on_failure: wire::StoreFailure, strict: bool) -> (World, MemoryStore) {
    let consistency = if strict { wire::Consistency::Strict } else { wire::Consistency::Eventual };
    let body = wire::RateLimit {
        scope: wire::LimitScope::Cluster.into(),
        consistency: consistency.into(),
        on_store_failure: on_failure.into(),
        ..limit(10)
    };
    let book = Limits::new(1, [0; 16], Sharing::Store);
    book.set_fleet(wire::Fleet { proxies: 2, index: 0, shares: Vec::new() });
    (World::with(book, [named("one", body)]), MemoryStore::new(|| NOW))
}

#[test]
fn a_question_to_the_store_stops_the_decision_and_the_answer_goes_on_with_it() {
    let (world, store) = shared(wire::StoreFailure::Deny, true);
    let request = get("a.test", "/");
    let ask = |answers: bool| {
        let mut screening = Screening::default();
        let mut questions = 0;
        loop {
            match world.decide(&request, &mut screening, NOW).unwrap() {
                Decision::Ask => {
                    questions += 1;
                    let take = screening.question().unwrap();
                    let answer = if answers { Ok(store.take_one(take)) } else { Err(StoreError::TimedOut) };
                    screening.answer(answer);
                }
                Decision::Limited(limited) => return (questions, Err(limited.reason())),
                _ => return (questions, Ok(())),
            }
        }
    };
    assert!((0..10).all(|_| ask(true) == (1, Ok(()))));
    // The tenth used the limit up, which is known: nobody is asked.
    assert_eq!((ask(true), ask(true)), ((0, Err(Reason::RateLimited)), (0, Err(Reason::RateLimited))));
    let (world, _) = shared(wire::StoreFailure::Deny, true);
    let mut screening = Screening::default();
    assert!(matches!(world.decide(&request, &mut screening, NOW), Ok(Decision::Ask)));
    screening.answer(Err(StoreError::TimedOut));
    let Ok(Decision::Limited(limited)) = world.decide(&request, &mut screening, NOW) else { panic!("it passed") };
    assert_eq!((limited.reason(), limited.why), (Reason::StoreUnavailable, Why::StoreUnavailable));
}

#[test]
fn a_client_that_leaves_while_the_store_is_asked_leaves_nothing_behind() {
    let (world, store) = shared(wire::StoreFailure::LocalShare, true);
    let request = get("a.test", "/");
    for _ in 0..100 {
        let mut screening = Screening::default();
        assert!(matches!(world.decide(&request, &mut screening, NOW), Ok(Decision::Ask)));
    }
    let mut screening = Screening::default();
    assert!(matches!(world.decide(&request, &mut screening, NOW), Ok(Decision::Ask)));
    screening.answer(Ok(store.take_one(screening.question().unwrap())));
    assert!(matches!(world.decide(&request, &mut screening, NOW), Ok(Decision::Forward(_))));
}

#[test]
fn out_of_touch_a_proxy_passes_its_share_and_the_operator_says_how_many_there_are() {
    let (world, _) = shared(wire::StoreFailure::LocalShare, false);
    world.limits.lost(NOW);
    let request = get("a.test", "/");
    assert_eq!(world.passed(&request, 20), 5);
    let figures = world.plan.limit_figures(&world.limits, NOW);
    let refused = vec![wire::LimitRefusals { reason: "OverLimit".to_owned(), requests: 15 }];
    let store_away_since = i64::try_from(NOW.0 / 1_000).unwrap();
    assert_eq!(figures, [wire::LimitFigures { key: Some(key("one")), allowed: 5, refused, store_away_since }]);
    let share = wire::Share { key: Some(key("one")), proxies: 1, index: 0 };
    world.limits.set_fleet(wire::Fleet { proxies: 2, index: 0, shares: vec![share] });
    assert_eq!(world.passed(&request, 20), 5);
}

#[test]
fn without_a_store_several_proxies_keep_their_shares_and_one_has_all() {
    let body = wire::RateLimit {
        scope: wire::LimitScope::Cluster.into(),
        consistency: wire::Consistency::Strict.into(),
        on_store_failure: wire::StoreFailure::Allow.into(),
        ..limit(10)
    };
    let world = World::new([named("one", body.clone())]);
    assert_eq!(world.passed(&get("a.test", "/"), 20), 10);
    let book = no_limits();
    book.set_fleet(wire::Fleet { proxies: 3, index: 0, shares: Vec::new() });
    assert_eq!(World::with(book, [named("one", body)]).passed(&get("a.test", "/"), 20), 3);
}

#[test]
fn the_application_asks_by_name_and_key() {
    let world = World::new([named("exports", wire::RateLimit { governs: None, ..limit(2) })]);
    let exports = world.plan.limit(&key("exports")).unwrap();
    let call = |key: &[&str]| {
        let Called::Told(told) = Call::begin(exports, key, 1, &world.limits, NOW) else { panic!("it asks") };
        (told.refused, told.limit, told.figures.remaining)
    };
    assert_eq!([call(&["a"]), call(&["a"])], [(None, 2, 1), (None, 2, 0)]);
    assert_eq!((call(&["a"]), call(&["b"])), ((Some(Why::OverLimit), 2, 0), (None, 2, 1)));
    assert_eq!(world.passed(&get("a.test", "/"), 9), 9);
}

#[test]
fn an_edit_keeps_the_counters_and_a_bad_one_keeps_the_limit() {
    let world = World::new([named("one", limit(2))]);
    let request = get("a.test", "/");
    assert_eq!(world.passed(&request, 5), 2);
    let edit = |body| {
        let mut next = world.plan.resources().as_ref().clone();
        next.insert(key("one"), wire::Entry::new(named("one", body)));
        compile_with(&world.limits, Some(&world.plan), &Arc::new(next), &Resolutions::default())
    };
    let raised = World { plan: edit(limit(3)), limits: no_limits() };
    let passes = |plan: &Arc<Plan>| {
        let matched = plan.route(HTTP, &request).unwrap();
        let arrival = world.arrival(&request, NOW);
        let decide = || matched.clone().decide(plan, &arrival, &mut Screening::default(), &mut Chance::new(0));
        (0..9).filter(|_| matches!(decide(), Ok(Decision::Forward(_)))).count()
    };
    assert_eq!((passes(&raised.plan), passes(&edit(limit(5)))), (1, 2));
    let bad = edit(wire::RateLimit { algorithm: None, ..limit(1_000) });
    assert_eq!((bad.refusals().len(), passes(&bad)), (1, 0));
    for body in [
        wire::RateLimit { limit: 0, ..limit(1) },
        wire::RateLimit { limit: 100_000_001, ..limit(1) },
        wire::RateLimit { period_ms: 999, ..limit(1) },
        wire::RateLimit { scope: 9, ..limit(1) },
        wire::RateLimit { action: None, ..limit(1) },
        wire::RateLimit { when: "request.nothing".to_owned(), ..limit(1) },
        wire::RateLimit { governs: Some(wire::Governs::default()), ..limit(1) },
    ] {
        assert_eq!(edit(body.clone()).refusals().len(), 1, "{body:?}");
    }
}

#[test]
fn an_explanation_tells_the_limits_and_counts_nothing() {
    let when = wire::RateLimit { when: "request.method == 'POST'".to_owned(), ..limit(2) };
    let world = World::new([named("b", limit(1)), named("a", when)]);
    let request = get("a.test", "/");
    for _ in 0..3 {
        let told = world.plan.explain(HTTP, &request, &world.arrival(&request, NOW), Chance::new(0));
        let step = told.steps.iter().find(|step| step.stage == "rateLimit").unwrap();
        assert_eq!(step.chosen, "2 limit(s), in this order");
        let rest = "in 60000 ms all together, TokenBucket with burst";
        assert_eq!(
            step.why,
            [
                format!("RateLimit/default/a: does not apply to this request: 2 {rest} 2, each proxy alone, Enforce"),
                format!("RateLimit/default/b: 1 {rest} 1, each proxy alone, Enforce"),
            ]
        );
    }
    assert_eq!(world.passed(&request, 5), 1);
    assert_eq!(world.passed(&Request { method: &Method::POST, ..request }, 5), 0);
}
