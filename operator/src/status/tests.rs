//! Status as users read it.

mod limits;
mod rooms;

use std::collections::BTreeSet;

use headgate_crds::conditions::{ACCEPTED, DEGRADED, ENFORCED, PROGRAMMED, READY};
use headgate_snapshot::{OriginHealth, Refusal, Report, Resource};
use headgate_translate::{ListenerVerdict, Problem, Reason};

use super::*;
use crate::hub::{Hub, Subscription};

const EARLY: Timestamp = Timestamp::UNIX_EPOCH;
const LATE: Timestamp = Timestamp::MAX;

const OURS: Installation<'_> =
    Installation { controller: "headgate.dev/gateway", addresses: &[], state: &StateUrl::Memory };

fn applied() -> Standing {
    Standing { expected: 1, programmed: 1, ..Standing::default() }
}

fn health(origins: &[(&str, u32, u32)]) -> PoolHealth {
    let origins = origins.iter().map(|(name, healthy, total)| OriginHealth {
        name: (*name).to_owned(),
        healthy: *healthy,
        total: *total,
        active: *healthy > 0,
        ..OriginHealth::default()
    });
    PoolHealth { key: None, origins: origins.collect() }
}

fn observe(verdict: &Verdict, standing: &Standing, health: &[&PoolHealth], kind: Kind) -> Status {
    let limit = LimitStanding::default();
    let observation = Observation {
        verdict,
        standing,
        health,
        limit: &limit,
        room: &RoomStanding::default(),
        troubles: &[],
        installation: OURS,
    };
    status(kind, &observation, None, EARLY).expect("an object of ours")
}

/// `Type=Status/Reason` of each condition.
fn words(status: &Status) -> Vec<String> {
    let words = status.conditions().iter().map(|condition| {
        let Condition { type_, status, reason, .. } = condition;
        format!("{type_}={status}/{reason}")
    });
    words.collect()
}

#[track_caller]
fn check(verdict: &Verdict, standing: &Standing, health: &[&PoolHealth], expected: &[&str]) {
    assert_eq!(words(&observe(verdict, standing, health, Kind::OriginPool)), expected);
}

fn pool() -> Verdict {
    Verdict { generation: 1, ..Verdict::default() }
}

#[test]
fn a_pool_that_all_proxies_enforce_and_that_has_healthy_endpoints_is_ready() {
    let all =
        ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed", "Ready=True/Ready"];
    check(&pool(), &applied(), &[&health(&[("eu", 2, 2)])], &all);
}

#[test]
fn a_pool_without_proxies_says_so() {
    check(
        &pool(),
        &Standing::default(),
        &[],
        &[
            "Accepted=True/Accepted",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=False/NoProxies",
            "Ready=False/NoProxies",
        ],
    );
}

#[test]
fn a_pool_that_a_proxy_refuses_says_why() {
    let refusal = Refusal { key: None, reason: "UnknownFeature".to_owned(), message: "needs `geo`".to_owned() };
    let standing =
        Standing { expected: 2, programmed: 1, refused: vec![("edge-1".to_owned(), refusal)], ..Standing::default() };
    let status = observe(&pool(), &standing, &[], Kind::OriginPool);
    let programmed = find(status.conditions(), PROGRAMMED).expect("told");
    assert_eq!(
        (programmed.reason.as_str(), programmed.message.as_str()),
        ("UnknownFeature", "proxy edge-1: needs `geo`")
    );
}

#[test]
fn a_pool_on_its_way_is_pending() {
    let standing = Standing { expected: 3, programmed: 2, ..Standing::default() };
    let status = observe(&pool(), &standing, &[], Kind::OriginPool);
    let programmed = find(status.conditions(), PROGRAMMED).expect("told");
    assert_eq!(programmed.message, "2 of 3 proxies have applied it");
}

