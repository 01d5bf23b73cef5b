//! When to look at the files again.
//!
//! The kernel tells of most changes at once; a slow poll catches what it does not tell (network file systems, links
//! into other folders, a full queue). A file that is being written is left alone until its writer closes it or
//! pauses, because the first thing that many writers do is to empty it. So is a file that was removed or renamed:
//! many editors move the old file away before they write the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::clock;
use crate::manifest::library::{Suspects, is_manifest};

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
    /// Names of files that somebody is at, and since when there is no news of them.
    busy: BTreeMap<OsString, Instant>,
}

impl Watch {
    /// Watches files and folders.
    pub fn new(paths: &[PathBuf]) -> Self {
        let paths: Vec<PathBuf> =
            paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
        let (sender, events) = mpsc::channel(QUEUE);
        let ours = paths.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Whatever else happens in the folder of a file must not fill the queue.
            if let Ok(event) = event
                && event.paths.iter().any(|path| concerns(&ours, path))
            {
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
        let mut watch = Self { paths, watcher, events, poll, busy: BTreeMap::new() };
        watch.follow();
        watch
    }

    /// Waits until a look at the files is due, and says at which.
    pub async fn due(&mut self) -> Suspects {
        let mut settled = BTreeSet::new();
        loop {
            let now = clock::instant();
            settled.extend(self.busy.extract_if(.., |_, since| *since + PAUSE <= now).map(|(name, _)| name));
            if !settled.is_empty() {
                return Suspects::Named { names: settled, busy: self.busy.keys().cloned().collect() };
            }
            let rest = self.busy.values().min().map(|since| (*since + PAUSE).saturating_duration_since(now));
            let event = tokio::select! {
                // Without a watcher the queue is closed, and the poll does it alone.
                Some(event) = self.events.recv() => event,
                _ = self.poll.tick() => {
                    self.follow();
                    return Suspects::Changed { except: self.busy.keys().cloned().collect() };
                }
                () = sleep(rest.unwrap_or(POLL)), if rest.is_some() => continue,
            };
            // Only what waits now: events that come meanwhile must not delay the look.
            let waiting: Vec<Event> = (0..self.events.len()).map_while(|_| self.events.try_recv().ok()).collect();
            let mut folder_changed = false;
            for event in std::iter::once(event).chain(waiting) {
                folder_changed |= self.take(&event, &mut settled);
            }
            if folder_changed {
                self.follow();
                return Suspects::Changed { except: self.busy.keys().cloned().collect() };
            }
        }
    }

    /// Sorts the names of an event into settled and busy ones. True where the event is about more than a file: a
    /// folder itself, or what links lead through.
    fn take(&mut self, event: &Event, settled: &mut BTreeSet<OsString>) -> bool {
        let Some(phase) = phase(event.kind) else { return false };
        let mut folder_changed = false;
        let concerned: Vec<&PathBuf> = event.paths.iter().filter(|path| concerns(&self.paths, path)).collect();
        for path in concerned {
            let Some(name) = path.file_name().map(OsString::from) else { continue };
            folder_changed |= path.is_dir() || !is_manifest(&name) && !self.paths.contains(path);
            folder_changed |= self.paths.contains(path) && !path.is_file();
            match phase {
                Phase::Settled => {
                    self.busy.remove(&name);
                    settled.insert(name);
                }
                Phase::Stirring => {
                    settled.remove(&name);
                    self.busy.insert(name, clock::instant());
                }
            }
        }
        folder_changed
    }

    /// Watches the paths that are there now. What is watched already costs nothing; a folder that was removed and
    /// made again is another one.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in &self.paths {
            // A folder tells of its own end; what is not there now is announced by the folder around it.
            let folder =
                if path.is_dir() { Some(path.as_path()) } else { path.parent().filter(|parent| parent.is_dir()) };
            if let Some(folder) = folder
                && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
            {
                tracing::debug!(%error, folder = %folder.display(), "cannot be watched; the poll looks at it");
            }
        }
    }
}

/// Whether a path is one of ours, or a file in a folder of ours.
fn concerns(paths: &[PathBuf], path: &Path) -> bool {
    paths.iter().any(|ours| path == ours || path.parent() == Some(ours))
}

fn phase(kind: EventKind) -> Option<Phase> {
    match kind {
        EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(
            ModifyKind::Name(RenameMode::From) | ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other,
        ) => Some(Phase::Stirring),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_))
        | EventKind::Any
        | EventKind::Other => Some(Phase::Settled),
        EventKind::Access(_) => None,
    }
}
