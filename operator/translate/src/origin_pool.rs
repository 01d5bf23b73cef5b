//! OriginPools, and the pools that Services stand for.
//!
//! ```text
//! each pool: read (spec -> wire, findings) -> in force: the pool as it is, else as last accepted, else held
//! all pools: fallbacks (missing, itself, in a circle) -> emit
//! ```
//!
//! What the schema of the kind says about types, lengths and ranges has been checked where the object came from: by
//! the API server, or by `headgate_crds::schema` for files. Everything else is checked here, the CEL rules of the
//! schema included, because files meet no CEL.

mod address;
mod fallback;
mod health_check;
mod origin;
mod service;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::OriginPool;
use headgate_crds::origin_pool::{Retry, Timeouts};
use headgate_snapshot as wire;
use headgate_snapshot::Key;
use headgate_snapshot::resource::Body;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::backend::{PortReference, find_port, service_key};
use crate::inputs::{Inputs, Kind, ObjectKey};
use crate::memo::{Memo, Same};
use crate::output::{Fragment, Output, requiring, resource, wire_key};
use crate::verdict::{Force, Problem, Reason, Verdict};
use crate::view::{Changed, Need, View};

pub(crate) use service::endpoints;

/// Weight of the one origin of a Service. Any other would do.
const SERVICE_WEIGHT: u32 = 100;

/// What became of the pools, from translation to translation.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    readings: Memo<ObjectKey, Same<OriginPool>, Arc<Reading>>,
    /// A subject is a reading with what the other pools make of its fallback.
    lowered: Memo<ObjectKey, (Same<Reading>, Option<Fallback>), Lowered>,
}

/// What became of a pool.
#[derive(Debug)]
enum Lowered {
    InForce(Fragment),
    Held(Fragment),
}

/// Where a fallback leads, or why nowhere.
type Fallback = Result<Key, Problem>;

/// One pool on its way to the wire.
#[derive(Clone, Debug)]
struct Reading {
    generation: i64,
    force: Force,
    problems: Vec<Problem>,
    unenforced: Vec<String>,
    /// What is in force, absent when held.
    in_force: Option<InForce>,
}

/// What is in force for a pool.
#[derive(Clone, Debug)]
struct InForce {
    object: Arc<OriginPool>,
    pool: wire::OriginPool,
}

impl Reading {
    fn fallback(&self) -> Option<&str> {
        let spec = &self.in_force.as_ref()?.object.spec;
        spec.fallback.as_ref().map(|fallback| fallback.name.as_str())
    }
}

/// Judges the OriginPools and emits them.
pub(crate) fn lower(inputs: &Inputs, view: &View<'_>, changed: &Changed, pools: &mut Pools, out: &mut Output) {
    let Pools { readings, lowered } = pools;
    let objects = inputs.origin_pools.iter().map(|(key, pool)| (key, Same::of(pool)));
    readings.follow(objects, changed, view, |key, Same(pool)| Arc::new(read(key, pool, view)));

    // Few pools have a fallback, and nearly none is part of a circle.
    let mut with_fallback: BTreeMap<&ObjectKey, Arc<Reading>> = readings
        .iter()
        .filter(|found| found.value.fallback().is_some())
        .map(|found| (&found.name, Arc::clone(&found.value)))
        .collect();
    refuse_circles(&mut with_fallback, view);
    let circles = fallback::circles(&fallback_edges(&with_fallback));
    let subjects = readings.iter().map(|found| {
        let Some(reading) = with_fallback.get(&found.name) else {
            return (&found.name, (Same::of(&found.value), None));
        };
        let fallback =
            reading.fallback().map(|name| resolve_fallback(&found.name, name, circles.get(&found.name), view));
        (&found.name, (Same::of(reading), fallback))
    });
    lowered.follow(subjects, changed, view, |key, (Same(reading), fallback)| emit(key, reading, fallback.as_ref()));
    for (reading, found) in readings.iter().zip(lowered.iter()) {
        let fragment = match &found.value {
            Lowered::InForce(fragment) => fragment,
            Lowered::Held(fragment) => {
                out.hold(wire_key(Kind::OriginPool, &found.name));
                fragment
            }
        };
        out.add(Kind::OriginPool, &found.name, fragment, reading.needs.iter().chain(&found.needs));
    }
}

/// Reads a pool as it is, and if it is invalid as it was when last accepted.
fn read(key: &ObjectKey, object: &Arc<OriginPool>, view: &View<'_>) -> Reading {
    let spec::Lowered { pool, findings, unenforced } = spec::lower(key, object, view);
    let generation = object.metadata.generation.unwrap_or(0);
    let is_accepted = !findings.refuses();
    let mut reading = Reading {
        generation,
        force: Force::Current,
        problems: findings.into_problems(),
        unenforced,
        in_force: Some(InForce { object: Arc::clone(object), pool }),
    };
    if !is_accepted {
        fall_back_to_last_accepted(key, &mut reading, view);
    }
    reading
}

fn fall_back_to_last_accepted(key: &ObjectKey, reading: &mut Reading, view: &View<'_>) {
    let last = view.last_accepted_pool(key);
    reading.in_force =
        last.map(|object| InForce { object: Arc::clone(object), pool: spec::lower(key, object, view).pool });
    reading.force = if last.is_some() { Force::LastAccepted } else { Force::Held };
}

