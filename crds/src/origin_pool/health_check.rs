//! Active health check.

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, Unit};

/// Active health check: every proxy probes every endpoint.
///
/// A dead endpoint is left after `interval * unhealthyThreshold + timeout` at the latest.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self.timeout) <= duration(self.interval)").message("healthCheck.timeout is longer than healthCheck.interval: a probe ends before the next one begins"), Rule::new("self.type in ['HTTP', 'HTTPS'] || self.path == '/'").message("healthCheck.path is for the types HTTP and HTTPS: remove it"), Rule::new("self.type in ['HTTP', 'HTTPS'] || self.expectedStatuses == ['200-299']").message("healthCheck.expectedStatuses is for the types HTTP and HTTPS: remove it"), Rule::new("self.type != 'TCP' || !has(self.host)").message("healthCheck.host is for the types HTTP, HTTPS and GRPC: remove it"), Rule::new("self.type == 'GRPC' || !has(self.service)").message("healthCheck.service is for the type GRPC: remove it")]))]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// `HTTP` and `HTTPS`: a GET whose status is expected. `TCP`: a connection. `GRPC`: the standard health service
    /// (`grpc.health.v1.Health/Check`) answers SERVING. Default: `HTTP`.
    pub r#type: HealthCheckType,

    /// Path asked for, with a query where needed, types HTTP and HTTPS. At most 1024 characters. Default: `/`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/[!-~]*$"))]
    pub path: String,

    /// Time from probe to probe of an endpoint. 100ms to 1h. Default: 10s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('1h')").message("healthCheck.interval is from 100ms to 1h")]))]
    pub interval: Duration,

    /// Time until a probe has failed, not longer than `interval`. 10ms to 1h. Default: 2s.
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('1h')").message("healthCheck.timeout is from 10ms to 1h")]))]
    pub timeout: Duration,

    /// Failed probes in a row until an endpoint is unhealthy. 1 to 10. Default: 2.
    #[schemars(with = "i32", range(min = 1, max = 10))]
    pub unhealthy_threshold: u32,

    /// Good probes in a row until an unhealthy endpoint is healthy again. 1 to 10. Default: 2.
    #[schemars(with = "i32", range(min = 1, max = 10))]
    pub healthy_threshold: u32,

    /// Statuses that count as healthy, types HTTP and HTTPS: single ones (`"204"`) or ranges with both ends
    /// (`"200-299"`), from 200 to 599. 1 to 16. Default: `["200-299"]`.
    #[schemars(length(min = 1, max = 16), inner(length(max = 7), regex(pattern = "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new("self.all(s, s.size() < 7 || s.substring(0, 3) <= s.substring(4, 7))").message("a range in healthCheck.expectedStatuses begins with its lower end, such as 200-299")]))]
    pub expected_statuses: Vec<String>,

    /// `Host` (type GRPC: `:authority`) of the probe. At most 259 characters. Default: the origin's `hostHeader`, else
    /// the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 259), regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$"))]
    pub host: Option<String>,

    /// Port probed in place of the endpoint's. 1 to 65535. Default: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// Service asked about, type GRPC. At most 253 characters. Default: the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[!-~]+$"))]
    pub service: Option<String>,
}

/// Types of probe.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum HealthCheckType {
    #[default]
    Http,
    Https,
    Tcp,
    Grpc,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            r#type: HealthCheckType::default(),
            path: "/".to_owned(),
            interval: Duration::of(10, Unit::Seconds),
            timeout: Duration::of(2, Unit::Seconds),
            unhealthy_threshold: 2,
            healthy_threshold: 2,
            expected_statuses: vec!["200-299".to_owned()],
            host: None,
            port: None,
            service: None,
        }
    }
}
