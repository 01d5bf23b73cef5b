//! Which requests a policy governs: its hosts and targets, spec to wire.
//!
//! A policy never says whose routes it governs beyond its namespace: without targets the wire has the namespace, and
//! targets are of the namespace. Only a Gateway brings other namespaces' routes, and that Gateway is its own.

use std::collections::BTreeSet;

use headgate_crds::target::{TargetKind, TargetReference};
use headgate_snapshot as wire;
use headgate_snapshot::governs::By;

use crate::findings::Findings;
use crate::gateway::{Gateways, Parent};
use crate::host::mistake_in_host;
use crate::inputs::{Kind, ObjectKey};
use crate::output::wire_key;
use crate::verdict::Reason;
use crate::view::{Table, View};

/// Where targets are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'a> {
    pub(crate) gateways: &'a Gateways,
    pub(crate) view: &'a View<'a>,
}

/// What became of hosts and targets.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) governs: wire::Governs,
    /// Fields that this release does not enforce.
    pub(crate) unenforced: Vec<String>,
}

/// Lowers the hosts and targets of a policy of this namespace. A target that leads nowhere is told, and left out.
pub(crate) fn lower(
    namespace: &str,
    hosts: &[String],
    references: &[TargetReference],
    targets: Targets<'_>,
    findings: &mut Findings,
) -> Lowered {
    for (index, host) in hosts.iter().enumerate() {
        if let Some(sentence) = mistake_in_host(host) {
            findings.refuse(format!("spec.hosts[{index}]"), sentence);
        }
    }
    let hosts = hosts.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    if references.is_empty() {
        let by = Some(By::Namespace(namespace.to_owned()));
        return Lowered { governs: wire::Governs { hosts, by }, unenforced: Vec::new() };
    }
    let mut found: Vec<wire::PolicyTarget> = Vec::new();
    let mut unenforced = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("spec.targetRefs[{index}]");
        check(reference, &field, findings);
        if references.iter().take(index).any(|before| is_same(before, reference)) {
            findings.refuse(field, "is in the list already; remove it");
            continue;
        }
        match targets.resolve(namespace, reference) {
            Ok(target) => {
                if reference.kind == TargetKind::Service {
                    unenforced.push(field);
                }
                found.push(target);
            }
            Err(sentence) => findings.unresolved(field, (Reason::RefNotFound, sentence)),
        }
    }
    let by = Some(By::Targets(wire::PolicyTargets { targets: found }));
    Lowered { governs: wire::Governs { hosts, by }, unenforced }
}

/// Whether two references are one: the group is that of the kind, written or not.
fn is_same(one: &TargetReference, other: &TargetReference) -> bool {
    let TargetReference { group: _, kind, name, section_name } = one;
    (kind, name, section_name) == (&other.kind, &other.name, &other.section_name)
}

fn check(reference: &TargetReference, field: &str, findings: &mut Findings) {
    let TargetReference { group, kind, name: _, section_name } = reference;
    let (expected, has_sections) = match kind {
        TargetKind::Gateway | TargetKind::HttpRoute => ("gateway.networking.k8s.io", true),
        TargetKind::Ingress => ("networking.k8s.io", false),
        TargetKind::OriginPool => ("headgate.dev", false),
        TargetKind::Service => ("", false),
    };
    if group.as_ref().is_some_and(|group| group != expected) {
        findings.refuse(format!("{field}.group"), format!("is not that of the kind, \"{expected}\"; leave it out"));
    }
    if section_name.is_some() && !has_sections {
        findings.refuse(format!("{field}.sectionName"), "is for the kinds Gateway and HTTPRoute; remove it");
    }
}

impl Targets<'_> {
    /// The target on the wire, or why there is none.
    fn resolve(self, namespace: &str, reference: &TargetReference) -> Result<wire::PolicyTarget, String> {
        let TargetReference { group: _, kind, name, section_name } = reference;
        let key = ObjectKey::new(namespace, name);
        let section = section_name.as_deref();
        let object = match kind {
            TargetKind::Gateway => self.gateway(&key, section).map(|()| wire_key(Kind::Gateway, &key))?,
            TargetKind::HttpRoute => self.http_route(&key, section).map(|()| wire_key(Kind::HttpRoute, &key))?,
            TargetKind::Ingress => {
                let exists =
                    self.view.has_ingress(&key) || self.view.is_unreadable(Table::Ingress, Kind::Ingress, &key);
                exists.then(|| wire_key(Kind::Ingress, &key)).ok_or_else(|| missing("Ingress", &key))?
            }
            TargetKind::OriginPool => {
                let exists = self.view.has_pool(&key);
                exists.then(|| wire_key(Kind::OriginPool, &key)).ok_or_else(|| missing("OriginPool", &key))?
            }
            TargetKind::Service => {
                let found = self.view.service(&key);
                found.map(|_| wire::Key::new("Service", namespace, name)).ok_or_else(|| missing("Service", &key))?
            }
        };
        Ok(wire::PolicyTarget { object: Some(object), section: section.unwrap_or_default().to_owned() })
    }

    fn gateway(self, key: &ObjectKey, listener: Option<&str>) -> Result<(), String> {
        match (self.gateways.parent(key, self.view), listener) {
            (None, _) => Err(missing("Gateway", key)),
            (Some(Parent::Foreign), _) => Err(format!("Gateway {key} is not of a class of headgate; name another one")),
            (Some(Parent::Ours(listeners)), Some(name)) if listeners.iter().all(|known| known.name != name) => {
                Err(format!("Gateway {key} has no listener \"{name}\"; name one that it has, or leave it out"))
            }
            // What was known of one that cannot be read stays in force.
            (Some(Parent::Ours(_) | Parent::Unreadable | Parent::Unclassified), _) => Ok(()),
        }
    }

    fn http_route(self, key: &ObjectKey, rule: Option<&str>) -> Result<(), String> {
        let Some(route) = self.view.http_route(key) else {
            let exists = self.view.is_unreadable(Table::HttpRoute, Kind::HttpRoute, key);
            return if exists { Ok(()) } else { Err(missing("HTTPRoute", key)) };
        };
        let has_rule = |name: &str| route.spec.rules.iter().flatten().any(|known| known.name.as_deref() == Some(name));
        match rule {
            Some(name) if !has_rule(name) => {
                Err(format!("HTTPRoute {key} has no rule \"{name}\"; name one that it has, or leave it out"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn missing(kind: &str, key: &ObjectKey) -> String {
    format!("{kind} {key} does not exist; create it, or name another one")
}
