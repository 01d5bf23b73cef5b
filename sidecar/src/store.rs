//! The last plan on disk, so that a proxy that starts without a control plane serves what it served before.
//!
//! One file, `plan`, readable by its owner alone because it holds TLS keys (a sidecar's holds none): a line of magic,
//! the SHA-256 of the rest, and a complete [`Batch`]. It is written to a second file, synced and renamed, so that a
//! crash leaves the old plan or the new one. Writing happens in a task of its own: the first change of a quiet time soon, later ones at
//! most once a second, always the newest, and the last one before it ends. A write that fails is tried again until it succeeds or a newer one is due,
//! and is told as a trouble of the proxy meanwhile; nothing else waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Batch, Resource, ResourceSet};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const MAGIC: &[u8] = b"headgate plan 1\n";
const DIGEST_BYTES: usize = 32;
const QUIET: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(2);
/// How long the end of a proxy waits for its last plan to be written.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(2);

/// Why the last plan could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file could not be read.
    #[error("cannot read the last plan {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a plan, or was damaged.
    #[error("the last plan {path} is damaged: remove the file to start without it")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The file that keeps the last plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanFile {
    path: PathBuf,
    /// Whether certificates, which come with their keys, are kept too.
    keeps_keys: bool,
}

impl PlanFile {
    /// The file in a data directory.
    pub(crate) fn new(data_dir: &Path, keeps_keys: bool) -> Self {
        Self { path: data_dir.join("plan"), keeps_keys }
    }

    /// The last plan, or nothing where there is none yet.
    pub(crate) fn load(&self) -> Result<Option<Batch>, StoreError> {
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path: self.path.clone(), source }),
        }
        decode(&bytes).map(Some).ok_or_else(|| StoreError::Damaged { path: self.path.clone() })
    }

    fn save(&self, set: &ResourceSet) -> io::Result<()> {
        let is_kept = |resource: &Resource| self.keeps_keys || !matches!(resource.body, Some(Body::Certificate(_)));
        let body = set.encode_complete(is_kept);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let fresh = self.path.with_extension("new");
        // The mode is that of the creation: what was left behind may be readable by others.
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(&body))?;
        file.write_all(&body)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        File::open(directory)?.sync_all()
    }
}

fn decode(bytes: &[u8]) -> Option<Batch> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (digest, body) = rest.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    Batch::decode(body).ok()
}

/// What the task that writes plans tells the rest of the proxy: why the newest plan is not stored, or nothing.
pub(crate) type StoreTrouble = Option<String>;

/// The task that keeps the newest plan on disk. Dropping it lets the task write what is left.
#[derive(Debug)]
pub(crate) struct Store {
    sets: watch::Sender<Arc<ResourceSet>>,
    task: JoinHandle<()>,
}

impl Store {
    /// Starts keeping plans in a file.
    pub(crate) fn start(file: PlanFile, trouble: watch::Sender<StoreTrouble>) -> Self {
        let (sets, newest) = watch::channel(Arc::default());
        Self { sets, task: tokio::spawn(keep(file, newest, trouble)) }
    }

    /// Keeps a set, in place of the ones before.
    pub(crate) fn put(&self, set: Arc<ResourceSet>) {
        self.sets.send_replace(set);
    }

    /// Waits until the newest set is written, at most for a while.
    pub(crate) async fn finish(self) {
        let Self { sets, task } = self;
        drop(sets);
        if timeout(LAST_WRITE_LIMIT, task).await.is_err() {
            tracing::warn!(reason = "PlanNotStored", "the last plan was not written in time");
        }
    }
}

