//! Everything that translate may know, as sorted maps.
//!
//! Whoever feeds translate keeps two things between calls that are not objects of the cluster: the spec last
//! accepted of each object of ours that is invalid now, and the claims of hosts. Both are inputs here, and the next
//! value of both follows from what translate returns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use headgate_crds::gateway_api::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use headgate_crds::{OriginPool, RateLimit, WaitingRoom};
use headgate_snapshot::AddressRules;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use crate::host::mistake_in_exact_host;
use crate::verdict::Problem;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace, empty for kinds that have none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object; `namespace` is empty for kinds that have none.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name } = self;
        if namespace.is_empty() { write!(f, "{name}") } else { write!(f, "{namespace}/{name}") }
    }
}

/// The kinds that headgate governs: each of their objects gets exactly one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `gateway.networking.k8s.io` GatewayClass.
    GatewayClass,
    /// `gateway.networking.k8s.io` Gateway.
    Gateway,
    /// `gateway.networking.k8s.io` HTTPRoute.
    HttpRoute,
    /// `networking.k8s.io` IngressClass.
    IngressClass,
    /// `networking.k8s.io` Ingress.
    Ingress,
    /// `headgate.dev` OriginPool.
    OriginPool,
    /// `headgate.dev` RateLimit.
    RateLimit,
    /// `headgate.dev` WaitingRoom.
    WaitingRoom,
}

impl Kind {
    /// All kinds, in their order.
    pub const ALL: [Self; 8] = [
        Self::GatewayClass,
        Self::Gateway,
        Self::HttpRoute,
        Self::IngressClass,
        Self::Ingress,
        Self::OriginPool,
        Self::RateLimit,
        Self::WaitingRoom,
    ];

    /// The kind as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::IngressClass => "IngressClass",
            Self::Ingress => "Ingress",
            Self::OriginPool => "OriginPool",
            Self::RateLimit => "RateLimit",
            Self::WaitingRoom => "WaitingRoom",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object of a kind that headgate governs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl ObjectRef {
    /// An object of a kind that headgate governs.
    pub fn new(kind: Kind, key: ObjectKey) -> Self {
        Self { kind, key }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key } = self;
        write!(f, "{kind}/{key}")
    }
}

/// A kind of objects that are read only where another object refers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferredKind {
    /// Secret.
    Secret,
    /// ConfigMap.
    ConfigMap,
}

/// A Secret or ConfigMap that an object refers to, and may refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Kind.
    pub kind: ReferredKind,
    /// Namespace and name.
    pub key: ObjectKey,
}

/// What an object may depend on, or hold a host by, and what whoever feeds translate may be unable to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// All OriginPools.
    OriginPools,
    /// All GatewayClasses.
    GatewayClasses,
    /// All Gateways.
    Gateways,
    /// All HTTPRoutes.
    HttpRoutes,
    /// All ReferenceGrants.
    ReferenceGrants,
    /// All IngressClasses.
    IngressClasses,
    /// All Ingresses.
    Ingresses,
    /// All Services.
    Services,
    /// All EndpointSlices.
    EndpointSlices,
    /// All Namespaces.
    Namespaces,
    /// One Secret or ConfigMap.
    One(Reference),
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OriginPools => f.write_str("OriginPools"),
            Self::GatewayClasses => f.write_str("GatewayClasses"),
            Self::Gateways => f.write_str("Gateways"),
            Self::HttpRoutes => f.write_str("HTTPRoutes"),
            Self::ReferenceGrants => f.write_str("ReferenceGrants"),
            Self::IngressClasses => f.write_str("IngressClasses"),
            Self::Ingresses => f.write_str("Ingresses"),
            Self::Services => f.write_str("Services"),
            Self::EndpointSlices => f.write_str("EndpointSlices"),
            Self::Namespaces => f.write_str("Namespaces"),
            Self::One(Reference { kind: ReferredKind::Secret, key }) => write!(f, "Secret {key}"),
            Self::One(Reference { kind: ReferredKind::ConfigMap, key }) => write!(f, "ConfigMap {key}"),
        }
    }
}

/// Objects of one kind. They are shared, because the world outlives many translations.
pub type Objects<K> = BTreeMap<ObjectKey, Arc<K>>;

