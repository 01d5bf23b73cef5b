//! Active health check: checks, and spec to wire.

use headgate_crds::duration::Unit;
use headgate_crds::origin_pool::{HealthCheck, HealthCheckType};
use headgate_snapshot as wire;

use crate::findings::Findings;

pub(super) fn lower(check: &HealthCheck, findings: &mut Findings) -> wire::HealthCheck {
    let HealthCheck {
        r#type,
        path,
        interval,
        timeout,
        unhealthy_threshold,
        healthy_threshold,
        expected_statuses,
        host,
        port,
        service,
    } = check;
    let asks_http = match r#type {
        HealthCheckType::Http | HealthCheckType::Https => true,
        HealthCheckType::Tcp | HealthCheckType::Grpc => false,
    };
    let defaults = HealthCheck::default();
    if !asks_http && *path != defaults.path {
        findings.refuse("spec.healthCheck.path", "is for the types HTTP and HTTPS; remove it, or change the type");
    }
    findings.bound("spec.healthCheck.interval", interval, [(100, Unit::Milliseconds), (1, Unit::Hours)]);
    findings.bound("spec.healthCheck.timeout", timeout, [(10, Unit::Milliseconds), (1, Unit::Hours)]);
    if timeout.value() > interval.value() {
        let sentence = format!(
            "{timeout} is longer than the interval of {interval}; write at most {interval}, or a longer interval"
        );
        findings.refuse("spec.healthCheck.timeout", sentence);
    }
    if !asks_http && *expected_statuses != defaults.expected_statuses {
        let sentence = "is for the types HTTP and HTTPS; remove it, or change the type";
        findings.refuse("spec.healthCheck.expectedStatuses", sentence);
    }
    if host.is_some() && *r#type == HealthCheckType::Tcp {
        let sentence = "is for the types HTTP, HTTPS and GRPC; remove it, or change the type";
        findings.refuse("spec.healthCheck.host", sentence);
    }
    if service.is_some() && *r#type != HealthCheckType::Grpc {
        findings.refuse("spec.healthCheck.service", "is for the type GRPC; remove it, or change the type");
    }
    let (check_type, path, statuses) = match r#type {
        HealthCheckType::Http => (wire::HealthCheckType::HttpGet, path.clone(), statuses(expected_statuses, findings)),
        HealthCheckType::Https => {
            (wire::HealthCheckType::HttpsGet, path.clone(), statuses(expected_statuses, findings))
        }
        HealthCheckType::Tcp => (wire::HealthCheckType::TcpConnect, String::new(), Vec::new()),
        HealthCheckType::Grpc => (wire::HealthCheckType::GrpcHealth, service.clone().unwrap_or_default(), Vec::new()),
    };
    wire::HealthCheck {
        r#type: check_type.into(),
        path,
        interval_ms: interval.milliseconds(),
        timeout_ms: timeout.milliseconds(),
        unhealthy_threshold: *unhealthy_threshold,
        healthy_threshold: *healthy_threshold,
        expected_statuses: statuses,
        host: host.clone().unwrap_or_default(),
        port: port.map_or(0, u32::from),
    }
}

fn statuses(written: &[String], findings: &mut Findings) -> Vec<wire::StatusRange> {
    let mut ranges = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let field = format!("spec.healthCheck.expectedStatuses[{index}]");
        match (from.parse::<u32>(), to.parse::<u32>()) {
            (Ok(from), Ok(to)) if from <= to => ranges.push(wire::StatusRange { from, to }),
            (Ok(_), Ok(_)) => {
                findings.refuse(field, format!("\"{text}\" ends below its beginning; write \"{to}-{from}\""));
            }
            _ => findings.refuse(field, format!("\"{text}\" is no status; write \"204\" or \"200-299\" for instance")),
        }
    }
    ranges
}
