//! The control plane without a proxy: what is published for what is in the files.

use std::fs;
use std::sync::Arc;

use headgate_snapshot::ResourceSet;
use headgate_translate::MasterKey;

use super::*;
use crate::manifest::complaint::Complaint;

fn pool(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: headgate.dev/v1alpha1\nkind: OriginPool\nmetadata: {{ name: {name} }}\nspec:\n  \
         hosts: [{name}.example.com]\n  origins: [{{ name: only, endpoints: [\"{address}\"] }}]\n"
    )
}

struct Setup {
    folder: tempfile::TempDir,
    hub: Arc<Hub>,
    control: Control,
}

impl Setup {
    fn new(kept: BTreeSet<Key>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hub = Arc::new(Hub::default());
        let control = Control::new(
            Arc::clone(&hub),
            Library::new(vec![folder.path().to_owned()]),
            kept,
            Vec::new(),
            MasterKey::for_checks(),
        );
        Self { folder, hub, control }
    }

    fn write(&self, file: &str, text: &str) -> Option<Step> {
        fs::write(self.folder.path().join(file), text).expect("written");
        self.control.look(&Suspects::all())
    }

    fn set(&self) -> Arc<ResourceSet> {
        self.hub.progress().set
    }
}

#[test]
fn an_empty_folder_is_published_as_an_empty_set_once() {
    let setup = Setup::new(BTreeSet::new());
    let step = setup.control.look(&Suspects::all()).expect("the first look publishes");
    assert_eq!((step.publication.sequence, step.changes), (1, Changes::default()));
    assert!(setup.control.look(&Suspects::all()).is_none());
}

#[test]
fn the_end_of_many_edits_equals_a_fresh_start() {
    let setup = Setup::new(BTreeSet::new());
    setup.write("a.yaml", &(pool("one", "127.0.0.1:1") + &pool("two", "127.0.0.1:2")));
    setup.write("a.yaml", &(pool("two", "127.0.0.1:3") + &pool("one", "127.0.0.1:1")));
    setup.write("b.yaml", &pool("three", "127.0.0.1:4"));
    fs::remove_file(setup.folder.path().join("a.yaml")).expect("removed");
    setup.control.look(&Suspects::all());
    let last = pool("two", "127.0.0.1:3") + &pool("four", "127.0.0.1:5");
    setup.write("b.yaml", &last);

    let fresh = Setup::new(BTreeSet::new());
    fresh.write("b.yaml", &last);
    let bodies = |setup: &Setup| -> Vec<_> {
        setup.set().entries().iter().map(|(key, entry)| (key.clone(), entry.resource.body.clone())).collect()
    };
    assert_eq!(bodies(&setup), bodies(&fresh));
}

#[test]
fn generations_count_changes_of_content_not_of_comments() {
    let setup = Setup::new(BTreeSet::new());
    let generation = || {
        let list = setup.control.list().into_json();
        list["items"][0]["metadata"]["generation"].as_i64()
    };
    setup.write("a.yaml", &pool("one", "127.0.0.1:1"));
    assert_eq!(generation(), Some(1));
    setup.write("a.yaml", &(pool("one", "127.0.0.1:1") + "# a comment\n"));
    assert_eq!(generation(), Some(1));
    setup.write("a.yaml", &pool("one", "127.0.0.1:2"));
    assert_eq!(generation(), Some(2));
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_good_objects_beside_it_are_published() {
    let setup = Setup::new(BTreeSet::new());
    let bad = pool("bad", "127.0.0.1:1").replace("origins:", "orgins:");
    let step = setup.write("a.yaml", &(bad + &pool("good", "127.0.0.1:2"))).expect("a change");
    let told: Vec<String> = step.complaints.iter().map(Complaint::to_string).collect();
    let prefix = format!("{}:7 OriginPool/bad: spec.orgins: ", setup.folder.path().join("a.yaml").display());
    assert!(told.iter().any(|told| told.starts_with(&prefix)), "{told:#?}");
    let names: Vec<_> =
        setup.set().entries().keys().filter(|key| key.kind == "OriginPool").map(|key| key.name.clone()).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn what_the_proxy_brought_from_its_disk_is_held_until_every_file_was_readable_once() {
    let one = Key::new("OriginPool", "default", "one");
    let setup = Setup::new(BTreeSet::from([one.clone()]));
    setup.write("a.yaml", "kind: [");
    let mut subscription = setup.hub.subscribe("proxy", None);
    assert_eq!(subscription.take().map(|batch| batch.holds), Some(vec![one.clone()]));
    setup.write("a.yaml", &pool("two", "127.0.0.1:2"));
    assert_eq!(subscription.take().map(|batch| batch.removals), Some(vec![one]));
}

#[test]
fn a_line_about_changes_names_few_and_counts_many() {
    let labels = |count: usize| (0..count).map(|number| format!("Service/s{number}")).collect::<Vec<_>>();
    let changes = Changes { changed: labels(5), removed: labels(1), refused: Vec::new() };
    assert_eq!(summary(&changes), "read Service/s0, Service/s1, Service/s2 and 2 more; removed Service/s0");
}

#[test]
fn standalone_needs_a_token_for_an_admin_address_that_others_reach() {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }
    let parse =
        |more: &[&str]| Line::try_parse_from(["standalone", "-f", "x"].iter().chain(more)).map(|line| line.settings);
    let open = parse(&["--admin", "0.0.0.0:9901"]).expect("a command line");
    assert!(open.token().is_err_and(|error| error.to_string().contains("loopback")));
    assert!(parse(&[]).expect("a command line").token().is_ok_and(|token| token.is_none()));
    let nowhere = parse(&["--state", "disk"]).expect_err("no place for state");
    assert!(nowhere.to_string().contains("write memory, redis://HOST:PORT"), "{nowhere}");
}
