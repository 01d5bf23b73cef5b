//! When to look at the files again.
//!
//! The kernel tells of most changes at once; a slow poll catches what it does not tell (network file systems, links
//! into other folders, a full queue). A file that is being written is left alone until its writer closes it or
//! pauses, because the first thing that many writers do is to empty it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::manifest::library::Suspects;

/// How often to look although nothing was told.
const POLL: Duration = Duration::from_secs(2);

/// How long a writer that neither closes nor renames must pause.
const PAUSE: Duration = Duration::from_millis(100);

/// Events that may wait. More are dropped, and found by the poll.
const QUEUE: usize = 4096;

/// What an event says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Whoever changed it is done.
    Settled,
    /// Somebody is at it.
    Stirring,
}

/// Tells when files may have changed.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<Event>,
    poll: Interval,
}

impl Watch {
    /// Watches files and folders.
    pub fn new(paths: &[PathBuf]) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                // A full queue means that a look is due anyway.
                let _ = sender.try_send(event);
            }
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "files cannot be watched; looking at them every {} s", POLL.as_secs());
                None
            }
        };
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paths = paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
        let mut watch = Self { paths, watcher, events, poll };
        watch.follow();
        watch
    }

    /// Waits until a look at the files is due, and says at which.
    pub async fn due(&mut self) -> Suspects {
        let mut names = BTreeSet::new();
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = self.poll.tick() => None,
            };
            let Some(event) = event else {
                self.follow();
                return Suspects::Changed;
            };
            let mut phase = self.take(&event, &mut names);
            // While somebody is at a file, wait for the close or for a pause.
            while phase == Some(Phase::Stirring) {
                phase = match timeout(PAUSE, self.events.recv()).await {
                    Ok(Some(event)) => self.take(&event, &mut names).or(phase),
                    Ok(None) | Err(_) => Some(Phase::Settled),
                };
            }
            if phase == Some(Phase::Settled) {
                while let Ok(event) = self.events.try_recv() {
                    self.take(&event, &mut names);
                }
                self.follow();
                return Suspects::Named(names);
            }
        }
    }

    /// Takes the names of an event that concerns us.
    fn take(&self, event: &Event, names: &mut BTreeSet<OsString>) -> Option<Phase> {
        let phase = phase(event.kind)?;
        let concerned: Vec<&PathBuf> = event.paths.iter().filter(|path| self.concerns(path)).collect();
        names.extend(concerned.iter().filter_map(|path| path.file_name()).map(OsString::from));
        (!concerned.is_empty()).then_some(phase)
    }

    fn concerns(&self, path: &Path) -> bool {
        self.paths.iter().any(|ours| path == ours || path.parent() == Some(ours))
    }

    /// Watches the paths that are there now. What is watched already costs nothing; a folder that was removed and
    /// made again is another one.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in &self.paths {
            let parent = path.parent().filter(|parent| parent.is_dir());
            let folder = Some(path.as_path()).filter(|path| path.is_dir());
            for folder in parent.into_iter().chain(folder) {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::debug!(%error, folder = %folder.display(), "cannot be watched; the poll looks at it");
                }
            }
        }
    }
}

fn phase(kind: EventKind) -> Option<Phase> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_))
        | EventKind::Any
        | EventKind::Other => Some(Phase::Settled),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => {
            Some(Phase::Stirring)
        }
        EventKind::Access(_) => None,
    }
}
