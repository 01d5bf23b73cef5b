//! Metrics of limits. Their figures are kept by the engine and written when they are asked for.

use headgate_engine::{Figure, Limits, Plan, Why};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{count, counters, gauge, gauges};

/// Label value of requests within a limit.
const ALLOWED: &str = "Allowed";

/// Limits. A label names each, so that there are as many series as a plan has limits, times a few words.
#[derive(Debug)]
pub(crate) struct LimitMetrics {
    requests: IntCounterVec,
    failures: IntCounterVec,
    forgotten: IntCounterVec,
    keys: IntGaugeVec,
    bytes: IntGaugeVec,
    proxies: IntGauge,
}

impl LimitMetrics {
    pub(super) fn new(at: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            requests: counters(
                at,
                "headgate_rate_limit_requests_total",
                "Requests by what a limit made of them. Limits that refuse nothing count what they would have refused.",
                &["limit", "decision"],
            )?,
            failures: counters(
                at,
                "headgate_rate_limit_expression_failures_total",
                "Expressions of a limit that had no value for a request. None of these lifted the limit.",
                &["limit"],
            )?,
            forgotten: counters(
                at,
                "headgate_rate_limit_keys_forgotten_total",
                "Keys of a limit that were forgotten before their time, for want of room.",
                &["limit"],
            )?,
            keys: gauges(at, "headgate_rate_limit_keys", "Keys of a limit in memory.", &["limit"])?,
            bytes: gauges(at, "headgate_rate_limit_bytes", "Memory of a limit's keys.", &["limit"])?,
            proxies: gauge(at, "headgate_proxies", "Proxies that share limits, as this one knows it.")?,
        })
    }

    /// Writes the figures of the limits in force.
    pub(super) fn show(&self, plan: &Plan, limits: &Limits) {
        for counters in [&self.requests, &self.failures, &self.forgotten] {
            counters.reset();
        }
        for gauges in [&self.keys, &self.bytes] {
            gauges.reset();
        }
        for limit in plan.limits() {
            let name = format!("{}/{}", limit.key().namespace, limit.key().name);
            let (Figure { allowed, refused }, failures) = limit.totals();
            self.requests.with_label_values(&[name.as_str(), ALLOWED]).inc_by(allowed);
            for (why, refused) in Why::ALL.iter().zip(refused) {
                self.requests.with_label_values(&[name.as_str(), why.word()]).inc_by(refused);
            }
            self.failures.with_label_values(&[&name]).inc_by(failures);
            let (keys, bytes, forgotten) = limit.size();
            self.keys.with_label_values(&[&name]).set(count(keys));
            self.bytes.with_label_values(&[&name]).set(count(bytes));
            self.forgotten.with_label_values(&[&name]).inc_by(forgotten);
        }
        self.proxies.set(limits.proxies().into());
    }
}
