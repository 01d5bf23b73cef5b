//! ReferenceGrant: a namespace lets objects of others refer into it.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Spec of a ReferenceGrant.
///
/// Versions `v1` and `v1beta1` have the same shape and both are read into this type; it names `v1beta1`, which
/// every release of the Gateway API serves.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1beta1",
    kind = "ReferenceGrant",
    plural = "referencegrants",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// Who may refer. One entry that matches is enough.
    pub from: Vec<ReferenceGrantFrom>,
    /// What may be referred to, in the grant's own namespace.
    pub to: Vec<ReferenceGrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantFrom {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantTo {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; absent: all objects of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
