//! `headgate validate`: what standalone or a cluster would say about manifests, before they are applied.
//!
//! The same loader and the same translation as everywhere; nothing is started. A reference to an object that is in
//! none of the files is a warning, because the object may be in the cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use headgate_operator::world::World;
use headgate_translate::Options;

use crate::manifest::catalogue::Catalogue;
use crate::manifest::complaint::Severity;
use crate::manifest::document::Entry;
use crate::manifest::library::{Library, Suspects};
use crate::registry::Registry;
use crate::review::complaints;
use crate::terminal::{BAD, GOOD, QUIET};
use crate::{clock, terminal};

/// Reads files into a world as standalone would.
pub fn load(files: Vec<PathBuf>) -> anyhow::Result<(Library, World)> {
    for path in &files {
        if !path.exists() {
            bail!("{} does not exist; -f needs a file or a folder of manifests", path.display());
        }
    }
    let mut library = Library::new(files);
    library.refresh(&Suspects::all());
    let mut world = World::new(Options::standalone());
    Registry::default().sync(&Catalogue::of(&library), &mut world);
    Ok((library, world))
}

/// Checks files. Success where nothing must be corrected.
pub fn run(files: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
    let (library, mut world) = load(files)?;
    let catalogue = Catalogue::of(&library);
    let translation = world.translate(clock::timestamp());
    let complaints = complaints(&catalogue, &translation.verdicts);
    let mistakes = complaints.iter().filter(|complaint| complaint.severity == Severity::Mistake).count();

    let mut out = anstream::stdout().lock();
    for complaint in &complaints {
        match complaint.severity {
            Severity::Mistake => writeln!(out, "{}", terminal::complaint(complaint))?,
            Severity::Warning => terminal::tell(terminal::complaint(complaint)),
        }
    }
    if mistakes > 0 {
        drop(out);
        let files = library.files().count();
        terminal::tell_in(BAD, format!("{mistakes} mistake(s) in {files} file(s)"));
        return Ok(ExitCode::FAILURE);
    }
    let mut entries: Vec<&Entry<'_>> = catalogue.entries.values().collect();
    entries.sort_by_key(|entry| (entry.file, entry.line()));
    for entry in entries {
        let place = format!("{}:{}", entry.file.display(), entry.line());
        writeln!(out, "{GOOD}ok{GOOD:#} {} {QUIET}{place}{QUIET:#}", entry.label())?;
    }
    Ok(ExitCode::SUCCESS)
}
