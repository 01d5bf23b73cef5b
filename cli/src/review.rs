//! Everything there is to tell about manifests, in one list with places: what a look at each alone shows, and what
//! the translation of all of them says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_operator::world::{Object, ObjectKind};
use headgate_translate::{Concern, Force, ObjectRef, Problem, Reason, Verdict};

use crate::manifest::catalogue::Catalogue;
use crate::manifest::complaint::{Complaint, Severity};
use crate::manifest::document::{Entry, Locator};

/// Everything to tell about the files and objects: mistakes, and warnings of what is not enforced.
pub fn complaints(catalogue: &Catalogue<'_>, verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>) -> BTreeSet<Complaint> {
    let mut complaints: BTreeSet<Complaint> = catalogue.complaints.iter().cloned().collect();
    let mut locator = Locator::default();
    for (object, verdict) in verdicts.iter().filter(|(_, verdict)| has_to_tell(verdict)) {
        let Some(entry) = catalogue.entries.get(&(ObjectKind::from(object.kind), &object.key)) else { continue };
        // What is wrong with the manifest itself is in the catalogue, field by field.
        if entry.manifest.object.is_none() {
            continue;
        }
        complaints.extend(of_verdict(entry, verdict, &mut locator));
    }
    complaints
}

/// What the translation says of objects that were read in spite of mistakes in their manifests, in a world that was
/// given them all the same. What is told of a field already is not told of it again.
pub fn complaints_beside_mistakes(
    catalogue: &Catalogue<'_>,
    verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>,
) -> BTreeSet<Complaint> {
    let mut complaints = BTreeSet::new();
    let mut locator = Locator::default();
    for entry in catalogue.entries.values().filter(|entry| entry.manifest.in_spite_of_mistakes.is_some()) {
        let Some(kind) = entry.manifest.kind.governed() else { continue };
        let Some(verdict) = verdicts.get(&ObjectRef::new(kind, entry.manifest.key.clone())) else { continue };
        let is_told = |complaint: &Complaint| {
            let concerns = |told: &str| is_within(&complaint.field, told) || is_within(told, &complaint.field);
            entry.manifest.mistakes.iter().any(|mistake| concerns(&mistake.field))
        };
        complaints.extend(of_verdict(entry, verdict, &mut locator).into_iter().filter(|complaint| !is_told(complaint)));
    }
    complaints
}

/// Whether a field is another one, or a part of it.
fn is_within(field: &str, whole: &str) -> bool {
    field.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether there is anything to tell of an object, which of most there is not.
fn has_to_tell(verdict: &Verdict) -> bool {
    let Verdict { generation: _, force, problems, unenforced, listeners, parents, addresses: _, hosts: _ } = verdict;
    *force == Force::Foreign
        || !problems.is_empty()
        || !unenforced.is_empty()
        || listeners.iter().any(|listener| !listener.problems.is_empty())
        || parents.iter().any(|parent| !parent.problems.is_empty())
}

fn of_verdict(entry: &Entry<'_>, verdict: &Verdict, locator: &mut Locator) -> Vec<Complaint> {
    let complaint = |line, field: &str, message: String, severity| Complaint {
        file: entry.file.to_owned(),
        line: Some(line),
        column: None,
        label: entry.label(),
        field: field.to_owned(),
        message,
        severity,
    };
    let Verdict { generation: _, force, problems, unenforced, listeners, parents, addresses: _, hosts: _ } = verdict;
    let problems = problems
        .iter()
        // A Gateway's summary of what is wrong with its listeners, each of which tells it with its own field.
        .filter(|problem| problem.reason != Reason::ListenersNotValid)
        .chain(parents.iter().flat_map(|parent| &parent.problems))
        .chain(listeners.iter().flat_map(|listener| &listener.problems));
    // One problem may stand at an object and at a part of it; the worse of the two is told.
    let mut told: BTreeMap<(&str, &str), Severity> = BTreeMap::new();
    for problem in problems {
        let severity = severity(problem);
        let worst = told.entry((&problem.field, &problem.message)).or_insert(severity);
        *worst = severity.min(*worst);
    }
    let mut complaints = Vec::new();
    for ((field, message), severity) in told {
        complaints.push(complaint(locator.line(entry, field), field, message.to_owned(), severity));
    }
    for field in unenforced {
        let message = "accepted, not yet enforced by this release".to_owned();
        complaints.push(complaint(locator.line(entry, field), field, message, Severity::Warning));
    }
    if *force == Force::Foreign
        && let Some((field, message)) = entry.manifest.object.as_ref().and_then(why_foreign)
    {
        complaints.push(complaint(locator.line(entry, field), field, message, Severity::Warning));
    }
    complaints
}

/// Why an object is left to others, with the field that says so: whoever has forgotten the class would wait for ever.
/// A class names its controller on purpose.
fn why_foreign(object: &Object) -> Option<(&'static str, String)> {
    match object {
        Object::Gateway(gateway) => {
            let class = &gateway.spec.gateway_class_name;
            let sentence = format!(
                "class \"{class}\" is not headgate's, so that nothing of this Gateway is enforced; to serve it write \
                 `gatewayClassName: headgate`"
            );
            Some(("spec.gatewayClassName", sentence))
        }
        Object::HttpRoute(_) => {
            let sentence = "no parent is a Gateway of headgate's, so that nothing of this route is enforced; to serve \
                            it name one whose class is headgate";
            Some(("spec.parentRefs", sentence.to_owned()))
        }
        Object::Ingress(ingress) => {
            let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
            let class =
                class.map_or("it has no class".to_owned(), |class| format!("class \"{class}\" is not headgate's"));
            let sentence = format!(
                "{class}, so that nothing of this Ingress is enforced; to serve it write `ingressClassName: headgate`"
            );
            Some(("spec.ingressClassName", sentence))
        }
        Object::OriginPool(_)
        | Object::RateLimit(_)
        | Object::WaitingRoom(_)
        | Object::GatewayClass(_)
        | Object::ReferenceGrant(_)
        | Object::IngressClass(_)
        | Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::Secret(_)
        | Object::ConfigMap(_)
        | Object::Namespace(_) => None,
    }
}

/// What an object lacks that may be in the cluster, or come in another file, is no mistake of its own manifest.
fn severity(problem: &Problem) -> Severity {
    match (problem.concern, problem.reason) {
        (_, Reason::BackendNotFound | Reason::RefNotFound | Reason::NoMatchingParent)
        | (Concern::Remark | Concern::Degradation | Concern::Programming, _) => Severity::Warning,
        (Concern::Acceptance | Concern::PartialInvalidity | Concern::References | Concern::Conflict, _) => {
            Severity::Mistake
        }
    }
}
