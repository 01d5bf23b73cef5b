//! Statuses to the API server: written by the leader alone, only where they differ, each against the version it read.
//!
//! ```text
//! who changed? -> Desk -> wanted fields - stored fields = patch -> Pacer: now or later? -> leads? -> PATCH status
//!                                            ^                                                          |
//!                                            '---- the answer, and what the watch tells <---------------'
//! ```
//!
//! A patch names the `resourceVersion` of the state that it was made from, so the write of a replica that was frozen
//! meanwhile is refused, and entries of other controllers in a list that we share are never lost. A conflict is
//! tried again from what the watch tells next, later each time.

mod pacer;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_translate::{Kind, ObjectRef};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

pub use plan::Site;

use crate::clock;
use crate::control::{Control, Stored};
use crate::leadership::Pen;
use crate::metrics::Metrics;
use crate::watch::resource;
use crate::world::{ObjectKind, Scope};
use pacer::Pacer;

/// The field manager of everything that headgate writes.
pub const MANAGER: &str = "headgate";

/// Writes at once.
const CONCURRENCY: usize = 16;

/// How long one write may take; shorter than the time between a leader's deadline and the moment in which another may
/// take its lease.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Objects whose status may have to be written.
#[derive(Debug, Default)]
pub struct Desk {
    asked: Mutex<BTreeSet<ObjectRef>>,
    news: Notify,
}

impl Desk {
    /// Asks for a look at the status of objects.
    pub fn ask(&self, objects: impl IntoIterator<Item = ObjectRef>) {
        self.asked.lock().extend(objects);
        self.news.notify_one();
    }

    async fn next(&self) -> BTreeSet<ObjectRef> {
        loop {
            let asked = std::mem::take(&mut *self.asked.lock());
            if !asked.is_empty() {
                return asked;
            }
            self.news.notified().await;
        }
    }
}

/// How a write ended.
enum Outcome {
    Written(Stored),
    /// The object is not as it was read.
    Conflict,
    /// The object is gone.
    Gone,
    /// This replica leads no more; nothing was sent.
    NotLeading,
    Failed(String),
}

struct Done {
    object: ObjectRef,
    wanted: Map<String, Value>,
    outcome: Outcome,
    took: Duration,
}

/// Writes statuses while this replica leads.
pub struct Writer {
    client: Client,
    control: Arc<Control>,
    desk: Arc<Desk>,
    site: Site,
    pen: Pen,
    metrics: Metrics,
    pacer: Pacer,
    /// Objects to look at, and when.
    waiting: BTreeMap<ObjectRef, Instant>,
    busy: BTreeSet<ObjectRef>,
    writes: JoinSet<Done>,
    term: u64,
}

impl Writer {
    /// A writer that has written nothing.
    pub fn new(client: Client, control: Arc<Control>, desk: Arc<Desk>, site: Site, pen: Pen, metrics: Metrics) -> Self {
        let (pacer, waiting, busy) = (Pacer::default(), BTreeMap::new(), BTreeSet::new());
        Self { client, control, desk, site, pen, metrics, pacer, waiting, busy, writes: JoinSet::new(), term: 0 }
    }

    /// Writes for ever.
    pub async fn run(mut self) {
        loop {
            let next = self.waiting.iter().filter(|(object, _)| !self.busy.contains(object)).map(|(_, at)| *at).min();
            let room = self.busy.len() < CONCURRENCY;
            tokio::select! {
                asked = self.desk.next() => {
                    let now = clock::instant();
                    self.waiting.extend(asked.into_iter().map(|object| (object, now)));
                }
                Some(done) = self.writes.join_next() => {
                    if let Ok(done) = done {
                        self.settle(done);
                    } else {
                        // Its task panicked, which the runtime has told; all are looked at again.
                        self.busy.clear();
                        self.desk.ask(self.control.objects());
                    }
                }
                () = until(next), if room && next.is_some() => {}
            }
            self.start_due();
        }
    }

