//! `validate`, `status`, `explain`, the admin interface and the access log.

use std::time::Duration;

use headgate_tests::{
    binary,
    certificates::Authority,
    client, eventually, examples,
    folder::Folder,
    manifests::{GATEWAY, fill, pool, route, route_to_pool, secret, service},
    origin::Origin,
    standalone::Standalone,
    within,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);

struct World {
    headgate: Standalone,
    api: String,
    folder: Folder,
    _origin: Origin,
}

async fn world(arguments: &[&str]) -> World {
    let origin = Origin::start("eu");
    let chat = fill(
        "hosts: [chat.example.com]\norigins: [{ name: eu, endpoints: [\"$eu\"] }]\nhealthCheck: { path: /healthz, interval: 1s, timeout: 500ms }",
        &[("eu", &origin.address())],
    );
    let rules = "- matches: [{ path: { type: PathPrefix, value: /chat } }]
  backendRefs: [{ group: headgate.dev, kind: OriginPool, name: chat }]
- backendRefs: [{ name: storefront, port: 80 }]";
    let text = GATEWAY.to_owned()
        + &service("storefront", &[origin.address()])
        + &pool("chat", &chat)
        + &route("shop", "shop.example.com", rules);
    let folder = Folder::of(&text);
    let builder = arguments.iter().fold(Standalone::reading(&folder), |builder, argument| builder.argument(*argument));
    let headgate = builder.start().await;
    let api = format!("http://{}", headgate.admin);
    World { headgate, api, folder, _origin: origin }
}

