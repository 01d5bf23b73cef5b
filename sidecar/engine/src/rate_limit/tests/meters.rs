//! What both algorithms promise by themselves.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

use std::collections::VecDeque;

use super::*;
use crate::rate_limit::bucket::Bucket;
use crate::rate_limit::meter::Meter;
use crate::rate_limit::window::{Counts, Window};

#[test]
fn the_published_example_is_estimated_as_published() {
    // 42 in the minute before, 18 in the 15 seconds since: 49.5.
    let counts = Counts { previous: 42, current: 18 };
    assert_eq!(counts.room(15_000, quota(100, 60_000)), 50_500 * 60);
    assert_eq!(counts.room(15_000, quota(50, 60_000)), 500 * 60);
}

/// A meter with a random past.
fn lived<M: Meter>(chance: &mut Chance, quota: Quota, now: &mut u64) -> M {
    let mut meter = M::default();
    for _ in 0..chance.below(8) {
        *now += chance.below(u64::from(quota.period));
        meter.advance(EpochMillis(*now), quota, quota);
        meter.charge(u32::try_from(chance.below(40)).unwrap(), quota);
    }
    meter
}

fn check_wait<M: Meter + std::fmt::Debug>(seed: u64) {
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    for _ in 0..steps() {
        let quota = Quota {
            limit: one_of(&mut chance, &[1, 2, 7, 30, 1_000]),
            burst: one_of(&mut chance, &[1, 3, 50]),
            period: one_of(&mut chance, &[1_000, 3_001, 60_000]),
            block_for: 0,
        };
        let mut now = START + chance.below(100_000);
        let meter: M = lived(&mut chance, quota, &mut now);
        let passes = |after: u64| {
            let mut later = meter;
            let then = EpochMillis(now + after);
            later.advance(then, quota, quota);
            later.room(then, quota) >= quota.units(1)
        };
        let wait = meter.wait(EpochMillis(now), quota);
        assert!(passes(wait), "{meter:?} {quota:?} at {now}: not after {wait}");
        assert!(wait == 0 || !passes(wait - 1), "{meter:?} {quota:?} at {now}: before {wait}");
        // Between, too: not only a moment before.
        assert!(wait == 0 || !passes(chance.below(wait)), "{meter:?} {quota:?} at {now}: long before {wait}");
    }
}

#[test]
fn retry_after_is_the_first_moment_at_which_one_more_request_passes() {
    check_wait::<Window>(11);
    check_wait::<Bucket>(12);
}

/// Requests at random moments; passes of a window by their times.
fn passes_of_a_window(quota: Quota, requests: usize, gap: u64, chance: &mut Chance) -> Vec<u64> {
    let mut meter = Window::default();
    let mut now = START;
    let mut passed = Vec::new();
    for _ in 0..requests {
        now += chance.below(gap * 2 + 1);
        meter.advance(EpochMillis(now), quota, quota);
        if meter.room(EpochMillis(now), quota) >= quota.units(1) {
            meter.charge(1, quota);
            passed.push(now);
        }
    }
    passed
}

#[test]
fn a_window_passes_at_most_the_limit_in_an_aligned_period_and_less_than_twice_in_any() {
    let mut chance = Chance::new(13);
    for (limit, gap) in [(1, 1), (2, 90), (10, 1), (100, 1), (100, 5), (100, 300)] {
        let quota = quota(limit, 1_000);
        let passed = passes_of_a_window(quota, steps(), gap, &mut chance);
        let mut aligned = BTreeMap::<u64, u32>::new();
        let mut recent = VecDeque::new();
        for time in passed {
            *aligned.entry(time / 1_000).or_default() += 1;
            recent.push_back(time);
            while recent.front().is_some_and(|first| time - first >= 1_000) {
                recent.pop_front();
            }
            assert!(recent.len() < 2 * limit as usize || limit == 1 && recent.len() == 1, "{limit} {gap}");
        }
        assert!(aligned.values().all(|passed| *passed <= limit), "{limit} {gap}");
    }
}

