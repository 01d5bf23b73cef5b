//! Every metric of the proxy, in one file.
//!
//! What a request counts is resolved to plain counters when the proxy starts, so that counting is one atomic
//! addition. Figures that are cheap to read and dear to keep (health, limits, tasks, memory) are set when they are asked
//! for.

mod limits;
pub(crate) mod store;

use headgate_engine::{Limits, Plan, Reason};
use headgate_snapshot::Report;
use parking_lot::Mutex;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use limits::LimitMetrics;
use store::StoreMetrics;

/// Upper ends of the buckets of durations, in seconds.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Label value of answers that came from an origin.
const FROM_ORIGIN: &str = "";

/// Classes of status, by the hundreds of the status less one.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How an attempt at an origin ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AttemptResult {
    /// The answer's headers came.
    Answered,
    /// It failed for this reason.
    Failed(Reason),
    /// The client went away first.
    Abandoned,
}

/// The metrics of one proxy.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Held while the figures of a report are set and read, so that two who ask at once both get them all.
    reading: Mutex<()>,
    requests_of_origins: [IntCounter; CLASSES.len()],
    requests_answered: Vec<IntCounter>,
    pub(crate) request_duration: Histogram,
    attempts_answered: IntCounter,
    attempts_abandoned: IntCounter,
    attempts_failed: Vec<IntCounter>,
    pub(crate) retries: IntCounter,
    pub(crate) connections_http: IntGauge,
    pub(crate) connections_https: IntGauge,
    pub(crate) handshakes_failed: IntCounter,
    pub(crate) requests_in_flight: IntGauge,
    pub(crate) plans_applied: IntCounter,
    pub(crate) batch_bytes: IntCounter,
    pub(crate) plan_resources: IntGauge,
    pub(crate) access_log_dropped: IntCounter,
    pub(crate) probes: [IntCounter; 2],
    plan_info: IntGaugeVec,
    refused: IntGauge,
    troubles: IntGaugeVec,
    endpoints: IntGaugeVec,
    endpoints_healthy: IntGaugeVec,
    tasks: IntGauge,
    memory: IntGauge,
    pub(crate) operator: OperatorMetrics,
    pub(crate) store: StoreMetrics,
    limits: LimitMetrics,
}

/// The streams to the operator.
#[derive(Debug)]
pub(crate) struct OperatorMetrics {
    pub(crate) connected: IntGauge,
    pub(crate) disconnections: IntCounter,
    following: IntGauge,
    term: IntGauge,
    batches_taken: IntCounter,
    batches_ignored: IntCounter,
}

impl OperatorMetrics {
    fn new(at: &Registry) -> prometheus::Result<Self> {
        let batches = counters(
            at,
            "headgate_operator_batches_total",
            "Batches that came from replicas of the operator. Those of a replica that is not followed are ignored.",
            &["result"],
        )?;
        Ok(Self {
            connected: gauge(at, "headgate_operator_connected", "Replicas of the operator with an open stream.")?,
            disconnections: counter(
                at,
                "headgate_operator_disconnections_total",
                "Streams to the operator that broke or could not be opened.",
            )?,
            following: gauge(
                at,
                "headgate_operator_following",
                "1 while configuration is taken from a replica of the operator.",
            )?,
            term: gauge(at, "headgate_operator_term", "Term of the leader that was followed last.")?,
            batches_taken: batches.with_label_values(&["Taken"]),
            batches_ignored: batches.with_label_values(&["Ignored"]),
        })
    }

    /// Notes a decision: whether a replica is followed, and its term where it leads.
    pub(crate) fn follow(&self, follows: bool, term: Option<u64>) {
        self.following.set(follows.into());
        if let Some(term) = term {
            self.term.set(i64::try_from(term).unwrap_or(i64::MAX));
        }
    }

