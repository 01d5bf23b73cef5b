//! The value of an expression.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::node::{Comparison, Comprehension, Node, Operator};
use super::variable::{Map, Number, Text, Variable, Variables};

/// Most that an evaluation may cost. A step costs 1, and each [`BYTES_PER_COST`] of text that it reads or makes another 1;
/// asking a map costs [`MAP_COST`]. The whole is spent in about a millisecond.
pub const MOST_COST: usize = 100_000;

const BYTES_PER_COST: usize = 16;
const MAP_COST: usize = 100;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'v> {
    Bool(bool),
    Int(i64),
    Text(Cow<'v, str>),
    List(Vec<Value<'v>>),
}

/// Why an expression has no value for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A map does not have the name that was asked for.
    NoSuchName(Map),
    /// A value is not known: where a client is, for instance.
    Unknown(Variable),
    /// A number is too large.
    Overflow,
    /// A division by zero.
    DividedByZero,
    /// A list or string is shorter than that.
    OutOfRange,
    /// A text is no int.
    NotAnInt,
    /// A text is no IP address.
    NotAnAddress,
    /// It would cost more than [`MOST_COST`].
    TooCostly,
    /// A step met a value of another type. The check excludes it.
    Mistyped,
}

/// One evaluation.
pub(super) struct Evaluation<'v> {
    variables: &'v dyn Variables,
    /// What a comprehension is at. There is one at most, since they are not nested.
    element: Option<Value<'v>>,
    left: usize,
}

impl<'v> Evaluation<'v> {
    pub(super) fn new(variables: &'v dyn Variables) -> Self {
        Self { variables, element: None, left: MOST_COST }
    }

