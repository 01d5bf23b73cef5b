//! Random lives of a pool: edits, probes, requests that begin, fail and end. After each step the counts must agree
//! with the requests that are really open.

use std::sync::Arc;

use headgate_snapshot as wire;
use proptest::prelude::*;
use proptest::sample::Index;

use super::fixtures::{after, compile, default_listeners, forward, get, health_check, origin, pool, pool_key, probe};
use crate::{Chance, Exchange, Failure, Health, Millis, Next, Plan, ProbeResult};

const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];

#[derive(Clone, Debug)]
enum Step {
    Edit(Box<wire::OriginPool>),
    Probe([bool; 4]),
    Begin,
    Fail(Index, Failure),
    End(Index),
}

fn any_body() -> impl Strategy<Value = wire::OriginPool> {
    let hosts = || prop::sample::subsequence(ADDRESSES.to_vec(), 0..=4);
    (hosts(), hosts(), 0u32..3, 0u32..3, any::<bool>(), 1i32..3, 1i32..4).prop_map(
        |(eu, asia, weight, priority, checked, steering, endpoint_policy)| wire::OriginPool {
            hosts: vec!["a.test".to_owned()],
            origins: vec![origin("eu", 0, weight, &eu), origin("asia", priority, 1, &asia)],
            steering,
            endpoint_policy,
            health_check: checked.then(health_check),
            ..Default::default()
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let failure = prop::sample::select(vec![Failure::Connect, Failure::ResetBeforeAnswer, Failure::TimedOut]);
    prop_oneof![
        1 => any_body().prop_map(Box::new).prop_map(Step::Edit),
        2 => any::<[bool; 4]>().prop_map(Step::Probe),
        4 => Just(Step::Begin),
        2 => (any::<Index>(), failure).prop_map(|(index, failure)| Step::Fail(index, failure)),
        2 => any::<Index>().prop_map(Step::End),
    ]
}

fn world(body: wire::OriginPool) -> Arc<Plan> {
    compile([default_listeners(), pool("pool", body)])
}

/// Requests at each endpoint, as the endpoints count them and as the open requests say.
fn counts(plan: &Plan, open: &[Exchange]) -> (Vec<u32>, Vec<usize>) {
    let members = plan.pool(&pool_key("pool")).unwrap().members();
    let endpoints = members.origins.iter().flat_map(|member| &member.endpoints);
    let at = |exchange: &&Exchange, endpoint| exchange.selection().is_some_and(|s| Arc::ptr_eq(s.endpoint(), endpoint));
    endpoints
        .map(|endpoint| (endpoint.in_flight(), open.iter().filter(|exchange| at(exchange, endpoint)).count()))
        .unzip()
}

proptest! {
    #[test]
    fn counts_agree_with_the_open_requests_through_edits_probes_and_failures(
        first in any_body(),
        steps in prop::collection::vec(any_step(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut plan = world(first);
        let mut chance = Chance::new(seed);
        let mut open: Vec<Exchange> = Vec::new();
        for (second, step) in steps.into_iter().enumerate() {
            match step {
                Step::Edit(body) => plan = after(&plan, [pool("pool", *body)]),
                Step::Probe(passes) => {
                    probe(plan.pool(&pool_key("pool")).unwrap(), Millis(second as u64 * 1_000), |address| {
                        let passed = ADDRESSES.iter().position(|known| *known == address).map(|at| passes[at]);
                        Some(if passed == Some(true) { ProbeResult::Passed } else { ProbeResult::Failed })
                    });
                }
                Step::Begin => {
                    let mut exchange = forward(&plan, &get("a.test", "/"), &mut chance);
                    if let Ok(health) = exchange.select(&mut chance).map(|selection| selection.endpoint().health()) {
                        prop_assert!(!exchange.pool().has_health_check() || health != Health::Unhealthy);
                        open.push(exchange);
                    }
                }
                Step::Fail(..) | Step::End(_) if open.is_empty() => {}
                Step::Fail(index, failure) => {
                    let at = index.index(open.len());
                    match open[at].failed(failure, &mut chance) {
                        Next::TryAgain => prop_assert!(open[at].select(&mut chance).is_ok()),
                        Next::GiveUp(_) => drop(open.swap_remove(at)),
                    }
                }
                Step::End(index) => drop(open.swap_remove(index.index(open.len()))),
            }
            let (counted, real) = counts(&plan, &open);
            prop_assert!(counted.iter().zip(&real).all(|(counted, real)| *counted as usize == *real));
            prop_assert_eq!(plan.pool(&pool_key("pool")).unwrap().in_flight() as usize, open.len());
        }
    }
}
