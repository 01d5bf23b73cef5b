//! Which endpoint takes a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_snapshot as wire;
use proptest::prelude::*;

use super::fixtures::{compile, forward, get, health_check, origin, pool, pool_key, pool_plan, probe};
use crate::{Chance, Exchange, Health, Millis, Plan, ProbeResult, Reason};

/// A request under way, with the address that it was sent to.
fn send(plan: &Arc<Plan>, chance: &mut Chance) -> (Exchange, Result<String, Reason>) {
    let mut exchange = forward(plan, &get("a.test", "/"), chance);
    let address = exchange.select(chance).map(|selection| selection.endpoint().address().ip().to_string());
    (exchange, address)
}

/// How many of `requests`, one after the other, each address took.
fn shares(plan: &Arc<Plan>, requests: u32) -> BTreeMap<String, u32> {
    let mut chance = Chance::new(7);
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let (_, address) = send(plan, &mut chance);
        *shares.entry(address.unwrap()).or_default() += 1;
    }
    shares
}

fn check_share(shares: &BTreeMap<String, u32>, address: &str, expected: u32) {
    let found = shares.get(address).copied().unwrap_or(0);
    assert!(found.abs_diff(expected) <= expected / 10, "{address}: {found}, expected about {expected}: {shares:?}");
}

#[test]
fn origins_of_equal_priority_share_by_weight() {
    for steering in [wire::Steering::Weighted, wire::Steering::Failover] {
        let origins = vec![
            origin("a", 0, 100, &["10.0.0.1"]),
            origin("b", 0, 300, &["10.0.0.2"]),
            origin("c", 0, 0, &["10.0.0.3"]),
        ];
        let plan = pool_plan(wire::OriginPool { origins, steering: steering.into(), ..Default::default() });
        let shares = shares(&plan, 8_000);
        check_share(&shares, "10.0.0.1", 2_000);
        check_share(&shares, "10.0.0.2", 6_000);
        check_share(&shares, "10.0.0.3", 0);
    }
}

#[test]
fn weighted_steering_ignores_priorities() {
    let origins = vec![origin("a", 0, 1, &["10.0.0.1"]), origin("b", 5, 1, &["10.0.0.2"])];
    let steering = wire::Steering::Weighted.into();
    let shares = shares(&pool_plan(wire::OriginPool { origins, steering, ..Default::default() }), 4_000);
    check_share(&shares, "10.0.0.1", 2_000);
}

#[test]
fn each_endpoint_policy_shares_evenly_also_beside_an_unhealthy_endpoint() {
    use wire::EndpointPolicy::{LeastOutstanding, Random, RoundRobin};
    for policy in [RoundRobin, Random, LeastOutstanding] {
        for count in [4usize, 20] {
            let addresses: Vec<String> = (1..=count).map(|number| format!("10.0.0.{number}")).collect();
            let hosts: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let plan = pool_plan(wire::OriginPool {
                origins: vec![origin("eu", 0, 1, &hosts)],
                endpoint_policy: policy.into(),
                health_check: Some(health_check()),
                ..Default::default()
            });
            probe(plan.pool(&pool_key("pool")).unwrap(), Millis(0), |address| {
                Some(if address == "10.0.0.2" { ProbeResult::Failed } else { ProbeResult::Passed })
            });
            let each = 4_000;
            let shares = shares(&plan, each * u32::try_from(count - 1).unwrap());
            assert_eq!(shares.get("10.0.0.2"), None, "{policy:?}");
            hosts.iter().filter(|host| **host != "10.0.0.2").for_each(|host| check_share(&shares, host, each));
        }
    }
}

#[test]
fn the_least_busy_endpoint_takes_the_next_request() {
    let plan = pool_plan(wire::OriginPool {
        origins: vec![origin("eu", 0, 1, &["10.0.0.1", "10.0.0.2", "10.0.0.3"])],
        endpoint_policy: wire::EndpointPolicy::LeastOutstanding.into(),
        ..Default::default()
    });
    let mut chance = Chance::new(1);
    let under_way: Vec<_> = (0..9).map(|_| send(&plan, &mut chance)).collect();
    let report = |plan: &Plan| plan.health()[0].origins[0].in_flight;
    let pool = plan.pool(&pool_key("pool")).unwrap();
    let each: Vec<u32> = pool.members().origins[0].endpoints.iter().map(|endpoint| endpoint.in_flight()).collect();
    assert_eq!((each, report(&plan), pool.in_flight()), (vec![3, 3, 3], 9, 9));
    drop(under_way);
    assert_eq!((report(&plan), pool.in_flight()), (0, 0));
}

