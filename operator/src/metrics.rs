//! What the operator counts.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Bounds of durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The counters of the control loop. Those of the stream are the hub's.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Translations.
    pub reconciles: IntCounter,
    /// How long a translation and its publication took.
    pub reconcile_seconds: Histogram,
    /// From the first change of the API server that a publication has to that publication.
    pub publish_seconds: Histogram,
    /// Events of watches that wait.
    pub queue: IntGauge,
    /// Events of watches, by kind and type.
    pub watch_events: IntCounterVec,
    /// Errors of watches, by kind and reason.
    pub watch_errors: IntCounterVec,
    /// Complete listings, by kind.
    pub watch_listings: IntCounterVec,
    /// 1 where a kind is listed and followed.
    pub watch_synced: IntGaugeVec,
    /// Objects that could not be read, by kind.
    pub malformed: IntCounterVec,
    /// 1 while this replica leads.
    pub leader: IntGauge,
    /// Writes of status, by kind and result: written, conflict, error.
    pub status_writes: IntCounterVec,
    /// How long one write of status took.
    pub status_write_seconds: HistogramVec,
    /// Objects whose status waits to be written.
    pub status_pending: IntGauge,
    /// Events told, by reason.
    pub events: IntCounterVec,
    /// Writes of host claims, by result.
    pub claim_writes: IntCounterVec,
}

impl Metrics {
    /// The counters, in a registry. Fails where it has some of these names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let made = Maker { registry };
        Ok(Self {
            reconciles: made.counter("headgate_reconciles_total", "Translations of the whole world.")?,
            reconcile_seconds: made.histogram("headgate_reconcile_seconds", "Duration of a translation.")?,
            publish_seconds: made.histogram(
                "headgate_publish_seconds",
                "From the first change of the API server in a publication to that publication.",
            )?,
            queue: made.gauge("headgate_watch_queue", "Events of watches that wait to be taken in.")?,
            watch_events: made.counters("headgate_watch_events_total", "Events of watches.", &["kind", "type"])?,
            watch_errors: made.counters("headgate_watch_errors_total", "Errors of watches.", &["kind", "reason"])?,
            watch_listings: made.counters("headgate_watch_listings_total", "Complete listings.", &["kind"])?,
            watch_synced: made.gauges("headgate_watch_synced", "1 where a kind is listed and followed.", &["kind"])?,
            malformed: made.counters(
                "headgate_malformed_objects_total",
                "States of objects that could not be read.",
                &["kind"],
            )?,
            leader: made.gauge("headgate_leader", "1 while this replica leads.")?,
            status_writes: made.counters("headgate_status_writes_total", "Writes of status.", &["kind", "result"])?,
            status_write_seconds: made.histograms(
                "headgate_status_write_seconds",
                "Duration of one write of status.",
                &["kind"],
            )?,
            status_pending: made.gauge("headgate_status_pending", "Objects whose status waits to be written.")?,
            events: made.counters("headgate_events_total", "Events told about objects.", &["reason"])?,
            claim_writes: made.counters("headgate_claim_writes_total", "Writes of host claims.", &["result"])?,
        })
    }
}

/// Makes and registers one metric at a time.
struct Maker<'r> {
    registry: &'r Registry,
}

impl Maker<'_> {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?)
    }
}
