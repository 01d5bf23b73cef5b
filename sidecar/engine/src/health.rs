//! Active health checks as a state machine.
//!
//! An endpoint begins unknown and is then used after healthy ones. Its first probe decides; from then on it
//! changes sides after as many results in a row as the thresholds say. Probes of an endpoint never overlap: the
//! adapter asks which are due, runs them, and reports each; one that it drops without a report counts as not run.
//!
//! Probes of one pool are spread by chance over the last tenth of the interval, and never come later than it, so
//! that the time to notice a failure is bounded by thresholds, interval and timeout.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot as wire;
use headgate_snapshot::Key;

use crate::chance::Chance;
use crate::endpoint::Endpoint;
use crate::origin::Origin;
use crate::pool::Pool;
use crate::refusal::Mistake;
use crate::time::Millis;

/// What the probes of an endpoint found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// It may take traffic.
    Healthy,
    /// It takes no traffic.
    Unhealthy,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The endpoint answered as expected.
    Passed,
    /// It did not answer in time, or not as expected.
    Failed,
}

/// How an endpoint is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: ProbeKind,
    /// HTTP and HTTPS: the path with query; GRPC: the service name.
    pub path: String,
    /// From the begin of one probe to the begin of the next.
    pub interval: Duration,
    /// After this time without an answer the probe has failed.
    pub timeout: Duration,
    /// Statuses that pass, HTTP and HTTPS.
    pub expected: Vec<RangeInclusive<u16>>,
    unhealthy_threshold: u32,
    healthy_threshold: u32,
    host: Option<String>,
    port: Option<u16>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A GET without TLS.
    Http,
    /// A GET with TLS.
    Https,
    /// A connection.
    Tcp,
    /// The gRPC health service.
    Grpc,
}

impl HealthCheck {
    pub(crate) fn compile(check: &wire::HealthCheck) -> Result<Self, Mistake> {
        let wire::HealthCheck {
            r#type,
            path,
            interval_ms,
            timeout_ms,
            unhealthy_threshold,
            healthy_threshold,
            expected_statuses,
            host,
            port,
        } = check;
        let kind = match wire::HealthCheckType::try_from(*r#type) {
            Ok(wire::HealthCheckType::HttpGet) => ProbeKind::Http,
            Ok(wire::HealthCheckType::HttpsGet) => ProbeKind::Https,
            Ok(wire::HealthCheckType::TcpConnect) => ProbeKind::Tcp,
            Ok(wire::HealthCheckType::GrpcHealth) => ProbeKind::Grpc,
            Ok(wire::HealthCheckType::Unspecified) | Err(_) => {
                return Err(Mistake::invalid("healthCheck.type", "a type that this proxy does not know"));
            }
        };
        let status = |status: u32| {
            u16::try_from(status)
                .map_err(|_| Mistake::invalid("healthCheck.expectedStatuses", format!("{status} is no status")))
        };
        let expected = expected_statuses
            .iter()
            .map(|range| Ok(status(range.from)?..=status(range.to)?))
            .collect::<Result<_, Mistake>>()?;
        let port =
            u16::try_from(*port).map_err(|_| Mistake::invalid("healthCheck.port", format!("{port} is no port")))?;
        // An interval of nothing would probe without a pause.
        let interval = Duration::from_millis((*interval_ms).max(1));
        Ok(Self {
            kind,
            path: path.clone(),
            interval,
            timeout: Duration::from_millis((*timeout_ms).max(1)).min(interval),
            expected,
            unhealthy_threshold: *unhealthy_threshold,
            healthy_threshold: *healthy_threshold,
            host: (!host.is_empty()).then(|| host.clone()),
            port: (port > 0).then_some(port),
        })
    }

    /// Whether a status passes.
    pub fn expects(&self, status: u16) -> bool {
        self.expected.iter().any(|range| range.contains(&status))
    }
}

/// Health with the results in a row that speak against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthState {
    pub(crate) health: Health,
    streak: u32,
}

