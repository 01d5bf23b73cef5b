//! What people read on the terminal. Colour where there is a terminal, none elsewhere.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use crate::manifest::complaint::{Complaint, Severity};

/// Something is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something must be changed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something is worth knowing.
pub const NOTABLE: Style = AnsiColor::Yellow.on_default();
/// Something is there for those who look for it.
pub const QUIET: Style = AnsiColor::BrightBlack.on_default();

/// Tells one line on standard error.
pub fn tell(line: impl Display) {
    anstream::eprintln!("{line}");
}

/// Tells one line of a style on standard error.
pub fn tell_in(style: Style, line: impl Display) {
    anstream::eprintln!("{style}{line}{style:#}");
}

/// A complaint as one line, its kind in colour: `FILE:LINE kind/name: field: reason`.
pub fn complaint(complaint: &Complaint) -> String {
    let (style, word) = match complaint.severity {
        Severity::Mistake => (BAD, ""),
        Severity::Warning => (NOTABLE, "warning: "),
    };
    format!("{QUIET}{}{QUIET:#} {word}{style}{}{style:#}", complaint.location(), complaint.sentence())
}
