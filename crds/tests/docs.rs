//! The page of a kind in `docs/` names every field of its schema.

use std::path::Path;

use headgate_crds::{KINDS, Kind};
use serde_json::Value;

/// Pages by kind.
fn page(kind: &Kind) -> &'static str {
    match kind.name {
        "OriginPool" => "origin-pool.md",
        "RateLimit" => "rate-limit.md",
        "WaitingRoom" => "waiting-room.md",
        other => unreachable!("{other} has no page in docs/: write one, and name it here"),
    }
}

fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // Conditions are Kubernetes' own type.
        if path != "status.conditions" {
            fields(property, &path, found);
            fields(&property["items"], &format!("{path}[]"), found);
        }
        found.push(path);
    }
}

#[test]
fn every_field_is_on_the_page_of_its_kind() {
    for kind in KINDS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page(kind));
        let text = std::fs::read_to_string(&file).expect("the page");
        let definition = serde_json::to_value((kind.definition)()).expect("JSON");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut all = Vec::new();
        for part in ["spec", "status"] {
            fields(&schema["properties"][part], part, &mut all);
        }
        let missing: Vec<&String> = all.iter().filter(|field| !text.contains(&format!("`{field}`"))).collect();
        assert!(missing.is_empty(), "{} does not explain {missing:?}", file.display());
    }
}
