//! Puts batches in force, and keeps everything beside the requests in step with the plan.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use headgate_engine::{Context, FrontendId, Listening, Plan, Protocol, Resolutions};
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Batch, Key, Report, ResourceSet, Trouble};
use prost::Message as _;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::listen::Listeners;
use crate::listen::certificates::ServerCertificate;
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::rate_limit::Limiter;
use crate::resolve::{Answer, Names};
use crate::state::{Current, Readiness};
use crate::store::{PlanFile, Store, StoreTrouble};

/// How long readiness waits for the first round of probes.
const FIRST_PROBES_LIMIT: Duration = Duration::from_secs(2);
/// Between a change of health and the report of it, so that many changes make one report.
const REPORT_PAUSE: Duration = Duration::from_millis(20);
/// Between reports of figures that change with every request.
const FIGURES_PERIOD: Duration = Duration::from_secs(5);
/// Between tries to bind what could not be bound.
const BIND_AGAIN_PERIOD: Duration = Duration::from_secs(1);
/// Answers of name servers that may wait, and that are written down at once.
pub(crate) const MOST_ANSWERS: usize = 1_024;

/// What applying a batch and the tasks beside it have in common.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) listening: Listening,
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) reports: watch::Sender<Report>,
    pub(crate) readiness: watch::Sender<Readiness>,
    /// Told after each look at what is there to report, also where it finds nothing new.
    pub(crate) looks: watch::Sender<()>,
    pub(crate) store_trouble: watch::Receiver<StoreTrouble>,
    pub(crate) control: Mutex<Control>,
}

/// What one change at a time may touch.
pub(crate) struct Control {
    pub(crate) resources: Arc<ResourceSet>,
    pub(crate) resolutions: Resolutions,
    pub(crate) listeners: Listeners,
    pub(crate) names: Names,
    pub(crate) prober: Prober,
    /// Nowhere to keep plans: absent, and so it is after a drain.
    pub(crate) store: Option<Store>,
    /// Frontends of the default listeners, which stay open once they were.
    pub(crate) kept: BTreeSet<FrontendId>,
    /// Why the last plan could not be loaded from disk.
    pub(crate) load_trouble: Option<String>,
}

impl Shared {
    /// Serves the last plan kept on disk, until a batch comes.
    pub(crate) async fn load(&self, file: &PlanFile) {
        match file.load() {
            Ok(None) => {}
            Ok(Some(batch)) => {
                let report = self.apply(std::slice::from_ref(&batch)).await;
                tracing::info!(version = report.version, "serving the last plan from disk");
            }
            Err(error) => {
                tracing::warn!(reason = "PlanNotLoaded", "{error}");
                let mut control = self.control.lock().await;
                control.load_trouble = Some(error.to_string());
                self.publish(&control);
            }
        }
    }

    /// Puts batches in force, one after the other, with one plan for all of them.
    pub(crate) async fn apply(&self, batches: &[Batch]) -> Report {
        let mut control = self.control.lock().await;
        // What could not be loaded is replaced by these.
        control.load_trouble = None;
        for batch in batches {
            control.resources = Arc::new(control.resources.after(batch));
            self.metrics.batch_bytes.inc_by(u64::try_from(batch.encoded_len()).unwrap_or(u64::MAX));
        }
        let previous = self.current.load_full();
        let plan = Arc::new(self.compile(&control, &previous.plan));
        self.current.store(Arc::new(Current::new(Arc::clone(&plan), &previous)));
        self.metrics.plans_applied.inc_by(u64::try_from(batches.len()).unwrap_or(u64::MAX));
        self.metrics.plan_resources.set(i64::try_from(control.resources.entries().len()).unwrap_or(i64::MAX));
        control.follow(&plan, self.listening).await;
        if let Some(store) = &control.store {
            store.put(Arc::clone(&control.resources));
        }
        self.readiness.send_if_modified(|readiness| {
            let first = *readiness == Readiness::WaitingForPlan;
            if first {
                *readiness = Readiness::WaitingForProbes;
            }
            first
        });
        self.publish(&control)
    }

    /// The next plan. What it is compiled with is not kept while something is waited for.
    fn compile(&self, control: &Control, previous: &Plan) -> Plan {
        let check_certificate = |certificate: &_| match ServerCertificate::new(certificate) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        let context = Context {
            listening: self.listening,
            resolutions: &control.resolutions,
            limits: self.limiter.limits(),
            check_certificate: &check_certificate,
        };
        Plan::compile(&control.resources, Some(previous), &context)
    }

    /// Makes a report and publishes it where it differs from the last one.
    fn publish(&self, control: &Control) -> Report {
        let current = self.current.load();
        let mut refusals = current.plan.refusals();
        refusals.extend(current.refusals.iter().cloned());
        refusals.extend(control.listeners.refusals(&current.plan));
        let trouble = |reason: &str, message: &str| Trouble { reason: reason.to_owned(), message: message.to_owned() };
        let mut troubles: Vec<Trouble> =
            control.listeners.failures().map(|message| trouble("ListenerNotBound", message)).collect();
        troubles.extend(control.load_trouble.iter().map(|message| trouble("PlanNotLoaded", message)));
        troubles.extend(self.store_trouble.borrow().iter().map(|message| trouble("PlanNotStored", message)));
        troubles.extend(self.limiter.trouble(&current.plan));
        let report = Report {
            proxy: self.name.clone(),
            version: current.plan.version().to_owned(),
            refusals,
            pools: current.plan.health(),
            troubles,
            limits: self.limiter.figures(&current.plan),
            rooms: self.limiter.room_figures(&current.plan),
            // Whoever carries the batches knows their numbers.
            sequence: 0,
        };
        self.reports.send_if_modified(|last| {
            let changed = *last != report;
            if changed {
                last.clone_from(&report);
            }
            changed
        });
        self.looks.send_replace(());
        report
    }

