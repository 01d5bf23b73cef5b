//! Probes: when they are due, and what their results make of an endpoint.

use std::sync::Arc;

use headgate_snapshot as wire;
use proptest::prelude::*;

use super::fixtures::{after, compile, health_check, origin, pool, pool_key, probe};
use crate::{Chance, Health, Millis, Plan, Pool, ProbeResult};

fn body(check: wire::HealthCheck) -> wire::OriginPool {
    wire::OriginPool {
        origins: vec![origin("eu", 0, 1, &["10.0.0.1"])],
        health_check: Some(check),
        ..Default::default()
    }
}

fn checked(check: wire::HealthCheck) -> Arc<Plan> {
    compile([pool("pool", body(check))])
}

fn the_pool(plan: &Plan) -> &Arc<Pool> {
    plan.pool(&pool_key("pool")).unwrap()
}

fn health(pool: &Pool) -> Health {
    pool.members().origins[0].endpoints[0].health()
}

#[test]
fn a_probe_is_handed_out_once_and_the_next_within_the_interval() {
    let plan = checked(health_check());
    let pool = the_pool(&plan);
    let mut chance = Chance::new(9);
    assert_eq!(pool.next_probe_at(), Some(Millis(0)));
    let under_way = pool.due_probes(Millis(50), &mut chance);
    assert_eq!(under_way.len(), 1);
    assert_eq!((pool.due_probes(Millis(5_000), &mut chance).len(), pool.next_probe_at()), (0, None));
    drop(under_way);
    let due = pool.next_probe_at().unwrap();
    assert!((Millis(950)..=Millis(1_050)).contains(&due), "{due:?}");
    assert_eq!(pool.due_probes(Millis(due.0 - 1), &mut chance).len(), 0);
    assert_eq!(pool.due_probes(due, &mut chance).len(), 1);
}

#[test]
fn the_first_round_is_over_when_every_endpoint_was_probed() {
    let plan = checked(health_check());
    let pool = the_pool(&plan);
    assert!(!pool.is_probed());
    probe(pool, Millis(0), |_| None);
    assert!(!pool.is_probed());
    probe(pool, Millis(1_000), |_| Some(ProbeResult::Failed));
    assert!(pool.is_probed());
}

#[test]
fn a_changed_check_is_probed_at_once() {
    let plan = checked(wire::HealthCheck { interval_ms: 3_600_000, ..health_check() });
    probe(the_pool(&plan), Millis(0), |_| Some(ProbeResult::Passed));
    assert!(the_pool(&plan).next_probe_at() > Some(Millis(3_000_000)));
    let plan = after(&plan, [pool("pool", body(health_check()))]);
    assert_eq!((the_pool(&plan).next_probe_at(), health(the_pool(&plan))), (Some(Millis(0)), Health::Healthy));
}

#[test]
fn a_probe_knows_its_port_host_and_statuses() {
    let check = wire::HealthCheck { port: 8081, host: "probe.test".to_owned(), ..health_check() };
    for (check, address, host) in [
        (health_check(), "10.0.0.1:80", "10.0.0.1:80"),
        (wire::HealthCheck { host: String::new(), ..check.clone() }, "10.0.0.1:8081", "10.0.0.1:8081"),
        (check, "10.0.0.1:8081", "probe.test"),
    ] {
        let plan = checked(check);
        let probes = the_pool(&plan).due_probes(Millis(0), &mut Chance::new(0));
        assert_eq!((probes[0].address().to_string().as_str(), probes[0].host().as_str()), (address, host));
        let expects: Vec<bool> = [199, 200, 299, 300].map(|status| probes[0].check().expects(status)).to_vec();
        assert_eq!(expects, [false, true, true, false]);
    }
}

proptest! {
    #[test]
    fn health_changes_after_as_many_results_in_a_row_as_the_thresholds_say(
        passes in prop::collection::vec(any::<bool>(), 1..40),
        unhealthy_threshold in 1u32..5,
        healthy_threshold in 1u32..5,
    ) {
        let plan = checked(wire::HealthCheck { unhealthy_threshold, healthy_threshold, ..health_check() });
        let mut healthy = passes[0];
        for (round, passed) in passes.iter().enumerate() {
            let result = if *passed { ProbeResult::Passed } else { ProbeResult::Failed };
            probe(the_pool(&plan), Millis(round as u64 * 1_000), |_| Some(result));
            let threshold = if healthy { unhealthy_threshold } else { healthy_threshold } as usize;
            // The model: the last results, as many as the threshold, all speak against what is believed.
            let recent = passes[..=round].iter().rev().take(threshold);
            if round >= threshold && recent.clone().count() == threshold && recent.clone().all(|passed| *passed != healthy) {
                healthy = !healthy;
            }
            prop_assert_eq!(health(the_pool(&plan)), if healthy { Health::Healthy } else { Health::Unhealthy });
        }
    }
}
