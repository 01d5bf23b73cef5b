//! Expressions in CEL, the language of conditions everywhere in Kubernetes, checked and evaluated alike at both ends
//! of the wire.
//!
//! ```text
//! text --parse--> syntax tree --check--> nodes with known types --evaluate--> value
//!       (crate cel)            (here)                            (here, asks Variables for what it needs)
//! ```
//!
//! The grammar is that of the crate `cel`. Its interpreter is not used: it checks no types, bounds no cost, and wants
//! all values beforehand. What is accepted here is the part of CEL that decisions about a request need:
//!
//! - values: string, int, bool, lists of them, and the maps below, which can be asked for a name;
//! - `request.{method,scheme,host,path,size}`, `request.{query,headers,cookies}`, `client.{ip,country,continent,asn}`,
//!   `version`, and, where an answer exists, `response.status` and `response.headers`;
//! - `! && || ?: == != < <= > >= + - * / % in [] has()`, `exists all exists_one filter map` (never one inside another),
//!   `size int string`, `startsWith endsWith contains matches lowerAscii upperAscii trim split substring`, and
//!   `cidr('10.0.0.0/8').containsIP(client.ip)`.
//!
//! Header names are asked for in any case. A header, parameter or cookie that comes several times is one string: its
//! values in their order, joined by commas. Reading a name that is not there fails, as everywhere in CEL: write
//! `'x-tier' in request.headers && request.headers['x-tier'] == 'gold'`. `&&` and `||` forgive a failure of one side
//! where the other one decides.
//!
//! Bounds: [`MOST_CHARACTERS`] of text, [`MOST_DEPTH`] of nesting, [`MOST_COST`] an evaluation. A panic of the parser,
//! should there be a text that leads to one, is caught and refuses the expression. Evaluation has no way to panic: it
//! indexes nothing, unwraps nothing, and its arithmetic is checked; so nothing that was accepted once takes a proxy
//! down.

mod check;
mod evaluate;
mod function;
mod node;
mod parse;
#[cfg(test)]
mod tests;
mod variable;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

pub use evaluate::{Failure, MOST_COST};
pub use variable::{Map, Number, Text, Variable, Variables};

use evaluate::{Evaluation, Value};
use node::{Node, Scalar, Type};

/// Most characters of an expression.
pub const MOST_CHARACTERS: usize = 1_024;

/// Deepest nesting of an expression.
pub const MOST_DEPTH: u16 = 32;

/// When an expression is evaluated, which says what it may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the request is answered.
    Request,
    /// When the headers of the answer are there.
    Answer,
}

/// An expression whose value is a bool.
#[derive(Clone, Debug)]
pub struct Condition(Program);

/// An expression whose value is part of a key: a string, an int or a bool.
#[derive(Clone, Debug)]
pub struct KeyExpression(Program);

#[derive(Clone, Debug)]
struct Program {
    node: Node,
    asked: BTreeSet<Variable>,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCel {
    /// Where the mistake is. Nothing: the expression as a whole.
    pub position: Option<Position>,
    /// What is wrong.
    pub sentence: String,
}

/// A place in an expression, both counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Condition {
    /// Reads and checks an expression.
    pub fn new(text: &str, moment: Moment) -> Result<Self, InvalidCel> {
        let (program, of) = Program::new(text, moment)?;
        if of == Type::Scalar(Scalar::Bool) { Ok(Self(program)) } else { Err(is_no("a bool", of)) }
    }

    /// Whether it holds.
    pub fn holds(&self, variables: &dyn Variables) -> Result<bool, Failure> {
        match self.0.value(variables)? {
            Value::Bool(value) => Ok(value),
            Value::Int(_) | Value::Text(_) | Value::List(_) => Err(Failure::Mistyped),
        }
    }

    /// What it asks for.
    pub fn variables(&self) -> &BTreeSet<Variable> {
        &self.0.asked
    }
}

impl KeyExpression {
    /// Reads and checks an expression over a request.
    pub fn new(text: &str) -> Result<Self, InvalidCel> {
        let (program, of) = Program::new(text, Moment::Request)?;
        match of {
            Type::Scalar(_) => Ok(Self(program)),
            Type::List(_) | Type::Map(_) => Err(is_no("a string, an int or a bool", of)),
        }
    }

    /// The value as text.
    pub fn value<'v>(&'v self, variables: &'v dyn Variables) -> Result<Cow<'v, str>, Failure> {
        match self.0.value(variables)? {
            Value::Text(text) => Ok(text),
            Value::Int(number) => Ok(Cow::Owned(number.to_string())),
            Value::Bool(value) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
            Value::List(_) => Err(Failure::Mistyped),
        }
    }

    /// What it asks for.
    pub fn variables(&self) -> &BTreeSet<Variable> {
        &self.0.asked
    }
}

impl Program {
    fn new(text: &str, moment: Moment) -> Result<(Self, Type), InvalidCel> {
        let tree = parse::parse(text)?;
        let (node, of, asked) = check::check(&tree, moment)?;
        Ok((Self { node, asked }, of))
    }

    fn value<'v>(&'v self, variables: &'v dyn Variables) -> Result<Value<'v>, Failure> {
        Evaluation::new(variables).value(&self.node)
    }
}

fn is_no(wanted: &str, found: Type) -> InvalidCel {
    InvalidCel { position: None, sentence: format!("the expression gives {found}, and has to give {wanted}") }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { line: 1, column } => write!(f, "character {column}"),
            Self { line, column } => write!(f, "line {line}, character {column}"),
        }
    }
}

impl fmt::Display for InvalidCel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Some(position) => write!(f, "{position}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

impl std::error::Error for InvalidCel {}
