//! What the API server tells: one watch a kind, and one for each Secret or ConfigMap that an object refers to.
//!
//! ```text
//! API server -> source (list, then watch) -> Read (decoded) -> one bounded channel -> control
//!                  |  a relisted set is compared with what was known: only what is gone is removed
//!                  '- away, missing or denied: told once, tried again with backoff, the others go on
//! ```
//!
//! Each source lists with a consistent read and then follows, by WatchList where the server has it. [`Watches::resync`]
//! makes all of them list again, which is how a new leader knows that it has seen everything from before its term.
//!
//! Secrets are never listed: a source of its own watches each one that is referred to, by its name.

mod failure;
mod listing;
mod reading;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use headgate_translate::{ObjectKey, Reference, ReferredKind};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

pub use reading::Read;

use crate::metrics::Metrics;
use crate::world::ObjectKind;
use source::{Part, Target};

/// Label of the ConfigMaps with host claims.
pub const CLAIMS_LABEL: &str = "headgate.dev/host-claims";

/// News that may wait before the sources do.
const QUEUE: usize = 4096;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// All objects of a kind.
    Kind(ObjectKind),
    /// One Secret or ConfigMap.
    One(Reference),
    /// The ConfigMaps with host claims.
    Claims,
}

impl Source {
    /// The kind of its objects.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Kind(kind) => *kind,
            Self::One(Reference { kind: ReferredKind::Secret, .. }) => ObjectKind::Secret,
            Self::One(Reference { kind: ReferredKind::ConfigMap, .. }) | Self::Claims => ObjectKind::ConfigMap,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => f.write_str(kind.as_str()),
            Self::One(Reference { kind: _, key }) => write!(f, "{} {key}", self.kind().as_str()),
            Self::Claims => f.write_str("host claims"),
        }
    }
}

/// Why a source has nothing to tell for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// The API server does not know the kind: its CRD is not installed.
    Missing,
    /// The operator may not read it.
    Denied,
    /// The API server cannot be reached, or cannot answer.
    Unreachable,
}

impl Absence {
    /// The word of it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A kind as requests name it, in one of the versions that are read.
pub fn resource(kind: ObjectKind, version: usize) -> ApiResource {
    let versions = kind.versions();
    ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), versions[version % versions.len()], kind.as_str()))
}

/// What a source tells.
#[derive(Debug)]
pub enum Told {
    /// An object is there, or is there in a new state.
    Upsert(Box<Read>),
    /// An object is gone.
    Remove(ObjectKey),
    /// Everything that existed when the listing began has been told.
    Listed {
        /// When it began.
        began: Instant,
    },
    /// The watch goes on where it had stopped.
    Resumed,
    /// Nothing can be told for now.
    Absent {
        /// Why.
        absence: Absence,
        /// The sentence for people.
        message: String,
    },
}

/// Something told by a source.
#[derive(Debug)]
pub struct News {
    /// Who tells it.
    pub source: Source,
    /// What.
    pub told: Told,
}

/// The sources that run.
pub struct Watches {
    client: Client,
    news: mpsc::Sender<News>,
    resync: watch::Sender<u64>,
    metrics: Metrics,
    ones: BTreeMap<Reference, AbortHandle>,
    kinds: Vec<AbortHandle>,
}

impl Watches {
    /// Starts the sources of all kinds, and that of host claims in the operator's namespace.
    pub fn start(client: Client, namespace: &str, metrics: Metrics) -> (Self, mpsc::Receiver<News>) {
        let (news, receiver) = mpsc::channel(QUEUE);
        let resync = watch::Sender::new(0);
        let mut watches = Self { client, news, resync, metrics, ones: BTreeMap::new(), kinds: Vec::new() };
        for kind in Self::kinds() {
            let part = if kind == ObjectKind::Namespace { Part::Metadata } else { Part::Whole };
            let target = Target { source: Source::Kind(kind), part, namespace: None, labels: None, name: None };
            watches.kinds.push(watches.spawn(target));
        }
        let claims = Target {
            source: Source::Claims,
            part: Part::Whole,
            namespace: Some(namespace.to_owned()),
            labels: Some(CLAIMS_LABEL.to_owned()),
            name: None,
        };
        watches.kinds.push(watches.spawn(claims));
        (watches, receiver)
    }

    /// The kinds of which all objects are read.
    pub fn kinds() -> impl Iterator<Item = ObjectKind> {
        ObjectKind::ALL.iter().copied().filter(|kind| !matches!(kind, ObjectKind::Secret | ObjectKind::ConfigMap))
    }

    /// Follows exactly these Secrets and ConfigMaps beside the kinds.
    pub fn refer(&mut self, references: &BTreeSet<Reference>) {
        self.ones.retain(|reference, running| {
            let stays = references.contains(reference);
            if !stays {
                running.abort();
            }
            stays
        });
        for reference in references {
            if !self.ones.contains_key(reference) {
                let target = Target {
                    source: Source::One(reference.clone()),
                    part: Part::Whole,
                    namespace: Some(reference.key.namespace.clone()),
                    labels: None,
                    name: Some(reference.key.name.clone()),
                };
                self.ones.insert(reference.clone(), self.spawn(target));
            }
        }
    }

    /// Makes every source list again.
    pub fn resync(&self) {
        self.resync.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// News that wait.
    pub fn waiting(&self) -> usize {
        self.news.max_capacity() - self.news.capacity()
    }

    fn spawn(&self, target: Target) -> AbortHandle {
        let source = source::follow(
            self.client.clone(),
            target,
            self.news.clone(),
            self.resync.subscribe(),
            self.metrics.clone(),
        );
        tokio::spawn(source).abort_handle()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for running in self.kinds.iter().chain(self.ones.values()) {
            running.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_asked_for_by_their_plurals() {
        let plurals: Vec<String> = Watches::kinds().map(|kind| resource(kind, 0).plural).collect();
        let expected = [
            "originpools",
            "ratelimits",
            "waitingrooms",
            "gatewayclasses",
            "gateways",
            "httproutes",
            "referencegrants",
            "ingressclasses",
            "ingresses",
            "services",
            "endpointslices",
            "namespaces",
        ];
        assert_eq!(plurals, expected);
    }

    #[test]
    fn an_older_version_of_a_kind_is_asked_for_where_the_newer_one_is_missing() {
        let versions = [0, 1, 2].map(|version| resource(ObjectKind::ReferenceGrant, version).api_version);
        let [newer, older] = ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
        assert_eq!(versions, [newer, older, newer]);
    }
}
