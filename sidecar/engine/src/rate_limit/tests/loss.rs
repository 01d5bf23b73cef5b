//! The store goes away and comes back, with what it knew or without.

use super::simulation::Cluster;
use super::*;
use crate::rate_limit::store::Shared;

const LIMIT: u32 = 100;
const PERIOD: u32 = 10_000;

/// What a store does that comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Memory {
    Kept,
    Lost,
}

/// Ten times the limit at random proxies, for some milliseconds.
fn load(cluster: &mut Cluster, chance: &mut Chance, milliseconds: u64) {
    let gap = u64::from(PERIOD / LIMIT / 10);
    for elapsed in 0..milliseconds {
        if elapsed % gap == 0 {
            cluster.request(chance.index(4));
        }
        cluster.pass_time();
    }
}

fn rest(cluster: &mut Cluster, milliseconds: u64) {
    (0..milliseconds).for_each(|_| cluster.pass_time());
}

/// The store goes `after` milliseconds into the third period, is missed a while later, and is back two and a half
/// periods after that.
fn run(on_failure: StoreFailure, memory: Memory, after: u64) -> Cluster {
    let mut cluster = Cluster::new(Algorithm::SlidingWindow, quota(LIMIT, PERIOD), 4);
    cluster.on_failure = on_failure;
    let mut chance = Chance::new(41);
    load(&mut cluster, &mut chance, 20_000 + after);
    cluster.store_is_up = false;
    load(&mut cluster, &mut chance, 300);
    let now = cluster.hand.now();
    cluster.proxies.iter().for_each(|proxy| proxy.limits.lost(now));
    load(&mut cluster, &mut chance, 24_700);
    if memory == Memory::Lost {
        cluster.store.lose_everything();
    }
    cluster.store_is_up = true;
    let now = cluster.hand.now();
    cluster.proxies.iter().for_each(|proxy| proxy.limits.found(now));
    load(&mut cluster, &mut chance, 35_000 - after);
    cluster
}

#[test]
fn out_of_touch_each_proxy_passes_its_share_and_nothing_is_stuck_after() {
    for memory in [Memory::Kept, Memory::Lost] {
        for after in [10, 1_000, 5_000, 9_900] {
            let cluster = run(StoreFailure::LocalShare, memory, after);
            let passed = cluster.passed_by_period();
            println!("LocalShare, {memory:?}, gone {after} ms into the third period: {passed:?}");
            let (lost, limit) = (passed[2], LIMIT as usize);
            assert!(lost <= 2 * limit, "{passed:?}");
            assert!(passed.iter().enumerate().all(|(period, passed)| period == 2 || *passed <= limit * 11 / 10));
            assert!(passed.iter().skip(6).all(|passed| *passed >= limit * 8 / 10), "{passed:?}");
        }
    }
}

#[test]
fn allow_passes_everything_and_deny_nothing_while_the_store_is_away() {
    let allowed = run(StoreFailure::Allow, Memory::Lost, 0).passed_by_period();
    let denied = run(StoreFailure::Deny, Memory::Lost, 0).passed_by_period();
    println!("Allow {allowed:?}, Deny {denied:?}");
    assert!(allowed[3] == 10 * LIMIT as usize && allowed[6] <= LIMIT as usize);
    // With nothing passed there are periods with nothing at all.
    assert!(denied.len() < 8 && denied.iter().all(|passed| *passed <= LIMIT as usize));
}

#[test]
fn counters_converge_after_the_store_returns_and_nothing_is_counted_twice() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        for memory in [Memory::Kept, Memory::Lost] {
            let quota = quota(1_000, 60_000);
            let mut cluster = Cluster::new(algorithm, quota, 4);
            let mut chance = Chance::new(42);
            let begin = cluster.hand.now().0;
            load(&mut cluster, &mut chance, 1_000);
            cluster.store_is_up = false;
            load(&mut cluster, &mut chance, 300);
            let now = cluster.hand.now();
            cluster.proxies.iter().for_each(|proxy| proxy.limits.lost(now));
            load(&mut cluster, &mut chance, 1_000);
            if memory == Memory::Lost {
                cluster.store.lose_everything();
            }
            cluster.store_is_up = true;
            let now = cluster.hand.now();
            cluster.proxies.iter().for_each(|proxy| proxy.limits.found(now));
            rest(&mut cluster, 500);
            let passed = u32::try_from(cluster.passed.len()).unwrap();
            assert!(passed > 100);
            match cluster.shared().shared {
                Shared::Window { others, own, .. } => {
                    assert_eq!((others.current, own.current), (passed, 0), "{memory:?}");
                }
                Shared::Bucket { used, at, own: _ } => {
                    let refilled = i64::try_from(at.0 - begin).unwrap() * i64::from(quota.limit);
                    let expected = quota.units(passed) - refilled;
                    // A store that lost everything begins with one proxy's view, and the others' news come on top. The
                    // first refill of all had nothing to refill.
                    let requests = if memory == Memory::Lost { passed / 4 } else { 1 };
                    assert!((used - expected).abs() <= quota.units(requests), "{memory:?}: {used} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_late_or_repeated_telling_changes_nothing() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let quota = quota(100, 60_000);
        let hand = Hand::at(START);
        let store = hand.store();
        let proxy = Proxy::new(1, algorithm, quota, Sharing::Store);
        let behaviour = (false, StoreFailure::LocalShare);
        let ask = || proxy.with(Some(&store), "a", quota, behaviour, Charge::of(1), hand.now()).0.0.is_ok();
        let passed = (0..10).filter(|_| ask()).count();
        hand.turn(20);
        let early = proxy.limits.due(hand.now(), 100);
        assert_eq!((passed, early.len()), (10, 1));
        assert!(ask() && ask());
        hand.turn(20);
        let late = proxy.limits.due(hand.now(), 100);
        let answers: Vec<_> =
            [&late[0], &early[0], &late[0], &early[0]].map(|errand| store.take_one(errand.take())).into();
        assert!(answers.iter().all(|answer| answer.shared == answers[0].shared), "{answers:?}");
    }
}
