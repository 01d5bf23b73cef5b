//! Expressions of a policy: what is wrong with them, and what of them this release cannot know.

use std::collections::BTreeSet;

use headgate_snapshot::cel::{Condition, KeyExpression, Moment, Number, Text, Variable};

use crate::findings::Findings;

/// What is told about expressions.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What no proxy of this release knows, as a part of the field that asks for it.
    pub(crate) unenforced: Vec<String>,
}

impl Told {
    pub(crate) fn condition(&mut self, field: &str, text: &str, moment: Moment, findings: &mut Findings) {
        match Condition::new(text, moment) {
            Ok(condition) => self.note(field, condition.variables()),
            Err(error) => findings.refuse(field, error.to_string()),
        }
    }

    pub(crate) fn key(&mut self, field: &str, text: &str, findings: &mut Findings) {
        match KeyExpression::new(text) {
            Ok(expression) => self.note(field, expression.variables()),
            Err(error) => findings.refuse(field, error.to_string()),
        }
    }

    fn note(&mut self, field: &str, variables: &BTreeSet<Variable>) {
        let unknown = variables.iter().filter(|variable| !is_known(**variable));
        self.unenforced.extend(unknown.map(|variable| format!("{field}.{variable}")));
    }
}

/// Whether proxies of this release know a variable. Where a client is needs a database, and a version needs splits.
fn is_known(variable: Variable) -> bool {
    match variable {
        Variable::Text(Text::Country | Text::Continent | Text::Version) | Variable::Number(Number::Asn) => false,
        Variable::Text(Text::Method | Text::Scheme | Text::Host | Text::Path | Text::ClientIp)
        | Variable::Number(Number::Size | Number::Status)
        | Variable::Map(_) => true,
    }
}