#[test]
fn validate_lists_good_objects_one_a_line_and_warns_of_fields_not_yet_enforced() {
    within(LIMIT, async {
        let folder = examples::folder();
        let path = folder.to_str().expect("the path of the repository is text");
        let finished = binary::headgate(&["validate", "-f", path]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        for object in [
            "OriginPool/chat",
            "OriginPool/static-site",
            "OriginPool/storefront-next",
            "Gateway/public",
            "HTTPRoute/shop",
            "HTTPRoute/canary",
            "Ingress/legacy",
            "Service/storefront",
            "EndpointSlice/chat-eu-1",
        ] {
            let lines = finished.stdout.lines().filter(|line| line.contains(object)).count();
            assert_eq!(lines, 1, "{object} has one line:\n{}", finished.stdout);
        }
        let told = finished.stdout + &finished.stderr;
        for word in ["spec.outlierDetection", "spec.sessionAffinity", "not yet enforced"] {
            assert!(told.contains(word), "no warning of {word}:\n{told}");
        }
        assert!(!told.contains('\u{1b}'), "no colour where there is no terminal");
    });
}

#[test]
fn validate_names_file_line_object_field_and_reason_of_each_mistake() {
    within(LIMIT, async {
        let folder = Folder::of(GATEWAY);
        folder.write(
            "pools.yaml",
            "apiVersion: headgate.dev/v1alpha1
kind: OriginPool
metadata: { name: chat }
spec:
  origins:
    - name: eu
      endpoints: [\"127.0.0.1\"]
      weight: many
  stering: { policy: Failover }
",
        );
        let path = folder.path().join("pools.yaml");
        let path = path.to_str().expect("a temporary path is text");
        let finished = binary::headgate(&["validate", "-f", path]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let told = finished.stdout + &finished.stderr;
        for (line, field) in [(8, "spec.origins[0].weight"), (9, "spec.stering")] {
            let start = format!("{path}:{line} OriginPool/chat: {field}: ");
            assert!(told.lines().any(|line| line.starts_with(&start)), "no line starts with `{start}`:\n{told}");
        }
    });
}

#[test]
fn status_shows_every_object_as_kubectl_would() {
    within(LIMIT, async {
        let World { headgate, api, .. } = &world(&[]).await;
        headgate.tells("OriginPool", "chat", ("Ready", "True", ""), &[]).await;
        let list = headgate.admin("/v1/status").await.json();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&Value::from("List"), &Value::from("v1")));
        for item in list["items"].as_array().expect("a List has items") {
            assert!(item["apiVersion"].is_string() && item["metadata"]["name"].is_string(), "{item}");
            assert!(item["metadata"]["namespace"] == "default" || item["kind"] == "GatewayClass", "{item}");
        }
        let chat = headgate.object("OriginPool", "chat").await.expect("the pool is listed");
        assert_eq!(chat["spec"]["origins"][0]["name"], "eu");
        assert_eq!(chat["status"]["proxies"]["expected"], 1);
        assert_eq!(chat["status"]["proxies"]["programmed"], 1);
        let origin = &chat["status"]["origins"][0];
        assert_eq!(
            (&origin["name"], &origin["healthy"], &origin["total"], &origin["active"]),
            (&Value::from("eu"), &Value::from(1), &Value::from(1), &Value::from(true))
        );
        for condition in ["Accepted", "ResolvedRefs", "Programmed", "Ready"] {
            let told = headgate.tells("OriginPool", "chat", (condition, "True", ""), &[]).await;
            assert_eq!(Some(told.observed_generation), chat["metadata"]["generation"].as_i64(), "{condition}");
        }
        headgate.route_condition("shop", ("Accepted", "True", "Accepted"), &[]).await;

        let finished = binary::headgate(&["status", "--api", api]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        for word in ["chat", "shop", "public", "1/1", "READY"] {
            assert!(finished.stdout.contains(word), "no `{word}` in:\n{}", finished.stdout);
        }
    });
}

#[test]
fn status_counts_generations_when_the_spec_changes() {
    within(LIMIT, async {
        let World { headgate, folder, .. } = &world(&[]).await;
        let generation = async || {
            let object = headgate.object("OriginPool", "chat").await.ok_or("no object")?;
            object["metadata"]["generation"].as_i64().ok_or_else(|| "no generation".to_owned())
        };
        let first = generation().await.expect("a generation");
        folder.write("world.yaml", &folder.read("world.yaml").replace("/healthz", "/healthz?deep=1"));
        eventually(LIMIT, "the generation grows and is observed", async || {
            let (second, ready) = (generation().await?, headgate.condition("OriginPool", "chat", "Programmed").await);
            match ready {
                Some(ready) if second > first && ready.observed_generation == second && ready.status == "True" => {
                    Ok(())
                }
                other => Err(format!("{first}, then {second}, {other:?}")),
            }
        })
        .await;
    });
}

#[test]
fn explain_tells_what_a_request_meets_in_the_order_of_enforcement() {
    within(LIMIT, async {
        let World { api, .. } = &world(&[]).await;
        for (url, words) in [
            ("http://shop.example.com/chat/room", vec!["public", "shop", "chat", "eu"]),
            ("http://shop.example.com/", vec!["public", "shop", "storefront"]),
            ("http://chat.example.com/any", vec!["chat", "eu"]),
            ("http://nobody.example.com/", vec!["NoRoute"]),
        ] {
            let finished = binary::headgate(&["explain", url, "--api", api]).await;
            assert_eq!(finished.code, Some(0), "{url}: {finished:?}");
            let mut rest = finished.stdout.as_str();
            for word in words {
                let Some(at) = rest.find(word) else {
                    panic!("{url}: no `{word}` where it belongs in:\n{}", finished.stdout)
                };
                rest = &rest[at..];
            }
        }
        let nobody = binary::headgate(&["explain", "http://shop.example.com/", "--api", "http://127.0.0.1:1"]).await;
        assert_ne!(nobody.code, Some(0));
        assert!(nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
    });
}

#[test]
fn the_admin_interface_tells_life_readiness_metrics_and_what_is_enforced_without_secrets() {
    within(LIMIT, async {
        let World { headgate, folder, .. } = &world(&[]).await;
        let leaf = Authority::new("anyone").issue(&["shop.example.com"]);
        let gateway = GATEWAY.replace("name: public", "name: secure").replace(
            "{ name: http, protocol: HTTP, port: 80 }",
            "{ name: https, protocol: HTTPS, port: 443, tls: { certificateRefs: [{ name: shop }] } }",
        );
        folder.write("tls.yaml", &(gateway + &secret("shop", &leaf)));
        headgate.tells("Gateway", "secure", ("Programmed", "True", ""), &[]).await;

        assert_eq!(headgate.admin("/livez").await.status, 200);
        assert_eq!(headgate.admin("/readyz").await.status, 200);
        assert_eq!(headgate.admin("/no/such/path").await.status, 404);

        let config = headgate.config().await;
        assert!(config["version"].as_str().is_some_and(|version| !version.is_empty()), "{config}");
        let text = config.to_string();
        assert!(text.contains("shop.example.com"), "{text}");
        assert!(!text.contains("PRIVATE KEY"), "a key is a secret");
        assert!(!headgate.admin("/v1/status").await.text().contains("PRIVATE KEY"));

        headgate.get("shop.example.com", "/").await;
        headgate.get("nobody.example.com", "/").await;
        let metrics = headgate.admin("/metrics").await;
        assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics:?}");
        for line in metrics.text().lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "not Prometheus text: {line}");
        }
        headgate.counts("headgate_requests_total", &["reason=\"NoRoute\""], 1.0).await;
    });
}

