//! What the control plane tells about a limit.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::proxies::{AwayProxy, ProxyCounts};

/// What the control plane tells about a limit.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitStatus {
    /// Accepted, ResolvedRefs, Programmed, Ready, and where they apply Degraded (the shared store is away, or there is
    /// none for several proxies) and Enforced (with status Partial).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The generation of the spec that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many proxies should enforce the limit, and how many do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,

    /// Proxies lost without goodbye, the longest lost first. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub away: Vec<AwayProxy>,

    /// Names of proxies that enforce this generation, in their order. At most 64; `proxies.programmed` counts all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub enforced_by: Vec<String>,

    /// What all proxies together decided in the last minute. Written every 10 seconds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_minute: Option<LastMinute>,
}

/// What all proxies together decided in the last minute.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMinute {
    /// Requests within the limit.
    #[schemars(with = "i64", range(min = 0))]
    pub allowed: u64,

    /// Requests beyond the limit, those that an action other than Enforce let pass among them.
    #[schemars(with = "i64", range(min = 0))]
    pub refused: u64,

    /// Why most of them were: `OverLimit`, `Blocked`, `TooManyAtOnce` or `StoreUnavailable`. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub top_reason: Option<String>,
}