/// Writes the newest of `sets` to `file` until the sender is dropped, and the last one before it ends.
async fn keep(file: PlanFile, mut sets: watch::Receiver<Arc<ResourceSet>>, trouble: watch::Sender<StoreTrouble>) {
    // A set that is not written yet comes before the end.
    while sets.changed().await.is_ok() {
        while let Some(reason) = save_newest(&file, &mut sets).await {
            let sentence = format!("the plan cannot be kept in {}: {reason}", file.path.display());
            trouble.send_if_modified(|now| {
                if now.as_ref() == Some(&sentence) {
                    return false;
                }
                tracing::warn!(reason = "PlanNotStored", "{sentence}");
                *now = Some(sentence);
                true
            });
            // A newer plan is tried at once, the same one after a pause.
            tokio::select! {
                changed = sets.changed() => if changed.is_err() { return },
                () = sleep(RETRY) => {}
            }
        }
        trouble.send_if_modified(|now| now.take().is_some());
        tokio::select! {
            () = sleep(QUIET) => {}
            () = ended(sets.clone()) => {}
        }
    }
}

/// Waits until no set will come any more.
async fn ended(mut sets: watch::Receiver<Arc<ResourceSet>>) {
    while sets.changed().await.is_ok() {}
}

/// Why the newest set could not be written, or nothing.
async fn save_newest(file: &PlanFile, sets: &mut watch::Receiver<Arc<ResourceSet>>) -> Option<String> {
    let set = Arc::clone(&sets.borrow_and_update());
    let file = file.clone();
    match tokio::task::spawn_blocking(move || file.save(&set)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(stopped) => Some(stopped.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use headgate_snapshot::{Certificate, Entry, Key, Resource};

    use super::*;

    fn some_set() -> ResourceSet {
        let key = Some(Key::new("OriginPool", "default", "chat"));
        std::iter::once(Resource { key, generation: 3, requires: Vec::new(), body: None }).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_and_readable_by_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = PlanFile::new(directory.path(), true);
        assert_eq!(file.load().unwrap(), None);
        // A file that a crash has left behind, with the mode of another time.
        std::fs::write(file.path.with_extension("new"), "half a plan").unwrap();
        file.save(&some_set()).unwrap();
        assert_eq!(file.load().unwrap(), Some(some_set().complete(Vec::new())));
        assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_plan_without_keys_has_all_but_the_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let file = PlanFile::new(directory.path(), false);
        let secret = Certificate { chain_pem: "chain".into(), key_pem: "secret".into() };
        let certificate = Resource {
            key: Some(Key::new("Secret", "default", "tls")),
            body: Some(Body::Certificate(secret)),
            ..Resource::default()
        };
        let mut set = some_set();
        set.insert(Key::new("Secret", "default", "tls"), Entry::new(certificate));
        file.save(&set).unwrap();
        assert_eq!(file.load().unwrap().map(|plan| plan.upserts), Some(some_set().complete(Vec::new()).upserts));
        let bytes = std::fs::read(&file.path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = PlanFile::new(directory.path(), true);
        file.save(&some_set()).unwrap();
        let mut bytes = std::fs::read(&file.path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file.path, bytes).unwrap();
        let expected = format!("the last plan {} is damaged: remove the file to start without it", file.path.display());
        assert_eq!(file.load().unwrap_err().to_string(), expected);
    }

    #[tokio::test]
    async fn a_plan_that_cannot_be_written_is_told_and_written_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        // A file where the data directory should be: nothing can be written into it.
        let blocked = directory.path().join("data");
        std::fs::write(&blocked, "").unwrap();
        let file = PlanFile::new(&blocked, true);
        let (sets, receiver) = watch::channel(Arc::new(ResourceSet::default()));
        let (sender, mut trouble) = watch::channel(None);
        let task = tokio::spawn(keep(file.clone(), receiver, sender));
        sets.send_replace(Arc::new(some_set()));
        trouble.wait_for(Option::is_some).await.unwrap();
        std::fs::remove_file(&blocked).unwrap();
        sets.send_replace(Arc::new(some_set()));
        trouble.wait_for(Option::is_none).await.unwrap();
        assert_eq!(file.load().unwrap(), Some(some_set().complete(Vec::new())));
        drop(sets);
        task.await.unwrap();
    }
}
