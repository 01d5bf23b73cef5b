//! Bad objects: the API server refuses them or their status has the sentence, and good objects beside them are served.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use headgate_tests::{
    client::{Ask, get},
    cluster::{
        self, Cluster, ORIGIN_PORT,
        api::Api,
        headgate::{EDIT_LIMIT, LEASE, Member, NAMESPACE},
        tokens::Token,
    },
    eventually,
    load::{Load, Pace},
    manifests::GATEWAY,
    origin::Origin,
    try_eventually,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(8);
/// A sentence that changes while its condition stays as it was is told like a figure: 10 s after the last write at most.
const TOLD_LIMIT: Duration = Duration::from_secs(20);
/// Good objects that are there all the time.
const GOOD: usize = 10;
/// Mistakes that an API server never sees: it has one object where files have two, and kubectl sends the last of two
/// fields of one name.
const OF_FILES_ONLY: [&str; 2] = ["object-twice.yaml", "syntax-duplicate-field.yaml"];
/// Cases of the translation that an operator of other options says in other words, and one that it cannot know: a route
/// of a Gateway that does not exist may be anybody's, so that nobody writes its status.
const OF_OTHER_OPTIONS: [&str; 4] = [
    "a private address in a cluster",
    "a loopback address in a cluster",
    "a link-local address, also where private ones are allowed",
    "a Gateway that does not exist",
];
/// Cases of the translation in which the API server finds another mistake first.
const REFUSED_BEFORE: [&str; 3] =
    ["a route without parents", "a filter that is not supported", "a Secret without a key"];

#[test]
fn a_bad_object_is_told_in_its_sentence_and_harms_nobody_else() {
    cluster::within(LIMIT, async |cluster| {
        cluster.install_headgate().await;
        let operators = [cluster.operator("operator-1").await, cluster.operator("operator-2").await];
        let gateway = cluster.gateway("gateway-1", &[&operators[0], &operators[1]]).await;
        let good = Good::start(&cluster).await;
        gateway.ready().await;
        good.is_served(&cluster, &gateway).await;
        let load =
            Load::start(gateway.http(), Pace { connections: 2, every: Duration::from_millis(20) }, &Good::asks());

        let reader = Reader::start(&cluster, &operators[0]).await;
        files_with_mistakes(&reader).await;
        cases_of_the_translation(&reader).await;
        references_need_a_grant(&cluster, &gateway, &good).await;
        forbidden_addresses(&cluster, &gateway, &operators).await;
        held_hosts(&cluster, &gateway, &operators, &good).await;

        let tally = load.stop().await;
        println!("good objects meanwhile: {} requests, {} failed", tally.requests, tally.bad());
        assert_eq!(tally.bad(), 0, "{tally:?}");
        good.is_served(&cluster, &gateway).await;
    });
}

/// Pools and routes without a mistake, in a namespace of their own.
struct Good {
    origin: Origin,
}

impl Good {
    async fn start(cluster: &Cluster) -> Self {
        let origin = cluster.origin("good");
        cluster.namespace("good").await;
        cluster
            .put(&json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": { "name": "front", "namespace": "good" },
                "spec": {
                    "gatewayClassName": "headgate",
                    "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80, "hostname": "*.example.net" }],
                },
            }))
            .await;
        for number in 0..GOOD {
            let name = format!("good-{number}");
            cluster.put(&pool("good", &name, &json!({ "origins": [origin_at(&origin.address().to_string())] }))).await;
            cluster.put(&route("good", &name, &json!([{ "backendRefs": [to_pool("good", &name)] }]))).await;
        }
        Self { origin }
    }

    fn asks() -> Vec<Ask> {
        (0..GOOD).map(|number| get(&format!("good-{number}.example.net"), "/")).collect()
    }

    async fn is_served(&self, cluster: &Cluster, gateway: &Member) {
        for ask in Self::asks() {
            gateway.answers(&ask, 200, self.origin.name()).await;
        }
        for number in 0..GOOD {
            for kind in ["OriginPool", "HTTPRoute"] {
                cluster.says((kind, "good", &format!("good-{number}")), "Programmed", "True", EDIT_LIMIT).await;
            }
        }
    }
}

