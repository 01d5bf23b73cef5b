//! `allowedRoutes`: which routes may attach to a listener.

use std::collections::BTreeMap;

use headgate_crds::gateway_api::{AllowedRoutes, GATEWAY_API_GROUP, RouteGroupKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::verdict::{Problem, Reason};
use crate::view::View;

/// Label that every Namespace has.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Admission {
    All,
    Same,
    Selector(LabelSelector),
    None,
}

/// Reads `allowedRoutes.namespaces`. What cannot be read admits nobody.
pub(crate) fn admission(allowed: Option<&AllowedRoutes>, field: &str, problems: &mut Vec<Problem>) -> Admission {
    let Some(namespaces) = allowed.and_then(|allowed| allowed.namespaces.as_ref()) else { return Admission::Same };
    let field = format!("{field}.allowedRoutes.namespaces");
    match namespaces.from.as_deref() {
        None | Some("Same") => Admission::Same,
        Some("All") => Admission::All,
        Some("None") => Admission::None,
        Some("Selector") => match &namespaces.selector {
            None => {
                let sentence = "from is Selector, so a selector is needed; write matchLabels or matchExpressions";
                problems.push(Problem::new(Reason::Invalid, format!("{field}.selector"), sentence));
                Admission::None
            }
            Some(selector) => match mistake_in_selector(selector) {
                None => Admission::Selector(selector.clone()),
                Some((path, sentence)) => {
                    problems.push(Problem::new(Reason::Invalid, format!("{field}.selector.{path}"), sentence));
                    Admission::None
                }
            },
        },
        Some(other) => {
            let sentence = format!("\"{other}\" is none of Same, All, Selector and None");
            problems.push(Problem::new(Reason::Invalid, format!("{field}.from"), sentence));
            Admission::None
        }
    }
}

/// The kinds that are both allowed and supported.
pub(crate) fn kinds(allowed: Option<&AllowedRoutes>, field: &str, problems: &mut Vec<Problem>) -> Vec<RouteGroupKind> {
    let supported = RouteGroupKind { group: Some(GATEWAY_API_GROUP.to_owned()), kind: "HTTPRoute".to_owned() };
    let written = allowed.map_or(&[][..], |allowed| &allowed.kinds);
    if written.is_empty() {
        return vec![supported];
    }
    let mut kinds = Vec::new();
    for (index, kind) in written.iter().enumerate() {
        let group = kind.group.as_deref().unwrap_or(GATEWAY_API_GROUP);
        if group == GATEWAY_API_GROUP && kind.kind == supported.kind {
            if kinds.is_empty() {
                kinds.push(supported.clone());
            }
        } else {
            let sentence = format!("routes of kind {group}/{} are not supported; headgate serves HTTPRoute", kind.kind);
            let field = format!("{field}.allowedRoutes.kinds[{index}]");
            problems.push(Problem::new(Reason::InvalidRouteKinds, field, sentence));
        }
    }
    kinds
}

impl Admission {
    /// Whether routes of a namespace may attach to a listener of a Gateway in `own`.
    pub(crate) fn admits(&self, namespace: &str, own: &str, view: &View<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Same => namespace == own,
            Self::None => false,
            Self::Selector(selector) => {
                let object = view.namespace(namespace);
                // Files need not have the Namespace; its name is known all the same.
                let mut labels = object.and_then(|object| object.metadata.labels.clone()).unwrap_or_default();
                labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
                matches(selector, &labels)
            }
        }
    }
}

fn mistake_in_selector(selector: &LabelSelector) -> Option<(String, String)> {
    let requirements = selector.match_expressions.as_deref().unwrap_or_default();
    requirements.iter().enumerate().find_map(|(index, requirement)| {
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        let (field, sentence) = match (requirement.operator.as_str(), values) {
            ("In" | "NotIn", 1..) | ("Exists" | "DoesNotExist", 0) => return None,
            ("In" | "NotIn", 0) => ("values", format!("{} needs at least one value", requirement.operator)),
            ("Exists" | "DoesNotExist", _) => ("values", format!("{} takes no values", requirement.operator)),
            (other, _) => ("operator", format!("\"{other}\" is none of In, NotIn, Exists and DoesNotExist")),
        };
        Some((format!("matchExpressions[{index}].{field}"), sentence))
    })
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = |(name, value): (&String, &String)| labels.get(name) == Some(value);
    let meets = |requirement: &LabelSelectorRequirement| {
        let value = labels.get(&requirement.key);
        let listed = || requirement.values.iter().flatten().any(|listed| Some(listed) == value);
        match requirement.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    selector.match_labels.iter().flatten().all(equal) && selector.match_expressions.iter().flatten().all(meets)
}
