//! The files and folders of the command line, as they are now or were when last whole.
//!
//! A folder gives its files `*.yaml`, `*.yml` and `*.json`, not those of folders below it, as `kubectl apply -f`
//! does; hidden files and editors' backups are left alone. Files are compared by their content. A file that is not
//! YAML at the moment, or cannot be opened, keeps the state in which it could last be read. Where a document has
//! lost its identity (a file cut off in the middle of `metadata`, for instance), what the file had before stays
//! beside what it has now, so that a half-written file never withdraws anything. A file that was emptied a moment
//! ago keeps its state too: whoever rewrites a file empties it first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::document::{self, Document, Entry, Reading};
use super::tree::{Place, SyntaxError};
use crate::clock;

/// The largest file that is read.
const FILE_BYTES: u64 = 256 << 20;

/// How long a file must have been empty until it is believed. Its time of change does not tell: file systems set it
/// after the size.
const EMPTY_FOR: Duration = Duration::from_millis(500);

/// Which files may have changed.
#[derive(Clone, Debug)]
pub enum Suspects {
    /// Those of these names, whatever their metadata says, and no others: another one may be half-written.
    Named {
        /// The names.
        names: BTreeSet<OsString>,
        /// Names of files that somebody is writing, or moving away, at the moment.
        busy: BTreeSet<OsString>,
    },
    /// Those whose metadata changed, and those that were read since the last time of this question, because a second
    /// edit within the grain of the file system's clock leaves the metadata as it was.
    Changed {
        /// Names of files that somebody is writing at the moment.
        except: BTreeSet<OsString>,
    },
}

impl Suspects {
    /// All that may have changed.
    pub fn all() -> Self {
        Self::Changed { except: BTreeSet::new() }
    }

    fn include(&self, path: &Path) -> bool {
        let among = |names: &BTreeSet<OsString>| path.file_name().is_some_and(|name| names.contains(name));
        match self {
            Self::Named { names, busy: _ } => among(names),
            Self::Changed { except } => !among(except),
        }
    }
}

/// A file or folder that could not be read, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub path: PathBuf,
    /// Where, unless it is about the file as a whole.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
}

/// All files.
#[derive(Debug)]
pub struct Library {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    unreadable: Vec<Fault>,
}

#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    read_again: bool,
    /// It could be read as a whole once.
    known: bool,
    /// When it was first found empty, while what it held before stays.
    empty_since: Option<Instant>,
    documents: Vec<Document>,
    /// The documents of before, while one of the present ones has no identity.
    retained: Vec<Document>,
    faults: Vec<Fault>,
}

/// What changes when a file does, nearly always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Library {
    /// A library of these files and folders; nothing is read yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, files: BTreeMap::new(), unreadable: Vec::new() }
    }

    /// The files and folders of the command line.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Brings the library up to date. True where anything changed, faults included. Where only some names are
    /// suspected, only these files are looked at: an edit of one among thousands costs one.
    pub fn refresh(&mut self, suspects: &Suspects) -> bool {
        let Listing { files: listing, blind, faults } = match suspects {
            Suspects::Named { names, busy: _ } => self.list_named(names),
            Suspects::Changed { .. } => self.list(),
        };
        let mut changed = false;
        if matches!(suspects, Suspects::Changed { .. }) {
            changed = self.unreadable != faults;
            self.unreadable = faults;
        }
        changed |= self.forget(suspects, |path| {
            listing.contains_key(path.as_os_str()) || blind.iter().any(|blind| path.starts_with(blind))
        });
        let mut listing = listing;
        for (path, file) in &mut self.files {
            if let Some(stamp) = listing.remove(path.as_os_str()).filter(|_| suspects.include(path)) {
                changed |= file.look(path, stamp, suspects);
            }
        }
        let new: BTreeMap<OsString, Option<Stamp>> = listing.into_iter().collect();
        for (path, stamp) in new {
            let path = PathBuf::from(path);
            if suspects.include(&path) {
                self.files.entry(path.clone()).or_default().look(&path, stamp, suspects);
                changed = true;
            }
        }
        changed
    }

    /// Drops suspects that are not there, and lets others that are not there linger. True where anything changed.
    fn forget(&mut self, suspects: &Suspects, is_there: impl Fn(&Path) -> bool) -> bool {
        let mut changed = false;
        match suspects {
            Suspects::Named { names, busy } => {
                for path in self.named(names).filter(|path| !is_there(path)).collect::<Vec<_>>() {
                    changed |= self.files.remove(&path).is_some();
                }
                for path in self.named(busy).filter(|path| !path.exists()).collect::<Vec<_>>() {
                    changed |= self.files.get_mut(&path).is_some_and(File::linger);
                }
            }
            Suspects::Changed { except: _ } => self.files.retain(|path, file| {
                if is_there(path) {
                    return true;
                }
                let gone = suspects.include(path);
                changed |= gone || file.linger();
                !gone
            }),
        }
        changed
    }

    /// The paths that may have one of these names: files of the command line, and files of its folders.
    fn named(&self, names: &BTreeSet<OsString>) -> impl Iterator<Item = PathBuf> {
        let is_named = |path: &&PathBuf| path.file_name().is_some_and(|name| names.contains(name));
        let themselves = self.paths.iter().filter(is_named).cloned();
        let manifests = names.iter().filter(|name| is_manifest(name));
        themselves.chain(manifests.flat_map(|name| self.paths.iter().map(move |folder| folder.join(name))))
    }

    fn list_named(&self, names: &BTreeSet<OsString>) -> Listing {
        let mut listing = Listing::default();
        for path in self.named(names) {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    listing.files.insert(path.into_os_string(), Some(Stamp::of(&metadata)));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(_) => {
                    listing.files.insert(path.into_os_string(), None);
                }
            }
        }
        listing
    }

    /// Every object in the order of the files, what is retained after what is present. An identity may come twice.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.documents().flat_map(|(file, document)| {
            document.contents.manifests.iter().map(move |manifest| Entry { file, document, manifest })
        })
    }

    /// Every document as it stands in its file, with the file.
    pub fn documents(&self) -> impl Iterator<Item = (&Path, &Document)> {
        self.files.iter().flat_map(|(path, file)| file.documents.iter().map(move |document| (path.as_path(), document)))
    }

    /// The objects that stay only because their file lost their identity.
    pub fn retained(&self) -> impl Iterator<Item = Entry<'_>> {
        self.files.iter().flat_map(|(path, file)| {
            file.retained.iter().flat_map(move |document| {
                document.contents.manifests.iter().map(move |manifest| Entry { file: path, document, manifest })
            })
        })
    }

    /// What could not be read.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.unreadable.iter().chain(self.files.values().flat_map(|file| &file.faults))
    }

    /// True where every file could be read as a whole at least once, so that nothing unknown is in any.
    pub fn is_known(&self) -> bool {
        self.unreadable.is_empty() && self.files.values().all(|file| file.known)
    }

    fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for path in &self.paths {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => match list_folder(path) {
                    Ok(files) => listing.files.extend(files),
                    Err(error) => listing.cannot_look(path, &error),
                },
                Ok(metadata) => {
                    listing.files.insert(path.clone().into_os_string(), Some(Stamp::of(&metadata)));
                }
                // What it held is withdrawn, as for a file removed from a folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => listing.faults.push(Fault {
                    path: path.clone(),
                    place: None,
                    message: "does not exist; nothing of it is in force".to_owned(),
                }),
                Err(error) => listing.cannot_look(path, &error),
            }
        }
        listing
    }
}