fn pool(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "headgate.dev/v1alpha1", "kind": "OriginPool",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

fn origin_at(endpoint: &str) -> Value {
    json!({ "name": "a", "endpoints": [endpoint] })
}

fn route(namespace: &str, name: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "parentRefs": [{ "name": "front" }], "hostnames": [format!("{name}.example.net")], "rules": rules,
        },
    })
}

fn to_pool(namespace: &str, name: &str) -> Value {
    json!({ "group": "headgate.dev", "kind": "OriginPool", "namespace": namespace, "name": name })
}

/// What became of a bad object.
#[derive(Debug)]
enum Outcome {
    Refused,
    Told,
}

/// `tests/invalid/`: what is wrong is said at the head of each file, as `LINE kind/name: field: reason`.
async fn files_with_mistakes(reader: &Reader<'_>) {
    let cluster = reader.cluster;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("invalid");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    cluster.apply(GATEWAY).await;
    let (mut accepted, mut refused, mut wrong) = (Vec::new(), 0, Vec::new());
    for path in &paths {
        let text = fs::read_to_string(path).expect("a manifest");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        match cluster.kubectl(&["apply", "-f", path.to_str().expect("text")]).await {
            Ok(_) if OF_FILES_ONLY.contains(&name.as_str()) => {}
            Ok(_) => accepted.push((name, text)),
            Err(complaint) => {
                refused += 1;
                wrong.extend(mistakes(&text).filter_map(|mistake| does_not_name(&name, mistake, &complaint)));
            }
        }
    }
    for (file, text) in &accepted {
        for mistake in mistakes(text) {
            let (_, mistake) = mistake.split_once(' ').expect("a line, then the object");
            let (object, sentence) = mistake.split_once(": ").expect("an object, then the mistake");
            let (kind, name) = object.split_once('/').expect("a kind and a name");
            wrong.extend(reader.is_not_told(file, (kind, "default", name), sentence).await);
        }
        cluster.kubectl(&["delete", "-f", folder_of(&paths, file), "--wait=false"]).await.expect("deleted");
    }
    cluster.delete(GATEWAY).await.expect("deleted");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("files with mistakes: {refused} refused by the API server, {} told by status", accepted.len());
    assert!(refused >= 40 && accepted.len() >= 5, "{refused} refused, {} told", accepted.len());
}

fn folder_of<'a>(paths: &'a [std::path::PathBuf], file: &str) -> &'a str {
    let path = paths.iter().find(|path| path.ends_with(file)).expect("it was read");
    path.to_str().expect("text")
}

fn mistakes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map_while(|line| line.strip_prefix("# "))
}

/// Where the API server refuses an object, it says which field, or that the text or its kind is none. Says what is
/// missing in its complaint.
fn does_not_name(case: &str, mistake: &str, complaint: &str) -> Option<String> {
    let fields = ["spec", "metadata", "apiVersion", "kind"];
    let field = mistake.split([' ', ':']).find(|part| fields.iter().any(|field| part.starts_with(field)));
    let last = field.and_then(|field| field.rsplit('.').next()).unwrap_or_default();
    let last = last.split('[').next().unwrap_or_default();
    let general = ["no matches for kind", "error parsing", "error converting YAML", "invalid object to validate"];
    let is_named = !last.is_empty() && complaint.contains(last);
    let is_known = is_named || general.iter().any(|words| complaint.contains(words));
    (!is_known).then(|| format!("{case}: `{last}` ({mistake}) is not in: {complaint}"))
}

/// Reads what is told of objects: on the API server, and of an Ingress, whose status there has no place for a sentence, by
/// the API of an operator.
struct Reader<'c> {
    cluster: &'c Cluster,
    operator: Api,
}

impl<'c> Reader<'c> {
    async fn start(cluster: &'c Cluster, operator: &Member) -> Self {
        cluster.service_account("default", "reader").await;
        let grant = [
            "create",
            "clusterrolebinding",
            "reader",
            "--clusterrole=cluster-admin",
            "--serviceaccount=default:reader",
        ];
        cluster.kubectl(&grant).await.expect("bound");
        let token = cluster.create_token(Token::of("default", "reader", "headgate")).await.expect("a token");
        Self { cluster, operator: cluster.api_of(operator, Some(&token)).await }
    }

