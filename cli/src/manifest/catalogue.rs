//! One state for each identity, out of all files, and everything that is wrong with the files themselves.
//!
//! Where two files (or two documents) hold an object of the same identity, the first in the order of the files
//! counts and the other is a mistake that names both places.

use std::collections::BTreeMap;

use headgate_operator::world::ObjectKind;
use headgate_translate::ObjectKey;

use super::complaint::{Complaint, Severity};
use super::decode::Mistake;
use super::document::{Document, Entry};
use super::library::{Fault, Library};
use super::object::Note;

/// All objects of a library, each once.
#[derive(Debug, Default)]
pub struct Catalogue<'l> {
    /// Objects by identity.
    pub entries: BTreeMap<(ObjectKind, &'l ObjectKey), Entry<'l>>,
    /// What is wrong with files, documents and objects, as far as a look at each alone can tell.
    pub complaints: Vec<Complaint>,
}

impl<'l> Catalogue<'l> {
    /// The catalogue of a library.
    pub fn of(library: &'l Library) -> Self {
        let mut catalogue = Self::default();
        catalogue.complaints.extend(library.faults().map(about_file));
        for (file, document) in library.documents() {
            let note = |note: &Note, severity| about_note(file, document, note, severity);
            catalogue.complaints.extend(document.contents.mistakes.iter().map(|found| note(found, Severity::Mistake)));
            catalogue.complaints.extend(document.contents.skipped.iter().map(|found| note(found, Severity::Warning)));
        }
        let identity = |entry: &Entry<'l>| (entry.manifest.kind, &entry.manifest.key);
        let mut entries: Vec<Entry<'l>> = library.entries().collect();
        // The order of the files stays among those of one identity. Files tend to be named after what is in them, and
        // what is nearly sorted is sorted at once.
        entries.sort_by_key(identity);
        for entry in &entries {
            catalogue.complaints.extend(entry.manifest.mistakes.iter().map(|mistake| about_entry(entry, mistake)));
        }
        for same in entries.chunk_by(|one, other| identity(one) == identity(other)) {
            catalogue.complaints.extend(same[1..].iter().map(|second| duplicate(second, &same[0])));
        }
        entries.dedup_by(|second, first| identity(second) == identity(first));
        catalogue.entries = entries.into_iter().map(|entry| (identity(&entry), entry)).collect();
        for entry in library.retained() {
            catalogue.entries.entry((entry.manifest.kind, &entry.manifest.key)).or_insert(entry);
        }
        catalogue.complaints.sort();
        catalogue
    }
}

/// A complaint about a field of an object.
pub fn about_entry(entry: &Entry<'_>, mistake: &Mistake) -> Complaint {
    Complaint {
        file: entry.file.to_owned(),
        line: Some(entry.document.line(mistake.place)),
        column: None,
        label: entry.label(),
        field: mistake.field.clone(),
        message: mistake.message.clone(),
        severity: Severity::Mistake,
    }
}

fn about_file(fault: &Fault) -> Complaint {
    let Fault { path, place, message } = fault;
    Complaint {
        file: path.clone(),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        label: String::new(),
        field: String::new(),
        message: message.clone(),
        severity: Severity::Mistake,
    }
}

fn about_note(file: &std::path::Path, document: &Document, note: &Note, severity: Severity) -> Complaint {
    let Note { label, mistake: Mistake { place, field, message } } = note;
    Complaint {
        file: file.to_owned(),
        line: Some(document.line(*place)),
        column: None,
        label: label.clone(),
        field: field.clone(),
        message: message.clone(),
        severity,
    }
}

fn duplicate(second: &Entry<'_>, first: &Entry<'_>) -> Complaint {
    Complaint {
        file: second.file.to_owned(),
        line: Some(second.line()),
        column: None,
        label: second.label(),
        field: String::new(),
        message: format!(
            "the same object is in {}:{} too, and that one counts; remove or rename one of them",
            first.file.display(),
            first.line()
        ),
        severity: Severity::Mistake,
    }
}
