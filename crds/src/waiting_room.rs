//! WaitingRoom: how many visitors are inside at once, and a fair queue for the others.
//!
//! `docs/waiting-room.md` is the page for users.
#![allow(clippy::struct_excessive_bools, reason = "each is a field of its own that users write")]

mod event;
mod page;
mod status;

pub use event::RoomEvent;
pub use page::{ConfigMapKey, RoomPage};
pub use status::{RoomState, WaitingRoomStatus};

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};
use crate::rate_limit::StoreFailure;

/// Most that either limit may be.
pub const MAX_USERS: u32 = 2_147_483_647;

/// How many visitors are inside at once, and a fair queue for the others.
///
/// A new session begins only while fewer than `totalActiveUsers` are active and fewer than `newUsersPerMinute` began in
/// the last 60 s. Everyone else gets a page that waits, and keeps the place. Five fields are enough: the name, `host`,
/// the two limits and `sessionDuration`.
#[allow(clippy::duplicated_attributes, reason = "each column has a type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "headgate.dev",
    version = "v1alpha1",
    kind = "WaitingRoom",
    plural = "waitingrooms",
    shortname = "wr",
    category = "headgate",
    namespaced,
    status = "WaitingRoomStatus",
    derive = "PartialEq",
    doc = "How many visitors are inside at once, and a fair queue for the others.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.active"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queued"),
    printcolumn(
        name = "Wait",
        type_ = "integer",
        json_path = ".status.waitSeconds",
        description = "Seconds that somebody who comes now waits; empty: unknown, or nobody waits."
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.events) || self.events.all(a, self.events.all(b, a.name == b.name || timestamp(a.end) <= timestamp(has(b.prequeueStart) ? b.prequeueStart : b.start) || timestamp(b.end) <= timestamp(has(a.prequeueStart) ? a.prequeueStart : a.start)))")
        .message("events do not overlap, their pre-queues included: move one of them")
)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoomSpec {
    /// The host that the room is in front of: a name in lower case, without scheme, port or path. At most 253 characters.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("a host is a name in lower case such as shop.example.com, without scheme, port, path or *")]))]
    pub host: String,

    /// The path that the room is in front of, with all below it, at segments; in upper and lower case. Of several rooms
    /// the one with the longest path governs a request. At most 1024 characters. Default: `/`.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [Rule::new("self.matches('^/[^?#*]*$')").message("a path begins with a slash and has no query and no *")]))]
    pub path: String,

    /// More places with the same limits and the same queue. At most 16. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub additional_routes: Vec<RoomRoute>,

    /// Sessions at once. 1 to 2147483647.
    #[schemars(with = "i32", range(min = 1))]
    pub total_active_users: u32,

    /// Sessions that begin within any 60 s; a burst may use them at once. It may exceed `totalActiveUsers`, for short
    /// sessions. 1 to 2147483647.
    #[schemars(with = "i32", range(min = 1))]
    pub new_users_per_minute: u32,

    /// How long a session lasts. 10s to 24h. Default: 5m.
    #[serde(default = "five_minutes")]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('24h')").message("sessionDuration is from 10s to 24h")]))]
    pub session_duration: Duration,

    /// True: each request restarts the session's clock, to within a tenth of it. False: a session ends when it is over.
    /// Default: true.
    #[serde(default = "yes")]
    pub session_renewal: bool,

    /// `FIFO`: in the order of arrival. `Random`: whoever refreshes when a slot is free. `Passthrough`: nobody waits, and
    /// everybody is counted. `Reject`: who finds no slot is turned away. Default: `FIFO`.
    #[serde(default)]
    pub queueing_method: QueueingMethod,

    /// True: everybody new waits, whatever else holds; sessions go on. Default: false.
    #[serde(default)]
    pub queue_all: bool,

    /// True: all traffic passes, and nobody is counted. Default: false.
    #[serde(default)]
    pub suspended: bool,

    /// Status of the waiting page. Default: 200.
    #[serde(default = "ok")]
    #[schemars(with = "i32", extend("enum" = [200, 202, 429]))]
    pub status_code: u16,

    /// True: who asks for `application/json` gets the figures in JSON. Default: true.
    #[serde(default = "yes")]
    pub json_response: bool,

    /// The waiting page. Default: headgate's own, in the language that the visitor prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<RoomPage>,

    /// Attributes of the cookie, `headgate_room_NAMESPACE_NAME`. Default: Auto for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<RoomCookie>,

    /// Requests that the room does not govern, in CEL: `request.path.startsWith('/static/')`. A failure for a request
    /// counts as false. At most 16 of at most 1024 characters. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub bypass: Vec<String>,

    /// `Revoke`: an answer of the origin with the header `Headgate-Waiting-Room-Command: revoke` ends the session.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub origin_commands: Vec<OriginCommand>,

    /// Times at which other limits hold. At most 5, which do not overlap. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub events: Vec<RoomEvent>,

    /// While the shared store is away. `LocalShare`: never above the limit in sum; newcomers see the waiting page.
    /// `Allow`: everybody passes. `Deny`: nobody does. Default: `LocalShare`.
    #[serde(default)]
    pub on_store_failure: StoreFailure,
}

fn root() -> String {
    "/".to_owned()
}

fn five_minutes() -> Duration {
    Duration::of(5, Unit::Minutes)
}

fn yes() -> bool {
    true
}

fn ok() -> u16 {
    200
}

/// Another place that a room is in front of.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomRoute {
    /// The host: a name in lower case. At most 253 characters.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("a host is a name in lower case such as shop.example.com, without scheme, port, path or *")]))]
    pub host: String,

    /// The path, with all below it. At most 1024 characters. Default: `/`.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [Rule::new("self.matches('^/[^?#*]*$')").message("a path begins with a slash and has no query and no *")]))]
    pub path: String,
}

/// Who gets in next.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum QueueingMethod {
    #[default]
    #[serde(rename = "FIFO")]
    Fifo,
    Random,
    Passthrough,
    Reject,
}

/// What an origin may ask for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum OriginCommand {
    Revoke,
}

/// Attributes of a room's cookie.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("self.sameSite != 'None' || self.secure != 'Never'")
        .message("a cookie with sameSite None must be secure: browsers drop it otherwise"),
    validation = Rule::new("!self.partitioned || self.secure != 'Never'")
        .message("a partitioned cookie must be secure: browsers drop it otherwise")
)]
#[serde(rename_all = "camelCase")]
pub struct RoomCookie {
    /// Appended to the name of the cookie, after `_`. Letters, digits, `-` and `_`, at most 64. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub suffix: Option<String>,

    /// Whether requests from other sites carry it. `Auto`: `Lax`. Default: `Auto`.
    #[serde(default)]
    pub same_site: SameSite,

    /// Whether it is sent by HTTPS alone. `Auto`: where it was set by HTTPS. Default: `Auto`.
    #[serde(default)]
    pub secure: Secure,

    /// True: one for each site that embeds the page in a frame. Default: false.
    #[serde(default)]
    pub partitioned: bool,
}

/// Whether requests from other sites carry a cookie.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum SameSite {
    #[default]
    Auto,
    Lax,
    None,
    Strict,
}

/// Whether a cookie is sent by HTTPS alone.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum Secure {
    #[default]
    Auto,
    Always,
    Never,
}
