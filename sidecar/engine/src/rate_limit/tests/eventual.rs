//! Eventual on four proxies: bounds that hold whatever the split of the traffic.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use super::simulation::Cluster;
use super::*;

/// How requests are spread over four proxies.
#[derive(Clone, Copy, Debug)]
enum Split {
    One,
    Even,
    Skewed,
    Random,
    /// One after the other takes everything for so many milliseconds.
    Turns(u64),
}

impl Split {
    fn proxy(self, chance: &mut Chance, request: usize, elapsed: u64) -> usize {
        match self {
            Self::One => 0,
            Self::Even => request % 4,
            Self::Skewed => [0, 0, 0, 0, 0, 0, 0, 1, 2, 3][request % 10],
            Self::Random => chance.index(4),
            Self::Turns(length) => usize::try_from(elapsed / length).unwrap() % 4,
        }
    }
}

const SPLITS: [Split; 7] =
    [Split::One, Split::Even, Split::Skewed, Split::Random, Split::Turns(37), Split::Turns(400), Split::Turns(10_000)];

/// Ten periods at ten times the limit.
fn run(algorithm: Algorithm, limit: u32, period: u32, split: Split) -> Cluster {
    let mut cluster = Cluster::new(algorithm, quota(limit, period), 4);
    let mut chance = Chance::new(31);
    let begin = cluster.hand.now().0;
    let mut requests = 0;
    for elapsed in 0..u64::from(period) * 10 {
        let wanted = elapsed * u64::from(limit) * 10 / u64::from(period);
        while (requests as u64) < wanted {
            let proxy = split.proxy(&mut chance, requests, elapsed);
            cluster.request(proxy);
            requests += 1;
        }
        cluster.pass_time();
        assert_eq!(cluster.hand.now().0, begin + elapsed + 1);
    }
    cluster
}

fn check(algorithm: Algorithm, limit: u32, period: u32, split: Split) {
    let cluster = run(algorithm, limit, period, split);
    let first = cluster.passed_by_period()[0];
    let total = cluster.passed.len();
    let allowed = match algorithm {
        Algorithm::SlidingWindow => limit as usize * 10,
        // A full bucket at the start.
        Algorithm::TokenBucket => limit as usize * 11,
    };
    let error = total as f64 / allowed as f64 - 1.0;
    let calls = |calls: usize| calls as f64 * 1_000.0 / (cluster.passed.len() + cluster.refused.len()) as f64;
    println!(
        "{algorithm:?} {limit} in {period} ms, {split:?}: {first} in the first period, {:+.2} % over ten, {:.0} asked and \
         {:.0} told for 1,000 requests",
        error * 100.0,
        calls(cluster.asked),
        calls(cluster.told),
    );
    let in_a_period = if algorithm == Algorithm::TokenBucket { 3 } else { 2 };
    assert!(first <= limit as usize * in_a_period, "{first}");
    // What one request is of a small limit no algorithm can divide.
    assert!(error.abs() <= 0.02f64.max(1.0 / f64::from(limit)), "{error}");
}

#[test]
fn eventual_passes_twice_the_limit_at_most_and_is_right_over_ten_periods() {
    for split in SPLITS {
        check(Algorithm::SlidingWindow, 100, 1_000, split);
        check(Algorithm::SlidingWindow, 100, 10_000, split);
        check(Algorithm::SlidingWindow, 1_000, 10_000, split);
        check(Algorithm::TokenBucket, 100, 10_000, split);
    }
    check(Algorithm::SlidingWindow, 100, 60_000, Split::Random);
    check(Algorithm::TokenBucket, 1_000, 1_000, Split::Even);
}

#[test]
fn a_proxy_refuses_nothing_below_the_shared_limit_and_all_agree_within_half_a_second() {
    for split in SPLITS {
        let cluster = run(Algorithm::SlidingWindow, 100, 10_000, split);
        let begin = cluster.passed[0].0 / 10_000 * 10_000;
        let first: Vec<u64> =
            cluster.passed.iter().map(|(time, _)| *time).filter(|time| time - begin < 10_000).collect();
        let reached = first[99];
        let late = first.iter().filter(|time| **time > reached + 500).count();
        match split {
            // A proxy that saw nothing of the key while it was used up passes a small part of its own, once.
            Split::Turns(400 | 10_000) => assert!(late <= 3 * 5, "{split:?}: {late}"),
            Split::One | Split::Even | Split::Skewed | Split::Random | Split::Turns(_) => {
                assert_eq!(late, 0, "{split:?}");
            }
        }
        // Requests that ask pass a moment later than those refused because of them.
        let (refused, _) = cluster.refused[0];
        assert!(refused + 5 >= reached, "{split:?}: refused at {refused}, reached at {reached}");
    }
}

#[test]
fn keys_far_from_their_limit_never_wait_for_the_store() {
    let mut cluster = Cluster::new(Algorithm::SlidingWindow, quota(1_000, 10_000), 4);
    let mut chance = Chance::new(32);
    for _ in 0..30_000 {
        if chance.below(33) == 0 {
            cluster.request(chance.index(4));
        }
        cluster.pass_time();
    }
    println!("{} requests, {} told, {} asked", cluster.passed.len(), cluster.told, cluster.asked);
    assert_eq!((cluster.asked, cluster.refused.len()), (0, 0));
}
