//! The YAML that a user would write.
//!
//! Builders give whole documents that end with `---`, so that they can be put one behind the other.

use std::{fmt::Display, net::SocketAddr};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::certificates::Leaf;

/// The Gateway of the contract: all hosts, plain HTTP.
pub const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public, namespace: default }
spec:
  gatewayClassName: headgate
  listeners:
    - { name: http, protocol: HTTP, port: 80 }
---
";

/// The rooms of the contract, word for word.
pub const CONTRACT_ROOMS: &str = r#"apiVersion: headgate.dev/v1alpha1
kind: WaitingRoom
metadata: { name: tickets, namespace: default }
spec:
  host: shop.example.com
  totalActiveUsers: 500
  newUsersPerMinute: 200
  sessionDuration: 5m
---
apiVersion: headgate.dev/v1alpha1
kind: WaitingRoom
metadata: { name: sale, namespace: default }
spec:
  host: shop.example.com
  path: /sale                          # this path and all below it, at segments; the most specific room wins
  additionalRoutes: [{ host: m.shop.example.com, path: /sale }]
  totalActiveUsers: 50
  newUsersPerMinute: 50
  sessionDuration: 1m
  sessionRenewal: true                 # each request restarts the session's clock, to within a tenth of it
  queueingMethod: FIFO                 # FIFO | Random | Passthrough | Reject
  queueAll: false
  suspended: false
  statusCode: 200                      # of the waiting page: 200 | 202 | 429
  jsonResponse: true                   # for Accept: application/json
  page: { language: en-US }            # or page.html (Mustache), or page.configMap: {name, key}
  cookie: { suffix: sale, sameSite: Auto, secure: Auto }
  bypass: ["request.path.startsWith('/sale/static/')"]
  originCommands: [Revoke]             # response header Headgate-Waiting-Room-Command: revoke ends a session, everywhere within 1 s
  events:
    - name: black-friday
      prequeueStart: "2026-11-27T08:30:00Z"
      start: "2026-11-27T09:00:00Z"
      end: "2026-11-27T18:00:00Z"
      shuffleAtStart: true
      totalActiveUsers: 200
      newUsersPerMinute: 100
  onStoreFailure: LocalShare           # LocalShare | Allow | Deny. LocalShare: never above the limit in sum; newcomers see the waiting page; a session
                                       # is renewed only by the proxy that admitted it, else it ends with its cookie
---
"#;

/// Replaces each `$name` of `text` by its value.
pub fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let filled = values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), &value.to_string()));
    assert!(!filled.contains('$'), "a $name of this manifest has no value:\n{filled}");
    filled
}

/// A Service on port 80 and its endpoints, all ready.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: default }}
spec:
  ports: [{{ name: http, port: 80, targetPort: http }}]
---
"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        text.push_str(&endpoint_slice(name, index, *endpoint, "true"));
    }
    text
}

/// One EndpointSlice of a Service: each endpoint has its own, since ports are said once a slice.
pub fn endpoint_slice(service: &str, index: usize, endpoint: SocketAddr, ready: &str) -> String {
    let (address, port) = (endpoint.ip(), endpoint.port());
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: {service}-{index}, namespace: default, labels: {{ kubernetes.io/service-name: {service} }} }}
addressType: IPv4
ports: [{{ name: http, port: {port}, protocol: TCP }}]
endpoints: [{{ addresses: [{address}], conditions: {{ ready: {ready} }} }}]
---
"
    )
}

/// An OriginPool; `spec` is its spec in block style, not indented.
pub fn pool(name: &str, spec: &str) -> String {
    let spec = indented(spec);
    format!(
        "apiVersion: headgate.dev/v1alpha1
kind: OriginPool
metadata: {{ name: {name}, namespace: default }}
spec:
{spec}
---
"
    )
}

/// An HTTPRoute of the Gateway `public`; `rules` is the list of its rules in block style, not indented.
pub fn route(name: &str, host: &str, rules: &str) -> String {
    let rules = indented(&indented(rules));
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: default }}
spec:
  parentRefs: [{{ name: public }}]
  hostnames: [{host}]
  rules:
{rules}
---
"
    )
}

/// An HTTPRoute that sends all of a host to one OriginPool.
pub fn route_to_pool(name: &str, host: &str, pool: &str) -> String {
    route(name, host, &format!("- backendRefs: [{{ group: headgate.dev, kind: OriginPool, name: {pool} }}]"))
}

/// A TLS Secret.
pub fn secret(name: &str, leaf: &Leaf) -> String {
    let (chain, key) = (STANDARD.encode(&leaf.chain_pem), STANDARD.encode(&leaf.key_pem));
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{ name: {name}, namespace: default }}
type: kubernetes.io/tls
data:
  tls.crt: {chain}
  tls.key: {key}
---
"
    )
}

/// A ConfigMap with an authority's certificate under `ca.crt`.
pub fn authority(name: &str, certificate_pem: &str) -> String {
    let certificate = indented(&indented(certificate_pem.trim_end()));
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{ name: {name}, namespace: default }}
data:
  ca.crt: |
{certificate}
---
"
    )
}

/// A RateLimit; `spec` is its spec in block style, not indented.
pub fn rate_limit(name: &str, spec: &str) -> String {
    let spec = indented(spec);
    format!(
        "apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: {{ name: {name}, namespace: default }}
spec:
{spec}
---
"
    )
}

/// A WaitingRoom; `spec` is its spec in block style, not indented.
pub fn waiting_room(name: &str, spec: &str) -> String {
    let spec = indented(spec);
    format!(
        "apiVersion: headgate.dev/v1alpha1
kind: WaitingRoom
metadata: {{ name: {name}, namespace: default }}
spec:
{spec}
---
"
    )
}

fn indented(text: &str) -> String {
    text.trim_matches('\n').lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
