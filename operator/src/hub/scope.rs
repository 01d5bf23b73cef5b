//! Who gets what: the part of the published set that one proxy may know.

use std::collections::BTreeSet;
use std::sync::Arc;

use headgate_snapshot::governs::By;
use headgate_snapshot::resource::Body;
use headgate_snapshot::rule::Action;
use headgate_snapshot::{Governs, Key, Resource, ResourceSet};
use headgate_translate::Kind;

/// Kind of the default listeners.
const DEFAULTS: &str = "Defaults";
/// Kind of the pools that routes make of Services.
const SERVICE: &str = "Service";
/// Kind of certificates.
const SECRET: &str = "Secret";

/// The part of the published set that a proxy gets. Ordered, so that it can be the key of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything: a gateway that serves all Gateways of the class.
    #[default]
    All,
    /// These Gateways by namespace and name, the routes attached to them, the certificates of their listeners, the
    /// pools that those routes lead to, and the limits that govern any of it. Not the default listeners.
    Gateways(BTreeSet<(String, String)>),
    /// What a sidecar of a namespace may know: what is in it, without Gateways and certificates, and without the limits
    /// of what gateways receive.
    Namespace(String),
}

impl Scope {
    /// The part of a set.
    pub fn select(&self, whole: &Arc<ResourceSet>) -> Arc<ResourceSet> {
        match self {
            Self::All => Arc::clone(whole),
            Self::Gateways(gateways) => Arc::new(of_gateways(whole, gateways)),
            Self::Namespace(namespace) => Arc::new(of_namespace(whole, namespace)),
        }
    }

    /// The part of the held keys. What a held object of unknown content belongs to is unknown as well, so that a
    /// proxy of some Gateways is told of all that are no Gateways: it keeps what it has of them, mostly nothing.
    pub fn select_holds(&self, whole: &Arc<BTreeSet<Key>>) -> Arc<BTreeSet<Key>> {
        let within = |key: &&Key| match self {
            Self::All => true,
            Self::Gateways(gateways) if key.kind == Kind::Gateway.as_str() => is_among(key, gateways),
            Self::Gateways(_) => key.kind != DEFAULTS,
            Self::Namespace(namespace) => is_of_namespace(key, namespace),
        };
        if *self == Self::All { Arc::clone(whole) } else { Arc::new(whole.iter().filter(within).cloned().collect()) }
    }

    /// Whether a proxy of this scope may say how a key is with it, as far as that follows from the key alone. What
    /// belongs to a proxy of some Gateways follows from content, and may be published here later than it has it.
    pub fn may_speak_of(&self, key: &Key) -> bool {
        match self {
            Self::All | Self::Gateways(_) => true,
            Self::Namespace(namespace) => is_of_namespace(key, namespace),
        }
    }

    /// Whether a proxy of this scope serves a Gateway, so that its own troubles are the Gateway's.
    pub fn serves(&self, gateway: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Gateways(gateways) => is_among(gateway, gateways),
            Self::Namespace(_) => false,
        }
    }

    /// Whether a proxy of this scope is concerned by a key that is published nowhere, and would get it once it is.
    /// What a proxy of some Gateways gets depends on content, so that nothing concerns it before.
    pub fn concerns(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Gateways(_) => false,
            // Which limits a sidecar gets depends on content as well, and rooms are at the gate.
            Self::Namespace(namespace) => {
                let is_policy = [Kind::RateLimit, Kind::WaitingRoom].iter().any(|kind| key.kind == kind.as_str());
                is_of_namespace(key, namespace) && !is_policy
            }
        }
    }
}

/// Whether this release knows a kind. What a newer one published is not withdrawn by it.
pub fn knows(kind: &str) -> bool {
    [DEFAULTS, SERVICE, SECRET].contains(&kind) || Kind::ALL.into_iter().any(|known| known.as_str() == kind)
}

fn is_among(key: &Key, gateways: &BTreeSet<(String, String)>) -> bool {
    // A set of pairs cannot be asked with borrowed halves; it has a handful of entries.
    gateways.iter().any(|(namespace, name)| *namespace == key.namespace && *name == key.name)
}

fn is_of_namespace(key: &Key, namespace: &str) -> bool {
    key.namespace == namespace && ![SECRET, DEFAULTS, Kind::Gateway.as_str()].contains(&key.kind.as_str())
}

/// Whether pods have a use for a resource: of the limits, for those that the application asks for by name, and those of
/// a Service.
fn is_for_pods(resource: &Resource) -> bool {
    match &resource.body {
        Some(Body::RateLimit(limit)) => match limit.governs.as_ref().map(|governs| &governs.by) {
            Some(Some(By::Targets(targets))) => {
                targets.targets.iter().any(|target| target.object.as_ref().is_some_and(|key| key.kind == SERVICE))
            }
            Some(Some(By::Namespace(_)) | None) => false,
            None => true,
        },
        // Rooms are at the gate.
        Some(Body::WaitingRoom(_)) => false,
        Some(Body::Gateway(_) | Body::Route(_) | Body::OriginPool(_) | Body::Certificate(_)) | None => true,
    }
}