#[test]
fn a_silent_proxy_and_a_lost_one_are_named() {
    let check = |standing: &Standing, expected: (&str, &str)| {
        let status = observe(&pool(), standing, &[], Kind::OriginPool);
        let programmed = find(status.conditions(), PROGRAMMED).expect("told");
        assert_eq!((programmed.reason.as_str(), programmed.message.as_str()), expected);
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let one = Standing { expected: 2, programmed: 1, silent: names(&["edge-1"]), ..Standing::default() };
    check(&one, ("ProxySilent", "proxy edge-1 does not answer"));
    let two = Standing { expected: 3, programmed: 1, silent: names(&["edge-1", "edge-2"]), ..Standing::default() };
    check(&two, ("ProxySilent", "proxy edge-1 (and 1 more) do not answer"));
    let lost = Standing { expected: 2, programmed: 1, lost: names(&["edge-2"]), ..Standing::default() };
    check(&lost, ("Pending", "1 of 2 proxies have applied it; the connection to proxy edge-2 is lost"));
}

#[test]
fn proxies_that_are_away_are_listed_the_longest_away_first() {
    let away = vec![("b".to_owned(), LATE), ("c".to_owned(), EARLY), ("a".to_owned(), LATE)];
    let Status::OriginPool(status) = observe(&pool(), &Standing { away, ..applied() }, &[], Kind::OriginPool) else {
        unreachable!("a pool's status")
    };
    let names: Vec<&str> = status.away.iter().map(|proxy| proxy.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "b"]);
}

#[test]
fn a_pool_with_a_dead_origin_is_ready_and_degraded_and_one_with_none_alive_is_not_ready() {
    let half = health(&[("eu", 0, 1), ("us", 1, 1)]);
    let status = observe(&pool(), &applied(), &[&half], Kind::OriginPool);
    assert!(is_true(status.conditions(), READY));
    let degraded = find(status.conditions(), DEGRADED).map(|condition| condition.message.as_str());
    assert_eq!(degraded, Some("origin eu: 0 of 1 endpoints healthy"));

    let dead = health(&[("eu", 0, 1)]);
    let status = observe(&pool(), &applied(), &[&dead], Kind::OriginPool);
    let ready = find(status.conditions(), READY).map(|condition| condition.reason.as_str());
    assert_eq!(ready, Some("NoHealthyOrigin"));
}

#[test]
fn an_invalid_edit_is_not_accepted_and_the_last_accepted_spec_is_named() {
    let problem = Problem::new(Reason::Invalid, "spec.origins", "at least one is needed");
    let verdict = Verdict { generation: 2, force: Force::LastAccepted, problems: vec![problem], ..Verdict::default() };
    check(
        &verdict,
        &applied(),
        &[],
        &[
            "Accepted=False/Invalid",
            "ResolvedRefs=True/ResolvedRefs",
            "Programmed=False/LastAccepted",
            "Ready=False/Invalid",
        ],
    );
}

#[test]
fn fields_that_are_not_enforced_are_told_as_partial() {
    let verdict = Verdict { unenforced: vec!["spec.outlierDetection".to_owned()], ..pool() };
    let status = observe(&verdict, &applied(), &[], Kind::OriginPool);
    let enforced = find(status.conditions(), ENFORCED).expect("told");
    assert_eq!((enforced.status.as_str(), enforced.reason.as_str()), ("Partial", "FieldNotYetEnforced"));
    assert!(is_true(status.conditions(), READY));
}

#[test]
fn origins_are_seen_as_the_proxy_sees_them_that_sees_the_fewest_and_the_worst_comes_first() {
    let one = health(&[("eu", 2, 2), ("us", 2, 2)]);
    let other = health(&[("eu", 2, 2), ("us", 1, 2)]);
    let Status::OriginPool(status) = observe(&pool(), &applied(), &[&one, &other], Kind::OriginPool) else {
        unreachable!("a pool's status")
    };
    let origins: Vec<_> =
        status.origins.iter().map(|origin| (origin.name.as_str(), origin.healthy, origin.total)).collect();
    assert_eq!(origins, [("us", 1, 2), ("eu", 2, 2)]);
    assert_eq!((status.healthy.as_deref(), status.active.as_deref()), (Some("3/4"), Some("eu,us")));
}