#[test]
fn the_access_log_is_off_by_default_and_one_json_object_a_request_when_on() {
    within(LIMIT, async {
        let quiet = world(&[]).await;
        quiet.headgate.get("shop.example.com", "/quiet").await;
        assert!(!quiet.headgate.process.stdout().contains("/quiet"));

        let World { headgate, .. } = &world(&["--access-log", "stdout", "--trusted-proxies", "127.0.0.0/8"]).await;
        let ask = client::get("shop.example.com", "/chat/../chat/room?secret=1")
            .header("x-forwarded-for", "198.51.100.1, 203.0.113.7, 127.0.0.9")
            .header("user-agent", "a \"quoted\" agent");
        ask.to(headgate.http).await;
        client::get("nobody.example.com", "/").to(headgate.http).await;
        let records = eventually(LIMIT, "two requests are logged", async || {
            let out = headgate.process.stdout();
            let records: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if records.len() >= 2 { Ok(records) } else { Err(out) }
        })
        .await;
        let find = |host: &str| records.iter().find(|record| record["host"] == host).expect("a record of this host");
        let routed = find("shop.example.com");
        for (field, value) in [
            ("client", "203.0.113.7"),
            ("method", "GET"),
            ("path", "/chat/room"),
            ("origin", "eu"),
            ("user_agent", "a \"quoted\" agent"),
        ] {
            assert_eq!(routed[field], value, "{routed:#}");
        }
        assert_eq!(routed["status"], 200);
        assert!(!routed.to_string().contains("secret=1"), "queries may hold secrets: {routed}");
        let refused = find("nobody.example.com");
        assert_eq!((&refused["status"], &refused["reason"]), (&Value::from(404), &Value::from("NoRoute")));
    });
}

#[test]
fn other_kinds_are_named_in_a_warning_and_skipped() {
    within(LIMIT, async {
        let World { headgate, folder, .. } = &world(&[]).await;
        let deployment =
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: shop }\nspec: { replicas: 2 }\n---\n";
        folder.write("more.yaml", &(deployment.to_owned() + &route_to_pool("more", "more.example.com", "chat")));
        headgate.answers("more.example.com", "/", 200, "eu").await;
        assert!(headgate.process.stderr().contains("Deployment"), "{}", headgate.process.stderr());

        let path = folder.path().to_str().expect("a temporary path is text");
        let finished = binary::headgate(&["validate", "-f", path]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!((finished.stdout + &finished.stderr).contains("Deployment"));
    });
}

#[test]
fn with_a_token_file_the_api_wants_the_token_and_health_does_not() {
    within(LIMIT, async {
        let token = Folder::new();
        token.write("token", "open-sesame\n");
        let file = token.path().join("token");
        let World { headgate, .. } = &world(&["--admin-token-file", file.to_str().expect("a path of text")]).await;
        for (header, status) in [("", 401), ("Bearer wrong", 401), ("Bearer open-sesame", 200)] {
            let ask = client::get("admin", "/v1/status").header("authorization", header);
            assert_eq!(ask.to(headgate.admin).await.status, status, "`{header}`");
        }
        assert_eq!(headgate.admin("/readyz").await.status, 200);
    });
}
