//! Health probes: one task a pool runs all probes of its endpoints, whoever routes to it.
//!
//! When an endpoint is probed and what a result means is decided by the engine; here is the waiting and asking. A
//! pool that is edited keeps its task, and its endpoints their schedule, so that a thousand edits neither add tasks
//! nor probes.

mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use headgate_engine::{Chance, Millis, Pool, Probe, ProbeKind, ProbeResult};
use headgate_snapshot::Key;
use http::HeaderValue;
use rustls_pki_types::ServerName;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::origin::tls::ProbeTls;
use crate::probe::send::{ProbeTlsTarget, Target, send};
use crate::state::Current;

/// The longest sleep of a task. A pool that has nothing to probe is woken when it is edited.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// What the probing of all pools shares.
pub(crate) struct Probing {
    pub(crate) clock: Clock,
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) tls: ProbeTls,
    pub(crate) metrics: Arc<Metrics>,
    /// Told when the health of an endpoint changes, or is known for the first time.
    pub(crate) changed: Arc<Notify>,
}

/// The task of one pool.
struct Watch {
    pool: watch::Sender<Arc<Pool>>,
    task: AbortHandle,
}

/// The tasks of all pools.
pub(crate) struct Prober {
    probing: Arc<Probing>,
    watches: BTreeMap<Key, Watch>,
}

impl Prober {
    /// No pools yet.
    pub(crate) fn new(probing: Arc<Probing>) -> Self {
        Self { probing, watches: BTreeMap::new() }
    }

    /// Follows the pools of a plan: starts tasks for new ones with a health check, stops those of pools that are
    /// gone, and hands the others their new edit.
    pub(crate) fn reconcile(&mut self, pools: &[&Arc<Pool>]) {
        let mut kept = BTreeMap::new();
        for pool in pools.iter().filter(|pool| pool.has_health_check()) {
            let watch = self.watches.remove(pool.key()).unwrap_or_else(|| self.watch(Arc::clone(pool)));
            watch.pool.send_if_modified(|known| {
                let edited = !Arc::ptr_eq(known, pool);
                *known = Arc::clone(pool);
                edited
            });
            kept.insert(pool.key().clone(), watch);
        }
        for watch in std::mem::replace(&mut self.watches, kept).into_values() {
            watch.task.abort();
        }
    }

    /// Makes all tasks look again: endpoints that come from names have changed.
    pub(crate) fn look_again(&self) {
        for watch in self.watches.values() {
            watch.pool.send_modify(|_| {});
        }
    }

    fn watch(&self, pool: Arc<Pool>) -> Watch {
        let (sender, receiver) = watch::channel(pool);
        let task = tokio::spawn(follow(Arc::clone(&self.probing), receiver)).abort_handle();
        Watch { pool: sender, task }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        for watch in self.watches.values() {
            watch.task.abort();
        }
    }
}

async fn follow(probing: Arc<Probing>, mut pools: watch::Receiver<Arc<Pool>>) {
    let mut running = FuturesUnordered::new();
    let mut chance = Chance::new(rand::random());
    loop {
        let pool = Arc::clone(&pools.borrow_and_update());
        let now = Millis(probing.clock.millis());
        running.extend(pool.due_probes(now, &mut chance).into_iter().map(|probe| run(&probing, probe)));
        let pause = pool.next_probe_at().map_or(LONGEST_SLEEP, |due| due.since(now).min(LONGEST_SLEEP));
        tokio::select! {
            edited = pools.changed() => {
                if edited.is_err() {
                    return;
                }
            }
            Some(()) = running.next() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn run(probing: &Probing, probe: Probe) {
    let limit = probe.check().timeout;
    let outcome = match timeout(limit, ask(probing, &probe)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
    };
    let result = if outcome.is_ok() { ProbeResult::Passed } else { ProbeResult::Failed };
    let [succeeded, failed] = &probing.metrics.probes;
    match result {
        ProbeResult::Passed => succeeded.inc(),
        ProbeResult::Failed => failed.inc(),
    }
    let (pool, origin, address) = (probe.pool().clone(), probe.origin().name.clone(), probe.address());
    if let Some(health) = probe.report(result) {
        let why = outcome.err().unwrap_or_default();
        tracing::info!(%pool, origin, %address, ?health, why, "the health of an endpoint changed");
        probing.changed.notify_one();
    }
}

async fn ask(probing: &Probing, probe: &Probe) -> Result<(), String> {
    let check = probe.check();
    let host = probe.host();
    let origin_tls = probe.origin().tls.as_ref();
    let with_tls = match check.kind {
        ProbeKind::Http | ProbeKind::Tcp => false,
        ProbeKind::Https => true,
        ProbeKind::Grpc => origin_tls.is_some(),
    };
    let tls = if with_tls {
        let current = probing.current.load();
        let trust = match origin_tls {
            Some(tls) if tls.ca_pem.is_some() => {
                Some(current.trust.get(&tls.group).ok_or("the origin's CA cannot be read")?)
            }
            Some(_) | None => None,
        };
        let name = origin_tls.map_or_else(|| without_port(&host), |tls| tls.server_name.as_str());
        let server_name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))?;
        let http2 = check.kind == ProbeKind::Grpc;
        let configuration = probing.tls.configuration(trust, http2).map_err(|error| error.to_string())?;
        Some(ProbeTlsTarget { server_name, configuration })
    } else {
        None
    };
    let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
    let target = Target { check, address: probe.address(), host, tls };
    send(&target).await.map_err(|error| error.to_string())
}

/// The host of `host:port`, and the address of `[v6]:port`.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}
