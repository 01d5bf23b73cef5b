//! Times at which other limits hold.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A time at which other limits hold.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("timestamp(self.start) < timestamp(self.end)")
        .message("an event ends after its start"),
    validation = Rule::new("!has(self.prequeueStart) || timestamp(self.prequeueStart) <= timestamp(self.start)")
        .message("the pre-queue of an event begins before its start"),
    validation = Rule::new("!self.shuffleAtStart || has(self.prequeueStart)")
        .message("shuffleAtStart is for a pre-queue: write prequeueStart"),
    validation = Rule::new("has(self.totalActiveUsers) == has(self.newUsersPerMinute)")
        .message("an event has both limits or none: write totalActiveUsers and newUsersPerMinute")
)]
#[serde(rename_all = "camelCase")]
pub struct RoomEvent {
    /// Name of the event, of the room alone. Letters, digits, `-` and `_`, at most 63.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub name: String,

    /// From when on everybody new waits. Default: there is no pre-queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prequeue_start: Option<Time>,

    /// When it starts.
    pub start: Time,

    /// When it ends.
    pub end: Time,

    /// True: those of the pre-queue get places by lot at the start. Default: false.
    #[serde(default)]
    pub shuffle_at_start: bool,

    /// Sessions at once meanwhile. 1 to 2147483647. Default: those of the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub total_active_users: Option<u32>,

    /// Sessions that begin within any 60 s meanwhile. 1 to 2147483647. Default: those of the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub new_users_per_minute: Option<u32>,
}
