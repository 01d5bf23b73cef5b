//! Regular expressions of matches: one syntax, one limit and one way to match at both ends of the wire.
//!
//! What the operator accepts every proxy can compile, because both compile it here.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A compiled expression may take this much memory; the largest that people write take a tenth of it.
const LIMIT_BYTES: usize = 1024 * 1024;

const BEGIN: &str = r"\A(?:";
const END: &str = r")\z";

/// An expression that must match a whole text.
#[derive(Clone, Debug)]
pub struct Expression(Regex);

/// Compiles a pattern as it is, to be found anywhere in a text.
pub(crate) fn compile(pattern: &str) -> Result<Regex, InvalidExpression> {
    Ok(RegexBuilder::new(pattern).size_limit(LIMIT_BYTES).build()?)
}

/// Why an expression cannot be used, as the end of a sentence that begins with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidExpression {
    /// It is not of the syntax; this is what is wrong.
    Syntax(String),
    /// Compiled it takes more memory than an expression may.
    TooLarge,
}

impl Expression {
    /// Compiles a pattern in RE2 syntax.
    pub fn new(pattern: &str) -> Result<Self, InvalidExpression> {
        // The pattern is compiled alone first, so that it cannot close our group.
        compile(pattern)?;
        Ok(Self(compile(&format!("{BEGIN}{pattern}{END}"))?))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        let wrapped = self.0.as_str();
        wrapped.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).unwrap_or(wrapped)
    }
}

impl From<regex::Error> for InvalidExpression {
    fn from(error: regex::Error) -> Self {
        if let regex::Error::CompiledTooBig(_) = error {
            return Self::TooLarge;
        }
        // The library draws the position over several lines; the last one says what is wrong.
        let text = error.to_string();
        Self::Syntax(text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned())
    }
}

impl fmt::Display for InvalidExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(cause) => write!(f, "is no regular expression in RE2 syntax: {cause}"),
            Self::TooLarge => write!(
                f,
                "is too large: compiled it takes more than {} KiB; write smaller repetitions, or several matches",
                LIMIT_BYTES / 1024
            ),
        }
    }
}

impl std::error::Error for InvalidExpression {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let expression = Expression::new(pattern).unwrap();
        assert_eq!(expression.pattern(), pattern);
        for text in matching {
            assert!(expression.matches(text), "{pattern} {text}");
        }
        for text in other {
            assert!(!expression.matches(text), "{pattern} {text}");
        }
    }

    fn check_refused(pattern: &str, expected: &str) {
        assert_eq!(Expression::new(pattern).unwrap_err().to_string(), expected, "{pattern}");
    }

    #[test]
    fn an_expression_matches_the_whole_text() {
        check("a|b", &["a", "b"], &["ab", "xa", "a\n"]);
        check("/v[0-9]+/.*", &["/v1/", "/v12/x"], &["/v/", "/api/v1/"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn an_expression_cannot_leave_its_group() {
        check_refused("a)|(b", "is no regular expression in RE2 syntax: unopened group");
    }

    #[test]
    fn an_expression_beyond_the_limit_is_refused_with_the_limit() {
        check_refused(
            "(\\w{100}){100}",
            "is too large: compiled it takes more than 1024 KiB; write smaller repetitions, or several matches",
        );
    }
}
