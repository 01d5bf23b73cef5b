//! RateLimit: how many requests of a client, a token or a tenant pass in a time, counted across all proxies.
//!
//! `docs/rate-limit.md` is the page for users.

mod key;
mod status;

pub use key::{ClientIpPart, JwtClaimPart, KeyPart, PathPart};
pub use status::{LastMinute, RateLimitStatus};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};
use crate::target::TargetReference;

/// Most that a limit or burst may be. Counters are exact up to it.
pub const MAX_LIMIT: u32 = 100_000_000;

/// How many requests pass in a time, counted across all proxies; also callable by the application.
///
/// Several limits apply in the order of their names: the first that refuses ends it, and later ones are not charged.
/// Refused requests are not counted and do not extend a block. The identity of a counter is the limit's name,
/// `period`, `algorithm` and `key`; everything else may change and the counters stay.
#[allow(clippy::duplicated_attributes, reason = "each column has a type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "headgate.dev",
    version = "v1alpha1",
    kind = "RateLimit",
    plural = "ratelimits",
    shortname = "rl",
    category = "headgate",
    namespaced,
    status = "RateLimitStatus",
    derive = "PartialEq",
    doc = "How many requests pass in a time, counted across all proxies; also callable by the application.",
    printcolumn(name = "Limit", type_ = "integer", json_path = ".spec.limit"),
    printcolumn(name = "Period", type_ = "string", json_path = ".spec.period"),
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope"),
    printcolumn(
        name = "Refused",
        type_ = "integer",
        json_path = ".status.lastMinute.refused",
        description = "Requests beyond the limit in the last minute."
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.burst) || self.algorithm == 'TokenBucket'")
        .message("burst is for the algorithm TokenBucket: remove it"),
    validation = Rule::new("self.consistency != 'Strict' || self.scope == 'Cluster'")
        .message("consistency Strict is for the scope Cluster: one proxy alone is always exact"),
    validation = Rule::new("!has(self.count) || self.consistency != 'Strict'")
        .message("count is for the consistency Eventual: what an answer costs is known after it has passed"),
    validation = Rule::new("(self.action == 'Mark') == has(self.mark)")
        .message("mark is for the action Mark, and that needs it"),
    validation = Rule::new("(self.action == 'Queue') == has(self.queue)")
        .message("queue is for the action Queue, and that needs it"),
    validation = Rule::new("!has(self.response) || self.action == 'Enforce'")
        .message("response is for the action Enforce: remove it"),
    validation = Rule::new("!self.applicationOnly || !(has(self.hosts) || has(self.targetRefs) || has(self.when) || has(self.key) || has(self.exceptions) || has(self.count) || has(self.concurrentRequests) || has(self.response))")
        .message("with applicationOnly there is no request: remove hosts, targetRefs, when, key, exceptions, count, concurrentRequests and response"),
    validation = Rule::new("!self.applicationOnly || self.action in ['Enforce', 'Audit']")
        .message("with applicationOnly the action is Enforce or Audit: the application acts on the answer")
)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// Hosts whose requests are limited: names in lower case; the first label may be `*`, which stands for one or more
    /// labels. At most 64. Default: all hosts that routes, Ingresses and pools of the namespace serve, or that
    /// `targetRefs` bring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new(r"self.all(h, h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
            .message("a host is a name in lower case such as chat.example.com or *.example.com, without scheme, port or path")
    )]
    pub hosts: Vec<String>,

    /// Objects of the namespace whose traffic is limited. At most 16. Default: whatever routes, Ingresses and pools of
    /// the namespace match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetReference>,

    /// Which requests are limited, in CEL: `request.method == 'POST' && request.path.startsWith('/login')`.
    ///
    /// A failure for a request, such as a header that is not there, counts as true. At most 1024 characters. Default:
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub when: Option<String>,

    /// What has a counter of its own: each combination of the parts' values. At most 8 parts. Default: one counter for
    /// all requests.
    ///
    /// A value that is missing and one that is empty are two values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub key: Vec<KeyPart>,

    /// Requests of a key that pass in a period. 1 to 100000000.
    #[schemars(with = "i32", range(min = 1, max = 100_000_000))]
    pub limit: u32,

    /// Any length from 1s to 24h.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("period is from 1s to 24h")]))]
    pub period: Duration,

    /// `SlidingWindow`: the requests of this period, and of the last one as many as the share of it that the window
    /// still covers, are at most `limit`. `TokenBucket`: a bucket of `burst` tokens, refilled with `limit` a period, in
    /// fractions. Default: `SlidingWindow`.
    #[serde(default)]
    pub algorithm: Algorithm,

    /// Tokens in a full bucket, algorithm TokenBucket. 1 to 100000000. Default: as many as the limit that applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 100_000_000))]
    pub burst: Option<u32>,

    /// `Cluster`: one counter for all proxies, in the shared store. `Proxy`: one in each proxy. Default: `Cluster`.
    #[serde(default)]
    pub scope: LimitScope,

    /// `Eventual`: decided from memory and synced behind; twice the limit may pass in the first period when many proxies
    /// are hit at once. `Strict`: never above the limit, for one round trip to the store a request. Default: `Eventual`.
    #[serde(default)]
    pub consistency: Consistency,

    /// How long a key is refused from the request that crossed the limit on. 0s refuses only the excess. 0s to 24h.
    /// Default: 0s.
    #[serde(default = "no_block")]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) <= duration('24h')").message("blockFor is from 0s to 24h")]))]
    pub block_for: Duration,

    /// What happens to a request beyond the limit. `Enforce`: it gets `response`. `Audit`: it passes, and is counted as
    /// refused in status and metrics. `Mark`: it passes with the header of `mark`. Default: `Enforce`.
    ///
    /// `Challenge` and `Queue` are refused by this release: it has neither challenges nor waiting rooms yet.
    #[serde(default)]
    pub action: LimitAction,

    /// The header that tells the origin, action Mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<LimitMark>,

    /// The WaitingRoom that takes the request, action Queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<RoomReference>,

    /// What a refusal answers, action Enforce. Default: 429 in the form that the client accepts: a problem document, a
    /// page or `grpc-status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<LimitResponse>,

    /// Other limits for some requests: the first whose `when` holds replaces `limit`, on the same counter. At most 32.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exceptions: Vec<LimitException>,

    /// Counts by what the answer says, in place of each request. Consistency Eventual only. Default: each request
    /// counts 1, before it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,

    /// Most requests of a key in flight at once, beside `limit`. With scope Cluster each proxy passes its share of them,
    /// at least 1. 1 to 1000000. Default: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 1_000_000))]
    pub concurrent_requests: Option<u32>,

    /// True: the limit governs no traffic, and only the application asks for it by name. Default: false.
    #[serde(default)]
    pub application_only: bool,

    /// While the shared store is away, scope Cluster. `LocalShare`: each proxy passes `limit` divided by the live
    /// proxies, at least 1. `Allow`: everything passes. `Deny`: nothing does, the answer is 503 `StoreUnavailable`.
    /// Default: `LocalShare`.
    #[serde(default)]
    pub on_store_failure: StoreFailure,
}