    async fn status_of(&self, kind: &str, namespace: &str, name: &str) -> Result<Value, String> {
        if kind != "Ingress" {
            return Ok(self.cluster.api.find(kind, namespace, name).await.unwrap_or_default()["status"].take());
        }
        // It is judged as it is now.
        let stored = self.cluster.api.find(kind, namespace, name).await.unwrap_or_default();
        let list = self.operator.get("/v1/status").await.map_err(|refusal| format!("{refusal:?}"))?;
        let is_it = |item: &&Value| item["kind"] == kind && item["metadata"]["uid"] == stored["metadata"]["uid"];
        let item = list["items"].as_array().into_iter().flatten().find(is_it);
        item.map(|item| item["status"].clone()).ok_or_else(|| "the operator does not list it".to_owned())
    }

    /// Waits until a sentence is told of an object. Gives what is there in its place.
    async fn is_not_told(&self, case: &str, object: (&str, &str, &str), sentence: &str) -> Option<String> {
        let (kind, namespace, name) = object;
        let told = try_eventually(TOLD_LIMIT, async || {
            let status = self.status_of(kind, namespace, name).await?;
            let said = messages(&status);
            if said.iter().any(|message| message.contains(sentence)) { Ok(()) } else { Err(format!("{said:#?}")) }
        });
        told.await.err().map(|said| format!("{case}: {kind}/{namespace}/{name} does not say: {sentence}\n{said}"))
    }
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

/// The cases of the translation's own tests, one after the other: they all have the same names.
async fn cases_of_the_translation(reader: &Reader<'_>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/translate/tests/invalid");
    let (mut outcomes, mut wrong) = (BTreeMap::<String, [usize; 2]>::new(), Vec::new());
    for file in ["origin_pool.yaml", "rate_limit.yaml", "http_route.yaml", "gateway.yaml", "ingress.yaml"] {
        let text = fs::read_to_string(folder.join(file)).expect("a file of cases");
        let cases: Vec<Value> = serde_saphyr::from_str(&text).expect("a list of cases");
        for case in &cases {
            if OF_OTHER_OPTIONS.contains(&case["name"].as_str().expect("a name")) {
                continue;
            }
            let column = match case_of_the_translation(reader, case, &mut wrong).await {
                Outcome::Refused => 0,
                Outcome::Told => 1,
            };
            outcomes.entry(file.to_owned()).or_default()[column] += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("cases of the translation, refused and told: {outcomes:?}");
    let [refused, told] = outcomes.values().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
    assert!(refused >= 80 && told >= 50, "{outcomes:?}");
}

async fn case_of_the_translation(reader: &Reader<'_>, case: &Value, wrong: &mut Vec<String>) -> Outcome {
    let cluster = reader.cluster;
    let text = |field: &str| case[field].as_str().expect("a text");
    let documents: Vec<Value> = serde_saphyr::from_multiple(text("manifest")).expect("YAML");
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    let part = |document: &Value, field: &str| document["metadata"][field].as_str().unwrap_or_default().to_owned();
    let mut outcome = Outcome::Told;
    for document in &documents {
        if document["kind"] == "Namespace" || !part(document, "namespace").is_empty() {
            let namespace = if document["kind"] == "Namespace" { "name" } else { "namespace" };
            let namespace =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": part(document, namespace) } });
            cluster.put(&namespace).await;
        }
        if let Err(refusal) = cluster.api.apply(document).await {
            let named = format!(
                "{}/{}/{}",
                document["kind"].as_str().unwrap_or_default(),
                part(document, "namespace"),
                part(document, "name")
            );
            let complaint = format!("{refusal:?}");
            if REFUSED_BEFORE.contains(&text("name")) {
                assert_eq!(refusal.code(), Some(422), "{complaint}");
            } else if named == text("object") {
                wrong.extend(does_not_name(text("name"), text("field"), &complaint));
            } else {
                wrong.push(format!("{}: {named} is refused: {complaint}", text("name")));
            }
            outcome = Outcome::Refused;
        }
    }
    if matches!(outcome, Outcome::Told) {
        let object: Vec<&str> = text("object").split('/').collect();
        let [kind, namespace, name] = object[..] else { panic!("{object:?} is not kind/namespace/name") };
        wrong.extend(reader.is_not_told(text("name"), (kind, namespace, name), text("sentence")).await);
    }
    for document in documents.iter().filter(|document| document["kind"] != "Namespace") {
        let kind = document["kind"].as_str().expect("a kind");
        // What was refused is not there.
        let _ = cluster.api.delete(kind, &part(document, "namespace"), &part(document, "name")).await;
    }
    outcome
}

async fn references_need_a_grant(cluster: &Cluster, gateway: &Member, good: &Good) {
    let address = good.origin.address();
    cluster.namespace("vault").await;
    cluster.put(&pool("vault", "jewels", &json!({ "origins": [origin_at(&address.to_string())] }))).await;
    cluster.service("vault", "jewels", 80, ORIGIN_PORT, &[address.ip()]).await;
    let path = |path: &str| json!([{ "path": { "type": "PathPrefix", "value": path } }]);
    let rules = json!([
        { "matches": path("/pool"), "backendRefs": [to_pool("vault", "jewels")] },
        { "matches": path("/service"), "backendRefs": [{ "namespace": "vault", "name": "jewels", "port": 80 }] },
    ]);
    cluster.put(&route("good", "loan", &rules)).await;
    let loan = ("HTTPRoute", "good", "loan");
    let asks = ["/pool", "/service"].map(|path| get("loan.example.net", path));
    let grant = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ReferenceGrant",
        "metadata": { "name": "loan", "namespace": "vault" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "good" }],
            "to": [{ "group": "headgate.dev", "kind": "OriginPool" }, { "group": "", "kind": "Service" }],
        },
    });
    for granted in [false, true, false] {
        if granted {
            cluster.put(&grant).await;
        } else {
            // The first time there is none.
            let _ = cluster.api.delete("ReferenceGrant", "vault", "loan").await;
        }
        let (status, origin) = if granted { (200, "good") } else { (500, "") };
        for ask in &asks {
            gateway.answers(ask, status, origin).await;
        }
        let resolved = if granted { "True" } else { "False" };
        let (reason, message) = cluster.says(loan, "ResolvedRefs", resolved, EDIT_LIMIT).await;
        assert!(granted || reason == "RefNotPermitted" && message.contains("ReferenceGrant"), "{reason}: {message}");
    }
}

