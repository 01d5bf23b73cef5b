//! What people type: `headgate crds`, kubectl with our kinds, `kubectl headgate status` and `explain`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use headgate_tests::{
    binary::{self, Finished},
    client::get,
    cluster::{
        self, Cluster, ORIGIN_PORT, assets,
        headgate::{EDIT_LIMIT, Member},
        tokens::Token,
    },
    eventually, examples,
    manifests::{GATEWAY, pool, route_to_pool},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(3);
/// What the other examples refer to on one machine: an API server refuses its loopback addresses in EndpointSlices.
const OF_ONE_MACHINE: &str = "backends.yaml";
/// By when a proxy that answers nothing is told.
const SILENCE_LIMIT: Duration = Duration::from_secs(6);

#[test]
fn kubectl_and_headgate_tell_a_user_what_is_there_and_why_it_is_not_in_force() {
    cluster::within(LIMIT, async |cluster| {
        definitions_come_by_a_pipe(&cluster).await;
        cluster.install_headgate().await;
        let origin = cluster.origin("origin");
        for service in ["chat-eu", "storefront"] {
            cluster.service("default", service, 80, ORIGIN_PORT, &[origin.address().ip()]).await;
        }
        cluster
            .apply(&pool(
                "static-site",
                &format!("origins: [{{ name: files, endpoints: [\"{}\"] }}]", origin.address()),
            ))
            .await;
        examples_are_accepted(&cluster).await;
        explain_reads_well(&cluster).await;

        let operator = cluster.operator("operator-1").await;
        let gateways =
            [cluster.gateway("gateway-1", &[&operator]).await, cluster.gateway("gateway-2", &[&operator]).await];
        for gateway in &gateways {
            gateway.ready().await;
            gateway.answers(&get("shop.example.com", "/chat"), 200, "origin").await;
        }
        cluster.says(("OriginPool", "default", "chat"), "Programmed", "True", EDIT_LIMIT).await;

        columns_tell_the_state(&cluster).await;
        status_names_all_and_the_reason(&cluster, &gateways).await;
        explain_follows_the_request(&cluster).await;
        a_tenant_sees_its_namespace(&cluster).await;
        nothing_to_show_is_said(&cluster).await;
    });
}

/// `headgate` and `kubectl-headgate`, as README says how to install them, in a folder of their own with kubectl.
fn installed(cluster: &Cluster) -> PathBuf {
    let folder = cluster.path("bin");
    if !folder.exists() {
        fs::create_dir(&folder).expect("a folder");
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, folder.join(name)).expect("a link");
        link(&assets::folder().join("kubectl"), "kubectl");
        link(binary::path(), "headgate");
        link(Path::new("headgate"), "kubectl-headgate");
    }
    folder
}

/// What a shell prints for this line, with the kubeconfig of one who may do everything.
async fn shell(cluster: &Cluster, line: &str) -> Finished {
    shell_as(cluster, cluster.kubeconfig(), line).await
}

async fn shell_as(cluster: &Cluster, kubeconfig: &Path, line: &str) -> Finished {
    let mut paths = vec![installed(cluster)];
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", env::join_paths(paths).expect("paths"))
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", cluster.path("home"))
        .current_dir(examples::folder());
    binary::run(command).await
}

async fn prints(cluster: &Cluster, line: &str) -> String {
    let finished = shell(cluster, line).await;
    assert_eq!(finished.code, Some(0), "{line}: {finished:?}");
    finished.stdout
}

async fn definitions_come_by_a_pipe(cluster: &Cluster) {
    const PIPE: &str = "headgate crds | kubectl apply -f -";
    let all = |became: &str| -> String {
        let line = |plural| format!("customresourcedefinition.apiextensions.k8s.io/{plural}.headgate.dev {became}\n");
        ["originpools", "ratelimits", "waitingrooms"].map(line).concat()
    };
    assert_eq!(prints(cluster, PIPE).await, all("created"));
    assert_eq!(prints(cluster, PIPE).await, all("unchanged"), "what is stored is what was sent");
}

