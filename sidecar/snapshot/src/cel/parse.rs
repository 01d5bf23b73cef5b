//! The text of an expression becomes a syntax tree, or a sentence that says where it goes wrong.

use std::panic::catch_unwind;

use cel::Env;
use cel::ParseErrors;
use cel::common::ast::{IdedExpr, SourceInfo};

use super::{InvalidCel, MOST_CHARACTERS, MOST_DEPTH, Position};

/// A syntax tree with the places of its parts.
pub(super) struct Tree {
    pub(super) root: IdedExpr,
    source: String,
    places: SourceInfo,
}

impl Tree {
    /// Where a part of the tree begins in the text.
    pub(super) fn position(&self, part: u64) -> Option<Position> {
        let (start, _) = self.places.offset_for(part)?;
        let before = self.source.get(..usize::try_from(start).ok()?)?;
        let line = before.split('\n').count();
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        Some(Position { line, column })
    }
}

/// Reads an expression. Macros stay the calls that they are written as.
pub(super) fn parse(text: &str) -> Result<Tree, InvalidCel> {
    let of_the_whole = |sentence: String| InvalidCel { position: None, sentence };
    let length = text.chars().count();
    if length > MOST_CHARACTERS {
        let sentence = format!("the expression has {length} characters, and may have {MOST_CHARACTERS}");
        return Err(of_the_whole(sentence));
    }
    if text.trim().is_empty() {
        return Err(of_the_whole("the expression is empty".to_owned()));
    }
    // No text is known that makes the parser panic. Should there be one, it is a mistake of the expression like others.
    let parsed = catch_unwind(|| Env::default().parser().max_recursion_depth(MOST_DEPTH).parse_with_source_info(text));
    match parsed {
        Ok(Ok((root, places))) => Ok(Tree { root, source: text.to_owned(), places }),
        Ok(Err(errors)) => Err(first(&errors)),
        Err(_) => Err(of_the_whole("the expression cannot be read".to_owned())),
    }
}

/// What the parser says first, without what it expected in its own words.
fn first(errors: &ParseErrors) -> InvalidCel {
    let Some(error) = errors.errors.first() else {
        return InvalidCel { position: None, sentence: "the expression cannot be read".to_owned() };
    };
    let said = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let sentence = if said.contains("Recursion limit") {
        format!("the expression is nested deeper than {MOST_DEPTH}")
    } else {
        in_plain_words(said.split(" expecting {").next().unwrap_or(said))
    };
    let (line, column) = error.pos;
    let position = match (usize::try_from(line), usize::try_from(column)) {
        (Ok(line @ 1..), Ok(column @ 1..)) => Some(Position { line, column }),
        _ => None,
    };
    InvalidCel { position, sentence }
}

/// The parser's words, without those of its trade.
fn in_plain_words(said: &str) -> String {
    if said == "mismatched input '<EOF>'" {
        return "the expression ends too early".to_owned();
    }
    let unexpected =
        ["mismatched input ", "extraneous input ", "no viable alternative at input ", "token recognition error at: "];
    match unexpected.into_iter().find_map(|words| said.strip_prefix(words)) {
        Some(input) => format!("{input} is not expected here"),
        None => said.replace("'<EOF>'", "the end"),
    }
}