/// What a window did otherwise than a log of everything that it passed would have done.
#[derive(Debug, Default)]
struct Errors {
    /// Requests, and those that passed though the log was full, or did not though it was not, as shares.
    passed_wrongly: f64,
    refused_wrongly: f64,
    /// Mean distance of the estimate from the log's count, as a share of the limit.
    deviation: f64,
    /// Passes beside those of a limiter that goes by its own log, as a share of these.
    surplus: f64,
}

fn errors_of_a_window(limit: u32, load: f64, keys: usize, requests: usize, chance: &mut Chance) -> Errors {
    let quota = quota(limit, 60_000);
    let forget = |log: &mut VecDeque<u64>, now: u64| {
        while log.front().is_some_and(|first| now - first >= u64::from(quota.period)) {
            log.pop_front();
        }
    };
    let mut state: Vec<(Window, VecDeque<u64>, VecDeque<u64>)> = vec![Default::default(); keys];
    // So many requests of all keys a millisecond.
    let rate = f64::from(limit) * load * keys as f64 / f64::from(quota.period);
    let mut clock = START as f64;
    let mut errors = Errors::default();
    let (mut passes, mut exact_passes) = (0_u32, 0_u32);
    for _ in 0..requests {
        clock += (chance.below(2_000_001) as f64 / 1_000_000.0) / rate;
        let now = clock as u64;
        let (meter, log, exact) = &mut state[chance.index(keys)];
        forget(log, now);
        forget(exact, now);
        meter.advance(EpochMillis(now), quota, quota);
        let room = meter.room(EpochMillis(now), quota);
        let estimate = f64::from(limit) - room as f64 / f64::from(quota.period);
        errors.deviation += (estimate - log.len() as f64).abs() / f64::from(limit);
        match (room >= quota.units(1), log.len() < limit as usize) {
            (true, false) => errors.passed_wrongly += 1.0,
            (false, true) => errors.refused_wrongly += 1.0,
            (true, true) | (false, false) => {}
        }
        if room >= quota.units(1) {
            meter.charge(1, quota);
            log.push_back(now);
            passes += 1;
        }
        if exact.len() < limit as usize {
            exact.push_back(now);
            exact_passes += 1;
        }
    }
    for share in [&mut errors.passed_wrongly, &mut errors.refused_wrongly, &mut errors.deviation] {
        *share /= requests as f64;
    }
    errors.surplus = f64::from(passes) / f64::from(exact_passes) - 1.0;
    errors
}

#[test]
fn the_error_of_a_window_is_measured_against_a_log() {
    let mut chance = Chance::new(14);
    let percent = |share: f64| share * 100.0;
    let head = "limit 100 a minute, requests at random moments, of the window against a log of what it passed:";
    let mut told = vec![head.to_owned()];
    for load in [0.5, 0.9, 1.0, 2.0, 10.0] {
        let errors = errors_of_a_window(100, load, 10, steps().max(100_000), &mut chance);
        let Errors { passed_wrongly, refused_wrongly, deviation, surplus } = errors;
        told.push(format!(
            "  {load:>4} x the limit: passed wrongly {:6.3} %, refused wrongly {:6.3} %, estimate off by {:5.2} % of the \
             limit, passes beside a log's {:+.2} %",
            percent(passed_wrongly),
            percent(refused_wrongly),
            percent(deviation),
            percent(surplus),
        ));
        assert!(deviation < 0.1 && surplus.abs() < 0.05, "{load}: {deviation} {surplus}");
        assert!(load > 0.5 || passed_wrongly + refused_wrongly == 0.0);
    }
    // The published workload: 400 million requests of 270,000 sources, nearly all of them far below the limit.
    let quiet = errors_of_a_window(100, 0.02, 10_000, steps() * 10, &mut chance);
    let loud = errors_of_a_window(100, 2.0, 10, steps(), &mut chance);
    let wrong = |errors: &Errors| errors.passed_wrongly + errors.refused_wrongly;
    let all = percent(wrong(&quiet) * 0.9999 + wrong(&loud) * 0.0001);
    println!(
        "{}\n  many quiet keys, one request in 10,000 of a loud one: {all:.4} % wrong (published: 0.003 %)",
        told.join("\n")
    );
    assert!(wrong(&quiet) == 0.0 && all < 0.01, "{quiet:?} {loud:?}");
}