/// What is there now.
#[derive(Debug, Default)]
struct Listing {
    /// By path. Texts, because paths are compared part by part, which thousands of them would feel.
    files: HashMap<OsString, Option<Stamp>>,
    /// Paths that exist and cannot be looked into, so that nothing is known about their files.
    blind: Vec<PathBuf>,
    faults: Vec<Fault>,
}

impl Listing {
    fn cannot_look(&mut self, path: &Path, error: &io::Error) {
        self.blind.push(path.to_owned());
        self.faults.push(Fault { path: path.to_owned(), place: None, message: format!("cannot be read: {error}") });
    }
}

impl File {
    /// Reads the file if it may have changed. True where anything did.
    fn look(&mut self, path: &Path, stamp: Option<Stamp>, suspects: &Suspects) -> bool {
        let again = std::mem::take(&mut self.read_again);
        let told = matches!(suspects, Suspects::Named { .. });
        if !(told || again || self.stamp != stamp || stamp.is_none()) {
            return false;
        }
        self.read_again = told || self.stamp != stamp;
        self.stamp = stamp;
        self.read(path)
    }

    /// Keeps what the file held when it is not there any more, but may be back in a moment. What other files have
    /// meanwhile goes before it. True where that is news.
    fn linger(&mut self) -> bool {
        self.stamp = None;
        let documents = std::mem::take(&mut self.documents);
        let news = !documents.is_empty();
        self.retained.splice(0..0, documents);
        news
    }

    /// Reads the file anew. True where its documents or faults changed.
    fn read(&mut self, path: &Path) -> bool {
        let before = self.faults.clone();
        let text = match read_text(path) {
            Ok(text) => text,
            Err(message) => {
                self.faults = vec![Fault { path: path.to_owned(), place: None, message }];
                return self.faults != before;
            }
        };
        if text.trim().is_empty() && !self.documents.is_empty() {
            let since = *self.empty_since.get_or_insert_with(clock::instant);
            if clock::instant().saturating_duration_since(since) < EMPTY_FOR {
                self.read_again = true;
                return false;
            }
        }
        self.empty_since = None;
        let Reading { documents, faults } = document::read(&text, &self.documents);
        let fault = |SyntaxError { place, message }| Fault { path: path.to_owned(), place: Some(place), message };
        self.faults = faults.into_iter().map(fault).collect();
        self.known |= self.faults.is_empty();
        if !self.faults.is_empty() && !self.documents.is_empty() {
            return self.faults != before;
        }
        let same = documents.len() == self.documents.len()
            && documents.iter().zip(&self.documents).all(|(one, other)| {
                one.first_line == other.first_line && std::sync::Arc::ptr_eq(&one.contents, &other.contents)
            });
        if same {
            return self.faults != before;
        }
        let previous = std::mem::replace(&mut self.documents, documents);
        let lost_identity = self.documents.iter().any(|document| !document.contents.mistakes.is_empty());
        if lost_identity {
            // The newest state of an object comes first, and the first of an identity counts.
            self.retained.splice(0..0, previous);
        } else {
            self.retained.clear();
        }
        true
    }
}

/// Whether a file of a folder is read, by its name.
pub fn is_manifest(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    [".yaml", ".yml", ".json"].iter().any(|extension| name.ends_with(extension)) && !name.starts_with(['.', '#'])
}

fn list_folder(folder: &Path) -> io::Result<Vec<(OsString, Option<Stamp>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !is_manifest(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => files.push((path.into_os_string(), Some(Stamp::of(&metadata)))),
            Ok(_) => {}
            // Removed since the folder was read, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => files.push((path.into_os_string(), None)),
        }
    }
    Ok(files)
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.len() > FILE_BYTES {
        return Err(format!("is larger than {} MiB; split it into several files", FILE_BYTES >> 20));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..position].split(|byte| *byte == b'\n').count();
        format!("is not UTF-8 text (line {line}); save it as UTF-8")
    })
}
