//! Golden cases: `in.yaml` is the whole world, `out.yaml` what follows from it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p headgate-translate --test golden` writes `out.yaml` anew; the difference is then
//! reviewed like code. The names of the cases are sentences.

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use headgate_translate::{Condition, Inputs, Translation, Verdict, translate};
use serde_json::{Value, json};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder of cases").map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases
}

fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn every_world_gives_the_resources_and_verdicts_of_its_case() {
    let mut differing = Vec::new();
    for case in cases() {
        let inputs = world::read(&fs::read_to_string(case.join("in.yaml")).expect("in.yaml"));
        let found = render(&inputs, &translate(&inputs));
        let expected = fs::read_to_string(case.join("out.yaml")).unwrap_or_default();
        if found == expected {
            continue;
        }
        if updates() {
            fs::write(case.join("out.yaml"), found).expect("out.yaml is written");
        } else {
            differing.push(format!("{}: expected\n{expected}\nfound\n{found}", case.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 accepts what was found:\n{}", differing.join("\n"));
}

#[test]
fn every_case_has_its_two_files_and_nothing_else() {
    // The other test writes the files then.
    for case in cases().into_iter().filter(|_| !updates()) {
        let mut files: Vec<String> = fs::read_dir(&case)
            .expect("a case is a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, ["in.yaml", "out.yaml"], "{}", case.display());
    }
}

/// The resources as proto3 JSON, and for each object its verdict with the conditions that users see.
fn render(inputs: &Inputs, translation: &Translation) -> String {
    let Translation { resources, holds, uncertain, verdicts, claims, references: _ } = translation;
    let resources: Vec<Value> = resources.iter().map(shown).collect();
    let holds: Vec<String> = holds.iter().map(ToString::to_string).collect();
    let verdicts: BTreeMap<String, Value> =
        verdicts.iter().map(|(object, verdict)| (object.to_string(), verdict_shown(verdict))).collect();
    let mut found = json!({ "resources": resources, "verdicts": verdicts });
    if !holds.is_empty() {
        found["holds"] = json!(holds);
    }
    if !uncertain.is_empty() {
        let uncertain: Vec<String> = uncertain.iter().map(ToString::to_string).collect();
        found["uncertain"] = json!(uncertain);
    }
    if *claims != inputs.claims {
        found["claims"] = shown(claims);
    }
    redact(&mut found);
    serde_saphyr::to_string(&found).expect("values are written as YAML")
}

fn shown(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("a value is shown as JSON")
}

fn verdict_shown(verdict: &Verdict) -> Value {
    let conditions = |conditions: Vec<Condition>| -> Value {
        conditions
            .iter()
            .map(|Condition { condition_type, status, reason, message }| {
                let separator = if message.is_empty() { "" } else { ": " };
                format!("{}={}/{reason}{separator}{message}", condition_type.as_str(), status.as_str())
            })
            .collect()
    };
    let mut shown = json!({ "force": shown(verdict.force), "conditions": conditions(verdict.conditions()) });
    if !verdict.hosts.is_empty() {
        shown["hosts"] = verdict.hosts.iter().map(|host| (host.host.clone(), json!(host.held))).collect();
    }
    if !verdict.addresses.is_empty() {
        shown["addresses"] = json!(verdict.addresses);
    }
    if let Some((reason, message)) = verdict.unprogrammed() {
        shown["unprogrammed"] = json!(format!("{reason}: {message}"));
    }
    for listener in &verdict.listeners {
        shown["listeners"][&listener.name] = json!({
            "attachedRoutes": listener.attached_routes,
            "supportedKinds": listener.supported_kinds.iter().map(|kind| &kind.kind).collect::<Vec<_>>(),
            "conditions": conditions(listener.conditions()),
        });
    }
    let parents = verdict.parents.iter().map(
        |parent| json!({ "parentRef": parent.parent, "conditions": conditions(verdict.parent_conditions(parent)) }),
    );
    let parents: Vec<Value> = parents.collect();
    if !parents.is_empty() {
        shown["parents"] = json!(parents);
    }
    shown
}

/// Certificates are long, and keys are not for reading.
fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match name.as_str() {
                    "chainPem" | "keyPem" => *value = json!(format!("[{name}]")),
                    _ => redact(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
