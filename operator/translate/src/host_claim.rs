//! Who holds which host.
//!
//! A host is held by a namespace: an Ingress's or pool's own, and for routes that of their Gateway. The first keeps it.
//! Without a claim from before, the object with the older creation time decides, then namespace and name. A claim
//! ends with the last object that asks for the host. Objects that are held are unknown here, so the claims of their
//! namespaces stay. Objects of the namespace that holds a host share it; of several pools the oldest has it.
//!
//! This step comes after all that emit resources, and takes from each the hosts that it does not get.

use std::collections::{BTreeMap, BTreeSet};

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Key, Resource};

use crate::inputs::{Claim, Claims, Inputs, Kind, ObjectKey, ObjectRef};
use crate::output::Output;
use crate::verdict::{Force, HostVerdict, Problem, Reason, Verdict};

/// Gives every host to one namespace.
pub(crate) fn settle(inputs: &Inputs, out: &mut Output) -> Claims {
    let asked = Asked::collect(out.resources.values());
    let held_namespaces = held_namespaces(out);
    let mut claims: Claims = inputs
        .claims
        .iter()
        .filter(|(host, claim)| {
            held_namespaces.contains(claim.namespace.as_str())
                || asked.hosts.get(host.as_str()).is_some_and(|asks| asks.contains_key(claim.namespace.as_str()))
        })
        .map(|(host, claim)| (host.clone(), claim.clone()))
        .collect();
    for (host, asks) in &asked.hosts {
        if !claims.contains_key(*host)
            && let Some((namespace, _)) = asks.iter().min_by_key(|(_, oldest)| **oldest)
        {
            let claim = Claim { namespace: (*namespace).to_owned(), since: inputs.now };
            claims.insert((*host).to_owned(), claim);
        }
    }
    let pools: BTreeMap<(String, String), ObjectKey> = asked
        .pools
        .iter()
        .map(|((namespace, host), (_, _, name, _))| {
            (((*namespace).to_owned(), (*host).to_owned()), ObjectKey::new(*namespace, *name))
        })
        .collect();

    let judge = Judge { claims: &claims, pools: &pools };
    let mut emptied = Vec::new();
    let Output { resources, holds: _, verdicts, references: _ } = out;
    for (key, resource) in resources.iter_mut() {
        let Some(object) = object_of(key) else { continue };
        let rest = judge.take(key, resource, verdicts.entry(object).or_default());
        if matches!(rest, Rest::Nothing) {
            emptied.push(key.clone());
        }
    }
    for key in emptied {
        out.resources.remove(&key);
    }
    claims
}

/// Namespaces that may hold hosts for objects that are unknown here. A route holds in the name of its Gateway's
/// namespace, which may be any that has one.
fn held_namespaces(out: &Output) -> BTreeSet<&str> {
    let is = |key: &Key, kind: Kind| key.kind == kind.as_str();
    let mut namespaces: BTreeSet<&str> = out.holds.iter().map(|key| key.namespace.as_str()).collect();
    if out.holds.iter().any(|key| is(key, Kind::HttpRoute)) {
        let gateways = out.resources.keys().filter(|key| is(key, Kind::Gateway));
        namespaces.extend(gateways.map(|key| key.namespace.as_str()));
    }
    namespaces
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
    /// By host, the namespaces that ask with the oldest object of each.
    hosts: BTreeMap<&'a str, BTreeMap<&'a str, Age<'a>>>,
    /// By namespace and host, the oldest pool.
    pools: BTreeMap<(&'a str, &'a str), Age<'a>>,
}

impl<'a> Asked<'a> {
    fn collect(resources: impl Iterator<Item = &'a Resource>) -> Self {
        let mut asked = Self::default();
        for resource in resources {
            let Some(key) = &resource.key else { continue };
            match &resource.body {
                Some(Body::Route(route)) => {
                    for attachment in &route.attachments {
                        let namespace = holder_namespace(attachment, key);
                        for host in &attachment.hosts {
                            asked.add(host, namespace, age(route.created_at, key));
                        }
                    }
                }
                Some(Body::OriginPool(pool)) => {
                    for host in &pool.hosts {
                        let age = age(pool.created_at, key);
                        asked.add(host, &key.namespace, age);
                        let oldest = asked.pools.entry((&key.namespace, host)).or_insert(age);
                        *oldest = age.min(*oldest);
                    }
                }
                Some(Body::Gateway(_) | Body::Certificate(_)) | None => {}
            }
        }
        asked
    }

    fn add(&mut self, host: &'a str, namespace: &'a str, age: Age<'a>) {
        let oldest = self.hosts.entry(host).or_default().entry(namespace).or_insert(age);
        *oldest = age.min(*oldest);
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
                    let oldest = self.pools.get(&(key.namespace.clone(), host.clone()));
                    let Some(oldest) = oldest.filter(|oldest| oldest.name != key.name) else { return true };
                    let sentence =
                        format!("\"{host}\" is held by OriginPool {oldest}, which is older; remove it there");
                    lost.insert(host.clone(), sentence);
                    hosts.insert(host.clone(), false);
                    false
                });
                // Routes may refer to a pool that serves no host of its own.
                ("spec.hosts", Rest::Something)
            }
            Some(Body::Gateway(_) | Body::Certificate(_)) | None => return Rest::Something,
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
