//! Ingresses: hosts and paths of the API that was there before Gateways.
//!
//! They are served on the default listeners. Exact paths win over prefixes and longer prefixes over shorter ones, as
//! between HTTPRoutes. A path that cannot be read is dropped and told; the other paths stay in force.

use std::collections::BTreeSet;

use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::rule::Action;
use headgate_snapshot::{Key, PathMatchType};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec, IngressTLS};

use crate::backend::{self, BackendReference, PortReference};
use crate::certificate;
use crate::class::Classes;
use crate::default_listeners::{HTTP_LISTENER, HTTPS_LISTENER};
use crate::host::{ANY_HOST, mistake_in_host};
use crate::index::Referrer;
use crate::inputs::{Dependency, Inputs, Kind, ObjectKey};
use crate::matching::{match_path, mistake_in_path};
use crate::memo::{Memo, Same};
use crate::output::{Fragment, Output, resource, wire_key};
use crate::time::created_at;
use crate::verdict::{Concern, Force, Problem, Reason, Verdict};
use crate::view::{Changed, Need, View};

/// A certificate that an Ingress brings for the default HTTPS listener.
#[derive(Clone, Debug)]
pub(crate) struct IngressCertificate {
    /// Key of the Ingress on the wire.
    pub(crate) ingress: Key,
    /// Hosts that it is for; empty: those of the Ingress.
    pub(crate) hosts: Vec<String>,
    pub(crate) certificate: Key,
}

/// What became of the Ingresses, from translation to translation. A subject says whether the Ingress is ours.
pub(crate) type Ingresses = Memo<ObjectKey, (Same<Ingress>, bool), Lowered>;

/// What became of an Ingress.
#[derive(Debug)]
pub(crate) struct Lowered {
    fragment: Fragment,
    certificates: Vec<IngressCertificate>,
}

/// Judges the Ingresses and emits those of ours. Returns their certificates.
pub(crate) fn lower<'m>(
    inputs: &Inputs,
    classes: &Classes<'_>,
    view: &View<'_>,
    changed: &Changed,
    ingresses: &'m mut Ingresses,
    out: &mut Output,
) -> Vec<&'m IngressCertificate> {
    let objects = inputs.ingresses.iter();
    let subjects = objects.map(|(key, ingress)| (key, (Same::of(ingress), classes.govern_ingress(ingress))));
    ingresses.follow(subjects, changed, view, |key, (Same(ingress), is_ours)| lower_one(key, ingress, *is_ours, view));
    let doubt = [Need::Unread(Dependency::IngressClasses)];
    let is_doubtful = inputs.unread.contains(&Dependency::IngressClasses);
    for found in ingresses.iter() {
        if is_doubtful && found.value.fragment.verdict.force == Force::Foreign {
            out.add(Kind::Ingress, &found.name, &found.value.fragment, &doubt);
            continue;
        }
        out.add(Kind::Ingress, &found.name, &found.value.fragment, &found.needs);
    }
    ingresses.iter().flat_map(|found| &found.value.certificates).collect()
}

fn lower_one(key: &ObjectKey, ingress: &Ingress, is_ours: bool, view: &View<'_>) -> Lowered {
    let generation = ingress.metadata.generation.unwrap_or(0);
    if !is_ours {
        let verdict = Verdict { generation, force: Force::Foreign, ..Verdict::default() };
        return Lowered { fragment: Fragment::with_hosts(None, verdict), certificates: Vec::new() };
    }
    let mut lowering = Lowering { key, view, problems: Vec::new() };
    let route = lowering.route(ingress);
    let mut problems = lowering.problems;
    let mut certificates = Vec::new();
    let tls = ingress.spec.as_ref().and_then(|spec| spec.tls.as_deref()).unwrap_or_default();
    for (index, tls) in tls.iter().enumerate() {
        match certificate(key, tls, view) {
            Ok(certificate) => certificates.extend(certificate),
            Err(sentence) => {
                let field = format!("spec.tls[{index}].secretName");
                problems.push(Problem::new(Reason::InvalidCertificateRef, field, sentence));
            }
        }
    }
    let mut force = Force::Nothing;
    let resource = route.map(|route| {
        force = Force::Current;
        for problem in problems.iter_mut().filter(|problem| problem.concern == Concern::Acceptance) {
            problem.concern = Concern::PartialInvalidity;
        }
        resource(wire_key(Kind::Ingress, key), generation, Body::Route(route))
    });
    let verdict = Verdict { generation, force, problems, ..Verdict::default() };
    Lowered { fragment: Fragment::with_hosts(resource, verdict), certificates }
}

/// The certificate of an entry, nothing where it leaves that to the Gateways.
fn certificate(ingress: &ObjectKey, tls: &IngressTLS, view: &View<'_>) -> Result<Option<IngressCertificate>, String> {
    let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let certificate = certificate::resolve(&ObjectKey::new(&ingress.namespace, secret), view)?;
    let hosts = tls.hosts.clone().unwrap_or_default();
    Ok(Some(IngressCertificate { ingress: wire_key(Kind::Ingress, ingress), hosts, certificate }))
}

