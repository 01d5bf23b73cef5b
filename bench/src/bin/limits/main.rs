//! One decision of a limit in memory, beside what a Rust service would take for it, by number of keys.
//!
//! | library | what it is |
//! |---|---|
//! | headgate, window or bucket | the engine as the application API asks it: key text to answer |
//! | governor | GCRA, one number a key, in a sharded map |
//! | limitador | the library behind Kuadrant's limiter, counters in memory |
//!
//! Keys are drawn at random, so that neighbours in memory are not neighbours in time. Each figure is the fastest of
//! several repeats, which other work on the machine disturbs least.

#[path = "../inner/clock.rs"]
mod clock;

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use governor::{Quota, RateLimiter};
use headgate_engine::{
    Call, Called, Chance, Context, EpochMillis, Limits, Listening, MOST_REQUESTS, Plan, RateLimit, Resolutions, Sharing,
};
use headgate_snapshot as wire;
use headgate_snapshot::{Key, rate_limit};

use crate::clock::{fastest, timed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
const REPEATS: usize = 7;
/// Decisions of one measurement.
const DECISIONS: u32 = 400_000;
/// The moment that the engine is told; a clock is the adapter's.
const NOW: EpochMillis = EpochMillis(1_795_776_012_345);

fn main() -> anyhow::Result<()> {
    println!(
        "| keys | headgate, window ns | headgate, bucket ns | governor ns | limitador ns | headgate bytes a key |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for keys in KEYS {
        let names: Vec<String> = (0..keys).map(|index| format!("client-{index:08}")).collect();
        let (window, bytes) = headgate(rate_limit::Algorithm::SlidingWindow(wire::SlidingWindow {}), &names)?;
        let bucket = wire::TokenBucket { burst: u64::from(MOST_REQUESTS) };
        let (bucket, _) = headgate(rate_limit::Algorithm::TokenBucket(bucket), &names)?;
        let (governor, limitador) = (governor(&names)?, limitador(&names)?);
        println!("| {keys} | {window:.0} | {bucket:.0} | {governor:.0} | {limitador:.0} | {bytes:.0} |");
    }
    Ok(())
}

/// Nanoseconds of one call, after one call for each key.
fn nanoseconds(names: &[String], mut call: impl FnMut(&str) -> bool) -> anyhow::Result<f64> {
    ensure!(names.iter().all(|name| call(name)), "a request was refused");
    let mut chance = Chance::new(1);
    let count = u64::try_from(names.len())?;
    let order: Vec<usize> = (0..DECISIONS).map(|_| usize::try_from(chance.below(count)).unwrap_or_default()).collect();
    let mut all_pass = true;
    let took = fastest(REPEATS, || {
        timed(|| {
            for index in &order {
                all_pass &= call(black_box(&names[*index]));
            }
        })
        .0
    });
    ensure!(all_pass, "a request was refused");
    Ok(per_decision(took))
}

fn per_decision(took: Duration) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(DECISIONS)
}

/// Nanoseconds of a decision, and bytes of a key.
fn headgate(algorithm: rate_limit::Algorithm, names: &[String]) -> anyhow::Result<(f64, f64)> {
    let limits = Limits::new(1, [1; 16], Sharing::Nothing);
    let limit = limit(algorithm, &limits)?;
    let took = nanoseconds(names, |name| match Call::begin(&limit, &[name], 1, &limits, NOW) {
        Called::Told(told) => told.refused.is_none(),
        Called::Asks(_) => false,
    })?;
    let (keys, bytes, _) = limit.size();
    // At the most that a limit keeps, some parts of it are full before others.
    ensure!(keys * 100 >= names.len() * 99, "{keys} of {} keys are in memory", names.len());
    Ok((took, f64::from(u32::try_from(bytes)?) / f64::from(u32::try_from(keys)?)))
}

fn limit(algorithm: rate_limit::Algorithm, limits: &Limits) -> anyhow::Result<Arc<RateLimit>> {
    let key = Key::new("RateLimit", "default", "bench");
    let body = wire::RateLimit {
        limit: MOST_REQUESTS.into(),
        period_ms: 3_600_000,
        algorithm: Some(algorithm),
        scope: wire::LimitScope::Proxy.into(),
        consistency: wire::Consistency::Eventual.into(),
        on_store_failure: wire::StoreFailure::LocalShare.into(),
        action: Some(rate_limit::Action::Enforce(wire::Enforce {})),
        ..wire::RateLimit::default()
    };
    let resource = wire::Resource {
        key: Some(key.clone()),
        generation: 1,
        requires: Vec::new(),
        body: Some(wire::resource::Body::RateLimit(body)),
    };
    let context = Context {
        listening: Listening::Merged,
        resolutions: &Resolutions::default(),
        limits,
        check_certificate: &|_| Ok(()),
    };
    let plan = Plan::compile(&Arc::new([resource].into_iter().collect()), None, &context);
    plan.limit(&key).cloned().with_context(|| format!("the plan refuses {:?}", plan.refusals()))
}

fn governor(names: &[String]) -> anyhow::Result<f64> {
    let limiter = RateLimiter::dashmap(Quota::per_second(NonZeroU32::new(MOST_REQUESTS).context("not zero")?));
    nanoseconds(names, |name| limiter.check_key(&name.to_owned()).is_ok())
}

fn limitador(names: &[String]) -> anyhow::Result<f64> {
    use limitador::limit::{Context, Limit, Namespace};
    let limiter = limitador::RateLimiter::new(u64::try_from(names.len())? + 1);
    let no_conditions = Vec::<limitador::limit::Predicate>::new();
    let by_client = vec!["client".try_into().context("a variable")?];
    limiter.add_limit(Limit::new("bench", u64::from(MOST_REQUESTS), 3_600, no_conditions, by_client));
    let namespace: Namespace = "bench".into();
    nanoseconds(names, |name| {
        let context: Context<'_> = HashMap::from([("client".to_owned(), name.to_owned())]).into();
        limiter.check_rate_limited_and_update(&namespace, &context, 1).is_ok_and(|check| !check.limited)
    })
}
