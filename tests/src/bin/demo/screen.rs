//! What the demo prints: calm, and plain text where there is no terminal.

use std::time::Duration;

use anstream::println;
use anstyle::{AnsiColor, Style};
use headgate_tests::load::Tally;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
/// Cells of a bar that stands for all requests.
const BAR: u64 = 20;

/// The first line.
pub fn title(name: &str, what: &str) {
    println!("{BOLD}{name}{BOLD:#}: {what}\n");
}

/// Something that the demo starts from.
pub fn fact(name: &str, what: &str) {
    println!("{DIM}{name:<10}{DIM:#} {what}");
}

/// A chapter.
pub fn step(what: &str) {
    println!("\n{BOLD}{what}{BOLD:#}");
}

/// Something seen.
pub fn line(name: &str, what: &str) {
    println!("  {name:<31} {what}");
}

/// A sentence of headgate's.
pub fn sentence(text: &str) {
    println!("  {DIM}\"{text}\"{DIM:#}");
}

/// An edit of a file.
pub fn change(file: &str, old: &str, new: &str) {
    println!("  {DIM}{file}{DIM:#}");
    println!("  {OLD}- {old}{OLD:#}");
    println!("  {NEW}+ {new}{NEW:#}");
}

/// Who answered, with a bar each.
pub fn shares(name: &str, tally: &Tally) {
    let mut first = name;
    for (origin, count) in &tally.by_origin {
        let origin = if origin.is_empty() { "headgate itself" } else { origin };
        let cells = (count * BAR).div_ceil(tally.requests.max(1));
        let bar = "\u{2588}".repeat(usize::try_from(cells).unwrap_or_default());
        println!("  {first:<31} {origin:<16} {DIM}{bar:<20}{DIM:#} {count}");
        first = "";
    }
}

/// A time that people read.
pub fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis().max(1))
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