    fn start_due(&mut self) {
        let now = clock::instant();
        let leadership = self.pen.leadership();
        if !leadership.leads(now) {
            self.waiting.clear();
            self.metrics.status_pending.set(0);
            return;
        }
        if leadership.term != self.term {
            self.term = leadership.term;
            self.pacer.clear();
        }
        let due: Vec<ObjectRef> = self
            .waiting
            .iter()
            .filter(|(object, at)| **at <= now && !self.busy.contains(*object))
            .map(|(object, _)| object.clone())
            .collect();
        for object in due {
            if self.busy.len() >= CONCURRENCY {
                break;
            }
            self.waiting.remove(&object);
            self.look(object, now);
        }
        let pending = self.waiting.len() + self.busy.len();
        self.metrics.status_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// Writes what differs of one object, now or later.
    fn look(&mut self, object: ObjectRef, now: Instant) {
        let Some((status, stored)) = self.control.due(&object) else {
            self.pacer.forget(&object);
            return;
        };
        let Stored { uid, version, status: before } = stored;
        if object.kind == Kind::Ingress && self.site.addresses.is_empty() {
            return;
        }
        if status.is_none() && !plan::may_clear(object.kind, before.as_ref(), &self.site) {
            return;
        }
        let wanted = plan::wanted(object.kind, status.as_ref(), before.as_ref(), &self.site);
        let Some(patch) = plan::patch(object.kind, &wanted, before.as_ref()) else { return };
        if self.pacer.is_done(&object, &wanted, before.as_ref()) {
            return;
        }
        let mut at = self.pacer.due(&object, &wanted, now);
        // Proxies serve on while a new operator is not known to them yet: nobody is told that they ceased to.
        if plan::says_programmed(before.as_ref())
            && let Some(later) = self.control.awaits_proxies(now)
        {
            at = at.max(later);
        }
        if at > now {
            self.waiting.insert(object, at);
            return;
        }
        let body = json!({ "metadata": { "uid": uid, "resourceVersion": version }, "status": patch });
        let api = self.api(&object);
        let pen = self.pen.clone();
        self.busy.insert(object.clone());
        self.writes.spawn(async move {
            let started = clock::instant();
            let outcome = write(&api, &object, &body, &pen).await;
            Done { object, wanted, outcome, took: clock::instant().saturating_duration_since(started) }
        });
    }

    fn settle(&mut self, done: Done) {
        let Done { object, wanted, outcome, took } = done;
        let now = clock::instant();
        let kind = object.kind.as_str();
        self.busy.remove(&object);
        let result = match outcome {
            Outcome::Written(stored) => {
                self.metrics.status_write_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
                self.pacer.written(&object, wanted, stored.status.clone(), now);
                self.control.wrote(&object, stored);
                // What was said meanwhile is looked at.
                self.waiting.entry(object).or_insert(now);
                "written"
            }
            Outcome::Conflict => {
                debug!(%object, "its status was not written: it changed meanwhile");
                self.try_again(object, now);
                "conflict"
            }
            Outcome::Gone => {
                self.pacer.forget(&object);
                "gone"
            }
            Outcome::NotLeading => "not_leading",
            Outcome::Failed(error) => {
                warn!(%object, error, "cannot write its status; tries again later");
                self.try_again(object, now);
                "error"
            }
        };
        self.metrics.status_writes.with_label_values(&[kind, result]).inc();
    }

    fn try_again(&mut self, object: ObjectRef, now: Instant) {
        let again = self.pacer.failed(&object, rand::random_range(0.0..=1.0), now);
        self.waiting.insert(object, again);
    }

    fn api(&self, object: &ObjectRef) -> Api<DynamicObject> {
        let kind = ObjectKind::from(object.kind);
        let resource = resource(kind, 0);
        match kind.scope() {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &object.key.namespace, &resource),
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
        }
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at.into()).await;
    }
}

async fn write(api: &Api<DynamicObject>, object: &ObjectRef, body: &Value, pen: &Pen) -> Outcome {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(body);
    let sent = api.patch_status(&object.key.name, &params, &patch);
    let Some(_permit) = pen.take().await else { return Outcome::NotLeading };
    match timeout(LIMIT, sent).await {
        Ok(Ok(written)) => Outcome::Written(Stored {
            uid: written.uid().unwrap_or_default(),
            version: written.resource_version().unwrap_or_default(),
            status: written.data.get("status").cloned(),
        }),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Outcome::Conflict,
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Outcome::Gone,
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(_) => Outcome::Failed("the API server does not answer".to_owned()),
    }
}
