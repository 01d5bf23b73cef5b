//! Which proxies enforce an object, as the status of every kind tells it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many proxies should enforce an object, and how many do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyCounts {
    /// Proxies that are connected, or were lost without goodbye in the last 60 seconds.
    #[schemars(with = "i32", range(min = 0))]
    pub expected: u32,

    /// Those of them that have applied this generation.
    #[schemars(with = "i32", range(min = 0))]
    pub programmed: u32,
}

/// A proxy lost without goodbye.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwayProxy {
    /// Name of the proxy.
    #[schemars(length(max = 253))]
    pub name: String,

    /// When it was last heard.
    pub since: Time,
}
