//! Who wrote what: the API server's own log of what the operators wrote, in the order in which it is stored.
//!
//! All replicas have one service account and one field manager. What tells them apart is the token: each has one of
//! its own, and the log names it.

use std::fs;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::Cluster;

/// The log, in the temporary folder.
const LOG: &str = "audit.log";
/// What is logged: statuses, the lease and ConfigMaps (host claims) that an operator wrote.
const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: RequestResponse
    users: ["system:serviceaccount:headgate-system:headgate-operator"]
    verbs: [create, update, patch]
    resources:
      - { group: headgate.dev, resources: ["*/status"] }
      - { group: gateway.networking.k8s.io, resources: ["*/status"] }
      - { group: networking.k8s.io, resources: ["ingresses/status"] }
      - { group: coordination.k8s.io, resources: [leases] }
      - { group: "", resources: [configmaps] }
  - level: None
"#;

/// A write that succeeded.
#[derive(Clone, Debug)]
pub struct Write {
    /// The id of the token that it came with: see [`Cluster::token_of`].
    pub token: String,
    /// `resource/namespace/name`, with the subresource before the namespace: `httproutes/status/default/shop`.
    pub object: String,
    /// `metadata.resourceVersion` that it was made from, where it named one.
    pub over: Option<u64>,
    /// `metadata.resourceVersion` that it made. All objects share one row of numbers.
    pub version: u64,
    /// The object as it was then.
    pub content: Value,
}

impl Cluster {
    /// Starts the API server again, so that it logs what operators write.
    pub async fn audit(&mut self) {
        let policy = self.write("audit-policy.yaml", POLICY);
        self.api_server.stop();
        self.api_server.add_arguments([
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", self.path(LOG).display()),
        ]);
        self.api_server.start();
        self.ready().await;
    }

    /// What operators wrote so far, in the order of its versions.
    pub fn writes(&self) -> Vec<Write> {
        let log = fs::read_to_string(self.path(LOG)).expect("the API server logs");
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event is JSON"));
        let mut writes: Vec<Write> = events.filter_map(write).collect();
        writes.sort_by_key(|write| write.version);
        writes
    }

    /// The id of the token that the operator of this name has.
    pub fn token_of(&self, operator: &str) -> String {
        let kubeconfig = fs::read(self.path(&format!("{operator}.kubeconfig"))).expect("the operator's kubeconfig");
        let kubeconfig: Value = serde_json::from_slice(&kubeconfig).expect("JSON");
        let token = kubeconfig["users"][0]["user"]["token"].as_str().expect("a token");
        let claims = token.split('.').nth(1).expect("a JWT has three parts");
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        claims["jti"].as_str().expect("a token has an id").to_owned()
    }
}

fn write(mut event: Value) -> Option<Write> {
    let code = event["responseStatus"]["code"].as_u64()?;
    if !(200..300).contains(&code) {
        return None;
    }
    let id = event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().expect("a token's id");
    let token = id.strip_prefix("JTI=").expect("the id of a JWT").to_owned();
    let (target, content) = (&event["objectRef"], &event["responseObject"]);
    let part = |name: &str| target[name].as_str().unwrap_or_default();
    let resource = format!("{}/{}", part("resource"), part("subresource"));
    // A creation is named by its answer.
    let name = content["metadata"]["name"].as_str().expect("an object has a name");
    let object = format!("{}/{}/{name}", resource.trim_end_matches('/'), part("namespace"));
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str()?.parse().ok();
    let (over, version) = (version(&event["requestObject"]), version(content).expect("a stored object has a version"));
    Some(Write { token, object, over, version, content: event["responseObject"].take() })
}
