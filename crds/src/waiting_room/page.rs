//! The waiting page.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The waiting page: exactly one of the fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("[has(self.language), has(self.html), has(self.configMap)].filter(present, present).size() == 1")
        .message("page is exactly one of language, html and configMap")
)]
#[serde(rename_all = "camelCase")]
pub struct RoomPage {
    /// Language of headgate's own page, `de-DE` for instance, whatever the visitor prefers. At most 35 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 35), regex(pattern = "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"))]
    pub language: Option<String>,

    /// A page of your own, a Mustache template. At most 65536 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub html: Option<String>,

    /// The same in a ConfigMap of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKey>,
}

/// A value of a ConfigMap.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key of the value.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