/// Reads only what is of the namespace: keys are sorted by kind, then namespace.
fn of_namespace(whole: &ResourceSet, namespace: &str) -> ResourceSet {
    let entries = whole.entries();
    let mut part = ResourceSet::default();
    let mut next = entries.first_key_value().map(|(key, _)| key.kind.clone());
    while let Some(kind) = next {
        let start = Key::new(kind.as_str(), namespace, "");
        for (key, entry) in entries.range(start..) {
            if key.kind != kind || key.namespace != namespace {
                break;
            }
            if is_of_namespace(key, namespace) && is_for_pods(&entry.resource) {
                part.insert(Key::clone(key), entry.clone());
            }
        }
        // The least text that is greater than the kind.
        let beyond = Key::new(kind + "\0", "", "");
        next = entries.range(beyond..).next().map(|(key, _)| key.kind.clone());
    }
    part
}

/// The Gateways, and whatever can be reached from them.
fn of_gateways(whole: &ResourceSet, gateways: &BTreeSet<(String, String)>) -> ResourceSet {
    let mut part = ResourceSet::default();
    let mut pending: Vec<&Key> = Vec::new();
    for (key, entry) in whole.entries() {
        let belongs = match &entry.resource.body {
            Some(Body::Gateway(_)) => key.kind == Kind::Gateway.as_str() && is_among(key, gateways),
            Some(Body::Route(route)) => {
                let mut attached = route.attachments.iter().filter_map(|attachment| attachment.gateway.as_ref());
                attached.any(|gateway| gateway.kind == Kind::Gateway.as_str() && is_among(gateway, gateways))
            }
            Some(Body::OriginPool(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => {
                false
            }
        };
        if belongs {
            part.insert(Key::clone(key), entry.clone());
            pending.extend(references(&entry.resource));
        }
    }
    while let Some(key) = pending.pop() {
        if part.get(key).is_some() {
            continue;
        }
        if let Some(entry) = whole.get(key) {
            part.insert(key.clone(), entry.clone());
            pending.extend(references(&entry.resource));
        }
    }
    add_policies(&mut part, whole);
    part
}

/// Adds the limits and rooms that govern what is in a part.
fn add_policies(part: &mut ResourceSet, whole: &ResourceSet) {
    let first = Key::new(Kind::RateLimit.as_str(), "", "");
    let of_routes = |(key, entry): (&Arc<Key>, &headgate_snapshot::Entry)| match &entry.resource.body {
        Some(Body::Route(_)) => Some(key.namespace.clone()),
        Some(
            Body::Gateway(_) | Body::OriginPool(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_),
        )
        | None => None,
    };
    let namespaces: BTreeSet<String> = part.entries().iter().filter_map(of_routes).collect();
    for (key, entry) in whole.entries().range(first..).take_while(|(key, _)| key.kind == Kind::RateLimit.as_str()) {
        let Some(Body::RateLimit(limit)) = &entry.resource.body else { continue };
        let belongs = match &limit.governs {
            Some(Governs { hosts: _, by: Some(By::Targets(targets)) }) => {
                targets.targets.iter().filter_map(|target| target.object.as_ref()).any(|key| part.get(key).is_some())
            }
            Some(Governs { hosts: _, by: Some(By::Namespace(_)) | None }) | None => namespaces.contains(&key.namespace),
        };
        if belongs {
            part.insert(Key::clone(key), entry.clone());
        }
    }
    let first = Key::new(Kind::WaitingRoom.as_str(), "", "");
    for (key, entry) in whole.entries().range(first..).take_while(|(key, _)| key.kind == Kind::WaitingRoom.as_str()) {
        if namespaces.contains(&key.namespace) {
            part.insert(Key::clone(key), entry.clone());
        }
    }
}

/// The keys of pools and certificates that a resource cannot be enforced without.
fn references(resource: &Resource) -> Vec<&Key> {
    match &resource.body {
        Some(Body::Gateway(gateway)) => gateway.listeners.iter().flat_map(|listener| &listener.certificates).collect(),
        Some(Body::Route(route)) => {
            let backends = route.rules.iter().filter_map(|rule| match &rule.action {
                Some(Action::Backends(backends)) => Some(&backends.backends),
                Some(Action::Redirect(_)) | None => None,
            });
            backends.flatten().filter_map(|backend| backend.pool.as_ref()).collect()
        }
        Some(Body::OriginPool(pool)) => pool.fallback.iter().collect(),
        Some(Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => Vec::new(),
    }
}
