//! What a person is told about a manifest: where, which object, which field, what is wrong and what to do.

use std::fmt;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object is not enforced as it is written.
    Mistake,
    /// Worth knowing.
    Warning,
}

/// One sentence about one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The file or folder.
    pub file: PathBuf,
    /// The line, unless it is about the file as a whole.
    pub line: Option<usize>,
    /// The column, where the text itself is wrong.
    pub column: Option<usize>,
    /// `HTTPRoute/shop`, may be empty.
    pub label: String,
    /// `spec.rules[0].matches`, may be empty.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

impl Complaint {
    /// `FILE:LINE:COLUMN`, as far as it is known.
    pub fn location(&self) -> String {
        let numbers = [self.line, self.column].into_iter().flatten().map(|number| format!(":{number}"));
        self.file.display().to_string() + &numbers.collect::<String>()
    }

    /// Everything after the location.
    pub fn sentence(&self) -> String {
        let Self { file: _, line: _, column: _, label, field, message, severity: _ } = self;
        let parts = [label.as_str(), field.as_str(), message.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// `FILE:LINE kind/name: field: reason`
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.location(), self.sentence())
    }
}