    /// Whether every name of the plan has an answer or a failure, and every endpoint a result of a probe.
    async fn knows_all(&self) -> bool {
        let control = self.control.lock().await;
        let plan = Arc::clone(&self.current.load().plan);
        plan.names().iter().all(|name| control.resolutions.contains(name))
            && plan.pools().iter().all(|pool| pool.is_probed())
    }
}

impl Control {
    /// Makes everything beside the requests follow a plan.
    async fn follow(&mut self, plan: &Plan, listening: Listening) {
        self.kept.extend(default_frontends(&self.resources, listening));
        let wanted: Vec<FrontendId> = plan.frontends().collect();
        let kept: Vec<FrontendId> = self.kept.iter().copied().collect();
        self.listeners.reconcile(&wanted, &kept).await;
        let names = plan.names();
        self.resolutions.retain(|name| names.contains(name));
        self.names.reconcile(names.into_iter().map(str::to_owned));
        self.prober.reconcile(&plan.pools());
    }
}

/// The frontends of the default listeners.
fn default_frontends(resources: &ResourceSet, listening: Listening) -> Vec<FrontendId> {
    let Some(entry) = resources.get(&Key::default_listeners()) else { return Vec::new() };
    let Some(Body::Gateway(gateway)) = &entry.resource.body else { return Vec::new() };
    if listening == Listening::Merged {
        return Vec::new();
    }
    let frontend = |listener: &headgate_snapshot::Listener| {
        let protocol = match listener.protocol() {
            headgate_snapshot::Protocol::Http => Protocol::Http,
            headgate_snapshot::Protocol::Https => Protocol::Https,
            headgate_snapshot::Protocol::Unspecified => return None,
        };
        Some(FrontendId { port: u16::try_from(listener.port).ok()?, protocol })
    };
    gateway.listeners.iter().filter_map(frontend).collect()
}

/// Writes the answers of name servers down, all that have come at once.
pub(crate) async fn write_answers(shared: Arc<Shared>, mut answers: mpsc::Receiver<(String, Answer)>) {
    let mut come = Vec::new();
    while answers.recv_many(&mut come, MOST_ANSWERS).await > 0 {
        let mut control = shared.control.lock().await;
        let plan = Arc::clone(&shared.current.load().plan);
        let names = plan.names();
        let mut differs = false;
        // A question may have been asked for a plan that is gone.
        for (name, answer) in come.drain(..).filter(|(name, _)| names.contains(name.as_str())) {
            differs |= match answer {
                Ok(addresses) => control.resolutions.answered(&name, addresses),
                Err(failure) => control.resolutions.failed(&name, failure),
            };
        }
        if differs {
            plan.resolve(&control.resolutions);
            control.prober.look_again();
            shared.publish(&control);
        }
    }
}

/// Publishes a report when health or a trouble changes, and now and then for the figures.
pub(crate) async fn report_changes(shared: Arc<Shared>, changed: Arc<Notify>) {
    let mut figures = interval(FIGURES_PERIOD);
    figures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut store_trouble = shared.store_trouble.clone();
    // Until the channel says that there is no store, or none any more.
    let mut stored = true;
    loop {
        tokio::select! {
            () = changed.notified() => sleep(REPORT_PAUSE).await,
            _ = figures.tick() => {}
            told = store_trouble.changed(), if stored => stored = told.is_ok(),
        }
        let control = shared.control.lock().await;
        shared.publish(&control);
    }
}

/// Binds what could not be bound as soon as it can be.
pub(crate) async fn bind_again(shared: Arc<Shared>) {
    loop {
        sleep(BIND_AGAIN_PERIOD).await;
        let mut control = shared.control.lock().await;
        if control.listeners.bind_failed() {
            shared.publish(&control);
        }
    }
}

/// Waits for the first plan and one round of its lookups and probes, at most for a while.
pub(crate) async fn become_ready(shared: Arc<Shared>) {
    let mut readiness = shared.readiness.subscribe();
    if readiness.wait_for(|readiness| *readiness != Readiness::WaitingForPlan).await.is_err() {
        return;
    }
    let mut looks = shared.looks.subscribe();
    let all_known = async {
        while !shared.knows_all().await {
            if looks.changed().await.is_err() {
                return;
            }
        }
    };
    // Not in time is not an error: an endpoint that was not probed yet is used after healthy ones.
    let _ = timeout(FIRST_PROBES_LIMIT, all_known).await;
    shared.readiness.send_if_modified(|readiness| {
        let waited = *readiness == Readiness::WaitingForProbes;
        if waited {
            *readiness = Readiness::Ready;
        }
        waited
    });
}