#[test]
fn a_transition_time_changes_with_its_status_only() {
    let first = observe(&pool(), &Standing::default(), &[], Kind::OriginPool);
    let (verdict, standing) = (Verdict { generation: 2, ..Verdict::default() }, applied());
    let observation = Observation {
        verdict: &verdict,
        standing: &standing,
        health: &[],
        limit: &LimitStanding::default(),
        room: &RoomStanding::default(),
        troubles: &[],
        installation: OURS,
    };
    let second = status(Kind::OriginPool, &observation, Some(&first), LATE).expect("a status");
    let since =
        |condition_type| find(second.conditions(), condition_type).map(|condition| condition.last_transition_time.0);
    assert_eq!((since(ACCEPTED), since(PROGRAMMED)), (Some(EARLY), Some(LATE)));
    let generations: Vec<_> = second.conditions().iter().map(|condition| condition.observed_generation).collect();
    assert_eq!(generations, vec![Some(2); 4]);
}

#[test]
fn a_trouble_of_a_proxy_degrades_its_gateway() {
    let trouble = Trouble { reason: "PlanNotStored".to_owned(), message: "the disk is full".to_owned() };
    let (verdict, standing) = (pool(), applied());
    let observation = Observation {
        verdict: &verdict,
        standing: &standing,
        health: &[],
        limit: &LimitStanding::default(),
        room: &RoomStanding::default(),
        troubles: &[("edge-1", &trouble)],
        installation: OURS,
    };
    let status = status(Kind::Gateway, &observation, None, EARLY).expect("a status");
    let degraded = find(status.conditions(), DEGRADED).map(|condition| condition.message.as_str());
    assert_eq!(degraded, Some("proxy edge-1: the disk is full"));
    assert!(is_true(status.conditions(), READY));
}

#[test]
fn the_status_of_another_controllers_object_is_left_alone() {
    let verdict = Verdict { force: Force::Foreign, ..Verdict::default() };
    let standing = applied();
    let observation = Observation {
        verdict: &verdict,
        standing: &standing,
        health: &[],
        limit: &LimitStanding::default(),
        room: &RoomStanding::default(),
        troubles: &[],
        installation: OURS,
    };
    assert_eq!(status(Kind::Gateway, &observation, None, EARLY), None);
}

#[test]
fn a_class_tells_its_features_in_order() {
    let Status::GatewayClass(status) = observe(&pool(), &applied(), &[], Kind::GatewayClass) else {
        unreachable!("a class's status")
    };
    let names: Vec<&str> = status.supported_features.iter().map(|feature| feature.name.as_str()).collect();
    assert!(names.is_sorted() && names.contains(&"HTTPRoute"), "{names:?}");
}

/// A Gateway with a listener that is served and one that is not.
fn gateway() -> Verdict {
    let refused = Problem::new(Reason::UnsupportedProtocol, "spec.listeners[1].protocol", "write HTTP or HTTPS");
    let listener = |name: &str, problems: Vec<Problem>| ListenerVerdict {
        name: name.to_owned(),
        problems,
        ..ListenerVerdict::default()
    };
    Verdict {
        unenforced: vec!["spec.infrastructure".to_owned()],
        listeners: vec![listener("http", Vec::new()), listener("tcp", vec![refused])],
        addresses: vec!["203.0.113.7".parse().expect("an address"), "lb.example.com".parse().expect("a name")],
        ..pool()
    }
}

#[test]
fn a_gateway_is_told_in_words_that_the_schema_of_the_gateway_api_takes() {
    let status = observe(&gateway(), &applied(), &[], Kind::Gateway);
    let all = [
        "Accepted=True/Accepted",
        "ResolvedRefs=True/ResolvedRefs",
        "Enforced=False/FieldNotYetEnforced",
        "Programmed=True/Programmed",
        "Ready=True/Ready",
    ];
    assert_eq!(words(&status), all);
    let Status::Gateway(status) = &status else { unreachable!("a Gateway's status") };
    let addresses: Vec<_> = status.addresses.iter().map(|at| (at.address_type.as_deref(), at.value.as_str())).collect();
    assert_eq!(addresses, [(Some("IPAddress"), "203.0.113.7"), (Some("Hostname"), "lb.example.com")]);
    let programmed: Vec<_> = status
        .listeners
        .iter()
        .map(|listener| {
            let programmed = find(&listener.conditions, PROGRAMMED).expect("told");
            (listener.name.as_str(), programmed.status.as_str(), programmed.reason.as_str())
        })
        .collect();
    assert_eq!(programmed, [("http", "True", "Programmed"), ("tcp", "False", "Invalid")]);
}

