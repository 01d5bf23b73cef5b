//! Gateways: listeners, and what routes can attach to.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::gateway_api::{Gateway, GatewaySpec};
use headgate_snapshot as wire;
use headgate_snapshot::Protocol;
use headgate_snapshot::resource::Body;

use crate::class::Classes;
use crate::host::ANY_HOST;
use crate::inputs::{Inputs, Kind, ObjectKey};
use crate::listener::{AttachPoint, Draft, draft};
use crate::output::{Fragment, Output, resource, wire_key};
use crate::time::created_at;
use crate::verdict::{Concern, Force, ListenerVerdict, Problem, Reason, Verdict};
use crate::view::{Changed, Table, View};

/// A Gateway as routes see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parent {
    /// Its listeners in the order of its spec.
    Ours(Vec<AttachPoint>),
    /// It is another controller's.
    Foreign,
}

/// All Gateways.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    parents: BTreeMap<ObjectKey, Parent>,
    /// What is spoken on each port. Gateways share ports.
    ports: BTreeMap<u32, (Protocol, ObjectKey)>,
}

impl Gateways {
    /// A Gateway as routes see it.
    pub(crate) fn parent(&self, gateway: &ObjectKey, view: &View<'_>) -> Option<&Parent> {
        view.look(Table::Gateway, gateway);
        self.parents.get(gateway)
    }

    /// What is spoken on a port, where a Gateway has it.
    pub(crate) fn protocol(&self, port: u32) -> Option<Protocol> {
        self.ports.get(&port).map(|(protocol, _)| *protocol)
    }
}

/// Judges the Gateways and emits those of ours that have a listener. Each is judged anew each time, since they share
/// ports and there are few; `gateways` are those of before, and what routes see of them is compared.
pub(crate) fn lower(
    inputs: &Inputs,
    classes: &Classes<'_>,
    view: &View<'_>,
    changed: &mut Changed,
    gateways: &mut Gateways,
    out: &mut Output,
) {
    let mut now = Gateways::default();
    // The older Gateway keeps a port that a younger one wants for another protocol.
    let mut by_age: Vec<(&ObjectKey, &Gateway)> =
        inputs.gateways.iter().map(|(key, object)| (key, &**object)).collect();
    by_age.sort_by_key(|(key, gateway)| (created_at(&gateway.metadata), *key));

    for (key, gateway) in by_age {
        let generation = gateway.metadata.generation.unwrap_or(0);
        if !classes.govern_gateways_of(&gateway.spec.gateway_class_name) {
            let verdict = Verdict { generation, force: Force::Foreign, ..Verdict::default() };
            out.judge(Kind::Gateway, key, verdict);
            now.parents.insert(key.clone(), Parent::Foreign);
            continue;
        }
        let mut unenforced = unenforced_fields(&gateway.spec);
        let mut drafts: Vec<Draft<'_>> = (0..gateway.spec.listeners.len())
            .map(|position| draft(gateway, key, position, view, &mut unenforced))
            .collect();
        find_conflicts(&mut drafts);
        now.take_ports(key, &mut drafts);
        now.parents.insert(key.clone(), Parent::Ours(drafts.iter().map(Draft::attach_point).collect()));
        let verdict = Arc::new(verdict(generation, &drafts, unenforced));
        let fragment = Fragment { resource: lowered(key, generation, &drafts), verdict };
        let (_, needs) = view.take();
        out.add(Kind::Gateway, key, &fragment, &needs);
    }
    changed.follow(Table::Gateway, &mut gateways.parents, &now.parents, PartialEq::eq);
    *gateways = now;
}

fn unenforced_fields(spec: &GatewaySpec) -> Vec<String> {
    let GatewaySpec {
        gateway_class_name: _,
        listeners: _,
        addresses,
        infrastructure,
        allowed_listeners,
        tls,
        default_scope,
    } = spec;
    let fields = [
        ("spec.addresses", !addresses.is_empty()),
        ("spec.infrastructure", infrastructure.is_some()),
        ("spec.allowedListeners", allowed_listeners.is_some()),
        ("spec.tls.backend", tls.as_ref().is_some_and(|tls| tls.get("backend").is_some())),
        ("spec.defaultScope", default_scope.is_some()),
    ];
    fields.into_iter().filter(|(_, written)| *written).map(|(field, _)| field.to_owned()).collect()
}

