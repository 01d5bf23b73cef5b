//! What the loader reads, and what it says of what it cannot read.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::catalogue::Catalogue;
use super::document::Locator;
use super::library::{Library, Suspects};
use super::tree;
use crate::clock;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  ports:
  - port: 80
";

/// The labels of a folder's objects and its complaints, without the folder's name.
fn look(library: &Library, folder: &Path) -> (Vec<String>, Vec<String>) {
    let catalogue = Catalogue::of(library);
    let prefix = format!("{}/", folder.display());
    let labels = catalogue.entries.values().map(super::document::Entry::label).collect();
    (labels, catalogue.complaints.iter().map(|complaint| complaint.to_string().replace(&prefix, "")).collect())
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let mut library = Library::new(vec![folder.path().to_owned()]);
    library.refresh(&Suspects::all());
    (folder, library)
}

fn check(text: &str, labels: &[&str], complaints: &[&str]) {
    let (folder, library) = folder(&[("a.yaml", text)]);
    let found = look(&library, folder.path());
    let expected =
        (labels.iter().map(ToString::to_string).collect(), complaints.iter().map(ToString::to_string).collect());
    assert_eq!(found, expected, "for:\n{text}");
}

#[test]
fn documents_lists_and_json_are_read() {
    check(SERVICE, &["Service/web"], &[]);
    check(&format!("# a comment\n---\n{SERVICE}---\n---\n# nothing\n"), &["Service/web"], &[]);
    check(
        r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        ]}"#,
        &["Service/web", "Namespace/shop"],
        &[],
    );
    check(
        "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\",\n\t\"metadata\": {\"name\": \"shop\"}\n}\n",
        &["Namespace/shop"],
        &[],
    );
}

#[test]
fn a_mistake_in_a_secret_does_not_repeat_its_value() {
    check(
        "apiVersion: v1\nkind: Secret\nmetadata: { name: key }\nstringData: { password: 987654321 }\n",
        &["Secret/key"],
        &["a.yaml:4 Secret/key: stringData.password: expected text; values below `data` are base64, those below \
           `stringData` plain, both in quotes"],
    );
}

#[test]
fn anchors_and_merges_are_expanded() {
    let text = "\
apiVersion: v1
kind: Service
metadata: { name: web, labels: &labels { app: web } }
spec:
  selector: { <<: *labels, tier: front }
  ports: [{ port: 80 }]
";
    check(text, &["Service/web"], &[]);
}

#[test]
fn each_mistake_has_its_line_object_field_and_remedy() {
    check(
        "kind: Service\n",
        &[],
        &[
            "a.yaml:1 Service: apiVersion: the field is missing; add it, for instance `apiVersion: headgate.dev/v1alpha1`",
        ],
    );
    check(
        "metadata: { name: web }\n",
        &[],
        &["a.yaml:1 kind: the field is missing; add it, for instance `kind: OriginPool`"],
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: { namespace: shop }\n",
        &[],
        &["a.yaml:3 Service: metadata.name: the field is missing; add it; a file cannot use generateName"],
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: 80\n",
        &[],
        &["a.yaml:4 Service: metadata.name: expected text; put the value in quotes"],
    );
    check(
        "apiVersion: headgate.dev/v1alpha1\nkind: OriginPol\nmetadata: { name: chat }\n",
        &[],
        &[
            "a.yaml:2 OriginPol: kind: headgate.dev has no kind `OriginPol`; this release has OriginPool, RateLimit, WaitingRoom; did you mean `OriginPool`?",
        ],
    );
    check(
        "apiVersion: headgate.dev/v1\nkind: OriginPool\nmetadata: { name: chat }\n",
        &[],
        &["a.yaml:1 OriginPool: apiVersion: headgate.dev/v1 does not exist; write `apiVersion: headgate.dev/v1alpha1`"],
    );
    check(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n",
        &[],
        &["a.yaml:1 Deployment/web: headgate does not read this kind"],
    );
    check(
        &format!("---\n{}", SERVICE.replace("port: 80", "prot: 80")),
        &["Service/web"],
        &["a.yaml:7 Service/web: spec.ports[0].prot: unknown field; did you mean `port`?"],
    );
    check(
        &SERVICE.replace("port: 80", "port: \"80\""),
        &["Service/web"],
        &[
            "a.yaml:6 Service/web: spec.ports[0].port: expected a number, found the text \"80\"; write it without quotes and units",
        ],
    );
    check(
        &SERVICE.replace("port: 80", "port: 80\n    name: on"),
        &["Service/web"],
        &["a.yaml:7 Service/web: spec.ports[0].name: expected text, found the boolean true; put the value in quotes"],
    );
}

#[test]
fn the_same_object_in_two_files_names_both_places_and_the_first_counts() {
    let (folder, library) = folder(&[("a.yaml", SERVICE), ("b.yaml", &format!("\n\n{SERVICE}"))]);
    let (labels, complaints) = look(&library, folder.path());
    assert_eq!(labels, ["Service/web"]);
    assert_eq!(
        complaints,
        ["b.yaml:3 Service/web: the same object is in a.yaml:1 too, and that one counts; remove or rename one of them"]
    );
}

#[test]
fn text_that_is_not_yaml_names_line_and_column() {
    for (text, place) in
        [("a: [1, 2\n", "2:1"), ("a: b: c\n", "1:5"), ("a: *nothing\n", "1:4"), ("a: 1\na: 2\n", "2:1")]
    {
        let error = tree::parse(text).expect_err(text);
        assert_eq!(error.place.to_string(), place, "for {text:?}: {error}");
    }
}

