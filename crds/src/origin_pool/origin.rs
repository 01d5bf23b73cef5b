//! One origin of a pool.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place with endpoints: either those of a Service, or addresses.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.service) != has(self.endpoints)")
        .message("an origin has either service or endpoints: write exactly one of them")
)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Name of the origin, once in the pool: lower case letters, digits and `-`, at most 63 characters.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,

    /// All ready endpoints of a Service of the namespace. Either this or `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,

    /// Addresses or DNS names, each with its port: `192.0.2.7:8080`, `[2001:db8::7]:443`, `origin.example.com:443`.
    /// Either this or `service`.
    ///
    /// A DNS name stands for all addresses that it resolves to; it is resolved again every 5 seconds at most. In a
    /// cluster addresses must be public or in the operator's `--allow-origins`, and a name that ends in `.svc` must be
    /// of this namespace. 1 to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 261)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(e, e.matches('^.+:[0-9]{1,5}$'))")
            .message("an endpoint is an address or a DNS name with a port, such as 192.0.2.7:8080, [2001:db8::7]:443 or origin.example.com:443")
    )]
    pub endpoints: Option<Vec<String>>,

    /// Steering policy Failover uses the healthy origins of the lowest priority. 0 to 1000. Default: 0.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0, max = 1000))]
    pub priority: u32,

    /// Share of the traffic among the origins in use. 0 keeps the origin checked but without traffic. 0 to 1000000.
    /// Default: 100.
    #[serde(default = "default_weight")]
    #[schemars(with = "i32", range(min = 0, max = 1_000_000))]
    pub weight: u32,

    /// False takes the origin out of steering: it stays checked, but gets no new requests. Default: true.
    #[serde(default = "default_enabled")]
    pub enabled: bool,

    /// `Host` sent to this origin, with a port where it needs one. At most 259 characters. Default: the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 259), regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$"))]
    pub host_header: Option<String>,

    /// Speak TLS to this origin. Default: none, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTls>,

    /// `HTTP1`, or `HTTP2`: by prior knowledge on plain connections, by ALPN on TLS. Default: `HTTP1`.
    #[serde(default)]
    pub protocol: Protocol,

    /// Where the origin is, for the steering policies Geo and Proximity. Accepted but not yet enforced. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

fn default_weight() -> u32 {
    100
}

fn default_enabled() -> bool {
    true
}

/// A port of a Service of the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Port of the Service: its number, 1 to 65535, or its name.
    #[schemars(extend("minimum" = 1, "maximum" = 65535, "minLength" = 1, "maxLength" = 15))]
    pub port: IntOrString,
}

/// TLS to an origin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginTls {
    /// Name sent as SNI and looked for in the origin's certificate. At most 253 characters. Default: `hostHeader`
    /// without its port, else the endpoint's DNS name, else the DNS name of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
    pub server_name: Option<String>,

    /// Certificates to trust, under the key `ca.crt`. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate_ref: Option<CertificateReference>,
}

/// Certificates in a ConfigMap or Secret of the same namespace, in PEM under the key `ca.crt`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReference {
    /// `ConfigMap` or `Secret`.
    pub kind: CertificateKind,

    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What holds certificates.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum CertificateKind {
    ConfigMap,
    Secret,
}

/// Protocols spoken to an origin.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum Protocol {
    #[default]
    Http1,
    Http2,
}

/// Where an origin is.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.latitude) == has(self.longitude)")
        .message("location.latitude and location.longitude belong together: write both or none")
)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Degrees north of the equator, -90 to 90. Together with `longitude`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -90, max = 90))]
    pub latitude: Option<f64>,

    /// Degrees east of Greenwich, -180 to 180. Together with `latitude`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -180, max = 180))]
    pub longitude: Option<f64>,

    /// Regions of clients that steering policy Geo sends here, in capitals: western and eastern North America, western
    /// and eastern Europe, northern and southern South America, Oceania, Middle East, northern and southern Africa,
    /// southern, south-eastern and north-eastern Asia. 1 to 13.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 13))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub regions: Option<Vec<Region>>,
}

/// Regions of the world.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the field that has this type explains its values")]
pub enum Region {
    Wnam,
    Enam,
    Weu,
    Eeu,
    Nsam,
    Ssam,
    Oc,
    Me,
    Naf,
    Saf,
    Sas,
    Seas,
    Neas,
}
