//! Bad input: each mistake has its sentence, and harms its own object alone.
//!
//! Every file of `tests/invalid/` begins with comments that say, word for word, which mistakes `validate` prints:
//! `# LINE kind/name: field: reason`. `UPDATE_GOLDEN=1` writes them anew; read them before you keep them. Paths are
//! told without the folder that the file lies in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use headgate_tests::{
    binary::{self, Finished},
    client, eventually,
    folder::Folder,
    manifests::{GATEWAY, fill, pool, route, route_to_pool, service},
    origin::Origin,
    standalone::{EDIT_LIMIT, Standalone},
    within,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(2);
/// Kinds whose mistakes are told in the status of the object.
const KINDS_WITH_STATUS: [&str; 4] = ["OriginPool", "Gateway", "HTTPRoute", "Ingress"];
/// What the issue of this release asks for, at least.
const CASES: usize = 40;

/// A file of `tests/invalid/`.
struct Case {
    path: PathBuf,
    name: String,
    text: String,
    /// What it says about itself: `LINE kind/name: field: reason`.
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/invalid");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder of cases is there").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let cases = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("a case is text");
        let expected = text.lines().map_while(|line| line.strip_prefix("# ")).map(ToOwned::to_owned).collect();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        Case { path, name, text, expected }
    });
    cases.collect()
}

/// The mistakes that `validate` printed about a file, without the file's name and without warnings.
fn told(case: &Case, finished: &Finished) -> Vec<String> {
    let folder = case.path.parent().expect("a file lies in a folder");
    let printed = without_folder(&format!("{}{}", finished.stdout, finished.stderr), folder);
    let start = format!("{}:", case.name);
    let lines = printed.lines().filter_map(|line| line.strip_prefix(&start));
    lines.filter(|line| !line.contains(" warning: ")).map(ToOwned::to_owned).collect()
}