/// A pool whose fallbacks lead back to it is invalid as it is now.
fn refuse_circles(readings: &mut BTreeMap<&ObjectKey, Arc<Reading>>, view: &View<'_>) {
    for (key, circle) in fallback::circles(&fallback_edges(readings)) {
        if let Some(reading) = readings.get_mut(&key)
            && reading.force == Force::Current
        {
            let reading = Arc::make_mut(reading);
            let sentence = format!("{circle} is a circle; name a pool that does not fall back to this one");
            reading.problems.push(Problem::new(Reason::Invalid, "spec.fallback", sentence));
            fall_back_to_last_accepted(&key, reading, view);
        }
    }
}

/// Who falls back to whom, itself left out: that is told as a mistake of its own.
fn fallback_edges(readings: &BTreeMap<&ObjectKey, Arc<Reading>>) -> BTreeMap<ObjectKey, ObjectKey> {
    let edge = |(key, reading): (&&ObjectKey, &Arc<Reading>)| {
        let to = ObjectKey::new(&key.namespace, reading.fallback()?);
        (to != **key).then(|| ((*key).clone(), to))
    };
    readings.iter().filter_map(edge).collect()
}

fn resolve_fallback(key: &ObjectKey, name: &str, circle: Option<&String>, view: &View<'_>) -> Fallback {
    if let Some(circle) = circle {
        // Two specs that were each accepted at its time can form a circle that no spec of today has.
        let sentence = format!("{circle} is a circle; it is cut here until one of its fallbacks is another pool");
        return Err(Problem::new(Reason::RefNotFound, "spec.fallback", sentence));
    }
    let target = ObjectKey::new(&key.namespace, name);
    if view.has_pool(&target) {
        return Ok(wire_key(Kind::OriginPool, &target));
    }
    let sentence = format!("OriginPool {target} does not exist; create it, or name another one");
    Err(Problem::new(Reason::RefNotFound, "spec.fallback.name", sentence))
}

fn emit(key: &ObjectKey, reading: &Reading, fallback: Option<&Fallback>) -> Lowered {
    let Reading { generation, force, problems, unenforced, in_force } = reading.clone();
    let mut verdict = Verdict { generation, force, problems, unenforced, ..Verdict::default() };
    let fallback = match fallback {
        Some(Ok(fallback)) => Some(fallback.clone()),
        Some(Err(problem)) => {
            verdict.problems.push(problem.clone());
            None
        }
        None => None,
    };
    let Some(InForce { object, pool }) = in_force else {
        return Lowered::Held(Fragment::with_hosts(None, verdict));
    };
    let pool = wire::OriginPool { fallback, ..pool };
    let generation = object.metadata.generation.unwrap_or(0);
    let requires = pool.addresses.iter().map(|_| wire::ADDRESS_POLICY.to_owned()).collect();
    let resource = requiring(wire_key(Kind::OriginPool, key), generation, requires, Body::OriginPool(pool));
    Lowered::InForce(Fragment::with_hosts(Some(resource), verdict))
}

/// What became of the ports of Services, from translation to translation.
pub(crate) type ServicePools = Memo<(ObjectKey, i32), Same<Service>, Option<Arc<wire::Resource>>>;

/// Emits the pools of the Services that something refers to.
pub(crate) fn lower_services(
    inputs: &Inputs,
    view: &View<'_>,
    changed: &Changed,
    pools: &mut ServicePools,
    out: &mut Output,
) {
    let needed = out.needs.iter().filter_map(|need| match need {
        Need::Service { service, port } => Some((service.clone(), *port)),
        Need::Certificate(_) | Need::Object(_) | Need::Unread(_) => None,
    });
    let needed: Vec<(ObjectKey, i32)> = needed.collect();
    let subjects = needed.iter().filter_map(|name| Some((name, Same::of(inputs.services.get(&name.0)?))));
    pools.follow(subjects, changed, view, |(key, number), Same(service)| {
        let port = find_port(service, PortReference::Number(*number))?;
        let pool = of_service(key, service, port, view)?;
        Some(resource(service_key(key, *number), 0, Body::OriginPool(pool)))
    });
    for found in pools.iter() {
        out.resources.extend(found.value.clone());
        if found.needs.iter().any(|need| matches!(need, Need::Unread(_))) {
            let (service, port) = &found.name;
            out.doubt(service_key(service, *port));
        }
    }
}

/// The pool that a port of a Service stands for.
fn of_service(key: &ObjectKey, service: &Service, port: &ServicePort, view: &View<'_>) -> Option<wire::OriginPool> {
    let origin = wire::Origin {
        name: key.name.clone(),
        // What is wrong with the Service was told to whoever refers to it.
        endpoints: service::endpoints(key, service, port, view).ok()?,
        weight: SERVICE_WEIGHT,
        ..wire::Origin::default()
    };
    Some(wire::OriginPool {
        origins: vec![origin],
        steering: wire::Steering::Failover.into(),
        endpoint_policy: wire::EndpointPolicy::LeastOutstanding.into(),
        retry: Some(spec::retry(&Retry::default())),
        timeouts: Some(spec::timeouts(&Timeouts::default())),
        ..wire::OriginPool::default()
    })
}
