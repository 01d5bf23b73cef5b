//! `headgate standalone`: translate, hub and proxy in one process, objects from files.
//!
//! ```text
//! watch -> control (library -> registry -> world -> translate -> hub) -> carrier -> proxy
//!                                       status <-- reports <----------------------'
//! ```
//!
//! What a cluster does over a stream, the carrier does in a task: it takes batches from a subscription, applies them
//! and hands the reports back. Requests are served by the proxy's own threads, so that translating a large world
//! delays none of them.

mod api;
mod control;

mod settings;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use headgate_operator::hub::{Hub, Subscription};
use headgate_proxy::{Application, Drained, Proxy};
use headgate_snapshot::{Key, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

pub use settings::Settings;

use crate::manifest::library::{Library, Suspects};
use crate::registry::Changes;
use crate::{clock, terminal};
use control::{Control, Step};

use watch::Watch;

/// The name of the only proxy.
const PROXY: &str = "standalone";

/// Between two looks at what the proxy reports, so that a flood of reports costs little.
const OBSERVATION_PAUSE: Duration = Duration::from_millis(200);

/// How long a change may take before it is told as not enforced.
const ENFORCEMENT_LIMIT: Duration = Duration::from_secs(10);

/// Most objects that one line names.
const NAMED: usize = 3;

/// Runs until a signal ends it.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    for path in &settings.files {
        if !path.exists() {
            bail!("{} does not exist; -f needs a file or a folder of manifests", path.display());
        }
    }
    settings.check()?;
    let token = settings.token()?;
    let shown = api::Shown { control: Arc::default(), plan: Arc::default(), application: Application::default() };
    let proxy = Proxy::start(settings.proxy(PROXY), api::routes(shown.clone(), token)).await;
    let proxy = Arc::new(proxy.context("cannot start the proxy: check --listen, --tls-listen and --admin")?);

    let kept: BTreeSet<Key> = proxy.plan().resources().entries().keys().map(|key| Key::clone(key)).collect();
    let hub = Arc::new(Hub::default());
    let library = Library::new(settings.files.clone());
    let master_key = settings.master_key()?;
    let control = Arc::new(Control::new(Arc::clone(&hub), library, kept, settings.addresses(), master_key));
    // Nobody else sets these.
    let _ = shown.control.set(Arc::clone(&control));
    let asked = Arc::clone(&proxy);
    let _ = shown.plan.set(Box::new(move || asked.plan()));
    proxy.answer(&shown.application);

    tokio::spawn(carry(Arc::clone(&hub), Arc::clone(&proxy), hub.subscribe(PROXY, None)));
    tokio::spawn(observe(Arc::clone(&hub), Arc::clone(&control)));
    greet(&settings, &proxy).await;
    tokio::spawn(follow_files(settings.files, hub, control));
    until_told_to_stop(&proxy).await
}

/// The carrier: batches to the proxy, reports to the hub.
async fn carry(hub: Arc<Hub>, proxy: Arc<Proxy>, mut subscription: Subscription) {
    let mut reports = proxy.reports();
    let (mut version, mut sequence) = (String::new(), 0);
    loop {
        let report = tokio::select! {
            batch = subscription.next() => {
                version.clone_from(&batch.version);
                sequence = batch.sequence;
                proxy.apply(batch).await
            }
            changed = reports.changed() => match changed {
                Ok(()) => reports.borrow_and_update().clone(),
                Err(_) => return,
            }
        };
        if sequence > 0 {
            // A proxy that keeps held resources is at another content than the batch, which it has applied.
            hub.report(Report { version: version.clone(), sequence, ..report });
        }
    }
}

/// Keeps status in step with the reports, and tells troubles as they come and go.
async fn observe(hub: Arc<Hub>, control: Arc<Control>) {
    let mut reports = hub.reports();
    let mut told: BTreeSet<String> = BTreeSet::new();
    while reports.changed().await.is_ok() {
        let observed = Arc::clone(&control);
        // A panic in there would be told by the runtime; the next report tries again.
        let _ = tokio::task::spawn_blocking(move || observed.observe()).await;
        let now = troubles(&hub);
        for trouble in now.difference(&told) {
            terminal::tell_in(terminal::BAD, trouble);
        }
        for trouble in told.difference(&now) {
            terminal::tell_in(terminal::GOOD, format!("over: {trouble}"));
        }
        told = now;
        sleep(OBSERVATION_PAUSE).await;
    }
}