async fn forbidden_addresses(cluster: &Cluster, gateway: &Member, operators: &[Member]) {
    cluster.namespace("addresses").await;
    let at = |address: std::net::IpAddr, port: u16| std::net::SocketAddr::new(address, port).to_string();
    let operator = operators[0].address;
    // What `deploy/` has: by its EndpointSlices every replica knows the addresses of all of them.
    let addresses: Vec<std::net::IpAddr> = operators.iter().map(|operator| operator.address).collect();
    cluster.service(NAMESPACE, "headgate-operator", 9443, 9443, &addresses).await;
    let written = [
        ("metadata", "169.254.169.254:80".to_owned()),
        ("link-local", "169.254.7.7:80".to_owned()),
        ("link-local-6", "[fe80::7]:80".to_owned()),
        ("private", "192.168.7.7:80".to_owned()),
        ("carrier", "100.64.0.7:80".to_owned()),
        ("unique-local", "[fc00::7]:80".to_owned()),
        ("mapped", "[::ffff:169.254.169.254]:80".to_owned()),
        ("unspecified", "0.0.0.0:80".to_owned()),
        // These are of networks that are allowed: they are refused for what they are.
        ("api-server", cluster.api_address().to_string()),
        ("stream", at(operator, 9443)),
        ("api", at(operator, 8443)),
        ("admin", at(operator, 9901)),
    ];
    let mut specs: Vec<(&str, Value, &str)> =
        written.iter().map(|(name, address)| (*name, origin_at(address), "Accepted")).collect();

    cluster
        .put(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "outside", "namespace": "addresses" },
            "spec": { "type": "ExternalName", "externalName": "metadata.example.com", "ports": [{ "port": 80 }] },
        }))
        .await;
    let of_service = |name: &str| json!({ "name": "a", "service": { "name": name, "port": 80 } });
    specs.push(("external-name", of_service("outside"), "ResolvedRefs"));
    specs.push(("external-name-svc", origin_at("outside.addresses.svc:80"), "ResolvedRefs"));
    let api = cluster.api_address();
    cluster.service("addresses", "inside", 80, api.port(), &[api.ip()]).await;
    specs.push(("endpoint-slice", of_service("inside"), "ResolvedRefs"));

    for (name, origin, _) in &specs {
        let host = format!("{name}.addresses.example.org");
        cluster.put(&pool("addresses", name, &json!({ "hosts": [host], "origins": [origin] }))).await;
    }
    for (name, _, condition) in &specs {
        let (reason, message) = cluster.says(("OriginPool", "addresses", name), condition, "False", EDIT_LIMIT).await;
        println!("{name}: {reason}: {message}");
        assert_eq!(reason, "AddressNotAllowed", "{name}: {message}");
    }
    for (name, ..) in &specs {
        let answer = get(&format!("{name}.addresses.example.org"), "/").to(gateway.http()).await;
        assert!([404, 500, 503].contains(&answer.status) && answer.origin().is_empty(), "{name}: {answer:?}");
    }
}

