//! Keys are bounded, and what is forgotten is what forgives least.

use super::*;
use crate::rate_limit::counters::Counters;
use crate::rate_limit::window::Window;

const CAPACITY: usize = 1_000;

fn counters() -> Counters<Window> {
    Counters::new(Arc::new(Key::new("RateLimit", "default", "login")), 1, CAPACITY)
}

/// Hashes that are spread as those of real keys are.
fn hash(number: u64) -> KeyHash {
    let mut chance = Chance::new(number);
    KeyHash { high: chance.draw(), low: chance.draw() }
}

fn ask(counters: &Counters<Window>, number: u64, quota: Quota, now: u64) -> bool {
    let quotas = [quota];
    let terms = Terms::new(&quotas, 0, Standing::Alone);
    matches!(counters.decide(hash(number), &terms, Charge::of(1), EpochMillis(now)), Verdict::Pass(_))
}

/// Requests of a key until one is refused.
fn exhaust(counters: &Counters<Window>, number: u64, quota: Quota, now: u64) {
    while ask(counters, number, quota, now) {}
}

#[test]
fn keys_that_are_refused_or_blocked_outlive_a_flood_of_new_ones() {
    for quota in [quota(5, 60_000), Quota { block_for: 3_600_000, ..quota(5, 60_000) }] {
        let counters = counters();
        for attacker in 0..100 {
            exhaust(&counters, attacker, quota, START);
        }
        for stranger in 1_000..50_000 {
            assert!(ask(&counters, stranger, quota, START + stranger % 40_000));
        }
        for attacker in 0..100 {
            assert!(!ask(&counters, attacker, quota, START + 40_000), "{attacker} was forgotten");
        }
        let (keys, _, forgotten) = counters.size();
        assert!(keys <= CAPACITY + 64 && forgotten >= 49_000 - CAPACITY as u64, "{keys} {forgotten}");
    }
}

#[test]
fn a_key_near_its_limit_gains_nothing_from_a_flood_of_its_own() {
    let counters = counters();
    let quota = quota(100, 60_000);
    for _ in 0..60 {
        assert!(ask(&counters, 0, quota, START));
    }
    for stranger in 1..100_000 {
        assert!(ask(&counters, stranger, quota, START + 1));
    }
    let more = (0..100).filter(|_| ask(&counters, 0, quota, START + 2)).count();
    assert_eq!(more, 40);
}

#[test]
fn refused_keys_go_when_no_other_is_left_and_when_their_time_is_over() {
    let counters = counters();
    let quota = quota(1, 60_000);
    for attacker in 0..2_000 {
        exhaust(&counters, attacker, quota, START);
    }
    assert!(counters.size().0 <= CAPACITY + 64);
    // Three periods later all of them are idle, and make room for new ones first.
    let later = START + 180_000;
    for stranger in 10_000..10_500 {
        assert!(ask(&counters, stranger, quota, later));
    }
    let known = (10_000..10_500).filter(|stranger| !ask(&counters, *stranger, quota, later)).count();
    assert!(known > 450, "{known}");
}

#[test]
fn idle_keys_are_swept_and_give_their_memory_back() {
    let counters = counters();
    let quotas = [quota(5, 1_000)];
    for number in 0..1_000 {
        assert!(ask(&counters, number, quotas[0], START));
    }
    let full = counters.size();
    let terms = Terms::new(&quotas, 0, Standing::Alone);
    for _ in 0..20 {
        counters.sweep(&terms, EpochMillis(START + 10_000), 100);
    }
    let swept = counters.size();
    assert!(full.0 > 900 && swept.0 == 0 && swept.1 < full.1 / 4, "{full:?} {swept:?}");
}

#[test]
fn a_million_keys_take_some_eighty_bytes_each() {
    let many = if steps() > 100_000 { 1_000_000 } else { 100_000 };
    let counters: Counters<Window> = Counters::new(Arc::default(), 1, many);
    for number in 0..many as u64 {
        assert!(ask(&counters, number, quota(5, 60_000), START));
    }
    let (keys, bytes, forgotten) = counters.size();
    println!("{keys} keys, {bytes} bytes: {} a key; {forgotten} forgotten", bytes / keys);
    assert!(bytes / keys <= 96, "{}", bytes / keys);
}

#[test]
fn nothing_that_is_blocked_is_forgotten_while_anything_else_is_there() {
    let mut chance = Chance::new(21);
    let counters = counters();
    let quota = Quota { block_for: 10_000, ..quota(3, 60_000) };
    let mut blocked = BTreeMap::<u64, u64>::new();
    let mut now = START;
    for _ in 0..steps() * 4 {
        now += chance.below(3);
        let number = if chance.below(3) == 0 { chance.below(300) } else { chance.below(1_000_000) };
        let is_blocked = blocked.get(&number).is_some_and(|until| *until > now);
        match (ask(&counters, number, quota, now), is_blocked) {
            (passed, true) => assert!(!passed, "{number} was forgotten while blocked"),
            (false, false) => {
                blocked.insert(number, now + quota.block_for);
            }
            (true, false) => {}
        }
    }
    assert!(counters.size().2 > 0 && blocked.len() > 100);
}
