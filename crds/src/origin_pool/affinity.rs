//! Session affinity.

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};

/// Keeps a visitor on one endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("(self.type == 'Header') == has(self.header)").message("sessionAffinity.header is for the type Header, and that needs it")]))]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinity {
    /// What a visitor is known by: `None` (nobody is kept), `Cookie` (one that the proxy sets), `ClientIP`, or `Header`.
    /// Default: `None`.
    pub r#type: AffinityType,

    /// Name of the request header, type Header. At most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub header: Option<String>,

    /// How long a visitor is kept. 1s to 168h. Default: 23h.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("sessionAffinity.ttl is from 1s to 168h")]))]
    pub ttl: Duration,

    /// How long a disabled endpoint keeps the visitors that it has. 0s to 168h. Default: 0s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) <= duration('168h')").message("sessionAffinity.drain is from 0s to 168h")]))]
    pub drain: Duration,
}

/// What a visitor is known by.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum AffinityType {
    #[default]
    None,
    Cookie,
    #[serde(rename = "ClientIP")]
    ClientIp,
    Header,
}

impl Default for SessionAffinity {
    fn default() -> Self {
        Self {
            r#type: AffinityType::default(),
            header: None,
            ttl: Duration::of(23, Unit::Hours),
            drain: Duration::of(0, Unit::Seconds),
        }
    }
}
