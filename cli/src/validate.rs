//! `headgate validate`: what standalone or a cluster would say about manifests, before they are applied.
//!
//! The same loader and the same translation as everywhere; nothing is started. A reference to an object that is in
//! none of the files is a warning, because the object may be in the cluster.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use headgate_operator::world::{Object, World};
use headgate_translate::{MasterKey, Options};

use crate::manifest::catalogue::Catalogue;
use crate::manifest::complaint::{Complaint, Severity};
use crate::manifest::document::Entry;
use crate::manifest::library::{Library, Suspects};
use crate::registry::Registry;
use crate::review::{complaints, complaints_beside_mistakes};
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
    let mut world = World::new(Options { master_key: MasterKey::for_checks(), ..Options::standalone() });
    Registry::default().sync(&Catalogue::of(&library), &mut world);
    Ok((library, world))
}

/// Checks files. Success where nothing must be corrected.
pub fn run(files: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
    let (library, mut world) = load(files)?;
    let catalogue = Catalogue::of(&library);
    let complaints = examine(&catalogue, &mut world);
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

/// Everything that is wrong with manifests and objects. One run tells all mistakes of an object, those of its shape and
/// those of what it says, as far as it could be read.
fn examine(catalogue: &Catalogue<'_>, world: &mut World) -> BTreeSet<Complaint> {
    let mut found = complaints(catalogue, &world.translate(clock::timestamp()).verdicts);
    let entries = catalogue.entries.values();
    let in_spite_of_mistakes: Vec<Object> =
        entries.filter_map(|entry| entry.manifest.in_spite_of_mistakes.clone()).collect();
    if !in_spite_of_mistakes.is_empty() {
        for object in in_spite_of_mistakes {
            world.upsert(object);
        }
        let translation = world.translate(clock::timestamp());
        found.extend(complaints_beside_mistakes(catalogue, &translation.verdicts));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares what is told of a manifest, without the file and in the order of the lines.
    #[track_caller]
    fn check(manifest: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("a file");
        let (library, mut world) = load(vec![file]).expect("it is there");
        let complaints = examine(&Catalogue::of(&library), &mut world);
        let told = complaints.iter().map(|found| format!("{} {}", found.line.unwrap_or(0), found.sentence()));
        assert_eq!(told.collect::<Vec<_>>(), expected, "{manifest}");
    }

    #[test]
    fn mistakes_of_shape_hide_no_mistakes_of_meaning() {
        check(
            "apiVersion: headgate.dev/v1alpha1
kind: OriginPool
metadata: { name: chat }
spec:
  stering: { policy: Failover }
  fallback: { name: chat }
  origins:
    - name: eu
      endpoints: [\"127.0.0.1:99999\"]
      weight: 2000000
",
            &[
                "5 OriginPool/chat: spec.stering: is not a field, there are endpointPolicy, fallback, healthCheck, \
                 hosts, origins, outlierDetection, retry, sessionAffinity, steering, timeouts",
                "6 OriginPool/chat: spec.fallback.name: names the pool itself; name another OriginPool of the namespace",
                "9 OriginPool/chat: spec.origins[0].endpoints[0]: \"99999\" is no port; write a number from 1 to 65535",
                "10 OriginPool/chat: spec.origins[0].weight: 2000000 is out of range, write a number from 0 to 1000000",
            ],
        );
    }

    #[test]
    fn an_object_of_another_class_is_left_alone_and_that_is_told() {
        check(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public }
spec:
  gatewayClassName: nginx
  listeners: [{ name: http, protocol: HTTP, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop }
spec:
  parentRefs: [{ name: public }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: named }
spec:
  ingressClassName: nginx
  defaultBackend: { service: { name: web, port: { number: 80 } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: unnamed }
spec:
  defaultBackend: { service: { name: web, port: { number: 80 } } }
",
            &[
                "5 Gateway/public: spec.gatewayClassName: class \"nginx\" is not headgate's, so that nothing of this \
                 Gateway is enforced; to serve it write `gatewayClassName: headgate`",
                "12 HTTPRoute/shop: spec.parentRefs: no parent is a Gateway of headgate's, so that nothing of this route \
                 is enforced; to serve it name one whose class is headgate",
                "18 Ingress/named: spec.ingressClassName: class \"nginx\" is not headgate's, so that nothing of this \
                 Ingress is enforced; to serve it write `ingressClassName: headgate`",
                "24 Ingress/unnamed: spec.ingressClassName: it has no class, so that nothing of this Ingress is enforced; \
                 to serve it write `ingressClassName: headgate`",
            ],
        );
    }
}