/// Everything that translate may know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// What the process was told at its start.
    pub options: Options,
    /// The time that new claims of hosts get.
    pub now: Timestamp,
    /// OriginPools.
    pub origin_pools: Objects<OriginPool>,
    /// RateLimits.
    pub rate_limits: Objects<RateLimit>,
    /// WaitingRooms.
    pub waiting_rooms: Objects<WaitingRoom>,
    /// GatewayClasses.
    pub gateway_classes: Objects<GatewayClass>,
    /// Gateways.
    pub gateways: Objects<Gateway>,
    /// HTTPRoutes.
    pub http_routes: Objects<HttpRoute>,
    /// ReferenceGrants.
    pub reference_grants: Objects<ReferenceGrant>,
    /// IngressClasses.
    pub ingress_classes: Objects<IngressClass>,
    /// Ingresses.
    pub ingresses: Objects<Ingress>,
    /// Services.
    pub services: Objects<Service>,
    /// EndpointSlices.
    pub endpoint_slices: Objects<EndpointSlice>,
    /// Secrets that an object refers to.
    pub secrets: Objects<Secret>,
    /// ConfigMaps that an object refers to.
    pub config_maps: Objects<ConfigMap>,
    /// Namespaces, for their labels.
    pub namespaces: Objects<Namespace>,
    /// Objects that could not be read, each with what is wrong. An object that is here and also in the map of its
    /// kind is the state before the mistake: it stays in force, as an API server that refuses an edit keeps it.
    pub malformed: BTreeMap<ObjectRef, Problem>,
    /// For objects of ours that are invalid now: the object as it was when last accepted.
    pub last_accepted: LastAccepted,
    /// Who holds which host.
    pub claims: Arc<Claims>,
    /// What was never read, so that nobody knows whether it is there. Objects that depend on it are in
    /// [`crate::Translation::uncertain`].
    pub unread: BTreeSet<Dependency>,
}

/// The objects of ours as they were when last accepted. Entries of objects that are valid now, or gone, do no harm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastAccepted {
    /// OriginPools.
    pub origin_pools: Objects<OriginPool>,
    /// RateLimits.
    pub rate_limits: Objects<RateLimit>,
    /// WaitingRooms.
    pub waiting_rooms: Objects<WaitingRoom>,
}

/// Claims of hosts. The key is the host as written, in lower case: `shop.example.com`, `*.example.com` or `*`.
pub type Claims = BTreeMap<String, Claim>;

/// A namespace holds a host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// The namespace that holds it.
    pub namespace: String,
    /// Since when.
    pub since: Timestamp,
}

/// What the process was told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `controllerName` of our GatewayClasses.
    pub gateway_controller: String,
    /// `controller` of our IngressClasses.
    pub ingress_controller: String,
    /// Classes that count as ours although no object declares them.
    pub assumed_classes: AssumedClasses,
    /// Addresses that users may write, and that the DNS names that they write may stand for.
    pub addresses: AddressPolicy,
    /// Where the proxies that serve Gateways and Ingresses are reached from outside, for the status of both. At most
    /// the first 16 are told.
    pub gateway_addresses: Vec<GatewayAddress>,
    /// What the keys of tickets are derived from.
    pub master_key: MasterKey,
}

/// The one secret of an installation, from which proxies get a key for each object: 32 random bytes. Empty: not known yet.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MasterKey(pub Vec<u8>);

impl MasterKey {
    /// One for those who only look at what is made of a world, and send nothing to proxies.
    pub fn for_checks() -> Self {
        Self(vec![0; 32])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway_controller: "headgate.dev/gateway".to_owned(),
            ingress_controller: "headgate.dev/ingress".to_owned(),
            assumed_classes: AssumedClasses::None,
            addresses: AddressPolicy::Public { allowed: Vec::new(), denied: Vec::new() },
            gateway_addresses: Vec::new(),
            master_key: MasterKey::default(),
        }
    }
}

impl Options {
    /// The options of standalone: the classes `headgate` are assumed, loopback and private addresses are allowed.
    pub fn standalone() -> Self {
        Self {
            assumed_classes: AssumedClasses::Headgate,
            addresses: AddressPolicy::Any { denied: Vec::new() },
            ..Self::default()
        }
    }
}

/// Classes that count as ours although no object declares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssumedClasses {
    /// None: a class is an object with our controller.
    None,
    /// GatewayClass and IngressClass `headgate`.
    Headgate,
}

/// Name of the classes that standalone assumes.
pub const ASSUMED_CLASS: &str = "headgate";

/// Which addresses a user may write as endpoints of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Public, loopback and private ones, never link-local ones: standalone, where the user owns the machine.
    Any {
        /// Addresses that are never allowed, with the port: our own. An unspecified one stands for every loopback
        /// address.
        denied: Vec<SocketAddr>,
    },
    /// Public ones.
    Public {
        /// Networks allowed beside the public ones.
        allowed: Vec<IpNet>,
        /// Addresses that are never allowed, with the port: the API server's and our own.
        denied: Vec<SocketAddr>,
    },
}

impl AddressPolicy {
    /// The policy in the form that both ends of the wire judge with.
    pub fn rules(&self) -> AddressRules {
        match self {
            Self::Any { denied } => AddressRules::any(denied.clone()),
            Self::Public { allowed, denied } => AddressRules::public(allowed.clone(), denied.clone()),
        }
    }
}

/// Where proxies are reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name in lower case, without a final dot.
    Hostname(String),
}

impl FromStr for GatewayAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match mistake_in_exact_host(&host) {
            None => Ok(Self::Hostname(host)),
            Some(_) => Err(format!(
                "\"{text}\" is neither an IP address nor a DNS name; write one, such as 203.0.113.7 or lb.example.com"
            )),
        }
    }
}

impl serde::Serialize for GatewayAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Hostname(host) => f.write_str(host),
        }
    }
}
