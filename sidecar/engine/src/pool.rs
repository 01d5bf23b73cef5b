//! Compiled pools, and what of them outlives plans.
//!
//! A [`Pool`] is one edit of an OriginPool (or a Service that a route names). What is known of its endpoints lives
//! in a state that all edits share, keyed by the name of the origin and the address: an edit of weights,
//! thresholds or order loses nothing. The endpoints of a pool follow DNS while a plan is in force, so they are
//! swapped on their own; readers never wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use headgate_snapshot as wire;
use headgate_snapshot::{AddressRules, Key};
use parking_lot::Mutex;

use crate::endpoint::Endpoint;
use crate::health::{Health, HealthCheck};
use crate::origin::Origin;
use crate::refusal::Mistake;
use crate::resolve::Resolutions;
use crate::retry::{Load, RetryRules};
use crate::route::Route;
use crate::select::active_origins;
use crate::time::Millis;

/// Sets of origins are kept as bits of one word.
const MAX_ORIGINS: usize = 64;

/// A compiled pool.
#[derive(Debug)]
pub struct Pool {
    pub(crate) key: Arc<Key>,
    pub(crate) origins: Vec<Arc<Origin>>,
    /// Sets of origins, one bit each: the first set that has a usable endpoint takes the traffic.
    pub(crate) tiers: Vec<u64>,
    pub(crate) endpoint_policy: EndpointPolicy,
    pub(crate) health_check: Option<Arc<HealthCheck>>,
    pub(crate) retry: RetryRules,
    pub(crate) timeouts: PoolTimeouts,
    pub(crate) fallback: Option<Key>,
    pub(crate) state: Arc<PoolState>,
    /// The route that the hosts stand for.
    pub(crate) host_route: Option<Arc<Route>>,
    hosts: (Vec<String>, i64),
    /// Which addresses the names of endpoints may stand for, absent: any.
    addresses: Option<AddressRules>,
    members: ArcSwap<Members>,
}

/// How an endpoint of an origin is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointPolicy {
    RoundRobin,
    Random,
    LeastOutstanding,
}

/// Time limits of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolTimeouts {
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) idle: Duration,
}

/// What outlives plans.
#[derive(Debug, Default)]
pub(crate) struct PoolState {
    pub(crate) load: Load,
    known: Mutex<Known>,
}

/// Endpoints by origin and address, and turns by origin.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) endpoints: BTreeMap<(String, SocketAddr), Arc<Endpoint>>,
    pub(crate) cursors: BTreeMap<String, Arc<AtomicUsize>>,
}

/// The endpoints of a pool now, one entry an origin.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) origins: Vec<Member>,
}

/// The endpoints of an origin now.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) cursor: Arc<AtomicUsize>,
    pub(crate) trouble: String,
}

impl Member {
    /// The next number in turn.
    pub(crate) fn turn(&self) -> usize {
        self.cursor.fetch_add(1, Ordering::Relaxed)
    }
}

impl Pool {
    /// Compiles a pool. What the previous edit knew is handed over.
    pub(crate) fn compile(
        key: &Key,
        pool: &wire::OriginPool,
        previous: Option<&Self>,
        resolutions: &Resolutions,
    ) -> Result<Self, Mistake> {
        let wire::OriginPool {
            hosts,
            origins,
            steering,
            endpoint_policy,
            health_check,
            retry,
            timeouts,
            fallback,
            created_at,
            addresses,
        } = pool;
        if origins.len() > MAX_ORIGINS {
            return Err(Mistake::invalid("origins", format!("{} are more than {MAX_ORIGINS}", origins.len())));
        }
        let origins: Vec<Arc<Origin>> = origins
            .iter()
            .enumerate()
            .map(|(index, origin)| Origin::compile(origin, &format!("origins[{index}]")).map(Arc::new))
            .collect::<Result<_, _>>()?;
        // A policy of a later release falls back to the default one.
        let tiers = match wire::Steering::try_from(*steering) {
            Ok(wire::Steering::Weighted) => vec![with_traffic(&origins, |_| true)],
            Ok(wire::Steering::Failover | wire::Steering::Unspecified) | Err(_) => by_priority(&origins),
        };
        let endpoint_policy = match wire::EndpointPolicy::try_from(*endpoint_policy) {
            Ok(wire::EndpointPolicy::RoundRobin) => EndpointPolicy::RoundRobin,
            Ok(wire::EndpointPolicy::Random) => EndpointPolicy::Random,
            Ok(wire::EndpointPolicy::LeastOutstanding | wire::EndpointPolicy::Unspecified) | Err(_) => {
                EndpointPolicy::LeastOutstanding
            }
        };
        let health_check = health_check.as_ref().map(HealthCheck::compile).transpose()?.map(Arc::new);
        let addresses = addresses
            .as_ref()
            .map(|policy| AddressRules::read(policy).map_err(|error| Mistake::invalid("addresses", error.to_string())))
            .transpose()?;
        let hosts = (hosts.clone(), *created_at);
        let host_route = match previous {
            Some(previous) if previous.hosts == hosts => previous.host_route.clone(),
            _ => Route::of_pool_hosts(key, pool)?.map(Arc::new),
        };
        let compiled = Self {
            key: previous.map_or_else(|| Arc::new(key.clone()), |previous| previous.key.clone()),
            origins,
            tiers,
            endpoint_policy,
            health_check,
            retry: RetryRules::compile(retry.as_ref()),
            timeouts: PoolTimeouts::compile(timeouts.as_ref()),
            fallback: fallback.clone(),
            state: previous.map(|previous| previous.state.clone()).unwrap_or_default(),
            host_route,
            hosts,
            addresses,
            members: ArcSwap::default(),
        };
        compiled.resolve(resolutions);
        if previous.is_some_and(|previous| previous.health_check != compiled.health_check) {
            // The old schedule may be an hour long.
            let members = compiled.members();
            members.origins.iter().flat_map(|member| &member.endpoints).for_each(|endpoint| {
                endpoint.set_probe_due(Millis::default());
            });
        }
        Ok(compiled)
    }

