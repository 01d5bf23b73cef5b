//! An expression whose types are known.

use std::fmt;

use ipnet::IpNet;
use regex::Regex;

use super::function::Function;
use super::variable::{Map, Number, Text};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Scalar(Scalar),
    List(Scalar),
    /// No value of its own: it can be asked for a name, counted, and gone through.
    Map(Map),
}

/// The type of a value that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int,
    Text,
}

/// One step of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Bool(bool),
    Int(i64),
    Constant(String),
    Text(Text),
    Number(Number),
    /// What a map has under a name.
    Entry(Map, Box<Node>),
    HasEntry(Map, Box<Node>),
    Names(Map),
    /// What a comprehension is at.
    Element,
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    /// Condition, then, else.
    If(Box<[Node; 3]>),
    Compare(Comparison, Box<[Node; 2]>),
    Arithmetic(Operator, Box<[Node; 2]>),
    /// An item, a list.
    IsAmong(Box<[Node; 2]>),
    /// A list, an index.
    At(Box<[Node; 2]>),
    Size(Box<Node>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Regex),
    IsWithin(Box<Node>, IpNet),
    /// A range, a body.
    Comprehension(Comprehension, Box<[Node; 2]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comprehension {
    Exists,
    All,
    ExistsOne,
    Filter,
    Map,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => f.write_str(scalar.article()),
            Self::List(Scalar::Bool) => f.write_str("a list of bools"),
            Self::List(Scalar::Int) => f.write_str("a list of ints"),
            Self::List(Scalar::Text) => f.write_str("a list of strings"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}

impl Scalar {
    const fn article(self) -> &'static str {
        match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Text => "a string",
        }
    }
}

impl From<Scalar> for Type {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}