impl HealthState {
    #[must_use]
    fn after(self, result: ProbeResult, check: &HealthCheck) -> Self {
        let (agrees, threshold, other) = match (self.health, result) {
            (Health::Unknown, ProbeResult::Passed) => return Self { health: Health::Healthy, streak: 0 },
            (Health::Unknown, ProbeResult::Failed) => return Self { health: Health::Unhealthy, streak: 0 },
            (Health::Healthy, result) => (result == ProbeResult::Passed, check.unhealthy_threshold, Health::Unhealthy),
            (Health::Unhealthy, result) => (result == ProbeResult::Failed, check.healthy_threshold, Health::Healthy),
        };
        let streak = if agrees { 0 } else { self.streak + 1 };
        if streak > 0 && streak >= threshold { Self { health: other, streak: 0 } } else { Self { streak, ..self } }
    }

    pub(crate) fn pack(self) -> u32 {
        let health = match self.health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
        };
        self.streak << 2 | health
    }

    pub(crate) fn unpack(packed: u32) -> Self {
        let health = match packed & 3 {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        };
        Self { health, streak: packed >> 2 }
    }
}

/// A probe to run now.
#[derive(Debug)]
pub struct Probe {
    pool: Arc<Key>,
    origin: Arc<Origin>,
    check: Arc<HealthCheck>,
    endpoint: Arc<Endpoint>,
}

impl Probe {
    /// The pool that is probed.
    pub fn pool(&self) -> &Key {
        &self.pool
    }

    /// The origin that is probed, for its TLS.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How to probe.
    pub fn check(&self) -> &HealthCheck {
        &self.check
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        let mut address = self.endpoint.address();
        if let Some(port) = self.check.port {
            address.set_port(port);
        }
        address
    }

    /// The `Host` to send: the check's, else the origin's, else the address.
    pub fn host(&self) -> String {
        let named = self.check.host.as_ref().or(self.origin.host_header.as_ref());
        named.cloned().unwrap_or_else(|| self.address().to_string())
    }

    /// Writes the result down, and says what the endpoint's health has become where it changed.
    pub fn report(self, result: ProbeResult) -> Option<Health> {
        let before = self.endpoint.health_state();
        let after = before.after(result, &self.check);
        self.endpoint.set_health_state(after);
        (after.health != before.health).then_some(after.health)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.endpoint.end_probe();
    }
}

impl Pool {
    /// The probes that are due. Each is handed out once; the next of its endpoint is due an interval later.
    pub fn due_probes(&self, now: Millis, chance: &mut Chance) -> Vec<Probe> {
        let Some(check) = &self.health_check else { return Vec::new() };
        let members = self.members();
        let mut probes = Vec::new();
        for (origin, member) in self.origins.iter().zip(&members.origins) {
            for endpoint in &member.endpoints {
                if endpoint.probe_due() > now || !endpoint.begin_probe() {
                    continue;
                }
                endpoint.set_probe_due(now.after(spread(check.interval, chance)));
                probes.push(Probe {
                    pool: self.key.clone(),
                    origin: origin.clone(),
                    check: check.clone(),
                    endpoint: endpoint.clone(),
                });
            }
        }
        probes
    }

    /// When the next probe is due; none without a health check or endpoints.
    pub fn next_probe_at(&self) -> Option<Millis> {
        self.health_check.as_ref()?;
        let members = self.members();
        let endpoints = members.origins.iter().flat_map(|member| &member.endpoints);
        endpoints.filter(|endpoint| !endpoint.is_probed_now()).map(|endpoint| endpoint.probe_due()).min()
    }

    /// Whether every endpoint has been probed once, or there is nothing to probe.
    pub fn is_probed(&self) -> bool {
        self.health_check.is_none()
            || self
                .members()
                .origins
                .iter()
                .flat_map(|member| &member.endpoints)
                .all(|endpoint| endpoint.health() != Health::Unknown)
    }
}

/// Nine tenths of the interval, and a part of the last tenth.
fn spread(interval: Duration, chance: &mut Chance) -> Duration {
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis - chance.below(millis / 10 + 1))
}
