//! Events: what changed about an object, told once where it changed.

use headgate_crds::conditions::{ACCEPTED, DEGRADED, ENFORCED, PROGRAMMED, RESOLVED_REFS};
use headgate_crds::gateway_api::RouteParentStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::status::{Status, find};
use crate::world::{Object, ObjectKind};

/// Most bytes of the text of an event.
const NOTE: usize = 1000;

/// Reasons for which a condition does not hold yet, and that pass by themselves.
const ON_THE_WAY: [&str; 2] = ["Pending", "NoProxies"];

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// The word for machines.
    pub reason: String,
    /// The sentence for people.
    pub note: String,
}

/// What there is to tell about a change of status.
pub fn of(before: Option<&Status>, after: &Status) -> Vec<Happening> {
    let lists: Vec<(&[Condition], &[Condition])> = match (before, after) {
        (before, Status::HttpRoute(route)) => {
            let known = match before {
                Some(Status::HttpRoute(before)) => before.parents.as_slice(),
                _ => &[],
            };
            let of_parent = |parent: &RouteParentStatus| known.iter().find(|it| it.parent_ref == parent.parent_ref);
            let parents = route.parents.iter();
            parents.map(|now| (of_parent(now).map_or(&[][..], |it| &it.conditions), &now.conditions[..])).collect()
        }
        (before, after) => vec![(before.map_or(&[], Status::conditions), after.conditions())],
    };
    let mut happenings: Vec<Happening> = Vec::new();
    for happening in lists.into_iter().flat_map(|(before, after)| transitions(before, after)) {
        if !happenings.contains(&happening) {
            happenings.push(happening);
        }
    }
    happenings
}

fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for wanted in [ACCEPTED, RESOLVED_REFS, PROGRAMMED] {
        let Some(now) = find(after, wanted) else { continue };
        let known = find(before, wanted);
        // What is wrong with an object may become something else of the same kind. How many proxies have it may not be
        // told each time.
        let is_same = known.is_some_and(|known| {
            let says_the_same = wanted == PROGRAMMED || known.message == now.message;
            known.status == now.status && known.reason == now.reason && says_the_same
        });
        // That all is well is news where it was not, and once a proxy serves it for the first time.
        let is_expected = now.status == "True" && known.is_none() && wanted != PROGRAMMED;
        let is_passing = ON_THE_WAY.contains(&now.reason.as_str()) && known.is_none_or(|known| known.status != "True");
        if is_same || is_expected || is_passing || (wanted == PROGRAMMED && now.reason == "NotAccepted") {
            continue;
        }
        let is_warning = now.status != "True";
        let note = if now.message.is_empty() { format!("{wanted} is {}", now.status) } else { now.message.clone() };
        happenings.push(Happening { is_warning, reason: now.reason.clone(), note: truncated(note) });
    }
    for unwanted in [DEGRADED, ENFORCED] {
        let (known, now) = (find(before, unwanted), find(after, unwanted));
        match (known, now) {
            (known, Some(now)) if now.status != "False" => {
                if known.is_none_or(|known| known.reason != now.reason) {
                    let note = truncated(now.message.clone());
                    happenings.push(Happening { is_warning: true, reason: now.reason.clone(), note });
                }
            }
            (Some(known), _) if known.status != "False" => {
                let note = truncated(format!("{} is over", known.reason));
                happenings.push(Happening { is_warning: false, reason: "Recovered".to_owned(), note });
            }
            (_, _) => {}
        }
    }
    happenings
}

/// A text of at most [`NOTE`] bytes, cut between characters.
fn truncated(mut text: String) -> String {
    if text.len() > NOTE {
        let end = (0..=NOTE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The event of a happening.
pub fn event(happening: Happening) -> Event {
    let Happening { is_warning, reason, note } = happening;
    let type_ = if is_warning { EventType::Warning } else { EventType::Normal };
    Event { type_, reason, note: Some(note), action: "Configure".to_owned(), secondary: None }
}

/// The object as an event refers to it.
pub fn reference(kind: ObjectKind, object: &Object) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(kind.api_version()),
        kind: Some(kind.as_str().to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use headgate_crds::OriginPoolStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn status(conditions: &[(&str, &str, &str)]) -> Status {
        let conditions = conditions.iter().map(|(type_, status, reason)| Condition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: format!("because {reason}"),
            observed_generation: Some(1),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        });
        Status::OriginPool(Box::new(OriginPoolStatus {
            conditions: conditions.collect(),
            ..OriginPoolStatus::default()
        }))
    }

    #[track_caller]
    fn check(before: Option<&[(&str, &str, &str)]>, after: &[(&str, &str, &str)], expected: &[(bool, &str)]) {
        let told = of(before.map(status).as_ref(), &status(after));
        let told: Vec<(bool, &str)> =
            told.iter().map(|happening| (happening.is_warning, happening.reason.as_str())).collect();
        assert_eq!(told, expected);
    }

    const NEW: &[(&str, &str, &str)] = &[("Accepted", "True", "Accepted"), ("Programmed", "False", "Pending")];
    const SERVED: &[(&str, &str, &str)] = &[("Accepted", "True", "Accepted"), ("Programmed", "True", "Programmed")];
    const SILENT: &[(&str, &str, &str)] = &[("Accepted", "True", "Accepted"), ("Programmed", "False", "ProxySilent")];
    const INVALID: &[(&str, &str, &str)] = &[("Accepted", "False", "Invalid"), ("Programmed", "False", "NotAccepted")];
    const HELD: &[(&str, &str, &str)] =
        &[("Accepted", "True", "Accepted"), ("Programmed", "True", "Programmed"), ("Degraded", "True", "HostHeld")];

    #[test]
    fn what_passes_by_itself_is_not_told_and_what_matters_is_told_once() {
        check(None, NEW, &[]);
        check(Some(NEW), SERVED, &[(false, "Programmed")]);
        check(Some(SERVED), SERVED, &[]);
        check(Some(SERVED), SILENT, &[(true, "ProxySilent")]);
        check(Some(SILENT), SERVED, &[(false, "Programmed")]);
        check(Some(SERVED), NEW, &[(true, "Pending")]);
    }

    #[test]
    fn a_mistake_is_a_warning_and_its_end_is_told() {
        check(None, INVALID, &[(true, "Invalid")]);
        check(Some(INVALID), SERVED, &[(false, "Accepted"), (false, "Programmed")]);
        check(None, HELD, &[(false, "Programmed"), (true, "HostHeld")]);
        check(Some(HELD), SERVED, &[(false, "Recovered")]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(truncated("short".to_owned()), "short");
        let cut = truncated("ä".repeat(NOTE));
        assert!(cut.len() <= NOTE + '…'.len_utf8() && cut.ends_with('…'), "{}", cut.len());
    }
}
