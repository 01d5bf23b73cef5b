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
mod findings;
mod health_check;
mod origin;
mod service;
mod spec;

use std::collections::{BTreeMap, BTreeSet};

use headgate_crds::OriginPool;
use headgate_crds::origin_pool::{Retry, Timeouts};
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::index::Index;
use crate::inputs::{AddressPolicy, Inputs, Kind, ObjectKey, ObjectRef, Reference};
use crate::output::{Output, wire_key};
use crate::verdict::{Force, Problem, Reason, Verdict};

/// Weight of the one origin of a Service. Any other would do.
const SERVICE_WEIGHT: u32 = 100;

/// One pool on its way to the wire.
#[derive(Debug)]
struct Reading<'a> {
    generation: i64,
    force: Force,
    problems: Vec<Problem>,
    unenforced: Vec<String>,
    /// What the spec in force, and the one as it is, look for.
    references: BTreeSet<Reference>,
    /// What is in force, absent when held.
    in_force: Option<InForce<'a>>,
}

/// What is in force for a pool.
#[derive(Debug)]
struct InForce<'a> {
    object: &'a OriginPool,
    pool: wire::OriginPool,
}

impl Reading<'_> {
    fn fallback(&self) -> Option<&str> {
        let spec = &self.in_force.as_ref()?.object.spec;
        spec.fallback.as_ref().map(|fallback| fallback.name.as_str())
    }
}

/// Judges the OriginPools and emits them.
pub(crate) fn lower(inputs: &Inputs, index: &Index<'_>, out: &mut Output) {
    let mut readings: BTreeMap<&ObjectKey, Reading<'_>> =
        inputs.origin_pools.iter().map(|(key, pool)| (key, read(key, pool, inputs, index))).collect();
    refuse_circles(&mut readings, inputs, index);
    let circles = fallback::circles(&fallback_edges(&readings));
    for (key, circle) in &circles {
        // Two specs that were each accepted at its time can form a circle that no spec of today has.
        let sentence = format!("{circle} is a circle; it is cut here until one of its fallbacks is another pool");
        if let Some(reading) = readings.get_mut(key) {
            reading.problems.push(Problem::new(Reason::RefNotFound, "spec.fallback", sentence));
        }
    }
    let resolved: Vec<(&ObjectKey, Result<Option<wire::Key>, Problem>)> = readings
        .iter()
        .map(|(key, reading)| {
            let name = reading.fallback().filter(|_| !circles.contains_key(key));
            (*key, name.map(|name| resolve_fallback(key, name, &readings, inputs)).transpose())
        })
        .collect();
    for (key, fallback) in resolved {
        let Some(mut reading) = readings.remove(key) else { continue };
        let fallback = fallback.unwrap_or_else(|problem| {
            reading.problems.push(problem);
            None
        });
        emit(key, reading, fallback, out);
    }
}

/// Reads a pool as it is, and if it is invalid as it was when last accepted.
fn read<'a>(key: &ObjectKey, object: &'a OriginPool, inputs: &'a Inputs, index: &Index<'_>) -> Reading<'a> {
    let spec::Lowered { pool, findings, unenforced } = spec::lower(key, object, inputs, index);
    let generation = object.metadata.generation.unwrap_or(0);
    let is_accepted = !findings.refuses();
    let (problems, references) = findings.into_parts();
    let mut reading = Reading {
        generation,
        force: Force::Current,
        problems,
        unenforced,
        references,
        in_force: Some(InForce { object, pool }),
    };
    if !is_accepted {
        fall_back_to_last_accepted(key, &mut reading, inputs, index);
    }
    reading
}

fn fall_back_to_last_accepted<'a>(key: &ObjectKey, reading: &mut Reading<'a>, inputs: &'a Inputs, index: &Index<'_>) {
    let last = inputs.last_accepted.origin_pools.get(key);
    reading.in_force = last.map(|object| {
        let spec::Lowered { pool, findings, unenforced: _ } = spec::lower(key, object, inputs, index);
        let (_, references) = findings.into_parts();
        reading.references.extend(references);
        InForce { object, pool }
    });
    reading.force = if last.is_some() { Force::LastAccepted } else { Force::Held };
}