async fn examples_are_accepted(cluster: &Cluster) {
    let files = fs::read_dir(examples::folder()).expect("examples/").map(|entry| entry.expect("a file").file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().expect("text")).collect();
    files.retain(|name| Path::new(name).extension().is_some_and(|it| it == "yaml") && name != OF_ONE_MACHINE);
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let printed = prints(cluster, &format!("kubectl apply --validate=strict -f {file}")).await;
        assert!(printed.lines().all(|line| line.ends_with(" created")), "{file}: {printed}");
    }
    // The addresses of one machine are all that is refused of the remaining file.
    let finished = shell(cluster, &format!("kubectl apply --validate=strict -f {OF_ONE_MACHINE}")).await;
    let complaints: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("is invalid")).collect();
    assert_eq!(complaints.len(), 2, "{finished:?}");
    assert!(complaints.iter().all(|line| line.contains("may not be in the loopback range")), "{finished:?}");
    for (service, origin) in [("chat-eu", "eu"), ("storefront", "storefront")] {
        let kept = cluster.ready_addresses("default", service).await;
        assert_eq!(kept.len(), 1, "{origin}: {kept:?}");
    }
    let origin = cluster.ready_addresses("default", "chat-eu").await.remove(0);
    let back = pool("static-site", &format!("origins: [{{ name: files, endpoints: [\"{origin}:{ORIGIN_PORT}\"] }}]"));
    cluster.apply(&back).await;
}

/// `kubectl explain` has the first sentence of each field of the definition, whatever the lines are broken at.
async fn explain_reads_well(cluster: &Cluster) {
    let definition = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml/originpools.yaml"));
    let definition: Value = serde_saphyr::from_str(&definition.expect("the definition")).expect("YAML");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for path in [
        "originpool.spec",
        "originpool.spec.origins",
        "originpool.spec.healthCheck",
        "originpool.spec.retry",
        "originpool.status",
    ] {
        let printed = prints(cluster, &format!("kubectl explain {path}")).await;
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut at = schema;
        for part in path.split('.').skip(1) {
            at = &at["properties"][part];
        }
        let fields = if at["items"].is_null() { &at["properties"] } else { &at["items"]["properties"] };
        let fields = fields.as_object().unwrap_or_else(|| panic!("{path} has fields"));
        assert!(fields.len() >= 2, "{path}: {fields:?}");
        for (name, field) in fields {
            let description = field["description"].as_str().unwrap_or_else(|| panic!("{path}.{name} says nothing"));
            let first =
                description.split(". ").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(first.len() > 10 && printed.contains(&first), "{path}.{name}: `{first}` is not in: {printed}");
        }
    }
    let printed = prints(cluster, "kubectl explain originpool").await;
    assert!(printed.contains("Origins with health, steering and failover: where requests go."), "{printed}");
}

async fn columns_tell_the_state(cluster: &Cluster) {
    let row = async |line: &str, name: &str| -> Vec<String> {
        let printed = prints(cluster, line).await;
        let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(printed.lines().next().unwrap_or_default()),
            ["NAME", "READY", "HEALTHY", "ACTIVE", "POLICY", "AGE"],
            "{printed}"
        );
        printed.lines().map(words).find(|row| row[0].ends_with(name)).unwrap_or_else(|| panic!("no {name}: {printed}"))
    };
    // `op` is the short name, `headgate` the category.
    for line in ["kubectl get originpools", "kubectl get op", "kubectl get headgate"] {
        assert_eq!(row(line, "static-site").await[1..5], ["True", "1/1", "files", "Failover"], "{line}");
    }
}

/// The line of `headgate status` about an object.
fn line_of<'a>(table: &'a str, object: &str) -> &'a str {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(object));
    line.unwrap_or_else(|| panic!("{object} is not in:\n{table}"))
}

