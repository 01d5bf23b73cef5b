//! A limit decides as the model does that sees all requests in one order: one proxy, and Strict on four.

use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Random requests with random edits of the quota on the way; time goes on by random steps.
fn check(algorithm: Algorithm, proxies: u64, seed: u64) {
    println!("seed {seed}, {algorithm:?}, {proxies} proxies, {} requests", steps());
    let mut chance = Chance::new(seed);
    let hand = Hand::at(START);
    let store = hand.store();
    let period = one_of(&mut chance, &[1_000, 7_001, 60_000]);
    let mut quota = quota(20, period);
    let sharing = if proxies > 1 { Sharing::Store } else { Sharing::Nothing };
    let all: Vec<Proxy> = (0..proxies).map(|number| Proxy::new(number, algorithm, quota, sharing)).collect();
    let mut model = Model::new(algorithm);
    let (mut passed, mut refused, mut asked) = (0, 0, 0);
    for step in 0..steps() {
        hand.turn(match chance.below(100) {
            0 => chance.below(u64::from(period) * 3),
            1..=10 => chance.below(u64::from(period) / 5),
            _ => chance.below(u64::from(period) / 100),
        });
        if chance.below(500) == 0 {
            // A refill is reckoned with the limit that holds when it is, which several proxies do at their own times.
            let fixed = proxies > 1 && algorithm == Algorithm::TokenBucket;
            quota = Quota {
                limit: if fixed { 20 } else { one_of(&mut chance, &[1, 2, 20, 21, 100]) },
                burst: one_of(&mut chance, &[1, 5, 20, 300]),
                block_for: one_of(&mut chance, &[0, 0, 1_500, 90_000]),
                period,
            };
        }
        let name = one_of(&mut chance, &NAMES);
        let cost = if chance.below(20) == 0 { 7 } else { 1 };
        let proxy = &all[chance.index(all.len())];
        let now = hand.now();
        let found = if proxies > 1 {
            let behaviour = (true, StoreFailure::LocalShare);
            let (found, was_asked) = proxy.with(Some(&store), name, quota, behaviour, Charge::of(cost), now);
            asked += usize::from(was_asked);
            proxy.tell(Some(&store), now);
            found
        } else {
            proxy.alone(name, quota, Charge::of(cost), now)
        };
        let expected = model.decide(name, quota, cost, now.0);
        // Who crossed and who came after may differ in the word where a block began at the same moment.
        assert_eq!(found.0.is_ok(), expected.is_ok(), "step {step}, {name}, {cost}, {quota:?}: {found:?} {expected:?}");
        if expected.is_ok() { passed += 1 } else { refused += 1 }
    }
    println!("  {passed} passed, {refused} refused, {asked} asked the store, 0 different");
    assert!(passed > steps() / 20 && refused > steps() / 20);
}

#[test]
fn one_proxy_decides_as_the_model_does() {
    for seed in 1..=3 {
        check(Algorithm::SlidingWindow, 1, seed);
        check(Algorithm::TokenBucket, 1, seed);
    }
}

#[test]
fn four_proxies_with_strict_decide_as_the_model_does() {
    for seed in 4..=6 {
        check(Algorithm::SlidingWindow, 4, seed);
        check(Algorithm::TokenBucket, 4, seed);
    }
}

#[test]
fn strict_passes_exactly_the_limit() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let hand = Hand::at(START);
        let store = hand.store();
        let quota = quota(100, 60_000);
        let all: Vec<Proxy> = (0..4).map(|number| Proxy::new(number, algorithm, quota, Sharing::Store)).collect();
        let ask = |request: usize| {
            let behaviour = (true, StoreFailure::Deny);
            all[request % 4].with(Some(&store), "a", quota, behaviour, Charge::of(1), hand.now()).0.0.is_ok()
        };
        assert_eq!((0..1_000).filter(|request| ask(*request)).count(), 100, "{algorithm:?}");
    }
}

#[test]
fn raising_a_limit_keeps_the_counter_and_another_identity_has_its_own() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let now = EpochMillis(START);
        let small = quota(10, 60_000);
        let proxy = Proxy::new(1, algorithm, small, Sharing::Nothing);
        let pass = |proxy: &Proxy, quota: Quota| {
            (0..1_000).filter(|_| proxy.alone("a", quota, Charge::of(1), now).0.is_ok()).count()
        };
        assert_eq!((pass(&proxy, small), pass(&proxy, quota(25, 60_000)), pass(&proxy, small)), (10, 15, 0));
        // The next plan finds the counters by their identity.
        let set = proxy.limits.counters(identity(algorithm, 60_000), &[small]);
        assert!(Arc::ptr_eq(&set, &proxy.set));
        let other = Identity { parts: vec!["header/x-api-key".to_owned()], ..identity(algorithm, 60_000) };
        let set = proxy.limits.counters(other, &[small]);
        assert_eq!(pass(&Proxy { set, ..proxy }, small), 10);
    }
}

#[test]
fn a_block_begins_with_the_request_that_crossed_and_nothing_extends_it() {
    let quota = Quota { block_for: 30_000, ..quota(2, 1_000) };
    let proxy = Proxy::new(1, Algorithm::SlidingWindow, quota, Sharing::Nothing);
    let ask = |at: u64| proxy.alone("a", quota, Charge::of(1), EpochMillis(START + at));
    assert!(ask(0).0.is_ok() && ask(1).0.is_ok());
    assert_eq!(ask(2), (Err(Why::OverLimit), Figures { remaining: 0, reset_after: 30_000 }));
    assert_eq!(ask(20_000), (Err(Why::Blocked), Figures { remaining: 0, reset_after: 10_002 }));
    assert_eq!(ask(30_001).0, Err(Why::Blocked));
    assert!(ask(30_002).0.is_ok());
    // A limit that blocks no more lets the blocked ones go.
    assert!(ask(30_003).0.is_ok() && ask(30_004).0.is_err());
    let unblocked = Quota { block_for: 0, ..quota };
    assert!(proxy.alone("a", unblocked, Charge::of(1), EpochMillis(START + 33_000)).0.is_ok());
}

#[test]
fn an_exception_replaces_the_limit_and_shares_the_counter() {
    let quotas = [quota(3, 60_000), quota(5, 60_000)];
    let proxy = Proxy::new(1, Algorithm::TokenBucket, quotas[0], Sharing::Nothing);
    let pass = |variant| {
        let terms = Terms::new(&quotas, variant, Standing::Alone);
        let ask = |_: &i32| outcome(proxy.set.decide(proxy.hash("a"), &terms, Charge::of(1), EpochMillis(START))).0;
        (0..10).filter(|request| ask(request).is_ok()).count()
    };
    assert_eq!((pass(0), pass(1), pass(0)), (3, 2, 0));
}