    /// Counts a batch.
    pub(crate) fn count_batch(&self, taken: bool) {
        if taken { self.batches_taken.inc() } else { self.batches_ignored.inc() }
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let at = &registry;
        let requests = counters(
            at,
            "headgate_requests_total",
            "Requests answered. reason: why the proxy itself answered, empty where an origin did.",
            &["reason", "class"],
        )?;
        let attempts = counters(at, "headgate_origin_attempts_total", "Attempts at origins.", &["result"])?;
        let connections = gauges(at, "headgate_connections_open", "Open connections of clients.", &["protocol"])?;
        let probes = counters(at, "headgate_health_probes_total", "Health probes sent.", &["result"])?;
        let request_duration = Histogram::with_opts(
            HistogramOpts::new(
                "headgate_request_duration_seconds",
                "From a request's headers to the end of its answer.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(request_duration.clone()))?;
        let answered = |reason: &Reason| {
            requests.with_label_values(&[reason.word(), CLASSES[usize::from(reason.status() / 100 - 1)]])
        };
        Ok(Self {
            requests_of_origins: CLASSES.map(|class| requests.with_label_values(&[FROM_ORIGIN, class])),
            requests_answered: Reason::ALL.iter().map(answered).collect(),
            request_duration,
            attempts_answered: attempts.with_label_values(&["Answered"]),
            attempts_abandoned: attempts.with_label_values(&["Abandoned"]),
            attempts_failed: Reason::ALL.iter().map(|reason| attempts.with_label_values(&[reason.word()])).collect(),
            retries: counter(at, "headgate_origin_retries_total", "Attempts beyond the first of a request.")?,
            connections_http: connections.with_label_values(&["HTTP"]),
            connections_https: connections.with_label_values(&["HTTPS"]),
            handshakes_failed: counter(at, "headgate_tls_handshakes_failed_total", "TLS handshakes that failed.")?,
            requests_in_flight: gauge(at, "headgate_requests_in_flight", "Requests being served.")?,
            plans_applied: counter(at, "headgate_plans_applied_total", "Batches applied.")?,
            batch_bytes: counter(at, "headgate_batch_bytes_total", "Bytes of the batches applied.")?,
            plan_resources: gauge(at, "headgate_plan_resources", "Resources of the plan in force.")?,
            access_log_dropped: counter(
                at,
                "headgate_access_log_dropped_total",
                "Log records dropped: the writer is slow.",
            )?,
            probes: ["Succeeded", "Failed"].map(|result| probes.with_label_values(&[result])),
            plan_info: gauges(at, "headgate_plan_info", "1 for the version of the plan in force.", &["version"])?,
            refused: gauge(at, "headgate_plan_refused_resources", "Resources that this proxy refuses.")?,
            troubles: gauges(at, "headgate_troubles", "1 for what troubles the proxy now.", &["reason"])?,
            endpoints: gauges(at, "headgate_origin_endpoints", "Endpoints of an origin.", &["pool", "origin"])?,
            endpoints_healthy: gauges(
                at,
                "headgate_origin_endpoints_healthy",
                "Endpoints of an origin that may take traffic.",
                &["pool", "origin"],
            )?,
            tasks: gauge(at, "headgate_tasks", "Tasks that are alive, for requests and beside them.")?,
            memory: gauge(at, "process_resident_memory_bytes", "Resident memory of the process.")?,
            operator: OperatorMetrics::new(at)?,
            store: StoreMetrics::new(at)?,
            limits: LimitMetrics::new(at)?,
            registry,
            reading: Mutex::new(()),
        })
    }

    /// Counts an answer: of an origin with its status, or of the proxy with its reason.
    pub(crate) fn count_request(&self, reason: Option<Reason>, status: u16) {
        match reason {
            Some(reason) => self.requests_answered[index(reason)].inc(),
            None => {
                if let Some(counter) = self.requests_of_origins.get(usize::from(status / 100).wrapping_sub(1)) {
                    counter.inc();
                }
            }
        }
    }

    /// Counts an attempt at an origin.
    pub(crate) fn count_attempt(&self, result: AttemptResult) {
        match result {
            AttemptResult::Answered => self.attempts_answered.inc(),
            AttemptResult::Failed(reason) => self.attempts_failed[index(reason)].inc(),
            AttemptResult::Abandoned => self.attempts_abandoned.inc(),
        }
    }

    /// The metrics as text, with the figures of a report and of the limits of a plan.
    pub(crate) fn text(&self, report: &Report, plan: &Plan, limits: &Limits, tasks: usize) -> Vec<u8> {
        let _reading = self.reading.lock();
        self.limits.show(plan, limits);
        let Report { proxy: _, version, refusals, pools, troubles, sequence: _, limits: _, rooms: _ } = report;
        for gauges in [&self.plan_info, &self.troubles, &self.endpoints, &self.endpoints_healthy] {
            gauges.reset();
        }
        self.plan_info.with_label_values(&[version.as_str()]).set(1);
        self.refused.set(count(refusals.len()));
        for trouble in troubles {
            self.troubles.with_label_values(&[trouble.reason.as_str()]).set(1);
        }
        for pool in pools {
            let name = pool.key.as_ref().map(ToString::to_string).unwrap_or_default();
            for origin in &pool.origins {
                let labels = [name.as_str(), origin.name.as_str()];
                self.endpoints.with_label_values(&labels).set(origin.total.into());
                self.endpoints_healthy.with_label_values(&labels).set(origin.healthy.into());
            }
        }
        self.tasks.set(count(tasks));
        self.memory.set(resident_bytes().unwrap_or_default());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        text
    }
}

fn index(reason: Reason) -> usize {
    Reason::ALL.iter().position(|known| *known == reason).unwrap_or_default()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The second number of `statm` is the resident set in pages, which are 4 KiB where we run.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[cfg(test)]
mod tests {
    use headgate_engine::Sharing;
    use headgate_snapshot::{Key, OriginHealth, PoolHealth};

    use super::*;

    fn text(metrics: &Metrics, report: &Report, tasks: usize) -> String {
        let limits = Limits::new(1, [0; 16], Sharing::Nothing);
        String::from_utf8(metrics.text(report, &Plan::default(), &limits, tasks)).unwrap()
    }

    #[test]
    fn answers_are_counted_by_reason_and_class() {
        let metrics = Metrics::new().unwrap();
        metrics.count_request(None, 204);
        metrics.count_request(Some(Reason::NoRoute), 404);
        let origin = OriginHealth { name: "eu".into(), healthy: 1, total: 2, ..OriginHealth::default() };
        let pool = PoolHealth { key: Some(Key::new("OriginPool", "default", "chat")), origins: vec![origin] };
        let report = Report { version: "v1".into(), pools: vec![pool], ..Report::default() };
        let text = text(&metrics, &report, 7);
        for line in [
            r#"headgate_requests_total{class="2xx",reason=""} 1"#,
            r#"headgate_requests_total{class="4xx",reason="NoRoute"} 1"#,
            r#"headgate_requests_total{class="5xx",reason="OriginTimeout"} 0"#,
            r#"headgate_plan_info{version="v1"} 1"#,
            r#"headgate_origin_endpoints_healthy{origin="eu",pool="OriginPool/default/chat"} 1"#,
            "headgate_tasks 7",
            r#"headgate_store_calls_total{operation="Ask",result="TimedOut"} 0"#,
            "headgate_store_lost 0",
            "headgate_proxies 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn who_asks_at_the_same_time_as_another_gets_all_figures() {
        let metrics = Metrics::new().unwrap();
        let report = Report { version: "v1".into(), ..Report::default() };
        let ask = || {
            for _ in 0..200 {
                let text = text(&metrics, &report, 1);
                assert!(text.contains(r#"headgate_plan_info{version="v1"} 1"#), "{text}");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(ask);
            scope.spawn(ask);
        });
    }
}
