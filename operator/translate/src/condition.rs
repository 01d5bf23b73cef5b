//! How problems become conditions.
//!
//! This is the only place that does it. Whoever writes status adds what it alone knows: `Programmed`, `Ready`,
//! generations and times.

use crate::verdict::{Concern, Force, Problem, Reason};

/// Type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object is valid and enforced.
    Accepted,
    /// Some rules of a route are not enforced.
    PartiallyInvalid,
    /// All references lead somewhere.
    ResolvedRefs,
    /// A listener conflicts with another one.
    Conflicted,
    /// The object is enforced with less than it asks for.
    Degraded,
    /// How much of the object this release enforces.
    Enforced,
}

impl ConditionType {
    /// The word in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::PartiallyInvalid => "PartiallyInvalid",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
            Self::Degraded => "Degraded",
            Self::Enforced => "Enforced",
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// `True`
    True,
    /// `False`
    False,
    /// `Partial`, of `Enforced` only. Schemas that are not ours know `True`, `False` and `Unknown` alone: there it
    /// is written as `False`.
    Partial,
}

impl ConditionStatus {
    /// The word in `status.conditions[].status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Partial => "Partial",
        }
    }
}

/// A condition, without generation and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub condition_type: ConditionType,
    /// Its status.
    pub status: ConditionStatus,
    /// The word for machines.
    pub reason: Reason,
    /// The sentence for people, may be empty.
    pub message: String,
}

/// The conditions that follow from problems, `Accepted` first.
pub(crate) fn conditions_of<'a>(problems: impl Iterator<Item = &'a Problem>, force: Force) -> Vec<Condition> {
    if force == Force::Foreign {
        return Vec::new();
    }
    let problems: Vec<&Problem> = problems.collect();
    let of = |concern: Concern| gather(problems.iter().copied().filter(|problem| problem.concern == concern));

    let refused = of(Concern::Acceptance).or_else(|| of(Concern::Conflict));
    let mut conditions = vec![refused.map_or_else(|| accepted(of(Concern::Remark)), |found| refused_for(found, force))];
    if let Some((reason, message)) = of(Concern::PartialInvalidity) {
        conditions.push(Condition {
            condition_type: ConditionType::PartiallyInvalid,
            status: ConditionStatus::True,
            reason,
            // The Gateway API prescribes how this message begins.
            message: format!("Dropped Rule(s): {message}"),
        });
    }
    let (status, reason, message) = of(Concern::References).map_or_else(
        || (ConditionStatus::True, Reason::ResolvedRefs, String::new()),
        |(reason, message)| (ConditionStatus::False, reason, message),
    );
    conditions.push(Condition { condition_type: ConditionType::ResolvedRefs, status, reason, message });
    if let Some((reason, message)) = of(Concern::Degradation) {
        conditions.push(Condition {
            condition_type: ConditionType::Degraded,
            status: ConditionStatus::True,
            reason,
            message,
        });
    }
    conditions
}

/// The condition that names the fields which are accepted and not enforced by this release, none without such fields.
pub(crate) fn not_yet_enforced(fields: &[String]) -> Option<Condition> {
    (!fields.is_empty()).then(|| Condition {
        condition_type: ConditionType::Enforced,
        status: ConditionStatus::Partial,
        reason: Reason::FieldNotYetEnforced,
        message: format!("{}: accepted, not yet enforced by this release", fields.join(", ")),
    })
}

fn accepted(remark: Option<(Reason, String)>) -> Condition {
    let (reason, message) = remark.unwrap_or((Reason::Accepted, String::new()));
    Condition { condition_type: ConditionType::Accepted, status: ConditionStatus::True, reason, message }
}

fn refused_for((reason, message): (Reason, String), force: Force) -> Condition {
    let message = match force {
        Force::LastAccepted => format!("{message}; the spec last accepted stays in force"),
        Force::Held | Force::Unknown => format!("{message}; proxies keep what they have of it"),
        Force::Current | Force::Nothing | Force::Foreign => message,
    };
    Condition { condition_type: ConditionType::Accepted, status: ConditionStatus::False, reason, message }
}

/// The reason of the first problem, and the sentences of all, each once.
pub(crate) fn gather<'a>(problems: impl Iterator<Item = &'a Problem>) -> Option<(Reason, String)> {
    let mut found: Option<(Reason, Vec<String>)> = None;
    for problem in problems {
        let (_, sentences) = found.get_or_insert_with(|| (problem.reason, Vec::new()));
        let sentence = problem.to_string();
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    found.map(|(reason, sentences)| (reason, sentences.join("; ")))
}
