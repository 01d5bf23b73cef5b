//! Who holds which host.
//!
//! A host is held by a namespace: an Ingress's or pool's own, and for routes that of their Gateway. The first keeps it.
//! Without a claim from before, the object with the older creation time decides, then namespace and name. A claim
//! ends with the last object that asks for the host. Objects that are held are unknown here, so the claims of their
//! namespaces stay. Objects of the namespace that holds a host share it; of several pools the oldest has it.
//!
//! This step comes after all that emit resources, and takes from each the hosts that it does not get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};

use crate::inputs::{Claim, Claims, Dependency, Inputs, Kind, ObjectKey, ObjectRef};
use crate::output::Output;
use crate::verdict::{Force, HostVerdict, Problem, Reason, Verdict};

/// Gives every host to one namespace.
pub(crate) fn settle(inputs: &Inputs, out: &mut Output) -> Arc<Claims> {
    let asked = Asked::collect(&out.resources);
    let held_namespaces = held_namespaces(out);
    // Any namespace may have an object of a kind that was never read, and hold its host by that.
    let is_blind = inputs.unread.iter().any(|dependency| !matches!(dependency, Dependency::One(_)));
    let ended = inputs.claims.iter().filter(|(host, claim)| {
        !is_blind && !held_namespaces.contains(claim.namespace.as_str()) && !asked.is_asked(host, &claim.namespace)
    });
    let ended: Vec<String> = ended.map(|(host, _)| host.clone()).collect();
    // Most translations change no claim, so that the claims of before are shared.
    let mut claims = Arc::clone(&inputs.claims);
    for host in &ended {
        Arc::make_mut(&mut claims).remove(host);
    }
    for (host, namespace) in asked.oldest() {
        if !claims.contains_key(host) {
            let claim = Claim { namespace: namespace.to_owned(), since: inputs.now };
            Arc::make_mut(&mut claims).insert(host.to_owned(), claim);
        }
    }
    let pools = asked.oldest_pools();
    let judge = Judge { claims: &claims, pools: &pools };
    let losers: Vec<usize> =
        (0..out.resources.len()).filter(|position| judge.loses(&out.resources[*position])).collect();

    let mut emptied = BTreeSet::new();
    for position in losers {
        let resource = Arc::make_mut(&mut out.resources[position]);
        let Some(key) = resource.key.clone() else { continue };
        let Some(ObjectRef { kind, key: object }) = object_of(&key) else { continue };
        let verdict = Arc::make_mut(out.verdicts.entry(ObjectRef::new(kind, object)).or_default());
        if matches!(judge.take(&key, resource, verdict), Rest::Nothing) {
            emptied.insert(position);
        }
    }
    if !emptied.is_empty() {
        let all = std::mem::take(&mut out.resources).into_iter().enumerate();
        out.resources = all.filter(|(position, _)| !emptied.contains(position)).map(|(_, resource)| resource).collect();
    }
    claims
}

/// Namespaces that may hold hosts for objects that are unknown here. A route holds in the name of its Gateway's
/// namespace, which may be any that has one.
fn held_namespaces(out: &Output) -> BTreeSet<&str> {
    let is = |key: &Key, kind: Kind| key.kind == kind.as_str();
    let mut namespaces: BTreeSet<&str> = unknown(out).map(|key| key.namespace.as_str()).collect();
    if unknown(out).any(|key| is(key, Kind::HttpRoute)) {
        let keys = out.resources.iter().filter_map(|resource| resource.key.as_ref());
        namespaces.extend(keys.filter(|key| is(key, Kind::Gateway)).map(|key| key.namespace.as_str()));
    }
    namespaces
}

/// Keys of which proxies may have something that is not known here.
fn unknown(out: &Output) -> impl Iterator<Item = &Key> {
    out.holds.iter().chain(&out.uncertain)
}

/// The hosts that a resource asks for, as if it got them all.
pub(crate) fn all_held(resource: &Resource) -> Vec<HostVerdict> {
    let hosts: BTreeSet<&str> = hosts_of(resource).map(|(host, _)| host).collect();
    hosts.into_iter().map(|host| HostVerdict { host: host.to_owned(), held: true }).collect()
}

