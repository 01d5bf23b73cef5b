//! The spec of a pool: checks, and spec to wire.

use std::collections::BTreeSet;
use std::net::IpAddr;

use headgate_crds::OriginPool;
use headgate_crds::duration::Unit;
use headgate_crds::origin_pool::{
    AffinityType, EndpointPolicy, Location, OriginPoolSpec, OutlierDetection, Retry, SessionAffinity, SteeringPolicy,
    SteeringSpec, Timeouts,
};
use headgate_snapshot as wire;

use super::origin::Context;
use super::{health_check, origin};
use crate::findings::Findings;
use crate::host::mistake_in_host;
use crate::inputs::ObjectKey;
use crate::time::created_at;
use crate::view::View;

/// What came of a spec. The fallback is resolved where all pools are known.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) pool: wire::OriginPool,
    pub(super) findings: Findings,
    pub(super) unenforced: Vec<String>,
}

pub(super) fn lower(key: &ObjectKey, object: &OriginPool, view: &View<'_>) -> Lowered {
    let OriginPoolSpec {
        hosts,
        steering: SteeringSpec { policy },
        origins,
        endpoint_policy,
        health_check,
        outlier_detection,
        session_affinity,
        retry,
        timeouts,
        fallback,
    } = &object.spec;
    let mut findings = Findings::default();
    check_hosts(hosts, &mut findings);
    check_locations(&object.spec, &mut findings);
    let context = Context { namespace: &key.namespace, view };
    let lowered_origins: Vec<wire::Origin> = origins
        .iter()
        .enumerate()
        .map(|(index, origin)| origin::lower(&format!("spec.origins[{index}]"), origin, context, &mut findings))
        .collect();
    let lowered_check = health_check.as_ref().map(|check| health_check::lower(check, &mut findings));
    if let Some(OutlierDetection { base_ejection, consecutive_failures: _, slow_factor: _, max_ejected_percent: _ }) =
        outlier_detection
    {
        findings.bound("spec.outlierDetection.baseEjection", base_ejection, [(1, Unit::Seconds), (1, Unit::Hours)]);
    }
    check_affinity(session_affinity, &mut findings);
    check_timeouts(timeouts, &mut findings);
    if fallback.as_ref().is_some_and(|fallback| fallback.name == key.name) {
        findings.refuse("spec.fallback.name", "names the pool itself; name another OriginPool of the namespace");
    }
    // Where no name has to be judged later, a new list of addresses changes nothing.
    let is_name = |endpoint: &wire::Endpoint| endpoint.host.parse::<IpAddr>().is_err();
    let has_names = lowered_origins.iter().any(|origin| origin.endpoints.iter().any(is_name));
    let addresses = has_names.then(|| view.addresses().rules().wire());
    let pool = wire::OriginPool {
        hosts: hosts.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
        origins: lowered_origins,
        steering: lower_steering(*policy).into(),
        endpoint_policy: lower_endpoint_policy(*endpoint_policy).into(),
        health_check: lowered_check,
        retry: Some(self::retry(retry)),
        timeouts: Some(self::timeouts(timeouts)),
        fallback: None,
        created_at: created_at(&object.metadata),
        addresses,
    };
    Lowered { pool, findings, unenforced: unenforced(&object.spec) }
}

/// A policy that is not enforced yet falls back to the default one.
fn lower_steering(policy: SteeringPolicy) -> wire::Steering {
    match policy {
        SteeringPolicy::Weighted => wire::Steering::Weighted,
        SteeringPolicy::Failover
        | SteeringPolicy::LeastOutstanding
        | SteeringPolicy::Hash
        | SteeringPolicy::Geo
        | SteeringPolicy::Proximity
        | SteeringPolicy::Latency => wire::Steering::Failover,
    }
}

fn lower_endpoint_policy(policy: EndpointPolicy) -> wire::EndpointPolicy {
    match policy {
        EndpointPolicy::RoundRobin => wire::EndpointPolicy::RoundRobin,
        EndpointPolicy::Random => wire::EndpointPolicy::Random,
        EndpointPolicy::LeastOutstanding | EndpointPolicy::Hash | EndpointPolicy::PeakEwma => {
            wire::EndpointPolicy::LeastOutstanding
        }
    }
}

pub(super) fn retry(retry: &Retry) -> wire::Retry {
    let Retry { attempts, budget_percent } = retry;
    wire::Retry { attempts: *attempts, budget_percent: *budget_percent }
}

pub(super) fn timeouts(timeouts: &Timeouts) -> wire::Timeouts {
    let Timeouts { connect, request, idle } = timeouts;
    wire::Timeouts {
        connect_ms: connect.milliseconds(),
        request_ms: request.milliseconds(),
        idle_ms: idle.milliseconds(),
    }
}

