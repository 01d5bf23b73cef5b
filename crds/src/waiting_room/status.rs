//! What the control plane tells about a room.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::proxies::{AwayProxy, ProxyCounts};

/// What the control plane tells about a room.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoomStatus {
    /// Accepted, ResolvedRefs, Programmed, Ready, and where they apply Degraded and Enforced (with status Partial).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The generation of the spec that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many proxies should enforce the room, and how many do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,

    /// Proxies lost without goodbye, the longest lost first. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub away: Vec<AwayProxy>,

    /// How it stands. Absent before the first visitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RoomState>,

    /// Sessions now. Figures are written every 10 seconds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub active: Option<u64>,

    /// Visitors who wait now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub queued: Option<u64>,

    /// Seconds that somebody who comes now waits. Absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 0))]
    pub wait_seconds: Option<u64>,
}

/// How a room stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum RoomState {
    NotQueueing,
    Queueing,
    QueueAll,
    Event,
    Suspended,
}