/// The hosts that a resource asks for, each with the namespace that would hold it. One may come several times.
fn hosts_of(resource: &Resource) -> impl Iterator<Item = (&str, &str)> {
    let (attachments, hosts) = match &resource.body {
        Some(Body::Route(route)) => (&route.attachments[..], &[][..]),
        Some(Body::OriginPool(pool)) => (&[][..], &pool.hosts[..]),
        Some(Body::Gateway(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => {
            (&[][..], &[][..])
        }
    };
    resource.key.iter().flat_map(move |key| {
        let of_attachments = attachments.iter().flat_map(|attachment| {
            let namespace = holder_namespace(attachment, key);
            attachment.hosts.iter().map(move |host| (host.as_str(), namespace))
        });
        of_attachments.chain(hosts.iter().map(|host| (host.as_str(), key.namespace.as_str())))
    })
}

/// The object that a resource with hosts came from.
fn object_of(key: &Key) -> Option<ObjectRef> {
    let kind = [Kind::HttpRoute, Kind::Ingress, Kind::OriginPool].into_iter().find(|kind| kind.as_str() == key.kind)?;
    Some(ObjectRef::new(kind, ObjectKey::new(&key.namespace, &key.name)))
}

/// Age of an object that asks, then namespace, name and kind: the least has precedence.
type Age<'a> = (i64, &'a str, &'a str, &'a str);

fn age(created_at: i64, key: &Key) -> Age<'_> {
    (created_at, &key.namespace, &key.name, &key.kind)
}

/// Who asks for which host.
#[derive(Default)]
struct Asked<'a> {
    /// Host, namespace, and an object of it that asks, sorted: the oldest object of a namespace comes first.
    hosts: Vec<(&'a str, &'a str, Age<'a>)>,
    /// Namespace, host and a pool, sorted.
    pools: Vec<(&'a str, &'a str, Age<'a>)>,
}

impl<'a> Asked<'a> {
    fn collect(resources: &'a [Arc<Resource>]) -> Self {
        let mut asked = Self::default();
        for resource in resources {
            let (Some(key), Some(body)) = (&resource.key, &resource.body) else { continue };
            match body {
                Body::Route(route) => {
                    let age = age(route.created_at, key);
                    asked.hosts.extend(hosts_of(resource).map(|(host, namespace)| (host, namespace, age)));
                }
                Body::OriginPool(pool) => {
                    let age = age(pool.created_at, key);
                    asked.hosts.extend(hosts_of(resource).map(|(host, namespace)| (host, namespace, age)));
                    asked.pools.extend(pool.hosts.iter().map(|host| (key.namespace.as_str(), host.as_str(), age)));
                }
                Body::Gateway(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_) => {}
            }
        }
        asked.hosts.sort_unstable();
        asked.pools.sort_unstable();
        asked
    }

    fn is_asked(&self, host: &str, namespace: &str) -> bool {
        self.hosts.binary_search_by(|(one, other, _)| (*one, *other).cmp(&(host, namespace))).is_ok()
    }

    /// Each host with the namespace of the oldest object that asks for it.
    fn oldest(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.hosts.chunk_by(|one, other| one.0 == other.0).filter_map(|asks| {
            let (host, namespace, _) = asks.iter().min_by_key(|(_, _, age)| *age)?;
            Some((*host, *namespace))
        })
    }

    /// Of each host for which several pools of one namespace ask, namespace and host with the oldest.
    fn oldest_pools(&self) -> BTreeMap<(String, String), ObjectKey> {
        let shared = self.pools.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1));
        let oldest = shared.filter(|asks| asks.len() > 1).map(|asks| {
            let (namespace, host, (_, _, name, _)) = asks[0];
            ((namespace.to_owned(), host.to_owned()), ObjectKey::new(namespace, name))
        });
        oldest.collect()
    }
}

/// The namespace that would hold the hosts of an attachment.
fn holder_namespace<'a>(attachment: &'a wire::Attachment, route: &'a Key) -> &'a str {
    match &attachment.gateway {
        Some(gateway) if gateway.kind == Kind::Gateway.as_str() => &gateway.namespace,
        Some(_) | None => &route.namespace,
    }
}

