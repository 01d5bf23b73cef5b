//! Gateways: listeners, and what routes can attach to.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::gateway_api::{Gateway, GatewaySpec, GatewaySpecAddress};
use headgate_snapshot as wire;
use headgate_snapshot::Protocol;
use headgate_snapshot::resource::Body;

use crate::class::Classes;
use crate::host::ANY_HOST;
use crate::inputs::{Dependency, GatewayAddress, Inputs, Kind, ObjectKey, ObjectRef, Options};
use crate::listener::{AttachPoint, Draft, draft};
use crate::output::{Fragment, Output, resource, wire_key};
use crate::time::created_at;
use crate::verdict::{Concern, Force, ListenerVerdict, Problem, Reason, Verdict};
use crate::view::{Changed, Need, Table, View};

/// A Gateway as routes see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parent {
    /// Its listeners in the order of its spec.
    Ours(Vec<AttachPoint>),
    /// It is another controller's.
    Foreign,
    /// Nobody knows what it is: it was never readable.
    Unreadable,
    /// Nobody knows whose it is: classes were never readable.
    Unclassified,
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
        let parent = self.parents.get(gateway)?;
        if *parent == Parent::Unclassified {
            view.need(Need::Unread(Dependency::GatewayClasses));
        }
        Some(parent)
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
            let fragment = Fragment { resource: None, verdict: Arc::new(verdict) };
            let is_unclassified = inputs.unread.contains(&Dependency::GatewayClasses);
            let doubt = is_unclassified.then_some(Need::Unread(Dependency::GatewayClasses));
            out.add(Kind::Gateway, key, &fragment, &doubt);
            now.parents.insert(key.clone(), if is_unclassified { Parent::Unclassified } else { Parent::Foreign });
            continue;
        }
        let Addressing { addresses, problems, is_unenforced } = addressing(&gateway.spec, &inputs.options);
        let mut unenforced = unenforced_fields(&gateway.spec);
        if is_unenforced {
            unenforced.insert(0, "spec.addresses".to_owned());
        }
        let mut drafts: Vec<Draft<'_>> = (0..gateway.spec.listeners.len())
            .map(|position| draft(gateway, key, position, view, &mut unenforced))
            .collect();
        find_conflicts(&mut drafts);
        let is_refused = problems.iter().any(|problem| problem.concern == Concern::Acceptance);
        let mut resource = None;
        if !is_refused {
            now.take_ports(key, &mut drafts);
            resource = lowered(key, generation, &drafts);
        }
        let mut verdict = verdict(generation, &drafts, unenforced);
        verdict.problems.splice(0..0, problems);
        if is_refused {
            verdict.force = Force::Nothing;
            drafts.clear();
        }
        if verdict.force != Force::Nothing {
            verdict.addresses = addresses;
        }
        let fragment = Fragment { resource, verdict: Arc::new(verdict) };
        let (_, needs) = view.take();
        now.parents.insert(key.clone(), Parent::Ours(drafts.iter().map(Draft::attach_point).collect()));
        out.add(Kind::Gateway, key, &fragment, &needs);
    }
    for ObjectRef { kind, key } in inputs.malformed.keys() {
        if *kind == Kind::Gateway && !inputs.gateways.contains_key(key) {
            now.parents.insert(key.clone(), Parent::Unreadable);
        }
    }
    changed.follow(Table::Gateway, &mut gateways.parents, &now.parents, PartialEq::eq);
    *gateways = now;
}

/// The addresses of a Gateway.
#[derive(Debug, Default)]
struct Addressing {
    addresses: Vec<GatewayAddress>,
    problems: Vec<Problem>,
    /// Addresses are asked for, and nobody told what ours are.
    is_unenforced: bool,
}

/// All addresses of ours, or those of them that the Gateway asks for.
fn addressing(spec: &GatewaySpec, options: &Options) -> Addressing {
    let ours = &options.gateway_addresses;
    let mut addressing = Addressing::default();
    if spec.addresses.is_empty() {
        addressing.addresses.clone_from(ours);
    }
    for (index, GatewaySpecAddress { address_type, value }) in spec.addresses.iter().enumerate() {
        let is_of_type = |address: &GatewayAddress| match address {
            GatewayAddress::Ip(_) => address_type.as_deref().is_none_or(|written| written == "IPAddress"),
            GatewayAddress::Hostname(_) => address_type.as_deref() == Some("Hostname"),
        };
        let field = format!("spec.addresses[{index}]");
        if let Some(other) = address_type.as_deref().filter(|written| !["IPAddress", "Hostname"].contains(written)) {
            let sentence = format!("an address of type {other} is not supported; write IPAddress or Hostname");
            addressing.problems.push(Problem::new(Reason::UnsupportedAddress, format!("{field}.type"), sentence));
            continue;
        }
        if ours.is_empty() {
            addressing.is_unenforced = true;
            continue;
        }
        let wanted = value.as_deref().filter(|value| !value.is_empty());
        let is_wanted = |address: &&GatewayAddress| {
            is_of_type(address) && wanted.is_none_or(|wanted| wanted.parse().as_ref() == Ok(*address))
        };
        let found: Vec<&GatewayAddress> = ours.iter().filter(is_wanted).collect();
        if found.is_empty() {
            let names: Vec<String> = ours.iter().map(ToString::to_string).collect();
            let sentence =
                format!("is no address of the proxies; leave it out, or ask for one of {}", names.join(", "));
            addressing.problems.push(Problem::new(Reason::AddressNotUsable, field, sentence));
        }
        for address in found {
            if !addressing.addresses.contains(address) {
                addressing.addresses.push(address.clone());
            }
        }
    }
    addressing
}

fn unenforced_fields(spec: &GatewaySpec) -> Vec<String> {
    let GatewaySpec {
        gateway_class_name: _,
        listeners: _,
        addresses: _,
        infrastructure,
        allowed_listeners,
        tls,
        default_scope,
    } = spec;
    let fields = [
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
                let field = format!("spec.listeners[{position}].port");
                draft.problems.push(Problem::new(Reason::PortUnavailable, field, sentence));
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