fn without_folder(text: &str, folder: &Path) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn validate_names_every_mistake_with_its_line_field_and_sentence() {
    within(LIMIT, async {
        let cases = cases();
        assert!(cases.len() >= CASES, "only {} cases", cases.len());
        let mut wrong = BTreeMap::new();
        for case in &cases {
            let path = case.path.to_str().expect("the path of the repository is text");
            let finished = binary::headgate(&["validate", "-f", path]).await;
            let told = told(case, &finished);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                update(case, &told);
            } else if told != case.expected || told.is_empty() || finished.code != Some(1) {
                wrong.insert(&case.name, (finished.code, told, finished));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Writes what was told at the head of the case; lines count from where the text ends up.
fn update(case: &Case, told: &[String]) {
    let body = case.text.lines().skip(case.expected.len()).map(ToOwned::to_owned);
    let moved = told.iter().map(|line| {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or_default();
        let (number, rest) = line.split_at(digits);
        match number.parse::<usize>() {
            Ok(number) => format!("# {}{rest}", (number + told.len()).saturating_sub(case.expected.len())),
            Err(_) => format!("# {line}"),
        }
    });
    let lines: Vec<String> = moved.chain(body).collect();
    fs::write(&case.path, lines.join("\n") + "\n").expect("failed to write a case");
}

#[test]
fn every_mistake_is_told_by_standalone_and_harms_none_of_a_hundred_good_objects() {
    within(LIMIT, async {
        let origin = Origin::start("good");
        let spec = fill("origins: [{ name: a, endpoints: [\"$address\"] }]", &[("address", &origin.address())]);
        let good: String = (0..50)
            .map(|number| {
                let name = format!("good-{number}");
                pool(&name, &spec) + &route_to_pool(&name, &format!("{name}.example.com"), &name)
            })
            .collect();
        let folder = Folder::new();
        folder.write("good.yaml", &(GATEWAY.to_owned() + &good));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("good-49.example.com", "/", 200, "good").await;
        let before = headgate.config().await;

        let cases = cases();
        for case in &cases {
            folder.write(&case.name, &case.text);
        }
        let mut untold = Vec::new();
        for case in &cases {
            eventually(EDIT_LIMIT, &format!("{} is told", case.name), async || {
                untold = missing(&headgate, case, folder.path()).await;
                if untold.is_empty() { Ok(()) } else { Err(untold.join("\n")) }
            })
            .await;
        }
        for number in 0..50 {
            let host = format!("good-{number}.example.com");
            assert_eq!(headgate.get(&host, "/").await.origin(), "good", "{host}");
            let name = format!("good-{number}");
            headgate.tells("OriginPool", &name, ("Ready", "True", ""), &[]).await;
            headgate.route_condition(&name, ("Accepted", "True", ""), &[]).await;
        }
        let (before, after) = (resources(&before), resources(&headgate.config().await));
        for (key, resource) in &before {
            assert_eq!(after.get(key), Some(resource), "{key} is enforced as before");
        }

        for case in &cases {
            folder.remove(&case.name);
        }
        eventually(EDIT_LIMIT, "nothing is left of them", async || {
            let now = resources(&headgate.config().await);
            if now == before { Ok(()) } else { Err(format!("{:?}", now.keys().collect::<Vec<_>>())) }
        })
        .await;
    });
}

/// Which of the expected sentences are neither in the status of their object nor on standard error.
async fn missing(headgate: &Standalone, case: &Case, folder: &Path) -> Vec<String> {
    let log = without_folder(&headgate.process.stderr(), folder);
    let mut missing = Vec::new();
    for line in &case.expected {
        let Some((_, rest)) = line.split_once(' ') else { continue };
        let (object, sentence) = rest.split_once(": ").unwrap_or(("", rest));
        let (kind, name) = object.split_once('/').unwrap_or_default();
        let object = if KINDS_WITH_STATUS.contains(&kind) { headgate.object(kind, name).await } else { None };
        let shown = object.unwrap_or_default();
        let in_status = messages(&shown["status"]).iter().any(|text| without_folder(text, folder).contains(sentence));
        let told = in_status || log.contains(sentence);
        if !told {
            missing.push(line.clone());
        }
    }
    missing
}

/// Every `message` in a status.
fn messages(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("message").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(messages)).collect()
        }
        Value::Array(items) => items.iter().flat_map(messages).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// What `/v1/config` enforces, by key.
fn resources(config: &Value) -> BTreeMap<String, Value> {
    let resources = config["resources"].as_array().expect("/v1/config lists resources");
    resources.iter().map(|resource| (resource["key"].to_string(), resource.clone())).collect()
}

#[test]
fn a_good_pool_edited_into_a_bad_one_keeps_serving_and_its_status_names_the_mistake() {
    within(LIMIT, async {
        let (one, two) = (Origin::start("one"), Origin::start("two"));
        let spec = "hosts: [chat.example.com]\norigins: [{ name: eu, service: { name: chat-eu, port: 80 } }]\n";
        let folder = Folder::of(&pool("chat", spec));
        folder.write("service.yaml", &service("chat-eu", &[one.address()]));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("chat.example.com", "/", 200, "one").await;

        for (mistake, words) in [
            ("healthCheck: { interval: 1s, timeout: 5s }\n", vec!["healthCheck.timeout", "interval"]),
            ("retry: { attempts: many }\n", vec!["spec.retry.attempts"]),
            ("stering: { policy: Failover }\n", vec!["spec.stering"]),
        ] {
            folder.write("world.yaml", &pool("chat", &(spec.to_owned() + mistake)));
            let told = headgate.tells("OriginPool", "chat", ("Accepted", "False", ""), &words).await;
            assert!(told.message.contains("last accepted") || !told.message.is_empty(), "{told:?}");
            assert_eq!(headgate.get("chat.example.com", "/").await.origin(), "one");
        }
        // The spec last accepted goes on following the cluster.
        folder.write("service.yaml", &service("chat-eu", &[two.address()]));
        headgate.answers("chat.example.com", "/", 200, "two").await;
        headgate.tells("OriginPool", "chat", ("Accepted", "False", ""), &[]).await;

        folder.write("world.yaml", &pool("chat", spec));
        headgate.tells("OriginPool", "chat", ("Accepted", "True", ""), &[]).await;
        folder.remove("world.yaml");
        headgate.answers("chat.example.com", "/", 404, "").await;
    });
}

#[test]
fn a_new_bad_pool_enforces_nothing_until_it_is_mended() {
    within(LIMIT, async {
        let origin = Origin::start("one");
        let spec = fill(
            "hosts: [chat.example.com]\norigins: [{ name: eu, endpoints: [\"$address\"], weight: $weight }]\n",
            &[("address", &origin.address()), ("weight", &"-1")],
        );
        let folder = Folder::of(&pool("chat", &spec));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.tells("OriginPool", "chat", ("Accepted", "False", ""), &["spec.origins[0].weight"]).await;
        assert_eq!(headgate.get("chat.example.com", "/").await.status, 404);
        folder.write("world.yaml", &pool("chat", &spec.replace("-1", "1")));
        headgate.answers("chat.example.com", "/", 200, "one").await;
    });
}

#[test]
fn a_half_written_file_keeps_the_last_good_state_of_all_its_objects() {
    within(LIMIT, async {
        let origin = Origin::start("one");
        let rule = "- backendRefs: [{ name: one, port: 80 }]";
        let routes: String =
            (0..10).map(|number| route(&format!("r{number}"), &format!("r{number}.example.com"), rule)).collect();
        let text = GATEWAY.to_owned() + &service("one", &[origin.address()]) + &routes;
        let folder = Folder::of(&text);
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("r9.example.com", "/", 200, "one").await;
        let before = headgate.config().await;

        // Cut within a flow mapping, so that no reader can take the rest for a whole document.
        let cut = text.rfind("hostnames: [").expect("the last route has a host") + "hostnames: [".len();
        folder.overwrite("world.yaml", &text[..cut]);
        eventually(LIMIT, "standalone names the file", async || match headgate.process.stderr() {
            told if told.contains("world.yaml:") => Ok(()),
            told => Err(told),
        })
        .await;
        for number in 0..10 {
            assert_eq!(headgate.get(&format!("r{number}.example.com"), "/").await.status, 200, "route {number}");
        }
        assert_eq!(headgate.config().await["version"], before["version"]);

        folder.overwrite("world.yaml", &text.replace("r9.example.com", "whole.example.com"));
        headgate.answers("whole.example.com", "/", 200, "one").await;
        headgate.answers("r9.example.com", "/", 404, "").await;
    });
}

#[test]
fn an_empty_moment_of_a_file_that_is_written_again_is_survived() {
    within(LIMIT, async {
        let origin = Origin::start("one");
        let text = GATEWAY.to_owned()
            + &service("one", &[origin.address()])
            + &route("shop", "shop.example.com", "- backendRefs: [{ name: one, port: 80 }]");
        let folder = Folder::of(&text);
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("shop.example.com", "/", 200, "one").await;
        for number in 0..20 {
            // Truncated, then written: what every editor without a rename does.
            folder.overwrite("world.yaml", &format!("{text}# {number}\n"));
            let answer = client::get("shop.example.com", "/").to(headgate.http).await;
            assert_eq!((answer.status, answer.origin()), (200, "one"), "after write {number}");
        }
    });
}
