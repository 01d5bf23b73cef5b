//! Status of limits.

use headgate_crds::RateLimitStatus;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{LimitFigures, LimitRefusals, LimitScope, RateLimit, StoreFailure};

use super::*;

fn name() -> ObjectRef {
    ObjectRef::new(Kind::RateLimit, ObjectKey::new("shop", "login"))
}

fn key() -> Key {
    Key::new("RateLimit", "shop", "login")
}

fn figures(allowed: u64, refused: &[(&str, u64)], store_away_since: i64) -> LimitFigures {
    let refusal =
        |(reason, requests): &(&str, u64)| LimitRefusals { reason: (*reason).to_owned(), requests: *requests };
    LimitFigures { key: Some(key()), allowed, refused: refused.iter().map(refusal).collect(), store_away_since }
}

/// The status of a limit of this scope that proxies have applied, each with what it tells.
fn told(scope: LimitScope, state: &StateUrl, proxies: &[(&str, Option<LimitFigures>)]) -> RateLimitStatus {
    let hub = Arc::new(Hub::default());
    let limit = RateLimit { scope: scope.into(), on_store_failure: StoreFailure::Allow.into(), ..RateLimit::default() };
    let resource =
        Resource { key: Some(key()), generation: 1, body: Some(Body::RateLimit(limit)), ..Resource::default() };
    hub.publish([Arc::new(resource)], BTreeSet::new());
    // A subscription keeps its proxy connected.
    let mut subscriptions = Vec::new();
    for (proxy, figures) in proxies {
        let mut subscription = hub.subscribe(proxy, None);
        subscription.take();
        subscriptions.push(subscription);
        let Progress { sequence, set, .. } = hub.progress();
        let limits = figures.iter().cloned().collect();
        let (proxy, version) = ((*proxy).to_owned(), set.version());
        hub.report(Report { proxy, version, sequence, limits, ..Report::default() });
    }
    let verdicts = BTreeMap::from([(name(), Arc::new(pool()))]);
    let mut statuses = Statuses::default();
    statuses.update(&verdicts, &hub.progress(), Installation { state, ..OURS }, EARLY);
    match statuses.get(&name()) {
        Some(Status::RateLimit(status)) => (**status).clone(),
        other => panic!("a limit's status, not {other:?}"),
    }
}

fn shared() -> StateUrl {
    "redis://store".parse().expect("a URL")
}

fn degraded(status: &RateLimitStatus) -> Option<(&str, &str)> {
    find(&status.conditions, DEGRADED).map(|condition| (condition.reason.as_str(), condition.message.as_str()))
}

#[test]
fn figures_of_all_proxies_are_added_up_and_the_reason_of_most_refusals_is_named() {
    let one = figures(10, &[("OverLimit", 3), ("Blocked", 4)], 0);
    let two = figures(5, &[("OverLimit", 2)], 0);
    let status =
        told(LimitScope::Cluster, &shared(), &[("edge-1", Some(one)), ("edge-2", Some(two)), ("edge-3", None)]);
    let minute = status.last_minute.clone().expect("figures");
    assert_eq!((minute.allowed, minute.refused, minute.top_reason.as_deref()), (15, 9, Some("OverLimit")));
    assert_eq!(status.enforced_by, ["edge-1", "edge-2", "edge-3"]);
    let all =
        ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed", "Ready=True/Ready"];
    assert_eq!(words(&Status::RateLimit(Box::new(status))), all);
}

#[test]
fn a_limit_that_nobody_asked_has_zeros_and_one_that_nobody_enforces_has_none() {
    let status = told(LimitScope::Cluster, &shared(), &[("edge-1", None)]);
    assert_eq!(status.last_minute, Some(headgate_crds::rate_limit::LastMinute::default()));
    let status = told(LimitScope::Cluster, &shared(), &[]);
    assert_eq!((status.last_minute, status.enforced_by), (None, Vec::<String>::new()));
}

#[test]
fn a_lost_store_is_told_with_the_proxy_that_lost_it_first_since_when_and_what_holds() {
    let proxies = [
        ("edge-1", Some(figures(1, &[], 1_700_000_060))),
        ("edge-2", Some(figures(1, &[], 1_700_000_000))),
        ("edge-3", Some(figures(1, &[], 0))),
    ];
    let status = told(LimitScope::Cluster, &shared(), &proxies);
    let sentence = "proxy edge-2 (and 1 more) has no shared store since 2023-11-14T22:13:20Z; meanwhile Allow: \
                    everything passes";
    assert_eq!(degraded(&status), Some(("StoreUnavailable", sentence)));
    let ready = find(&status.conditions, READY).map(|condition| condition.status.as_str());
    assert_eq!(ready, Some("True"));
}

#[test]
fn several_proxies_without_a_shared_store_say_so_unless_each_counts_alone() {
    let two = [("edge-1", None), ("edge-2", None)];
    let sentence = "2 proxies count without a store that they share: each passes its share of the limit; give --state \
                    to the operator and the proxies";
    let status = told(LimitScope::Cluster, &StateUrl::Memory, &two);
    assert_eq!(degraded(&status), Some(("NoSharedStore", sentence)));
    assert_eq!(degraded(&told(LimitScope::Cluster, &StateUrl::Memory, &two[..1])), None);
    assert_eq!(degraded(&told(LimitScope::Cluster, &shared(), &two)), None);
    assert_eq!(degraded(&told(LimitScope::Proxy, &StateUrl::Memory, &two)), None);
}

#[test]
fn what_an_api_server_keeps_of_a_limit_is_read_again() {
    let status = told(LimitScope::Cluster, &shared(), &[("edge-1", Some(figures(1, &[("Blocked", 1)], 0)))]);
    let status = Status::RateLimit(Box::new(status));
    let stored = status.stored().expect("it is kept");
    assert_eq!(Status::read(Kind::RateLimit, &stored, "ours"), Some(status));
}
