//! What is counted of the streams.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::access::{Denial, Role};

/// Upper ends of the times from a batch to its answer, in seconds.
const ACK_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 5.0];

/// Counters of the streams.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    streams: IntGaugeVec,
    batches: IntCounter,
    batch_bytes: IntCounter,
    acks: Histogram,
    denials: IntCounterVec,
}

impl StreamMetrics {
    /// Counters in a registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            streams: IntGaugeVec::new(Opts::new("headgate_operator_streams", "Connected proxies"), &["role"])?,
            batches: IntCounter::new("headgate_operator_batches_total", "Batches sent to proxies")?,
            batch_bytes: IntCounter::new("headgate_operator_batch_bytes_total", "Bytes of the batches sent")?,
            acks: Histogram::with_opts(
                HistogramOpts::new("headgate_operator_ack_seconds", "From sending a batch to the proxy's answer")
                    .buckets(ACK_SECONDS.to_vec()),
            )?,
            denials: IntCounterVec::new(
                Opts::new("headgate_operator_denials_total", "Proxies that got nothing, by reason"),
                &["reason"],
            )?,
        };
        let Self { streams, batches, batch_bytes, acks, denials } = metrics.clone();
        registry.register(Box::new(streams))?;
        registry.register(Box::new(batches))?;
        registry.register(Box::new(batch_bytes))?;
        registry.register(Box::new(acks))?;
        registry.register(Box::new(denials))?;
        Ok(metrics)
    }

    pub(super) fn connected(&self, role: Role) {
        self.streams.with_label_values(&[word(role)]).inc();
    }

    pub(super) fn disconnected(&self, role: Role) {
        self.streams.with_label_values(&[word(role)]).dec();
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.batches.inc();
        self.batch_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn acknowledged(&self, after: Duration) {
        self.acks.observe(after.as_secs_f64());
    }

    pub(super) fn denied(&self, denial: &Denial) {
        let reason = match denial {
            Denial::NoToken => "NoToken",
            Denial::NotAuthenticated => "NotAuthenticated",
            Denial::WrongAudience => "WrongAudience",
            Denial::Endless => "Endless",
            Denial::Ended => "Ended",
            Denial::NoGateway { .. } => "NoGateway",
            Denial::Unbound { .. } => "Unbound",
            Denial::NotAllowed { .. } => "NotAllowed",
            Denial::AnotherIdentity => "AnotherIdentity",
            Denial::Unanswered(_) => "Unanswered",
        };
        self.denials.with_label_values(&[reason]).inc();
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Gateway => "gateway",
        Role::Sidecar => "sidecar",
    }
}