    pub(super) fn value(&mut self, node: &'v Node) -> Result<Value<'v>, Failure> {
        self.spend(1)?;
        Ok(match node {
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(number) => Value::Int(*number),
            Node::Constant(text) => Value::Text(Cow::Borrowed(text)),
            Node::Text(variable) => Value::Text(self.known_text(*variable)?),
            Node::Number(variable) => Value::Int(self.known_number(*variable)?),
            Node::Entry(map, name) => {
                let name = self.text(name)?;
                let entry = self.entry(*map, &name)?;
                Value::Text(entry.ok_or(Failure::NoSuchName(*map))?)
            }
            Node::HasEntry(map, name) => {
                let name = self.text(name)?;
                Value::Bool(self.entry(*map, &name)?.is_some())
            }
            Node::Names(map) => Value::List(self.names(*map)?),
            Node::Element => {
                let element = self.element.clone().ok_or(Failure::Mistyped)?;
                self.spend_on(&element)?;
                element
            }
            Node::List(items) => Value::List(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Node::Not(side) => Value::Bool(!self.bool(side)?),
            Node::Negate(side) => Value::Int(self.int(side)?.checked_neg().ok_or(Failure::Overflow)?),
            Node::And(sides) => Value::Bool(self.decide(sides, false)?),
            Node::Or(sides) => Value::Bool(self.decide(sides, true)?),
            Node::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if self.bool(condition)? { then } else { otherwise };
                self.value(chosen)?
            }
            Node::Compare(comparison, sides) => {
                let [left, right] = self.both(sides)?;
                Value::Bool(comparison.holds(&left, &right)?)
            }
            Node::Arithmetic(operator, sides) => {
                let [left, right] = self.both(sides)?;
                operator.apply(&left, &right)?
            }
            Node::IsAmong(parts) => {
                let [item, list] = self.both(parts)?;
                let list = list.into_list()?;
                self.spend(list.len())?;
                Value::Bool(list.contains(&item))
            }
            Node::At(parts) => {
                let [list, index] = self.both(parts)?;
                let index = usize::try_from(index.as_int()?).map_err(|_| Failure::OutOfRange)?;
                list.into_list()?.into_iter().nth(index).ok_or(Failure::OutOfRange)?
            }
            Node::Size(of) => {
                let of = self.value(of)?;
                self.spend_on(&of)?;
                Value::Int(of.size()?)
            }
            Node::Call(function, arguments) => {
                let arguments: Vec<_> =
                    arguments.iter().map(|argument| self.value(argument)).collect::<Result<_, _>>()?;
                arguments.iter().try_for_each(|argument| self.spend_on(argument))?;
                let value = function.call(&arguments)?;
                self.spend_on(&value)?;
                value
            }
            Node::Matches(text, pattern) => {
                let text = self.text(text)?;
                Value::Bool(pattern.is_match(&text))
            }
            Node::IsWithin(address, network) => Value::Bool(is_within(&self.text(address)?, network)?),
            Node::Comprehension(comprehension, parts) => self.comprehend(*comprehension, parts)?,
        })
    }

    /// What `&&` (`decisive`: false) and `||` (true) give: a side that decides forgives the failure of the other one.
    fn decide(&mut self, sides: &'v [Node; 2], decisive: bool) -> Result<bool, Failure> {
        let [left, right] = sides;
        let left = self.bool(left);
        if left == Ok(decisive) {
            return left;
        }
        let right = self.bool(right);
        if right == Ok(decisive) { right } else { left.and(right) }
    }

    fn comprehend(&mut self, comprehension: Comprehension, parts: &'v [Node; 2]) -> Result<Value<'v>, Failure> {
        let [range, body] = parts;
        let range = self.value(range)?.into_list()?;
        match comprehension {
            Comprehension::Exists => self.any(range, body, true).map(Value::Bool),
            Comprehension::All => self.any(range, body, false).map(|found| Value::Bool(!found)),
            Comprehension::ExistsOne => Ok(Value::Bool(self.filter(range, body)?.len() == 1)),
            Comprehension::Filter => self.filter(range, body).map(Value::List),
            Comprehension::Map => {
                let each = |element| {
                    self.element = Some(element);
                    self.value(body)
                };
                range.into_iter().map(each).collect::<Result<_, _>>().map(Value::List)
            }
        }
    }

    /// Whether the body gives `wanted` for any element. One that does forgives the failures of others.
    fn any(&mut self, range: Vec<Value<'v>>, body: &'v Node, wanted: bool) -> Result<bool, Failure> {
        let mut found = Ok(false);
        for element in range {
            self.element = Some(element);
            match self.bool(body) {
                Ok(value) if value == wanted => return Ok(true),
                Ok(_) => {}
                Err(Failure::TooCostly) => return Err(Failure::TooCostly),
                Err(failure) => found = Err(failure),
            }
        }
        found
    }

    fn filter(&mut self, range: Vec<Value<'v>>, body: &'v Node) -> Result<Vec<Value<'v>>, Failure> {
        let mut kept = Vec::new();
        for element in range {
            self.element = Some(element.clone());
            if self.bool(body)? {
                kept.push(element);
            }
        }
        Ok(kept)
    }

    fn both(&mut self, sides: &'v [Node; 2]) -> Result<[Value<'v>; 2], Failure> {
        let [left, right] = sides;
        let (left, right) = (self.value(left)?, self.value(right)?);
        self.spend_on(&left)?;
        self.spend_on(&right)?;
        Ok([left, right])
    }

    fn bool(&mut self, node: &'v Node) -> Result<bool, Failure> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            Value::Int(_) | Value::Text(_) | Value::List(_) => Err(Failure::Mistyped),
        }
    }

    fn int(&mut self, node: &'v Node) -> Result<i64, Failure> {
        self.value(node)?.as_int()
    }

    fn text(&mut self, node: &'v Node) -> Result<Cow<'v, str>, Failure> {
        match self.value(node)? {
            Value::Text(text) => {
                self.spend(text.len() / BYTES_PER_COST)?;
                Ok(text)
            }
            Value::Bool(_) | Value::Int(_) | Value::List(_) => Err(Failure::Mistyped),
        }
    }

    fn known_text(&mut self, variable: Text) -> Result<Cow<'v, str>, Failure> {
        self.variables.text(variable).ok_or(Failure::Unknown(Variable::Text(variable)))
    }

