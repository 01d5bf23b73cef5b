//! What is found wrong with an object of ours while it is read.

use headgate_crds::Duration;
use headgate_crds::duration::Unit;

use crate::verdict::{Concern, Problem, Reason};

/// Problems in the order in which they are found, which is the order of the fields.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    /// A value that the field cannot have.
    pub(crate) fn refuse(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.problems.push(Problem::new(Reason::Invalid, field, sentence));
    }

    /// A value that the field may have once, and cannot have in this release.
    pub(crate) fn refuse_unsupported(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.problems.push(Problem::new(Reason::UnsupportedValue, field, sentence));
    }

    /// An address that must not be an origin.
    pub(crate) fn refuse_address(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.problems.push(Problem::new(Reason::AddressNotAllowed, field, sentence));
    }

    /// A reference that leads nowhere: the rest of the object is enforced.
    pub(crate) fn unresolved(&mut self, field: impl Into<String>, (reason, sentence): (Reason, String)) {
        self.problems.push(Problem::new(reason, field, sentence).with_concern(Concern::References));
    }

    /// A duration that must lie in a range, both ends included. The schema has the same ranges in its CEL rules.
    pub(crate) fn bound(&mut self, field: &str, duration: &Duration, [least, most]: [(u32, Unit); 2]) {
        let [least, most] = [least, most].map(|(count, unit)| Duration::of(count, unit));
        if duration.value() < least.value() || duration.value() > most.value() {
            self.refuse(field, format!("{duration} is out of range; write a duration from {least} to {most}"));
        }
    }

    /// True when one of the problems makes the object invalid.
    pub(crate) fn refuses(&self) -> bool {
        self.problems.iter().any(|problem| problem.concern == Concern::Acceptance)
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