#[test]
fn a_gateway_that_asks_for_a_strange_address_is_not_programmed() {
    let strange = Problem::new(Reason::AddressNotUsable, "spec.addresses[0]", "is no address of the proxies");
    let status = observe(&Verdict { problems: vec![strange], ..gateway() }, &applied(), &[], Kind::Gateway);
    let told = words(&status);
    assert_eq!(told[3..], ["Programmed=False/AddressNotUsable", "Ready=False/AddressNotUsable"]);
}

#[test]
fn an_api_server_gets_of_an_ingress_where_it_is_reached_and_of_its_class_nothing() {
    let addresses = ["203.0.113.7", "lb.example.com"].map(|text| text.parse().expect("an address"));
    let stored = |kind: Kind, force: Force| {
        let verdict = Verdict { force, ..pool() };
        let standing = applied();
        let observation = Observation {
            verdict: &verdict,
            standing: &standing,
            health: &[],
            limit: &LimitStanding::default(),
            room: &RoomStanding::default(),
            troubles: &[],
            installation: Installation { addresses: &addresses, ..OURS },
        };
        let status = status(kind, &observation, None, EARLY).expect("a status");
        assert!(status.shown()["conditions"].is_array());
        status.stored()
    };
    let reached = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }, { "hostname": "lb.example.com" }] } });
    assert_eq!(stored(Kind::Ingress, Force::Current), Some(reached));
    assert_eq!(stored(Kind::Ingress, Force::Nothing), Some(json!({ "loadBalancer": {} })));
    assert_eq!(stored(Kind::IngressClass, Force::Current), None);
}

#[test]
fn sentences_are_no_longer_than_a_schema_takes() {
    let mut long = health(&[("eu", 0, 1)]);
    long.origins[0].message = "ü".repeat(40_000);
    let Status::OriginPool(status) = observe(&pool(), &applied(), &[&long], Kind::OriginPool) else {
        unreachable!("a pool's status")
    };
    let message = status.origins[0].message.as_deref().expect("told");
    assert!(message.len() <= 1024 && message.ends_with(" ..."), "{}", message.len());
    let problem = Problem::new(Reason::Invalid, "spec", "x".repeat(40_000));
    let verdict = Verdict { problems: vec![problem], ..pool() };
    let status = observe(&verdict, &applied(), &[], Kind::HttpRoute);
    assert_eq!(status.conditions().len(), 0, "a route without parents has no entry");
    let status = observe(&verdict, &applied(), &[], Kind::Gateway);
    assert!(status.conditions().iter().all(|condition| condition.message.len() <= 8 * 1024));
}

/// A hub with pools `a` to `c`, and one proxy that reports what it is told to.
struct Scene {
    hub: Arc<Hub>,
    subscription: Subscription,
    verdicts: BTreeMap<ObjectRef, Arc<Verdict>>,
}

impl Scene {
    fn new() -> Self {
        let hub = Arc::new(Hub::default());
        let subscription = hub.subscribe("edge-1", None);
        let verdicts = ["a", "b", "c"].map(|name| (object(name), Arc::new(pool())));
        Self { hub, subscription, verdicts: BTreeMap::from(verdicts) }
    }

    fn publish(&self, generation: i64) {
        let resources = self.verdicts.keys().map(|object| {
            let key = Some(Key::new("OriginPool", object.key.namespace.as_str(), object.key.name.as_str()));
            Arc::new(Resource { key, generation, ..Resource::default() })
        });
        self.hub.publish(resources, BTreeSet::new());
    }

    /// Applies what is published and tells it.
    fn apply(&mut self, refusals: Vec<Refusal>, pools: Vec<PoolHealth>) {
        self.subscription.take();
        let Progress { sequence, set, .. } = self.hub.progress();
        let version = set.version();
        self.hub.report(Report { proxy: "edge-1".to_owned(), version, sequence, refusals, pools, ..Report::default() });
    }

    /// Brings a book up to date, compares it with one that is written from nothing, and returns what changed.
    #[track_caller]
    fn update(&self, statuses: &mut Statuses) -> Vec<String> {
        let progress = self.hub.progress();
        let changed = statuses.update(&self.verdicts, &progress, OURS, EARLY);
        let mut anew = Statuses::default();
        anew.update(&self.verdicts, &progress, OURS, EARLY);
        for object in self.verdicts.keys() {
            assert_eq!(statuses.get(object), anew.get(object), "{object}");
        }
        changed.iter().map(|change| change.object.key.name.clone()).collect()
    }
}

