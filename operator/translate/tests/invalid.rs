//! Manifests with a mistake, each with the sentence that its user gets.
//!
//! `tests/invalid/*.yaml` hold lists of cases: `manifest` (one or many documents), the `object` that is wrong, the
//! `field` and the whole `sentence` that names the mistake.

mod world;

use std::fs;
use std::path::Path;

use headgate_translate::{Problem, Translation, Verdict, translate};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    manifest: String,
    object: String,
    field: String,
    sentence: String,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    let paths = fs::read_dir(folder).expect("the folder of cases").map(|entry| entry.expect("an entry").path());
    let texts = paths.map(|path| fs::read_to_string(path).expect("a file of cases"));
    texts.flat_map(|text| serde_saphyr::from_str::<Vec<Case>>(&text).expect("cases")).collect()
}

#[test]
fn every_invalid_manifest_gets_its_sentence() {
    let failures: Vec<String> = cases().iter().filter_map(check).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_invalid_manifest_changes_nothing_for_others() {
    let alone = world::of_bystander(&translate(&world::read(world::BYSTANDER)));
    for Case { name, manifest, .. } in cases() {
        let documents = [world::documents(world::BYSTANDER), world::documents(&manifest)].concat();
        assert_eq!(world::of_bystander(&translate(&world::of(documents))), alone, "{name}");
    }
}

/// What is wrong with a case, if anything.
fn check(case: &Case) -> Option<String> {
    let Case { name, manifest, object, field, sentence } = case;
    let Translation { verdicts, .. } = translate(&world::read(manifest));
    let Some((_, verdict)) = verdicts.iter().find(|(judged, _)| judged.to_string() == *object) else {
        return Some(format!("{name}: no verdict on {object}"));
    };
    let found = problems(verdict);
    let is_told = found.iter().any(|problem| problem.field == *field && problem.message == *sentence);
    (!is_told).then(|| format!("{name}:\n  expected {field}: {sentence}\n  found {found:#?}"))
}

fn problems(verdict: &Verdict) -> Vec<&Problem> {
    let of_listeners = verdict.listeners.iter().flat_map(|listener| &listener.problems);
    let of_parents = verdict.parents.iter().flat_map(|parent| &parent.problems);
    verdict.problems.iter().chain(of_listeners).chain(of_parents).collect()
}