/// Listeners of one Gateway that share a port must share its protocol and differ in their hostnames. All that
/// conflict are refused, as the Gateway API says: to pick one would hide the mistake.
fn find_conflicts(drafts: &mut [Draft<'_>]) {
    let mut conflicts = Vec::new();
    for (position, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.is_accepted()) {
        for (other_position, other) in drafts.iter().enumerate() {
            if position == other_position || !other.is_accepted() || draft.port != other.port {
                continue;
            }
            let field = |name: &str| format!("spec.listeners[{position}].{name}");
            let problem = if draft.protocol != other.protocol {
                let sentence = format!(
                    "listener \"{}\" has port {} with another protocol; use another port",
                    other.name, other.port
                );
                Problem::new(Reason::ProtocolConflict, field("protocol"), sentence)
            } else if draft.hostname == other.hostname {
                let sentence = format!(
                    "listener \"{}\" has port {} with the same hostname; listeners of one port differ in it",
                    other.name, other.port
                );
                Problem::new(Reason::HostnameConflict, field("hostname"), sentence)
            } else {
                continue;
            };
            conflicts.push((position, problem));
        }
    }
    for (position, problem) in conflicts {
        drafts[position].problems.push(problem);
    }
}

impl Gateways {
    fn take_ports(&mut self, key: &ObjectKey, drafts: &mut [Draft<'_>]) {
        for (position, draft) in drafts.iter_mut().enumerate().filter(|(_, draft)| draft.is_accepted()) {
            let (protocol, holder) = self.ports.entry(draft.port).or_insert_with(|| (draft.protocol, key.clone()));
            if *protocol != draft.protocol {
                let sentence =
                    format!("Gateway {holder} has port {} with another protocol; use another port", draft.port);
                let field = format!("spec.listeners[{position}].protocol");
                draft.problems.push(Problem::new(Reason::ProtocolConflict, field, sentence));
            }
        }
    }
}

fn lowered(key: &ObjectKey, generation: i64, drafts: &[Draft<'_>]) -> Option<Arc<wire::Resource>> {
    let listeners: Vec<wire::Listener> = drafts
        .iter()
        .filter(|draft| draft.is_accepted())
        .map(|draft| wire::Listener {
            name: draft.name.to_owned(),
            port: draft.port,
            protocol: draft.protocol.into(),
            hostname: if draft.hostname == ANY_HOST { String::new() } else { draft.hostname.to_owned() },
            certificates: draft.certificates.clone(),
        })
        .collect();
    let body = (!listeners.is_empty()).then_some(Body::Gateway(wire::Gateway { listeners }))?;
    Some(resource(wire_key(Kind::Gateway, key), generation, body))
}

fn verdict(generation: i64, drafts: &[Draft<'_>], unenforced: Vec<String>) -> Verdict {
    let refused: Vec<&Draft<'_>> = drafts.iter().filter(|draft| !draft.is_accepted()).collect();
    let mut problems = Vec::new();
    let mut force = Force::Current;
    if drafts.is_empty() {
        problems.push(Problem::new(Reason::Invalid, "spec.listeners", "a Gateway needs at least one listener"));
        force = Force::Nothing;
    }
    if !refused.is_empty() {
        let sentences: Vec<String> =
            refused.iter().flat_map(|draft| &draft.problems).map(ToString::to_string).collect();
        let problem = Problem::new(Reason::ListenersNotValid, "", sentences.join("; "));
        if refused.len() == drafts.len() {
            force = Force::Nothing;
            problems.push(problem);
        } else {
            problems.push(problem.with_concern(Concern::Remark));
        }
    }
    let listeners = drafts
        .iter()
        .map(|draft| ListenerVerdict {
            name: draft.name.to_owned(),
            supported_kinds: draft.kinds.clone(),
            attached_routes: 0,
            problems: draft.problems.clone(),
        })
        .collect();
    Verdict { generation, force, problems, unenforced, listeners, ..Verdict::default() }
}