/// What is left of a resource.
enum Rest {
    Something,
    Nothing,
}

struct Judge<'c> {
    claims: &'c Claims,
    pools: &'c BTreeMap<(String, String), ObjectKey>,
}

impl Judge<'_> {
    /// Whether a resource does not get all hosts that it asks for.
    fn loses(&self, resource: &Resource) -> bool {
        let is_held =
            |(host, namespace): (&str, &str)| self.claims.get(host).is_some_and(|claim| claim.namespace != namespace);
        let is_younger_pool = || match (&resource.key, &resource.body) {
            (Some(key), Some(Body::OriginPool(pool))) => pool.hosts.iter().any(|host| self.older(key, host).is_some()),
            _ => false,
        };
        hosts_of(resource).any(is_held) || (!self.pools.is_empty() && is_younger_pool())
    }

    /// The pool of the same namespace that has a host in place of this one.
    fn older(&self, pool: &Key, host: &str) -> Option<&ObjectKey> {
        let oldest = self.pools.get(&(pool.namespace.clone(), host.to_owned()));
        oldest.filter(|oldest| oldest.name != pool.name)
    }

    /// Takes from a resource the hosts that it does not get, and tells it.
    fn take(&self, key: &Key, resource: &mut Resource, verdict: &mut Verdict) -> Rest {
        let mut hosts: BTreeMap<String, bool> = BTreeMap::new();
        let mut lost: BTreeMap<String, String> = BTreeMap::new();
        let mut get = |host: &str, namespace: &str| {
            let holder = self.claims.get(host).filter(|claim| claim.namespace != namespace);
            if let Some(claim) = holder {
                let sentence = format!(
                    "\"{host}\" is held by namespace {} since {}; use another host, or remove it there",
                    claim.namespace, claim.since
                );
                lost.insert(host.to_owned(), sentence);
            }
            *hosts.entry(host.to_owned()).or_default() |= holder.is_none();
            holder.is_none()
        };
        let (field, rest) = match &mut resource.body {
            Some(Body::Route(route)) => {
                let wire::Route { attachments, rules, created_at: _ } = route;
                for attachment in attachments.iter_mut() {
                    let namespace = holder_namespace(attachment, key).to_owned();
                    attachment.hosts.retain(|host| get(host, &namespace));
                }
                attachments.retain(|attachment| !attachment.hosts.is_empty());
                rules.retain_mut(|rule| {
                    let is_for_all = rule.hosts.is_empty();
                    rule.hosts.retain(|host| hosts.get(host).is_some_and(|held| *held));
                    is_for_all || !rule.hosts.is_empty()
                });
                let is_empty = attachments.is_empty() || rules.is_empty();
                let field = if key.kind == Kind::Ingress.as_str() { "spec.rules" } else { "spec.hostnames" };
                (field, if is_empty { Rest::Nothing } else { Rest::Something })
            }
            Some(Body::OriginPool(pool)) => {
                pool.hosts.retain(|host| get(host, &key.namespace));
                pool.hosts.retain(|host| {
                    let Some(oldest) = self.older(key, host) else { return true };
                    let sentence =
                        format!("\"{host}\" is held by OriginPool {oldest}, which is older; remove it there");
                    lost.insert(host.clone(), sentence);
                    hosts.insert(host.clone(), false);
                    false
                });
                // Routes may refer to a pool that serves no host of its own.
                ("spec.hosts", Rest::Something)
            }
            Some(Body::Gateway(_) | Body::Certificate(_) | Body::RateLimit(_) | Body::WaitingRoom(_)) | None => {
                return Rest::Something;
            }
        };
        verdict.hosts = hosts.into_iter().map(|(host, held)| HostVerdict { host, held }).collect();
        let problems = lost.into_values().map(|sentence| Problem::new(Reason::HostHeld, field, sentence));
        verdict.problems.extend(problems);
        if matches!(rest, Rest::Nothing) {
            verdict.force = Force::Nothing;
        }
        rest
    }
}