    /// Whose pool this is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The origins as written.
    pub fn origins(&self) -> &[Arc<Origin>] {
        &self.origins
    }

    /// Whether endpoints are probed.
    pub fn has_health_check(&self) -> bool {
        self.health_check.is_some()
    }

    /// Requests that are in this pool now.
    pub fn in_flight(&self) -> u32 {
        self.state.load.requests()
    }

    /// The DNS names among the endpoints.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.origins.iter().flat_map(|origin| origin.names())
    }

    /// Makes the list of endpoints from what names stand for now.
    pub(crate) fn resolve(&self, resolutions: &Resolutions) {
        let mut known = self.state.known.lock();
        let mut next = Known::default();
        let rules = self.addresses.as_ref();
        let origins = self.origins.iter().map(|origin| origin.member(&known, &mut next, resolutions, rules)).collect();
        *known = next;
        // Stored under the lock, so that the list of the last caller is the one that stays.
        self.members.store(Arc::new(Members { origins }));
    }

    pub(crate) fn members(&self) -> Guard<Arc<Members>> {
        self.members.load()
    }

    /// Health for reports.
    pub fn report(&self) -> wire::PoolHealth {
        let members = self.members();
        let active = active_origins(self, &members);
        let origins = self.origins.iter().zip(&members.origins).enumerate().map(|(index, (origin, member))| {
            let endpoints = &member.endpoints;
            let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
            wire::OriginHealth {
                name: origin.name.clone(),
                healthy: count(endpoints.iter().filter(|endpoint| self.may_take_traffic(endpoint)).count()),
                total: count(endpoints.len()),
                active: active & (1 << index) != 0,
                in_flight: endpoints.iter().map(|endpoint| endpoint.in_flight()).sum(),
                message: member.trouble.clone(),
            }
        });
        wire::PoolHealth { key: Some(Key::clone(&self.key)), origins: origins.collect() }
    }

    fn may_take_traffic(&self, endpoint: &Endpoint) -> bool {
        self.health_check.is_none() || endpoint.health() != Health::Unhealthy
    }
}

/// The origins that take traffic and meet a condition, as bits.
fn with_traffic(origins: &[Arc<Origin>], condition: impl Fn(&Origin) -> bool) -> u64 {
    let chosen = origins.iter().enumerate().filter(|(_, origin)| origin.weight > 0 && condition(origin));
    chosen.fold(0, |bits, (index, _)| bits | 1 << index)
}

fn by_priority(origins: &[Arc<Origin>]) -> Vec<u64> {
    let mut priorities: Vec<u32> = origins.iter().map(|origin| origin.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let sets = priorities.iter().map(|priority| with_traffic(origins, |origin| origin.priority == *priority));
    sets.filter(|set| *set != 0).collect()
}

impl PoolTimeouts {
    /// What is 0 or absent is the contract's default.
    fn compile(timeouts: Option<&wire::Timeouts>) -> Self {
        let wire::Timeouts { connect_ms, request_ms, idle_ms } = timeouts.copied().unwrap_or_default();
        let limit = |ms: u64, default: u64| Duration::from_millis(if ms == 0 { default } else { ms });
        Self { connect: limit(connect_ms, 1_000), answer: limit(request_ms, 60_000), idle: limit(idle_ms, 600_000) }
    }
}