/// A host stays with whom it was first given, also when nobody remembers it but the API server.
async fn held_hosts(cluster: &Cluster, gateway: &Member, operators: &[Member], good: &Good) {
    const HELD: &str = "chat.example.org";
    const OWN: &str = "own.example.org";
    let thief = ("OriginPool", "thief", "chat");
    let origin = cluster.origin("thief");
    for namespace in ["holder", "thief"] {
        cluster.namespace(namespace).await;
    }
    let of = |namespace: &str, origin: &Origin, hosts: &[&str]| {
        let spec = json!({ "hosts": hosts, "origins": [origin_at(&origin.address().to_string())] });
        pool(namespace, "chat", &spec)
    };
    // The thief's pool is the older one: by age alone it would get the host.
    cluster.put(&of("thief", &origin, &[OWN])).await;
    gateway.answers(&get(OWN, "/"), 200, "thief").await;
    cluster.put(&of("holder", &good.origin, &[HELD])).await;
    gateway.answers(&get(HELD, "/"), 200, "good").await;

    cluster.put(&of("thief", &origin, &[OWN, HELD])).await;
    let held = async || {
        let (reason, message) = cluster.says(thief, "Degraded", "True", EDIT_LIMIT).await;
        assert_eq!(reason, "HostHeld", "{message}");
        assert!(message.contains(HELD) && message.contains("holder"), "{message}");
        cluster.says(thief, "Accepted", "True", EDIT_LIMIT).await;
        gateway.answers(&get(HELD, "/"), 200, "good").await;
        gateway.answers(&get(OWN, "/"), 200, "thief").await;
        let object = cluster.api.find("OriginPool", "thief", "chat").await.expect("the pool");
        assert_eq!(
            object["status"]["hosts"],
            json!([{ "host": HELD, "held": false }, { "host": OWN, "held": true }]),
            "{object}"
        );
    };
    held().await;
    let claims = cluster.api.list("ConfigMap", "headgate-system").await;
    let shards: Vec<&Value> = claims
        .iter()
        .filter(|map| map["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("headgate-hosts-")))
        .collect();
    assert!(shards.iter().any(|map| map["data"].to_string().contains(HELD)), "{shards:?}");

    // Both forget everything; a sign in the status shows that what follows is the new ones' word.
    for operator in operators {
        operator.process.stop();
    }
    for operator in operators {
        operator.process.start();
    }
    let limit = LEASE + EDIT_LIMIT;
    cluster.put(&of("holder", &good.origin, &[HELD, "new.example.org"])).await;
    eventually(limit, "the new operators configure", async || {
        match get("new.example.org", "/").to(gateway.http()).await {
            answer if answer.origin() == "good" => Ok(()),
            answer => Err(answer.status.to_string()),
        }
    })
    .await;
    held().await;

    cluster.api.delete("OriginPool", "holder", "chat").await.expect("deleted");
    gateway.answers(&get(HELD, "/"), 200, "thief").await;
    eventually(EDIT_LIMIT, "nothing is degraded any more", async || {
        let (kind, namespace, name) = thief;
        let (status, reason, message) = cluster.condition(kind, namespace, name, "Degraded").await;
        if status == "True" { Err(format!("{reason}: {message}")) } else { Ok(()) }
    })
    .await;
}
