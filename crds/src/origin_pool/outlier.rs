//! Passive health check.

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};

/// Passive health check: leave endpoints that fail or are much slower than their peers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Failed requests in a row until an endpoint is left out. 1 to 1000. Default: 5.
    #[schemars(with = "i32", range(min = 1, max = 1000))]
    pub consecutive_failures: u32,

    /// An endpoint this many times slower than its peers is left out. 1.5 to 100. Default: 3.
    #[schemars(range(min = 1.5, max = 100.0))]
    pub slow_factor: f64,

    /// How long an endpoint is left out the first time; each further time it is longer. 1s to 1h. Default: 10s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')").message("outlierDetection.baseEjection is from 1s to 1h")]))]
    pub base_ejection: Duration,

    /// Share of an origin's endpoints that may be left out at the same time, in percent. 0 to 100. Default: 50.
    #[schemars(with = "i32", range(min = 0, max = 100))]
    pub max_ejected_percent: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            slow_factor: 3.0,
            base_ejection: Duration::of(10, Unit::Seconds),
            max_ejected_percent: 50,
        }
    }
}