/// What troubles the proxy, and what it refuses.
fn troubles(hub: &Hub) -> BTreeSet<String> {
    let progress = hub.progress();
    let reports = progress.proxies.iter().map(|proxy| &proxy.report);
    let sentences = reports.flat_map(|report| {
        let refusals = report.refusals.iter().map(|refusal| {
            let key = refusal.key.as_ref().map_or_else(String::new, ToString::to_string);
            format!("{key}: refused by the proxy: {}: {}", refusal.reason, refusal.message)
        });
        let troubles = report.troubles.iter().map(|trouble| format!("{}: {}", trouble.reason, trouble.message));
        refusals.chain(troubles)
    });
    sentences.collect()
}

/// Looks at the files at the start and whenever they may have changed.
async fn follow_files(files: Vec<PathBuf>, hub: Arc<Hub>, control: Arc<Control>) {
    // The watch begins before the first look, so that no change falls between the two.
    let mut watch = Watch::new(&files);
    let mut suspects = Suspects::all();
    loop {
        let started = clock::instant();
        let looking = Arc::clone(&control);
        let looked = tokio::task::spawn_blocking(move || looking.look(&suspects)).await;
        if let Ok(Some(step)) = looked {
            tokio::spawn(narrate(Arc::clone(&hub), step, started));
        }
        suspects = watch.due().await;
    }
}

/// Tells what a look at the files led to, and how long it took to be enforced.
async fn narrate(hub: Arc<Hub>, step: Step, started: Instant) {
    let Step { changes, publication, complaints, settled } = step;
    for complaint in &complaints {
        terminal::tell(terminal::complaint(complaint));
    }
    if settled > 0 && complaints.is_empty() {
        terminal::tell_in(terminal::GOOD, format!("{settled} problem(s) of the files are gone"));
    }
    if changes.is_empty() {
        return;
    }
    let mut reports = hub.reports();
    let enforced = timeout(ENFORCEMENT_LIMIT, async {
        while !hub.progress().reached(publication.sequence) {
            if reports.changed().await.is_err() {
                return;
            }
        }
    })
    .await;
    let what = summary(&changes);
    match enforced {
        Ok(()) => {
            let took = clock::instant().saturating_duration_since(started).as_secs_f64() * 1e3;
            terminal::tell(format!("{what}: enforced after {took:.1} ms"));
        }
        Err(_) => terminal::tell_in(
            terminal::BAD,
            format!("{what}: not enforced after {} s; see `headgate status`", ENFORCEMENT_LIMIT.as_secs()),
        ),
    }
}

/// One line about changes: names where they are few, counts where they are many.
fn summary(changes: &Changes) -> String {
    let Changes { changed, removed, refused } = changes;
    let part = |word: &str, labels: &[String]| {
        let named = labels.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        match labels.len() {
            0 => None,
            few if few <= NAMED => Some(format!("{word} {named}")),
            many => Some(format!("{word} {named} and {} more", many - NAMED)),
        }
    };
    let parts = [part("read", changed), part("removed", removed), part("cannot read", refused)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Where everything is.
async fn greet(settings: &Settings, proxy: &Proxy) {
    let addresses = proxy.local_addresses().await;
    let shown = |address: Option<std::net::SocketAddr>| address.map_or("-".to_owned(), |address| address.to_string());
    let paths: Vec<String> = settings.files.iter().map(|path| path.display().to_string()).collect();
    let bold = anstyle::Style::new().bold();
    terminal::tell(format!("{bold}headgate standalone{bold:#} {}", env!("CARGO_PKG_VERSION")));
    terminal::tell(format!("  reading  {}", paths.join(", ")));
    terminal::tell(format!("  http     {}", shown(addresses.http())));
    terminal::tell(format!("  https    {}", shown(addresses.https())));
    terminal::tell(format!("  admin    http://{}  (try `headgate status --api http://{0}`)", addresses.admin));
}

/// SIGTERM drains; SIGINT, or a second signal, ends at once.
async fn until_told_to_stop(proxy: &Proxy) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => {}
    }
    terminal::tell("draining: no new connections, waiting for requests in flight");
    tokio::select! {
        drained = proxy.drain() => match drained {
            Drained::Idle => terminal::tell("drained"),
            Drained::GraceOver => terminal::tell_in(terminal::NOTABLE, "requests were still in flight; ended them"),
        },
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
