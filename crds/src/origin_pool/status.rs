//! What the control plane tells about a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::proxies::{AwayProxy, ProxyCounts};

/// What the control plane tells about a pool.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginPoolStatus {
    /// Accepted, ResolvedRefs, Programmed, Ready, and where they apply Degraded and Enforced (with status Partial).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The generation of the spec that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many proxies should enforce the pool, and how many do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,

    /// Proxies lost without goodbye, the longest lost first. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub away: Vec<AwayProxy>,

    /// Endpoints that may take traffic, of all endpoints: `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub healthy: Option<String>,

    /// Names of the origins that new requests are steered to, `-` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub active: Option<String>,

    /// The origins, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub origins: Vec<OriginStatus>,

    /// The hosts of `spec.hosts`, those not held first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into()]))]
    pub hosts: Vec<HostStatus>,
}

/// One origin, as the proxies see it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginStatus {
    /// Name of the origin.
    #[schemars(length(max = 63))]
    pub name: String,

    /// Endpoints that may take traffic, in the proxy that sees the fewest.
    #[schemars(with = "i32", range(min = 0))]
    pub healthy: u32,

    /// All endpoints.
    #[schemars(with = "i32", range(min = 0))]
    pub total: u32,

    /// True while new requests are steered to this origin.
    pub active: bool,

    /// Endpoints left out because of what their answers were like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 261)))]
    pub ejected: Vec<String>,

    /// What is wrong with the origin beyond its endpoints: a Service that is missing, a name that does not resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// One host of `spec.hosts`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The host as `spec.hosts` has it.
    #[schemars(length(max = 253))]
    pub host: String,

    /// False while another namespace holds the host; the condition Degraded says which.
    pub held: bool,
}