fn no_block() -> Duration {
    Duration::of(0, Unit::Seconds)
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum Algorithm {
    #[default]
    SlidingWindow,
    TokenBucket,
}

/// Who shares a counter.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum LimitScope {
    #[default]
    Cluster,
    Proxy,
}

/// How exact a limit of scope Cluster is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum Consistency {
    #[default]
    Eventual,
    Strict,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum LimitAction {
    #[default]
    Enforce,
    Audit,
    Mark,
    Challenge,
    Queue,
}

/// What holds while the shared store is away.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum StoreFailure {
    #[default]
    LocalShare,
    Allow,
    Deny,
}

/// A header that tells the origin of a request beyond the limit.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitMark {
    /// Name of the request header. What clients send under it is removed. At most 256 characters.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub header: String,

    /// Its value: printable ASCII, at most 256 characters.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[!-~]([ -~]*[!-~])?$"))]
    pub value: String,
}

/// A WaitingRoom of the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomReference {
    /// Name of the WaitingRoom.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What a refusal answers.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("!has(self.contentType) || has(self.body)")
        .message("response.contentType is that of response.body: write both, or remove it")
)]
#[serde(rename_all = "camelCase")]
pub struct LimitResponse {
    /// Status. 400 to 499. Default: 429.
    #[serde(default = "too_many_requests")]
    #[schemars(with = "i32", range(min = 400, max = 499))]
    pub status: u16,

    /// Media type of `body`. At most 128 characters. Default: `text/plain; charset=utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128), regex(pattern = "^[!-.0-~]+/[!-.0-~]+( *; *[!-~]+)*$"))]
    pub content_type: Option<String>,

    /// Body. At most 30000 characters. Default: what every error of headgate has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30_000))]
    pub body: Option<String>,
}

fn too_many_requests() -> u16 {
    429
}

/// Another limit for some requests.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitException {
    /// Which requests, in CEL. After a failure for a request the exception applies only where its limit is the lower
    /// one. At most 1024 characters.
    #[schemars(length(min = 1, max = 1024))]
    pub when: String,

    /// Requests of a key that pass in a period. 1 to 100000000.
    #[schemars(with = "i32", range(min = 1, max = 100_000_000))]
    pub limit: u32,
}

/// Counts by what the answer says. A request passes while its key is within the limit, and counts when its answer has
/// come.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.when) || has(self.costHeader)")
        .message("count has when, costHeader or both")
)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Which requests count, in CEL over request and answer: `response.status == 401`. A failure counts as true. At most
    /// 1024 characters. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub when: Option<String>,

    /// Header of the answer that says how much a request counts, 1 to 1000000; it does not reach the client. Missing:
    /// 1. Anything else: nothing. At most 256 characters. Default: every request counts 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub cost_header: Option<String>,
}
