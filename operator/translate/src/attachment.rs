//! Where a route attaches: its parents' listeners, and the hosts that it serves on each.

use std::collections::BTreeSet;

use headgate_crds::gateway_api::{GATEWAY_API_GROUP, HttpRoute, ParentReference};
use headgate_snapshot as wire;

use crate::gateway::{Gateways, Parent};
use crate::host::{ANY_HOST, intersection};
use crate::inputs::{Kind, ObjectKey};
use crate::listener::AttachPoint;
use crate::output::wire_key;
use crate::verdict::{ParentVerdict, Problem, Reason};
use crate::view::View;

/// Where a route attaches.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    pub(crate) wire: Vec<wire::Attachment>,
    /// Gateways and positions of their listeners, in the order of `wire`.
    pub(crate) listeners: Vec<(ObjectKey, usize)>,
    /// One entry a parent of ours.
    pub(crate) parents: Vec<ParentVerdict>,
    /// Parents that nobody has.
    pub(crate) problems: Vec<Problem>,
    /// A parent cannot be read, so that nobody knows what the route has there.
    pub(crate) is_unknown: bool,
}

/// Attaches a route.
pub(crate) fn attach(key: &ObjectKey, route: &HttpRoute, gateways: &Gateways, view: &View<'_>) -> Attachments {
    let mut attachments = Attachments::default();
    for (position, parent) in route.spec.parent_refs.iter().enumerate() {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_API_GROUP);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        if group != GATEWAY_API_GROUP || kind != "Gateway" {
            continue;
        }
        let because =
            |reason: Reason, sentence: String| Problem::new(reason, format!("spec.parentRefs[{position}]"), sentence);
        let gateway = ObjectKey::new(parent.namespace.as_deref().unwrap_or(&key.namespace), &parent.name);
        let listeners = match gateways.parent(&gateway, view) {
            Some(Parent::Ours(listeners)) => listeners,
            Some(Parent::Foreign) => continue,
            absent @ (Some(Parent::Unreadable | Parent::Unclassified) | None) => {
                attachments.is_unknown |= absent.is_some();
                let what = if absent.is_some() { "cannot be read; see its status" } else { "does not exist" };
                let sentence = format!("Gateway {gateway} {what}");
                attachments.problems.push(because(Reason::NoMatchingParent, sentence));
                continue;
            }
        };
        let problem = attachments.attach_to(&gateway, listeners, parent, key, route, view);
        let problems = problem.map(|(reason, sentence)| because(reason, sentence)).into_iter().collect();
        attachments.parents.push(ParentVerdict { parent: parent.clone(), problems });
    }
    attachments
}

impl Attachments {
    /// Attaches to the listeners of one parent. Says why where there is none for the route: what came closest.
    fn attach_to(
        &mut self,
        gateway: &ObjectKey,
        listeners: &[AttachPoint],
        parent: &ParentReference,
        key: &ObjectKey,
        route: &HttpRoute,
        view: &View<'_>,
    ) -> Option<(Reason, String)> {
        let is_named = |listener: &AttachPoint| {
            parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
                && parent.port.is_none_or(|port| u32::try_from(port) == Ok(listener.port))
        };
        let mut closest: Option<(Reason, String)> = None;
        let mut attached = false;
        for (position, listener) in listeners.iter().enumerate().filter(|(_, listener)| is_named(listener)) {
            if !listener.is_accepted {
                if closest.is_none() {
                    let sentence =
                        format!("listener \"{}\" of Gateway {gateway} is not valid; see its status", listener.name);
                    closest = Some((Reason::NoMatchingParent, sentence));
                }
                continue;
            }
            if !listener.admission.admits(&key.namespace, &gateway.namespace, view) {
                if !matches!(closest, Some((Reason::NoMatchingListenerHostname, _))) {
                    let sentence = format!(
                        "allowedRoutes of listener \"{}\" of Gateway {gateway} do not allow HTTPRoutes of namespace {}",
                        listener.name, key.namespace
                    );
                    closest = Some((Reason::NotAllowedByListeners, sentence));
                }
                continue;
            }
            let hosts = common_hosts(&listener.hostname, &route.spec.hostnames);
            if hosts.is_empty() {
                let sentence = format!(
                    "no host of the route is served by listener \"{}\" of Gateway {gateway}, which has the hostname {}",
                    listener.name, listener.hostname
                );
                closest = Some((Reason::NoMatchingListenerHostname, sentence));
                continue;
            }
            attached = true;
            let place = (gateway.clone(), position);
            if !self.listeners.contains(&place) {
                self.listeners.push(place);
                self.wire.push(wire::Attachment {
                    gateway: Some(wire_key(Kind::Gateway, gateway)),
                    listener: listener.name.clone(),
                    hosts,
                });
            }
        }
        let nothing_named = || (Reason::NoMatchingParent, no_such_listener(gateway, parent));
        (!attached).then(|| closest.unwrap_or_else(nothing_named))
    }
}

fn no_such_listener(gateway: &ObjectKey, parent: &ParentReference) -> String {
    match (&parent.section_name, parent.port) {
        (Some(name), Some(port)) => format!("Gateway {gateway} has no listener \"{name}\" with port {port}"),
        (Some(name), None) => format!("Gateway {gateway} has no listener \"{name}\""),
        (None, Some(port)) => format!("Gateway {gateway} has no listener with port {port}"),
        (None, None) => format!("Gateway {gateway} has no listeners"),
    }
}

/// The hosts that a route serves on a listener, sorted.
fn common_hosts(listener: &str, hostnames: &[String]) -> Vec<String> {
    if hostnames.is_empty() {
        return vec![listener.to_owned()];
    }
    let hosts: BTreeSet<&str> = hostnames
        .iter()
        .filter_map(|host| intersection(listener, if host.is_empty() { ANY_HOST } else { host }))
        .collect();
    hosts.into_iter().map(str::to_owned).collect()
}
