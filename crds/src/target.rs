//! What a policy applies to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most objects that a policy names.
pub const MAX_TARGETS: usize = 16;

/// An object of the policy's namespace.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[x_kube(
    validation = Rule::new("!has(self.group) || self.group == {'Gateway': 'gateway.networking.k8s.io', 'HTTPRoute': 'gateway.networking.k8s.io', 'Ingress': 'networking.k8s.io', 'OriginPool': 'headgate.dev', 'Service': ''}[self.kind]")
        .message("the group of a target is that of its kind: leave it out"),
    validation = Rule::new("!has(self.sectionName) || self.kind in ['Gateway', 'HTTPRoute']")
        .message("sectionName is for the kinds Gateway and HTTPRoute: remove it")
)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// API group of the kind, for who wants to write it: `gateway.networking.k8s.io`, `networking.k8s.io`,
    /// `headgate.dev`, or empty for a Service. Default: that of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,

    /// `Gateway`: all traffic of its listeners, whoever's route matches it. `HTTPRoute`, `Ingress`: what it matches.
    /// `OriginPool`: what its hosts match, and what a rule of this namespace matches that has it among its backends.
    /// `Service`: what the pods behind it receive; accepted but not yet enforced.
    pub kind: TargetKind,

    /// Name of the object, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// A part of it: a listener of a Gateway, or a rule of an HTTPRoute by its name. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Kinds that a policy may be for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum TargetKind {
    Gateway,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    Ingress,
    OriginPool,
    Service,
}