#[test]
fn traffic_fails_over_and_returns_by_itself() {
    let plan = pool_plan(wire::OriginPool {
        origins: vec![origin("eu", 0, 100, &["10.0.0.1"]), origin("asia", 1, 100, &["10.0.0.2"])],
        health_check: Some(health_check()),
        ..Default::default()
    });
    let pool = plan.pool(&pool_key("pool")).unwrap();
    let mut chance = Chance::new(3);
    let mut round = |second: u64, eu: ProbeResult| {
        probe(pool, Millis(second * 1_000), |address| {
            Some(if address == "10.0.0.1" { eu } else { ProbeResult::Passed })
        });
        let active: Vec<bool> = plan.health()[0].origins.iter().map(|origin| origin.active).collect();
        let address = send(&plan, &mut chance).1.unwrap();
        assert_eq!(active, [address == "10.0.0.1", address == "10.0.0.2"]);
        address
    };
    assert_eq!(round(0, ProbeResult::Passed), "10.0.0.1");
    assert_eq!(round(1, ProbeResult::Failed), "10.0.0.1");
    assert_eq!(round(2, ProbeResult::Failed), "10.0.0.2");
    assert_eq!(round(3, ProbeResult::Passed), "10.0.0.2");
    assert_eq!(round(4, ProbeResult::Failed), "10.0.0.2");
    assert_eq!(round(5, ProbeResult::Passed), "10.0.0.2");
    assert_eq!(round(6, ProbeResult::Passed), "10.0.0.1");
}

#[test]
fn a_pool_without_a_health_check_uses_whatever_an_earlier_one_found() {
    let body = |check| wire::OriginPool {
        hosts: vec!["a.test".to_owned()],
        origins: vec![origin("eu", 0, 1, &["10.0.0.1"])],
        health_check: check,
        ..Default::default()
    };
    let plan = compile([super::fixtures::default_listeners(), pool("pool", body(Some(health_check())))]);
    probe(plan.pool(&pool_key("pool")).unwrap(), Millis(0), |_| Some(ProbeResult::Failed));
    assert_eq!(send(&plan, &mut Chance::new(0)).1, Err(Reason::NoHealthyOrigin));
    let plan = super::fixtures::after(&plan, [pool("pool", body(None))]);
    assert_eq!(send(&plan, &mut Chance::new(0)).1.as_deref(), Ok("10.0.0.1"));
}

#[derive(Clone, Debug)]
struct Place {
    priority: u32,
    weight: u32,
    healths: Vec<Health>,
}

fn any_place() -> impl Strategy<Value = Place> {
    let health = prop::sample::select(vec![Health::Unknown, Health::Healthy, Health::Unhealthy]);
    (0u32..3, 0u32..3, prop::collection::vec(health, 0..4)).prop_map(|(priority, weight, healths)| Place {
        priority,
        weight,
        healths,
    })
}

fn address(place: usize, endpoint: usize) -> String {
    format!("10.0.{place}.{endpoint}")
}

/// The addresses that may be chosen: every endpoint looked at, the worse ones struck out.
fn allowed(places: &[Place], steering: wire::Steering) -> Vec<String> {
    let of_health = |health: Health| -> Vec<(u32, String)> {
        let with_traffic = places.iter().enumerate().filter(|(_, place)| place.weight > 0);
        with_traffic
            .flat_map(|(at, place)| {
                place.healths.iter().enumerate().map(move |(index, found)| (at, place, index, found))
            })
            .filter(|(_, _, _, found)| **found == health)
            .map(|(at, place, index, _)| (place.priority, address(at, index)))
            .collect()
    };
    let best = Some(of_health(Health::Healthy)).filter(|healthy| !healthy.is_empty());
    let best = best.unwrap_or_else(|| of_health(Health::Unknown));
    let first = best.iter().map(|(priority, _)| *priority).min();
    let kept =
        best.into_iter().filter(|(priority, _)| steering == wire::Steering::Weighted || Some(*priority) == first);
    kept.map(|(_, address)| address).collect()
}

proptest! {
    #[test]
    fn no_worse_endpoint_is_chosen_while_a_better_one_is_there(
        places in prop::collection::vec(any_place(), 1..5),
        steering in prop::sample::select(vec![wire::Steering::Failover, wire::Steering::Weighted]),
        policy in 1i32..4,
        seed in any::<u64>(),
    ) {
        let origins = places.iter().enumerate().map(|(at, place)| {
            let addresses: Vec<String> = (0..place.healths.len()).map(|index| address(at, index)).collect();
            let hosts: Vec<&str> = addresses.iter().map(String::as_str).collect();
            origin(&format!("o{at}"), place.priority, place.weight, &hosts)
        });
        let plan = pool_plan(wire::OriginPool {
            origins: origins.collect(),
            steering: steering.into(),
            endpoint_policy: policy,
            health_check: Some(health_check()),
            ..Default::default()
        });
        let health_of = |wanted: &str| {
            let all = places.iter().enumerate().flat_map(|(at, place)| {
                place.healths.iter().enumerate().map(move |(index, health)| (address(at, index), *health))
            });
            all.into_iter().find(|(address, _)| address == wanted).map(|(_, health)| health)
        };
        probe(plan.pool(&pool_key("pool")).unwrap(), Millis(0), |address| match health_of(address) {
            Some(Health::Healthy) => Some(ProbeResult::Passed),
            Some(Health::Unhealthy) => Some(ProbeResult::Failed),
            Some(Health::Unknown) | None => None,
        });
        let allowed = allowed(&places, steering);
        let mut chance = Chance::new(seed);
        for _ in 0..8 {
            match send(&plan, &mut chance).1 {
                Ok(address) => prop_assert!(allowed.contains(&address), "{} is not in {:?}", address, allowed),
                Err(reason) => prop_assert_eq!((reason, allowed.as_slice()), (Reason::NoHealthyOrigin, [].as_slice())),
            }
        }
    }
}
