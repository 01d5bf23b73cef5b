//! OriginPool: origins with health, steering and failover.
//!
//! An *origin* is a place (a region, a data centre, a static site) with many *endpoints* (addresses). Steering
//! picks the origin, the endpoint policy picks the endpoint in it. `docs/origin-pool.md` is the page for users.

mod affinity;
mod health_check;
mod origin;
mod outlier;
mod status;

pub use affinity::{AffinityType, SessionAffinity};
pub use health_check::{HealthCheck, HealthCheckType};
pub use origin::{
    CertificateKind, CertificateReference, Location, Origin, OriginTls, Protocol, Region, ServiceReference,
};
pub use outlier::OutlierDetection;
pub use status::{HostStatus, OriginPoolStatus, OriginStatus};

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};

/// Most origins of a pool.
pub const MAX_ORIGINS: usize = 64;

/// Origins with health, steering and failover: where requests go.
///
/// Routes refer to a pool as a backend (group `headgate.dev`, kind `OriginPool`); `hosts` is the short cut that needs
/// no route.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "headgate.dev",
    version = "v1alpha1",
    kind = "OriginPool",
    plural = "originpools",
    shortname = "op",
    category = "headgate",
    namespaced,
    status = "OriginPoolStatus",
    derive = "PartialEq",
    doc = "Origins with health, steering and failover: where requests go. Routes refer to a pool as a backend (group headgate.dev, kind OriginPool); spec.hosts is the short cut that needs no route.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = ".status.healthy",
        description = "Endpoints that may take traffic, of all endpoints."
    ),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.active",
        description = "Origins that new requests are steered to."
    ),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.steering.policy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.fallback) || self.spec.fallback.name != self.metadata.name")
        .message("spec.fallback names the pool itself: name another OriginPool of the namespace")
)]
#[x_kube(
    validation = Rule::new(
        "self.steering.policy != 'Proximity' || self.origins.all(o, has(o.location) && has(o.location.latitude) && has(o.location.longitude))"
    )
    .message("steering policy Proximity needs location.latitude and location.longitude on every origin"),
    validation = Rule::new(
        "self.steering.policy != 'Geo' || self.origins.exists(o, has(o.location) && has(o.location.regions))"
    )
    .message("steering policy Geo needs location.regions on at least one origin")
)]
#[serde(rename_all = "camelCase")]
pub struct OriginPoolSpec {
    /// Hosts served without a route: all paths of them go to this pool, on HTTP port 80 and HTTPS port 443.
    ///
    /// Names of RFC 1123 in lower case; the first label may be `*`, which stands for one or more labels. Routes and
    /// Ingresses win over them. At most 64. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new(r"self.all(h, h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("a host is a name in lower case such as chat.example.com or *.example.com, without scheme, port or path")
    )]
    pub hosts: Vec<String>,

    /// How the origin of a request is chosen.
    #[serde(default)]
    pub steering: SteeringSpec,

    /// The origins, 1 to 64, each name once.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub origins: Vec<Origin>,

    /// How the endpoint inside the chosen origin is chosen.
    ///
    /// `LeastOutstanding`: of two at random the one with fewer requests in flight. `RoundRobin`: in turn. `Random`.
    /// `Hash`: by client address. `PeakEwma`: the one that has answered fastest of late. Hash and PeakEwma are
    /// accepted but not yet enforced: LeastOutstanding takes their place. Default: `LeastOutstanding`.
    #[serde(default)]
    pub endpoint_policy: EndpointPolicy,

    /// Active health check. Default: none, every endpoint counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,

    /// Passive health check: endpoints that fail, or are much slower than their peers, are left out for a while.
    /// Accepted but not yet enforced. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,

    /// Keeps a visitor on one endpoint. Accepted but not yet enforced. Default: type `None`.
    #[serde(default)]
    pub session_affinity: SessionAffinity,

    /// When a request that failed at one endpoint is sent to another.
    #[serde(default)]
    pub retry: Retry,

    /// How long an origin may take. The timeouts of an HTTPRoute win over these.
    #[serde(default)]
    pub timeouts: Timeouts,

    /// The pool that answers when no origin of this one can. Default: none, the answer is 503 `NoHealthyOrigin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<PoolReference>,
}

/// How the origin of a request is chosen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeringSpec {
    /// `Failover`: the healthy origins of the lowest priority, by weight among equals. `Weighted`: all healthy origins
    /// by weight.
    ///
    /// `LeastOutstanding` (fewest requests in flight for its weight), `Hash` (by client address), `Geo` (by region of
    /// the client), `Proximity` (nearest) and `Latency` (fastest) are accepted but not yet enforced: Failover takes
    /// their place. Default: `Failover`.
    #[serde(default)]
    pub policy: SteeringPolicy,
}

/// Steering policies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum SteeringPolicy {
    #[default]
    Failover,
    Weighted,
    LeastOutstanding,
    Hash,
    Geo,
    Proximity,
    Latency,
}

/// Endpoint policies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum EndpointPolicy {
    RoundRobin,
    Random,
    #[default]
    LeastOutstanding,
    Hash,
    PeakEwma,
}

/// When a request that failed at one endpoint is sent to another.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// Attempts after the first, of requests that were sent and may be repeated: GET, HEAD and OPTIONS without a body,
    /// reset before any byte of an answer. A failed connect sent nothing and costs no attempt. 0 to 5. Default: 1.
    #[schemars(with = "i32", range(min = 0, max = 5))]
    pub attempts: u32,

    /// Retries in flight stay at or below the larger of 3 and this share of the requests in flight, in percent.
    /// 0 to 100. Default: 20.
    #[schemars(with = "i32", range(min = 0, max = 100))]
    pub budget_percent: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, budget_percent: 20 }
    }
}

/// How long an origin may take.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Until a connection stands, TLS included. 1ms to 1m. Default: 1s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1m')").message("timeouts.connect is from 1ms to 1m")]))]
    pub connect: Duration,

    /// Until the headers of the answer, for each attempt. 1ms to 24h. Default: 60s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('24h')").message("timeouts.request is from 1ms to 24h")]))]
    pub request: Duration,

    /// Silence after the headers until the connection is closed, WebSockets included. 1ms to 24h. Default: 10m.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('24h')").message("timeouts.idle is from 1ms to 24h")]))]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::of(1, Unit::Seconds),
            request: Duration::of(60, Unit::Seconds),
            idle: Duration::of(10, Unit::Minutes),
        }
    }
}

/// An OriginPool of the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolReference {
    /// Name of the OriginPool.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
