//! Metrics of the shared store.

use std::time::Duration;

use headgate_engine::StoreError;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use super::{counters, gauge};

/// Upper ends of the buckets of calls, in seconds. None takes longer than 0.25.
const CALL_BUCKETS: &[f64] = &[0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// Why the store is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    /// A request waits for it.
    Ask,
    /// Counts are told behind.
    Tell,
    /// A heartbeat.
    Join,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// With an answer.
    Answered,
    /// The store cannot be reached.
    Unavailable,
    /// It was too slow.
    TimedOut,
    /// Its answer cannot be read.
    Unreadable,
}

impl Outcome {
    const WORDS: [&str; 4] = ["Answered", "Unavailable", "TimedOut", "Unreadable"];

    /// What an error means.
    pub(crate) fn of(error: Option<&StoreError>) -> Self {
        match error {
            None => Self::Answered,
            Some(StoreError::Unavailable(_)) => Self::Unavailable,
            Some(StoreError::TimedOut) => Self::TimedOut,
            Some(StoreError::Protocol(_)) => Self::Unreadable,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Answered => 0,
            Self::Unavailable => 1,
            Self::TimedOut => 2,
            Self::Unreadable => 3,
        }
    }
}

/// The shared store.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    asked: [IntCounter; Outcome::WORDS.len()],
    told: [IntCounter; Outcome::WORDS.len()],
    joined: [IntCounter; Outcome::WORDS.len()],
    duration: Histogram,
    pub(crate) lost: IntGauge,
}

impl StoreMetrics {
    pub(super) fn new(at: &Registry) -> prometheus::Result<Self> {
        let calls = counters(
            at,
            "headgate_store_calls_total",
            "Calls to the shared store. Ask: a request waited for it. Tell: counts were told behind. Join: heartbeats.",
            &["operation", "result"],
        )?;
        let duration = Histogram::with_opts(
            HistogramOpts::new("headgate_store_call_duration_seconds", "Calls to the shared store.")
                .buckets(CALL_BUCKETS.to_vec()),
        )?;
        at.register(Box::new(duration.clone()))?;
        let of = |operation: &str| Outcome::WORDS.map(|result| calls.with_label_values(&[operation, result]));
        Ok(Self {
            asked: of("Ask"),
            told: of("Tell"),
            joined: of("Join"),
            duration,
            lost: gauge(at, "headgate_store_lost", "1 while the shared store is away and nobody waits for it.")?,
        })
    }

    /// Counts a call.
    pub(crate) fn count(&self, call: Call, outcome: Outcome, elapsed: Duration) {
        let counters = match call {
            Call::Ask => &self.asked,
            Call::Tell => &self.told,
            Call::Join => &self.joined,
        };
        counters[outcome.index()].inc();
        self.duration.observe(elapsed.as_secs_f64());
    }
}