#[test]
fn a_small_text_cannot_become_a_large_tree() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").expect("text grows");
    }
    let error = tree::parse(&text).expect_err("nine to the twelfth values");
    assert!(error.message.contains("more than"), "{error}");
    let deep = tree::parse(&"[".repeat(1000)).expect_err("a thousand levels");
    assert!(!deep.message.is_empty());
}

#[test]
fn a_file_that_is_not_yaml_at_the_moment_keeps_its_last_good_state() {
    let (folder, mut library) = folder(&[("a.yaml", SERVICE), ("b.yaml", &SERVICE.replace("web", "api"))]);
    fs::write(folder.path().join("a.yaml"), &SERVICE[..SERVICE.len() - 25]).expect("written");
    fs::write(folder.path().join("a.yaml"), "apiVersion: v1\nkind: [Serv").expect("written");
    assert!(library.refresh(&Suspects::all()));
    let (labels, complaints) = look(&library, folder.path());
    assert_eq!(labels, ["Service/api", "Service/web"]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("a.yaml:3:1 not valid YAML: "), "{complaints:?}");
}

#[test]
fn a_file_cut_off_within_metadata_withdraws_nothing_and_its_whole_parts_apply() {
    let both = format!("{}---\n{SERVICE}", SERVICE.replace("web", "api"));
    let (folder, mut library) = folder(&[("a.yaml", &both)]);
    let cut = format!("{}---\napiVersion: v1\nkind: Service\n", SERVICE.replace("web", "new"));
    fs::write(folder.path().join("a.yaml"), &cut).expect("written");
    assert!(library.refresh(&Suspects::all()));
    assert_eq!(look(&library, folder.path()).0, ["Service/api", "Service/new", "Service/web"]);

    fs::write(folder.path().join("a.yaml"), SERVICE).expect("written");
    assert!(library.refresh(&Suspects::all()));
    assert_eq!(look(&library, folder.path()), (vec!["Service/web".to_owned()], Vec::new()));
}

#[test]
fn an_emptied_file_withdraws_its_objects_once_it_was_empty_for_a_while() {
    let (folder, mut library) = folder(&[("a.yaml", SERVICE)]);
    fs::write(folder.path().join("a.yaml"), "").expect("emptied");
    assert!(!library.refresh(&Suspects::all()));
    assert_eq!(look(&library, folder.path()).0, ["Service/web"]);
    let first = clock::instant();
    while !library.refresh(&Suspects::all()) {
        assert!(first.elapsed() < Duration::from_secs(10), "it is empty for long enough");
    }
    assert_eq!(look(&library, folder.path()), (Vec::new(), Vec::new()));
}

#[test]
fn files_come_and_go_and_only_manifests_are_read() {
    let (folder, mut library) = folder(&[("a.yaml", SERVICE), (".b.yaml", "["), ("c.yaml~", "["), ("README.md", "[")]);
    assert_eq!(look(&library, folder.path()), (vec!["Service/web".to_owned()], Vec::new()));
    assert!(!library.refresh(&Suspects::all()));
    fs::rename(folder.path().join("a.yaml"), folder.path().join("z.json")).expect("renamed");
    assert!(library.refresh(&Suspects::all()));
    assert_eq!(look(&library, folder.path()).0, ["Service/web"]);
    fs::remove_file(folder.path().join("z.json")).expect("removed");
    assert!(library.refresh(&Suspects::all()));
    assert_eq!(look(&library, folder.path()), (Vec::new(), Vec::new()));
}

#[test]
fn a_file_touched_without_a_new_content_is_no_change() {
    let (folder, mut library) = folder(&[("a.yaml", SERVICE)]);
    fs::write(folder.path().join("a.yaml"), SERVICE).expect("written");
    assert!(!library.refresh(&Suspects::all()));
}

#[test]
fn the_line_of_a_field_is_found_behind_other_documents_and_in_lists() {
    let text = format!("{}---\n{SERVICE}", SERVICE.replace("web", "api"));
    let (_folder, library) = folder(&[("a.yaml", &text)]);
    let catalogue = Catalogue::of(&library);
    let mut locator = Locator::default();
    let lines: Vec<usize> =
        catalogue.entries.values().map(|entry| locator.line(entry, "spec.ports[0].targetPort")).collect();
    assert_eq!(lines, [6, 13]);
}

#[test]
fn a_file_that_was_moved_away_a_moment_ago_keeps_its_objects_and_disturbs_none() {
    let (folder, mut library) = folder(&[("a.yaml", SERVICE)]);
    fs::rename(folder.path().join("a.yaml"), folder.path().join("b.yaml")).expect("renamed");
    let named = |name: &str, busy: &[&str]| Suspects::Named {
        names: [name.into()].into(),
        busy: busy.iter().map(Into::into).collect(),
    };
    library.refresh(&named("b.yaml", &["a.yaml"]));
    let found = look(&library, folder.path());
    assert_eq!(found, (vec!["Service/web".to_owned()], Vec::new()), "beside the file that has its objects now");

    fs::remove_file(folder.path().join("b.yaml")).expect("removed");
    library.refresh(&named("a.yaml", &["b.yaml"]));
    assert_eq!(look(&library, folder.path()).0, ["Service/web"], "b is not looked at yet");
    library.refresh(&named("b.yaml", &[]));
    assert_eq!(look(&library, folder.path()).0, Vec::<String>::new(), "looked at, and gone");
}