/// A pool whose fallbacks lead back to it is invalid as it is now.
fn refuse_circles<'a>(readings: &mut BTreeMap<&ObjectKey, Reading<'a>>, inputs: &'a Inputs, index: &Index<'_>) {
    for (key, circle) in fallback::circles(&fallback_edges(readings)) {
        if let Some(reading) = readings.get_mut(&key)
            && reading.force == Force::Current
        {
            let sentence = format!("{circle} is a circle; name a pool that does not fall back to this one");
            reading.problems.push(Problem::new(Reason::Invalid, "spec.fallback", sentence));
            fall_back_to_last_accepted(&key, reading, inputs, index);
        }
    }
}

/// Who falls back to whom, itself left out: that is told as a mistake of its own.
fn fallback_edges(readings: &BTreeMap<&ObjectKey, Reading<'_>>) -> BTreeMap<ObjectKey, ObjectKey> {
    let edge = |(key, reading): (&&ObjectKey, &Reading<'_>)| {
        let to = ObjectKey::new(&key.namespace, reading.fallback()?);
        (to != **key).then(|| ((*key).clone(), to))
    };
    readings.iter().filter_map(edge).collect()
}

fn resolve_fallback(
    key: &ObjectKey,
    name: &str,
    readings: &BTreeMap<&ObjectKey, Reading<'_>>,
    inputs: &Inputs,
) -> Result<wire::Key, Problem> {
    let target = ObjectKey::new(&key.namespace, name);
    // A pool that is invalid exists all the same: what was last accepted of it stays in force.
    let is_malformed = inputs.malformed.contains_key(&ObjectRef::new(Kind::OriginPool, target.clone()));
    if is_malformed || readings.contains_key(&target) {
        return Ok(wire_key(Kind::OriginPool, &target));
    }
    let sentence = format!("OriginPool {target} does not exist; create it, or name another one");
    Err(Problem::new(Reason::RefNotFound, "spec.fallback.name", sentence))
}

fn emit(key: &ObjectKey, reading: Reading<'_>, fallback: Option<wire::Key>, out: &mut Output) {
    let Reading { generation, force, problems, unenforced, references, in_force } = reading;
    out.references.extend(references);
    let wire_key = wire_key(Kind::OriginPool, key);
    match in_force {
        Some(InForce { object, mut pool }) => {
            pool.fallback = fallback;
            let requires = pool.addresses.iter().map(|_| wire::ADDRESS_POLICY.to_owned()).collect();
            out.emit_requiring(wire_key, object.metadata.generation.unwrap_or(0), requires, Body::OriginPool(pool));
        }
        None => out.hold(wire_key),
    }
    out.judge(Kind::OriginPool, key, Verdict { generation, force, problems, unenforced, ..Verdict::default() });
}

/// The pool that a port of a Service stands for, or why it cannot be one.
pub(crate) fn of_service(
    key: &ObjectKey,
    service: &Service,
    port: &ServicePort,
    index: &Index<'_>,
    addresses: &AddressPolicy,
) -> Result<wire::OriginPool, String> {
    let origin = wire::Origin {
        name: key.name.clone(),
        endpoints: service::endpoints(key, service, port, index, addresses)?,
        weight: SERVICE_WEIGHT,
        ..wire::Origin::default()
    };
    Ok(wire::OriginPool {
        origins: vec![origin],
        steering: wire::Steering::Failover.into(),
        endpoint_policy: wire::EndpointPolicy::LeastOutstanding.into(),
        retry: Some(spec::retry(&Retry::default())),
        timeouts: Some(spec::timeouts(&Timeouts::default())),
        ..wire::OriginPool::default()
    })
}