async fn status_names_all_and_the_reason(cluster: &Cluster, gateways: &[Member; 2]) {
    const OBJECTS: [&str; 8] = [
        "GatewayClass/headgate",
        "Gateway/public",
        "HTTPRoute/shop",
        "HTTPRoute/canary",
        "Ingress/legacy",
        "OriginPool/chat",
        "OriginPool/static-site",
        "OriginPool/storefront-next",
    ];
    // By flag and by the environment, as headgate and as a plugin of kubectl: one table.
    let flag = format!("--kubeconfig {}", cluster.kubeconfig().display());
    let tables = eventually(EDIT_LIMIT, "figures have settled", async || {
        let mut tables = Vec::new();
        for line in [
            format!("headgate status {flag}"),
            format!("kubectl headgate status {flag}"),
            "kubectl headgate status".to_owned(),
        ] {
            tables.push(prints(cluster, &line).await);
        }
        if tables.iter().all(|table| *table == tables[0]) { Ok(tables) } else { Err(tables.join("\n")) }
    })
    .await;
    println!("$ kubectl headgate status\n{}", tables[0]);
    for object in OBJECTS {
        line_of(&tables[0], object);
    }
    let good = line_of(&tables[0], "OriginPool/static-site").split_whitespace().collect::<Vec<_>>();
    assert_eq!(good[..4], ["OriginPool/static-site", "True", "1/1", "files"]);

    gateways[1].process.freeze();
    cluster.says(("OriginPool", "default", "static-site"), "Programmed", "False", SILENCE_LIMIT).await;
    let table = eventually(EDIT_LIMIT, "all are told as not programmed", async || {
        let table = prints(cluster, "kubectl headgate status").await;
        let told = ["OriginPool/static-site", "HTTPRoute/canary", "Gateway/public"].iter().all(|object| {
            let line = line_of(&table, object);
            line.contains("False") && line.contains("ProxySilent") && line.contains("gateway-2")
        });
        if told { Ok(table) } else { Err(table) }
    })
    .await;
    println!("$ kubectl headgate status    # gateway-2 is frozen\n{table}");
    // An Ingress has no conditions: the line says where to look.
    let (_, command) = line_of(&table, "Ingress/legacy").split_once("told by events: ").expect("the command");
    eventually(EDIT_LIMIT, "the events of the Ingress say it", async || {
        let printed = prints(cluster, command).await;
        if printed.contains("ProxySilent") && printed.contains("gateway-2") { Ok(()) } else { Err(printed) }
    })
    .await;
    gateways[1].process.thaw();
    cluster.says(("OriginPool", "default", "static-site"), "Programmed", "True", EDIT_LIMIT).await;

    // It calls itself as it was called.
    for (line, name) in
        [("headgate status --help", "headgate status"), ("kubectl headgate status --help", "kubectl headgate status")]
    {
        let printed = prints(cluster, line).await;
        assert!(printed.contains(&format!("Usage: {name} ")), "{line}: {printed}");
    }
}