struct Lowering<'l, 'a> {
    key: &'l ObjectKey,
    view: &'l View<'a>,
    problems: Vec<Problem>,
}

impl Lowering<'_, '_> {
    /// The route of an Ingress, nothing where no path of it can be served.
    fn route(&mut self, ingress: &Ingress) -> Option<wire::Route> {
        let empty = IngressSpec::default();
        let spec = ingress.spec.as_ref().unwrap_or(&empty);
        let mut hosts: BTreeSet<&str> = BTreeSet::new();
        let mut rules = Vec::new();
        for (index, rule) in spec.rules.iter().flatten().enumerate() {
            let field = format!("spec.rules[{index}]");
            let host = rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ANY_HOST);
            if host != ANY_HOST
                && let Some(sentence) = mistake_in_host(host)
            {
                self.refuse(&format!("{field}.host"), sentence);
                continue;
            }
            let paths = rule.http.as_ref().map_or(&[][..], |http| &http.paths);
            for (index, path) in paths.iter().enumerate() {
                let lowered = self.path(path, &format!("{field}.http.paths[{index}]"));
                rules.extend(lowered.map(|rule| wire::Rule { hosts: vec![host.to_owned()], ..rule }));
            }
            if paths.is_empty() && spec.default_backend.is_none() {
                self.refuse(&field, "a rule needs http.paths, unless the Ingress has a defaultBackend");
            } else {
                hosts.insert(host);
            }
        }
        if let Some(backend) = &spec.default_backend {
            // It answers for what no path matches, on hosts of the Ingress and on all others.
            hosts.insert(ANY_HOST);
            rules.push(self.rule(PathMatchType::Prefix, "/", backend, "spec.defaultBackend"));
        }
        if rules.is_empty() {
            if self.problems.is_empty() {
                self.refuse("spec", "an Ingress needs rules or a defaultBackend");
            }
            return None;
        }
        if hosts.len() == 1 {
            for rule in &mut rules {
                rule.hosts.clear();
            }
        }
        let attach = |listener: &str| wire::Attachment {
            gateway: Some(Key::default_listeners()),
            listener: listener.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let attachments = vec![attach(HTTP_LISTENER), attach(HTTPS_LISTENER)];
        Some(wire::Route { attachments, rules, created_at: created_at(&ingress.metadata) })
    }

    fn refuse(&mut self, field: &str, sentence: impl Into<String>) {
        self.problems.push(Problem::new(Reason::Invalid, field, sentence));
    }

    fn path(&mut self, path: &HTTPIngressPath, field: &str) -> Option<wire::Rule> {
        let HTTPIngressPath { backend, path, path_type } = path;
        let path = path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let path_type = match path_type.as_str() {
            "Exact" => PathMatchType::Exact,
            "Prefix" | "ImplementationSpecific" => PathMatchType::Prefix,
            other => {
                let sentence = format!("\"{other}\" is none of Exact, Prefix and ImplementationSpecific");
                self.refuse(&format!("{field}.pathType"), sentence);
                return None;
            }
        };
        if let Some(sentence) = mistake_in_path(path) {
            self.refuse(&format!("{field}.path"), sentence);
            return None;
        }
        Some(self.rule(path_type, path, backend, &format!("{field}.backend")))
    }

    /// A reference that leads nowhere answers 500.
    fn rule(&mut self, path_type: PathMatchType, path: &str, backend: &IngressBackend, field: &str) -> wire::Rule {
        let pool = self.resolve(backend, field);
        let backends = vec![wire::Backend { pool, weight: 1, filters: Vec::new() }];
        wire::Rule {
            matches: vec![match_path(path_type, path)],
            filters: Vec::new(),
            action: Some(Action::Backends(wire::Backends { backends })),
            request_timeout_ms: 0,
            backend_timeout_ms: 0,
            name: String::new(),
            hosts: Vec::new(),
        }
    }

    fn resolve(&mut self, backend: &IngressBackend, field: &str) -> Option<Key> {
        let namespace = self.key.namespace.as_str();
        let (field, reference) = match (&backend.service, &backend.resource) {
            (Some(service), None) => {
                let port = service.port.as_ref().and_then(|port| match (port.number, port.name.as_deref()) {
                    (Some(number), _) => Some(PortReference::Number(number)),
                    (None, Some(name)) => Some(PortReference::Name(name)),
                    (None, None) => None,
                });
                let name = service.name.as_str();
                (format!("{field}.service"), BackendReference { group: "", kind: "Service", namespace, name, port })
            }
            (None, Some(resource)) => {
                let (kind, name) = (resource.kind.as_str(), resource.name.as_str());
                let group = resource.api_group.as_deref().unwrap_or_default();
                (format!("{field}.resource"), BackendReference { group, kind, namespace, name, port: None })
            }
            (None, None) | (Some(_), Some(_)) => {
                self.refuse(field, "a backend is either a service or a resource; write one of the two");
                return None;
            }
        };
        let from = Referrer { group: "networking.k8s.io", kind: "Ingress", namespace };
        backend::resolve(from, reference, self.view)
            .map_err(|(reason, sentence)| {
                self.problems.push(Problem::new(reason, field, sentence).with_concern(Concern::References));
            })
            .ok()
    }
}
