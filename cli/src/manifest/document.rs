//! A file's text cut into documents, each read once however often the file is.
//!
//! A line that begins with `---` starts a document wherever it stands, so cutting needs no parser. An edit of one
//! document among thousands parses that one: the others are found by their text.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::object::{self, Contents, Manifest};
use super::tree::{self, Node, Place, SyntaxError};

/// A part of a file that parses by itself.
#[derive(Clone, Debug)]
pub struct Document {
    /// The line of the file that it begins on.
    pub first_line: usize,
    /// Its text.
    pub text: Arc<str>,
    /// What is in it.
    pub contents: Arc<Contents>,
    /// Places of fields that were asked for, by the place of their object.
    places: Arc<Mutex<BTreeMap<(Place, String), Place>>>,
}

/// The documents of a text, and where it is not YAML.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Documents that could be parsed.
    pub documents: Vec<Document>,
    /// Those that could not, with lines of the file.
    pub faults: Vec<SyntaxError>,
}

/// Reads a text. What `known` has already read is not read again.
pub fn read(text: &str, known: &[Document]) -> Reading {
    let known: HashMap<&str, &Document> = known.iter().map(|document| (&*document.text, document)).collect();
    let mut reading = Reading::default();
    for (first_line, part) in split(text) {
        if let Some(same) = known.get(part) {
            reading.documents.push(Document { first_line, ..Document::clone(same) });
            continue;
        }
        match tree::parse(part) {
            Ok(nodes) => {
                let mut contents = Contents::default();
                for Contents { manifests, mistakes, skipped } in nodes.iter().map(object::read) {
                    contents.manifests.extend(manifests);
                    contents.mistakes.extend(mistakes);
                    contents.skipped.extend(skipped);
                }
                let document =
                    Document { first_line, text: part.into(), contents: Arc::new(contents), places: Arc::default() };
                reading.documents.push(document);
            }
            Err(SyntaxError { place, message }) => {
                let place = Place { line: place.line + first_line - 1, ..place };
                reading.faults.push(SyntaxError { place, message });
            }
        }
    }
    reading
}

/// The parts of a text with the line that each begins on. Directives (`%YAML`) belong to the part after them and
/// are rare: a text that has one is not cut.
fn split(text: &str) -> Vec<(usize, &str)> {
    if text.lines().any(|line| line.starts_with('%')) {
        return vec![(1, text)];
    }
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && position > start {
            parts.push((start_line, &text[start..position]));
            (start, start_line) = (position, index + 1);
        }
        position += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts.retain(|(_, part)| !part.trim().is_empty());
    parts
}

/// One object and where it is written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'l> {
    /// The file.
    pub file: &'l Path,
    /// The document in it.
    pub document: &'l Document,
    /// The object.
    pub manifest: &'l Manifest,
}

impl Entry<'_> {
    /// The line of the file that the object begins on.
    pub fn line(&self) -> usize {
        self.document.line(self.manifest.place)
    }

    /// How the object is written in sentences.
    pub fn label(&self) -> String {
        object::label(self.manifest.kind.as_str(), &self.manifest.key)
    }
}

impl Document {
    /// The line of the file of a place in this document.
    pub fn line(&self, place: Place) -> usize {
        self.first_line + place.line.saturating_sub(1)
    }
}

/// Finds the lines of fields. Trees are not kept with the objects, because thousands of objects have no mistake; the
/// document is parsed again, and kept for the next question about it. What was found stays with the document, so that
/// a warning that nobody mends is not looked for again at each edit of another file.
#[derive(Debug, Default)]
pub struct Locator {
    last: Option<(Arc<str>, Vec<Node>)>,
}

impl Locator {
    /// The line of the file of a field of an object.
    pub fn line(&mut self, entry: &Entry<'_>, field: &str) -> usize {
        let Entry { file: _, document, manifest } = entry;
        let question = (manifest.place, field.to_owned());
        if let Some(place) = document.places.lock().get(&question) {
            return document.line(*place);
        }
        if self.last.as_ref().is_none_or(|(text, _)| !Arc::ptr_eq(text, &document.text)) {
            let nodes = tree::parse(&document.text).unwrap_or_default();
            self.last = Some((Arc::clone(&document.text), nodes));
        }
        let nodes = self.last.iter().flat_map(|(_, nodes)| nodes).flat_map(object::objects);
        let place = nodes
            .filter(|node| node.place == manifest.place)
            .map(|node| node.locate(field))
            .next()
            .unwrap_or(manifest.place);
        document.places.lock().insert(question, place);
        document.line(place)
    }
}
