//! One address that requests go to, with what is known of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::health::{Health, HealthState};
use crate::time::Millis;

/// An address of an origin of a pool. It outlives plans: its health and its requests in flight stay when weights,
/// thresholds or the order of origins are edited.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    health: AtomicU32,
    in_flight: AtomicU32,
    probing: AtomicBool,
    probe_due_ms: AtomicU64,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: AtomicU32::new(HealthState::default().pack()),
            in_flight: AtomicU32::new(0),
            probing: AtomicBool::new(false),
            probe_due_ms: AtomicU64::new(0),
        }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the probes found.
    pub fn health(&self) -> Health {
        self.health_state().health
    }

    /// Requests that are at this endpoint now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn health_state(&self) -> HealthState {
        HealthState::unpack(self.health.load(Ordering::Relaxed))
    }

    /// Only the one probe that is under way writes, so that reading and writing need not be one step.
    pub(crate) fn set_health_state(&self, state: HealthState) {
        self.health.store(state.pack(), Ordering::Relaxed);
    }

    pub(crate) fn probe_due(&self) -> Millis {
        Millis(self.probe_due_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_probe_due(&self, due: Millis) {
        self.probe_due_ms.store(due.0, Ordering::Relaxed);
    }

    /// True for the one caller that may probe now.
    pub(crate) fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::Acquire)
    }

    pub(crate) fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    pub(crate) fn is_probed_now(&self) -> bool {
        self.probing.load(Ordering::Relaxed)
    }
}

/// A request at an endpoint, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