fn object(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::OriginPool, ObjectKey::new("default", name))
}

#[test]
fn the_book_changes_where_something_is_not_as_it_was_and_is_what_one_written_from_nothing_says() {
    let mut scene = Scene::new();
    let mut statuses = Statuses::default();
    assert_eq!(scene.update(&mut statuses), ["a", "b", "c"]);
    scene.publish(1);
    assert!(scene.update(&mut statuses).is_empty(), "the proxy has not applied it");
    scene.apply(Vec::new(), Vec::new());
    assert_eq!(scene.update(&mut statuses), ["a", "b", "c"]);
    scene.apply(Vec::new(), Vec::new());
    assert!(scene.update(&mut statuses).is_empty());

    let key = Some(Key::new("OriginPool", "default", "b"));
    let refusal = Refusal { key: key.clone(), reason: "Invalid".to_owned(), message: "odd".to_owned() };
    scene.apply(vec![refusal], Vec::new());
    assert_eq!(scene.update(&mut statuses), ["b"]);
    scene.apply(Vec::new(), vec![PoolHealth { key, ..health(&[("eu", 0, 1)]) }]);
    assert_eq!(scene.update(&mut statuses), ["b"]);

    let verdict = Verdict { force: Force::LastAccepted, generation: 2, ..Verdict::default() };
    scene.verdicts.insert(object("c"), Arc::new(verdict));
    assert_eq!(scene.update(&mut statuses), ["c"]);
    scene.verdicts.remove(&object("a"));
    assert!(scene.update(&mut statuses).is_empty());
    assert_eq!(statuses.get(&object("a")), None);
}

#[test]
fn a_sidecar_tells_nothing_of_what_is_not_its_own() {
    let hub = Arc::new(Hub::default());
    let verdicts =
        [(Kind::OriginPool, "shop", "own"), (Kind::OriginPool, "bank", "foreign"), (Kind::Gateway, "edge", "public")]
            .map(|(kind, namespace, name)| (ObjectRef::new(kind, ObjectKey::new(namespace, name)), Arc::new(pool())));
    let verdicts = BTreeMap::from(verdicts);
    let key = |object: &ObjectRef| {
        Some(Key::new(object.kind.as_str(), object.key.namespace.as_str(), object.key.name.as_str()))
    };
    let resources = verdicts.keys().map(|object| Arc::new(Resource { key: key(object), ..Resource::default() }));
    hub.publish(resources, BTreeSet::new());
    let pools = verdicts.keys().map(|object| PoolHealth { key: key(object), ..health(&[("eu", 0, 1)]) }).collect();
    let long = Trouble { reason: "not a word".to_owned(), message: "x".repeat(100_000) };
    let report = Report { pools, troubles: vec![long; 100], ..Report::default() };
    let told = |scope: crate::hub::Scope| {
        let connection = hub.connect("proxy", scope, crate::clock::instant());
        connection.report(report.clone());
        let mut statuses = Statuses::default();
        statuses.update(&verdicts, &hub.progress(), OURS, EARLY);
        let degraded = |object: &ObjectRef| {
            let found = find(statuses.get(object).expect("a status").conditions(), DEGRADED);
            found.map_or("-", |condition| condition.reason.as_str()).to_owned()
        };
        verdicts.keys().map(|object| (object.key.name.clone(), degraded(object))).collect::<Vec<_>>()
    };
    let check = |scope, expected: [(&str, &str); 3]| {
        assert_eq!(told(scope), expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
    };
    let unhealthy = "OriginUnhealthy";
    check(Scope::Namespace("shop".to_owned()), [("public", "-"), ("foreign", "-"), ("own", unhealthy)]);
    check(Scope::All, [("public", "Unspecified"), ("foreign", unhealthy), ("own", unhealthy)]);
    let other = BTreeSet::from([("edge".to_owned(), "internal".to_owned())]);
    check(Scope::Gateways(other), [("public", "-"), ("foreign", "-"), ("own", "-")]);
}
