//! Which requests a limit governs, and finding the limits of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use headgate_snapshot as wire;
use headgate_snapshot::{Key, governs};
use smallvec::SmallVec;

use super::limit::RateLimit;
use crate::host::{HostMap, normalise_pattern};
use crate::plan::Matched;
use crate::refusal::Mistake;
use crate::route::Action;

/// The limits of one request, in the order of enforcement.
pub(crate) type Governing = SmallVec<[Arc<RateLimit>; 4]>;

/// Gateway and listener that a request came in by.
pub(crate) type Entrance = (Key, String);

/// Which requests a limit governs.
#[derive(Clone, Debug)]
pub(crate) struct Governs {
    hosts: Vec<Arc<str>>,
    by: By,
}

#[derive(Clone, Debug)]
enum By {
    /// Whatever a route, Ingress or pool of the namespace matched.
    Namespace(String),
    /// What one of these objects matched.
    Targets(Vec<Target>),
}

#[derive(Clone, Debug)]
struct Target {
    kind: TargetKind,
    object: Key,
    /// A listener of a Gateway, or a rule of a route; absent: all of them.
    section: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetKind {
    Gateway,
    Route,
    OriginPool,
    /// Enforced beside the pods of the Service, and not here.
    Service,
}

impl Governs {
    pub(crate) fn compile(wanted: &wire::Governs) -> Result<Self, Mistake> {
        let wire::Governs { hosts, by } = wanted;
        let hosts = hosts
            .iter()
            .map(|host| {
                normalise_pattern(host)
                    .map_err(|error| Mistake::invalid("governs.hosts", format!("`{host}` is no host: {error}")))
            })
            .collect::<Result<_, _>>()?;
        let by = match by {
            Some(governs::By::Namespace(namespace)) => By::Namespace(namespace.clone()),
            Some(governs::By::Targets(wire::PolicyTargets { targets })) => {
                By::Targets(targets.iter().map(Target::compile).collect::<Result<_, _>>()?)
            }
            None => return Err(Mistake::invalid("governs", "a way to govern that this proxy does not know")),
        };
        Ok(Self { hosts, by })
    }

    /// Whether a request is governed whose host is among the hosts.
    fn holds(&self, matched: &Matched, entrances: &[Entrance]) -> bool {
        match &self.by {
            By::Namespace(namespace) => matched.route().key().namespace == *namespace,
            By::Targets(targets) => targets.iter().any(|target| target.holds(matched, entrances)),
        }
    }

    /// Patterns of hosts under which the limit is found.
    fn patterns(&self) -> impl Iterator<Item = Arc<str>> {
        let all = self.hosts.is_empty().then(|| Arc::from("*"));
        self.hosts.iter().cloned().chain(all)
    }
}

impl Target {
    fn compile(target: &wire::PolicyTarget) -> Result<Self, Mistake> {
        let wire::PolicyTarget { object, section } = target;
        let object = object.clone().unwrap_or_default();
        let kind = match object.kind.as_str() {
            "Gateway" => TargetKind::Gateway,
            "HTTPRoute" | "GRPCRoute" | "Ingress" => TargetKind::Route,
            "OriginPool" => TargetKind::OriginPool,
            "Service" => TargetKind::Service,
            kind => {
                return Err(Mistake::invalid("governs.targets", format!("`{kind}` is no kind of target known here")));
            }
        };
        Ok(Self { kind, object, section: Some(section.clone()).filter(|section| !section.is_empty()) })
    }

    fn holds(&self, matched: &Matched, entrances: &[Entrance]) -> bool {
        let is_section = |name: &String| self.section.as_ref().is_none_or(|section| section == name);
        match self.kind {
            TargetKind::Gateway => {
                entrances.iter().any(|(gateway, listener)| *gateway == self.object && is_section(listener))
            }
            TargetKind::Route => *matched.route().key() == self.object && is_section(&matched.rule().name),
            TargetKind::OriginPool => {
                let is_backend = || match &matched.rule().action {
                    Action::Split(split) => {
                        matched.route().key().namespace == self.object.namespace
                            && split.backends.iter().any(|backend| backend.pool.as_ref() == Some(&self.object))
                    }
                    Action::Redirect(_) => false,
                };
                *matched.route().key() == self.object || is_backend()
            }
            TargetKind::Service => false,
        }
    }
}

/// Limits by where they may apply.
#[derive(Debug, Default)]
pub(crate) struct LimitIndex {
    namespaces: HashMap<String, ByHost>,
    /// Those that have a Gateway among their targets.
    gateways: Option<ByHost>,
}

type ByHost = HostMap<Vec<Arc<RateLimit>>>;

impl LimitIndex {
    /// Finds these limits from now on.
    pub(crate) fn new<'l>(limits: impl Iterator<Item = &'l Arc<RateLimit>>) -> Self {
        let mut namespaces: BTreeMap<&str, BTreeMap<Arc<str>, Vec<Arc<RateLimit>>>> = BTreeMap::new();
        let mut gateways: BTreeMap<Arc<str>, Vec<Arc<RateLimit>>> = BTreeMap::new();
        for limit in limits {
            let Some(governs) = limit.governs() else { continue };
            let (mut by_namespace, mut by_gateway) = (None, false);
            match &governs.by {
                By::Namespace(namespace) => by_namespace = Some(namespace),
                By::Targets(targets) => {
                    for Target { kind, object, section: _ } in targets {
                        match kind {
                            TargetKind::Gateway => by_gateway = true,
                            TargetKind::Route | TargetKind::OriginPool => by_namespace = Some(&object.namespace),
                            TargetKind::Service => {}
                        }
                    }
                }
            }
            for pattern in governs.patterns() {
                if let Some(namespace) = by_namespace {
                    let hosts = namespaces.entry(namespace).or_default();
                    hosts.entry(pattern.clone()).or_default().push(Arc::clone(limit));
                }
                if by_gateway {
                    gateways.entry(pattern).or_default().push(Arc::clone(limit));
                }
            }
        }
        Self {
            namespaces: namespaces.into_iter().map(|(name, hosts)| (name.to_owned(), by_host(hosts))).collect(),
            gateways: (!gateways.is_empty()).then(|| by_host(gateways)),
        }
    }

    /// The limits of a request. `entrances` is asked for only where a limit has a Gateway among its targets.
    pub(crate) fn find(&self, host: &str, matched: &Matched, entrances: impl FnOnce() -> Vec<Entrance>) -> Governing {
        let mut found = Governing::new();
        if let Some(hosts) = self.namespaces.get(&matched.route().key().namespace) {
            let limits = hosts.matching(host).flat_map(|(_, limits)| limits);
            found.extend(limits.filter(|limit| limit.is_governing(matched, &[])).cloned());
        }
        if let Some(hosts) = &self.gateways {
            let entrances = entrances();
            let limits = hosts.matching(host).flat_map(|(_, limits)| limits);
            found.extend(limits.filter(|limit| limit.is_governing(matched, &entrances)).cloned());
        }
        if found.len() > 1 {
            found.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
            found.dedup_by(|one, other| Arc::ptr_eq(one, other));
        }
        found
    }
}

impl RateLimit {
    fn is_governing(&self, matched: &Matched, entrances: &[Entrance]) -> bool {
        self.governs().is_some_and(|governs| governs.holds(matched, entrances))
    }
}

fn by_host(limits: BTreeMap<Arc<str>, Vec<Arc<RateLimit>>>) -> ByHost {
    let mut hosts = ByHost::default();
    for (pattern, limits) in limits {
        hosts.put(&pattern, Some(limits));
    }
    hosts
}
