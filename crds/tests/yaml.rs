//! `crds/yaml` is what the types generate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use headgate_crds::KINDS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml")
}

#[test]
fn the_definitions_on_disk_are_those_of_the_types() {
    for kind in KINDS {
        let file = folder().join(kind.file_name());
        let generated = kind.yaml().expect("YAML");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &generated).expect("the definition is written");
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == generated,
            "{} is stale; run `UPDATE_GOLDEN=1 cargo test -p headgate-crds` or `make golden`, and look at the difference",
            file.display()
        );
    }
}

#[test]
fn no_definition_on_disk_is_of_a_kind_that_is_gone() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("the folder of definitions")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, KINDS.iter().map(headgate_crds::Kind::file_name).collect());
}