async fn explain_follows_the_request(cluster: &Cluster) {
    let printed = prints(cluster, "kubectl headgate explain http://shop.example.com/chat").await;
    println!("$ kubectl headgate explain http://shop.example.com/chat\n{printed}");
    for part in
        ["Gateway/default/public", "HTTPRoute/default/shop", "OriginPool/default/chat", "origin eu", "forwarded"]
    {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
    let same = prints(
        cluster,
        &format!("headgate explain http://shop.example.com/chat --kubeconfig {}", cluster.kubeconfig().display()),
    )
    .await;
    assert_eq!(same, printed);
    let nowhere = prints(cluster, "kubectl headgate explain http://nowhere.example.com/").await;
    assert!(nowhere.contains("404 NoRoute"), "{nowhere}");
    let finished = shell(cluster, "kubectl headgate explain nonsense").await;
    assert!(finished.code == Some(1) && finished.stderr.contains("write it as http://"), "{finished:?}");
}

/// One who may read a namespace and nothing else is told what is not seen, and sees the rest.
async fn a_tenant_sees_its_namespace(cluster: &Cluster) {
    cluster.namespace("other").await;
    let elsewhere = format!(
        "{GATEWAY}{}{}",
        pool("secret", "origins: [{ name: a, endpoints: [\"192.0.2.7:80\"] }]"),
        route_to_pool("secret", "secret.example.com", "secret")
    );
    cluster.apply(&elsewhere.replace("namespace: default", "namespace: other")).await;
    cluster.service_account("default", "tenant").await;
    let reads = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "reader", "namespace": "default" },
        "rules": [{ "apiGroups": ["headgate.dev", "gateway.networking.k8s.io", "networking.k8s.io", "discovery.k8s.io", ""],
            "resources": ["originpools", "ratelimits", "waitingrooms", "gateways", "httproutes", "referencegrants", "ingresses", "services", "endpointslices"],
            "verbs": ["get", "list"] }],
    });
    cluster.put(&reads).await;
    cluster
        .kubectl(&["create", "rolebinding", "tenant", "--role=reader", "--serviceaccount=default:tenant"])
        .await
        .expect("bound");
    let token = cluster.create_token(Token::of("default", "tenant", "")).await.expect("a token");
    let tenant = cluster.kubeconfig_for("tenant", &token);

    let seen = eventually(EDIT_LIMIT, "the role is in force", async || {
        let finished = shell_as(cluster, &tenant, "kubectl headgate status").await;
        if finished.stdout.contains("OriginPool/chat") { Ok(finished) } else { Err(format!("{finished:?}")) }
    })
    .await;
    println!("$ kubectl headgate status    # as one who may read namespace default only\n{}", seen.stdout);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    for object in ["OriginPool/chat", "Gateway/public", "HTTPRoute/shop", "Ingress/legacy"] {
        line_of(&seen.stdout, object);
    }
    assert!(!seen.stdout.contains("secret"), "{seen:?}");
    for note in [
        "OriginPool, RateLimit, WaitingRoom, Gateway, HTTPRoute, Ingress: you may list those of namespace default only, so only those are seen",
        "GatewayClass, IngressClass: you may not list them; `headgate` is taken for the class of headgate",
    ] {
        assert!(seen.stdout.contains(note), "`{note}` is not in: {}", seen.stdout);
    }

    let told = shell_as(cluster, &tenant, "kubectl headgate explain http://shop.example.com/chat").await;
    println!(
        "$ kubectl headgate explain http://shop.example.com/chat    # as the same\n{}{}",
        told.stderr, told.stdout
    );
    assert_eq!(told.code, Some(0), "{told:?}");
    for part in ["HTTPRoute/default/shop", "OriginPool/default/chat", "origin eu"] {
        assert!(told.stdout.contains(part), "`{part}` is not in: {told:?}");
    }
    assert!(told.stderr.contains("you may list those of namespace default only"), "{told:?}");
}

/// One who may read nothing, and a cluster that does not answer: sentences, no tables.
async fn nothing_to_show_is_said(cluster: &Cluster) {
    cluster.service_account("default", "nobody").await;
    let token = cluster.create_token(Token::of("default", "nobody", "")).await.expect("a token");
    let nobody = cluster.kubeconfig_for("nobody", &token);
    let finished = shell_as(cluster, &nobody, "kubectl headgate status").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for words in [
        "there is no object that headgate governs",
        "OriginPool, RateLimit, WaitingRoom, Gateway, HTTPRoute, Ingress: you may not list them",
    ] {
        assert!(finished.stdout.contains(words), "`{words}` is not in: {finished:?}");
    }

    let wrong = fs::read_to_string(cluster.kubeconfig()).expect("a kubeconfig").replace(":6443", ":6444");
    let finished = shell_as(cluster, &cluster.write("wrong.kubeconfig", &wrong), "kubectl headgate status").await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot list") && finished.stderr.lines().count() <= 3, "{finished:?}");
    let finished = shell(cluster, "kubectl headgate status --kubeconfig nowhere").await;
    assert!(finished.code == Some(1) && finished.stderr.contains("cannot read --kubeconfig nowhere"), "{finished:?}");
}