fn check_hosts(hosts: &[String], findings: &mut Findings) {
    for (index, host) in hosts.iter().enumerate() {
        if let Some(sentence) = mistake_in_host(host) {
            findings.refuse(format!("spec.hosts[{index}]"), sentence);
        }
    }
}

fn check_locations(spec: &OriginPoolSpec, findings: &mut Findings) {
    for (index, origin) in spec.origins.iter().enumerate() {
        let field = format!("spec.origins[{index}].location");
        let place = origin.location.as_ref().map(|location| {
            let Location { latitude, longitude, regions: _ } = location;
            (latitude.is_some(), longitude.is_some())
        });
        match place {
            Some((true, false)) => findings.refuse(field, "has latitude without longitude; write both or none"),
            Some((false, true)) => findings.refuse(field, "has longitude without latitude; write both or none"),
            None | Some((false, false)) if spec.steering.policy == SteeringPolicy::Proximity => {
                findings.refuse(field, "is needed by steering policy Proximity; write latitude and longitude");
            }
            None | Some((false, false) | (true, true)) => {}
        }
    }
    let has_regions = |location: &Location| location.regions.is_some();
    if spec.steering.policy == SteeringPolicy::Geo
        && !spec.origins.iter().any(|origin| origin.location.as_ref().is_some_and(has_regions))
    {
        let sentence = "Geo needs location.regions on at least one origin; write them, or choose another policy";
        findings.refuse("spec.steering.policy", sentence);
    }
}

fn check_affinity(affinity: &SessionAffinity, findings: &mut Findings) {
    let SessionAffinity { r#type, header, ttl, drain } = affinity;
    match (*r#type == AffinityType::Header, header) {
        (true, None) => {
            findings
                .refuse("spec.sessionAffinity.header", "is needed by type Header; write the name of a request header");
        }
        (false, Some(_)) => {
            findings.refuse("spec.sessionAffinity.header", "is for type Header; remove it, or change the type");
        }
        (true, Some(_)) | (false, None) => {}
    }
    findings.bound("spec.sessionAffinity.ttl", ttl, [(1, Unit::Seconds), (168, Unit::Hours)]);
    findings.bound("spec.sessionAffinity.drain", drain, [(0, Unit::Seconds), (168, Unit::Hours)]);
}

fn check_timeouts(timeouts: &Timeouts, findings: &mut Findings) {
    let Timeouts { connect, request, idle } = timeouts;
    findings.bound("spec.timeouts.connect", connect, [(1, Unit::Milliseconds), (1, Unit::Minutes)]);
    findings.bound("spec.timeouts.request", request, [(1, Unit::Milliseconds), (24, Unit::Hours)]);
    findings.bound("spec.timeouts.idle", idle, [(1, Unit::Milliseconds), (24, Unit::Hours)]);
}

/// Fields that are accepted and not enforced by this release, in the order of the spec.
fn unenforced(spec: &OriginPoolSpec) -> Vec<String> {
    let steering = match spec.steering.policy {
        SteeringPolicy::Failover | SteeringPolicy::Weighted => false,
        SteeringPolicy::LeastOutstanding
        | SteeringPolicy::Hash
        | SteeringPolicy::Geo
        | SteeringPolicy::Proximity
        | SteeringPolicy::Latency => true,
    };
    let endpoint_policy = match spec.endpoint_policy {
        EndpointPolicy::RoundRobin | EndpointPolicy::Random | EndpointPolicy::LeastOutstanding => false,
        EndpointPolicy::Hash | EndpointPolicy::PeakEwma => true,
    };
    let affinity = match spec.session_affinity.r#type {
        AffinityType::None => false,
        AffinityType::Cookie | AffinityType::ClientIp | AffinityType::Header => true,
    };
    let locations = spec
        .origins
        .iter()
        .enumerate()
        .map(|(index, origin)| (format!("spec.origins[{index}].location"), origin.location.is_some()));
    let drain = !affinity && !spec.session_affinity.drain.value().is_zero();
    let mut fields = vec![("spec.steering.policy".to_owned(), steering)];
    fields.extend(locations);
    fields.extend([
        ("spec.endpointPolicy".to_owned(), endpoint_policy),
        ("spec.outlierDetection".to_owned(), spec.outlier_detection.is_some()),
        ("spec.sessionAffinity".to_owned(), affinity),
        ("spec.sessionAffinity.drain".to_owned(), drain),
    ]);
    fields.into_iter().filter(|(_, is_unenforced)| *is_unenforced).map(|(field, _)| field).collect()
}
