//! Which endpoint takes a request.
//!
//! Two steps: steering chooses an origin, the endpoint policy one of its endpoints. Healthy endpoints come first
//! in the whole pool; those not yet probed are used when no healthy one is left; unhealthy ones never.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::chance::Chance;
use crate::endpoint::Endpoint;
use crate::health::Health;
use crate::pool::{EndpointPolicy, Member, Members, Pool};

/// Up to so many endpoints are all looked at for the fewest requests; of more, two are drawn.
const SCAN_AT_MOST: usize = 8;
/// Draws before a choice among many gives up on luck and counts.
const DRAWS: usize = 4;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// No connection.
    Unreachable,
    /// A connection, but no answer.
    Reset,
}

/// What a request has tried already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tried {
    attempts: SmallVec<[(Arc<Endpoint>, Ended); 2]>,
    /// Origins that are given up, one bit each.
    origins: u64,
}

/// Whether an endpoint that was tried may be chosen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Each endpoint once.
    Never,
    /// One that took a connection, since it may only have closed an idle one.
    AfterReset,
}

impl Tried {
    pub(crate) fn attempt(&mut self, endpoint: Arc<Endpoint>, ended: Ended) {
        self.attempts.push((endpoint, ended));
    }

    pub(crate) fn give_up_origin(&mut self, index: usize) {
        self.origins |= 1 << index;
    }

    fn allows(&self, endpoint: &Arc<Endpoint>, again: Again) -> bool {
        !self.attempts.iter().any(|(tried, ended)| {
            Arc::ptr_eq(tried, endpoint) && (again == Again::Never || *ended == Ended::Unreachable)
        })
    }
}

/// An endpoint with the index of its origin.
pub(crate) type Choice = (usize, Arc<Endpoint>);

/// The endpoint that takes the request, none where all are unhealthy, tried, or without traffic.
pub(crate) fn choose(
    pool: &Pool,
    members: &Members,
    tried: &Tried,
    again: Again,
    chance: &mut Chance,
) -> Option<Choice> {
    for health in [Health::Healthy, Health::Unknown] {
        let usable = |endpoint: &Arc<Endpoint>| has_health(pool, endpoint, health) && tried.allows(endpoint, again);
        let origins = steer(pool, members, !tried.origins, &usable);
        if origins != 0 {
            let origin = by_weight(pool, origins, chance);
            let endpoint = endpoint(pool.endpoint_policy, &members.origins[origin], &usable, chance)?;
            return Some((origin, endpoint));
        }
    }
    None
}

/// The origins that new requests are steered to now, one bit each.
pub(crate) fn active_origins(pool: &Pool, members: &Members) -> u64 {
    let by_health = [Health::Healthy, Health::Unknown]
        .map(|health| steer(pool, members, u64::MAX, &|endpoint| has_health(pool, endpoint, health)));
    by_health.into_iter().find(|origins| *origins != 0).unwrap_or(0)
}

/// Without a health check every endpoint counts as healthy, whatever an earlier check found.
fn has_health(pool: &Pool, endpoint: &Endpoint, health: Health) -> bool {
    if pool.health_check.is_some() { endpoint.health() == health } else { health == Health::Healthy }
}

/// The first tier's origins that have a usable endpoint.
fn steer(pool: &Pool, members: &Members, allowed: u64, usable: &impl Fn(&Arc<Endpoint>) -> bool) -> u64 {
    let with_usable = |tier: u64| {
        bits(tier & allowed)
            .filter(|index| members.origins[*index].endpoints.iter().any(usable))
            .fold(0, |found, index| found | 1 << index)
    };
    pool.tiers.iter().map(|tier| with_usable(*tier)).find(|found| *found != 0).unwrap_or(0)
}

fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(index)
    })
}

/// One of a set that is not empty, by weight.
fn by_weight(pool: &Pool, origins: u64, chance: &mut Chance) -> usize {
    let weight = |index: usize| u64::from(pool.origins[index].weight);
    let first = origins.trailing_zeros() as usize;
    if origins.is_power_of_two() {
        return first;
    }
    let mut left = chance.below(bits(origins).map(weight).sum());
    let chosen = bits(origins).find(|index| {
        let hit = left < weight(*index);
        left = left.saturating_sub(weight(*index));
        hit
    });
    chosen.unwrap_or(first)
}

fn endpoint(
    policy: EndpointPolicy,
    member: &Member,
    usable: &impl Fn(&Arc<Endpoint>) -> bool,
    chance: &mut Chance,
) -> Option<Arc<Endpoint>> {
    let endpoints = &member.endpoints;
    let found = match policy {
        EndpointPolicy::RoundRobin => nth_usable(endpoints, usable, |count| member.turn() % count),
        EndpointPolicy::Random => draw(endpoints, usable, chance),
        EndpointPolicy::LeastOutstanding if endpoints.len() <= SCAN_AT_MOST => fewest(endpoints, usable, chance),
        EndpointPolicy::LeastOutstanding => {
            let (one, other) = (draw(endpoints, usable, chance), draw(endpoints, usable, chance));
            one.into_iter().chain(other).min_by_key(|endpoint| endpoint.in_flight())
        }
    };
    found.cloned()
}

/// The usable endpoint whose number among the usable ones is asked for. The turn goes by those that are left, so
/// that none gets the share of its unhealthy neighbour on top.
fn nth_usable<'a>(
    endpoints: &'a [Arc<Endpoint>],
    usable: &impl Fn(&Arc<Endpoint>) -> bool,
    number: impl FnOnce(usize) -> usize,
) -> Option<&'a Arc<Endpoint>> {
    let usable = |endpoint: &&Arc<Endpoint>| usable(endpoint);
    let count = endpoints.iter().filter(usable).count();
    if count == 0 {
        return None;
    }
    // Health may change between counting and taking; the first usable one will do then.
    let number = number(count);
    endpoints.iter().filter(usable).nth(number).or_else(|| endpoints.iter().find(usable))
}

fn draw<'a>(
    endpoints: &'a [Arc<Endpoint>],
    usable: &impl Fn(&Arc<Endpoint>) -> bool,
    chance: &mut Chance,
) -> Option<&'a Arc<Endpoint>> {
    for _ in 0..DRAWS {
        let endpoint = endpoints.get(chance.index(endpoints.len()))?;
        if usable(endpoint) {
            return Some(endpoint);
        }
    }
    nth_usable(endpoints, usable, |count| chance.index(count))
}

/// The one with the fewest requests in flight, any of several.
fn fewest<'a>(
    endpoints: &'a [Arc<Endpoint>],
    usable: &impl Fn(&Arc<Endpoint>) -> bool,
    chance: &mut Chance,
) -> Option<&'a Arc<Endpoint>> {
    let mut best: Option<(&Arc<Endpoint>, u32)> = None;
    let mut equals = 1;
    for endpoint in endpoints.iter().filter(|endpoint| usable(endpoint)) {
        let in_flight = endpoint.in_flight();
        match best {
            Some((_, fewest)) if in_flight > fewest => {}
            Some((_, fewest)) if in_flight == fewest => {
                equals += 1;
                if chance.below(equals) == 0 {
                    best = Some((endpoint, in_flight));
                }
            }
            Some(_) | None => {
                equals = 1;
                best = Some((endpoint, in_flight));
            }
        }
    }
    best.map(|(endpoint, _)| endpoint)
}