    fn known_number(&mut self, variable: Number) -> Result<i64, Failure> {
        self.variables.number(variable).ok_or(Failure::Unknown(Variable::Number(variable)))
    }

    fn entry(&mut self, map: Map, name: &str) -> Result<Option<Cow<'v, str>>, Failure> {
        self.spend(MAP_COST)?;
        Ok(self.variables.entry(map, name))
    }

    fn names(&mut self, map: Map) -> Result<Vec<Value<'v>>, Failure> {
        self.spend(MAP_COST)?;
        Ok(self.variables.names(map).into_iter().map(Value::Text).collect())
    }

    fn spend(&mut self, cost: usize) -> Result<(), Failure> {
        self.left = self.left.checked_sub(cost).ok_or(Failure::TooCostly)?;
        Ok(())
    }

    /// Pays for reading or making a value.
    fn spend_on(&mut self, value: &Value<'_>) -> Result<(), Failure> {
        self.spend(match value {
            Value::Bool(_) | Value::Int(_) => 0,
            Value::Text(text) => text.len() / BYTES_PER_COST,
            Value::List(items) => items.len(),
        })
    }
}

impl<'v> Value<'v> {
    fn as_int(&self) -> Result<i64, Failure> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Bool(_) | Self::Text(_) | Self::List(_) => Err(Failure::Mistyped),
        }
    }

    fn into_list(self) -> Result<Vec<Value<'v>>, Failure> {
        match self {
            Self::List(items) => Ok(items),
            Self::Bool(_) | Self::Int(_) | Self::Text(_) => Err(Failure::Mistyped),
        }
    }

    /// Characters of a text, items of a list.
    fn size(&self) -> Result<i64, Failure> {
        let size = match self {
            Self::Text(text) => text.chars().count(),
            Self::List(items) => items.len(),
            Self::Bool(_) | Self::Int(_) => return Err(Failure::Mistyped),
        };
        i64::try_from(size).map_err(|_| Failure::Overflow)
    }
}

impl Comparison {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Failure> {
        let order = match (left, right) {
            (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
            (Value::Int(left), Value::Int(right)) => left.cmp(right),
            // By code point, which is the order of the bytes of UTF-8.
            (Value::Text(left), Value::Text(right)) => left.cmp(right),
            (Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::List(_), _) => return Err(Failure::Mistyped),
        };
        Ok(match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        })
    }
}

impl Operator {
    fn apply<'v>(self, left: &Value<'v>, right: &Value<'v>) -> Result<Value<'v>, Failure> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => self.calculate(*left, *right).map(Value::Int),
            (Value::Text(left), Value::Text(right)) if self == Self::Add => {
                Ok(Value::Text(Cow::Owned(format!("{left}{right}"))))
            }
            (Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::List(_), _) => Err(Failure::Mistyped),
        }
    }

    fn calculate(self, left: i64, right: i64) -> Result<i64, Failure> {
        let is_division = matches!(self, Self::Divide | Self::Remainder);
        if is_division && right == 0 {
            return Err(Failure::DividedByZero);
        }
        let value = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
        };
        value.ok_or(Failure::Overflow)
    }
}

fn is_within(address: &str, network: &IpNet) -> Result<bool, Failure> {
    let address: IpAddr = address.parse().map_err(|_| Failure::NotAnAddress)?;
    Ok(network.contains(&address.to_canonical()))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName(map) => write!(f, "{} does not have the name that was asked for", Variable::Map(*map)),
            Self::Unknown(variable) => write!(f, "{variable} is not known"),
            Self::Overflow => f.write_str("a number is too large"),
            Self::DividedByZero => f.write_str("a division by zero"),
            Self::OutOfRange => f.write_str("an index is beyond the end"),
            Self::NotAnInt => f.write_str("a string is no int"),
            Self::NotAnAddress => f.write_str("a string is no IP address"),
            Self::TooCostly => f.write_str("it costs too much for this request"),
            Self::Mistyped => f.write_str("a value is of another type than the check said"),
        }
    }
}

impl std::error::Error for Failure {}
