//! The functions whose arguments are plain values: what they take, and what they do.

use std::borrow::Cow;

use super::evaluate::{Failure, Value};
use super::node::{Scalar, Type};

/// A function. Of one that is called on a value, that value is the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    StartsWith,
    EndsWith,
    Contains,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    SubstringFrom,
    Substring,
    Int,
    String,
}

/// How a function is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `value.function()`.
    OnValue,
    /// `function(value)`.
    Alone,
}

/// How a function is called.
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) name: &'static str,
    pub(super) style: Style,
    pub(super) takes: &'static [Scalar],
    pub(super) gives: Type,
}

const fn on_text(function: Function, name: &'static str, takes: &'static [Scalar], gives: Type) -> Signature {
    Signature { function, name, style: Style::OnValue, takes, gives }
}

const BOOL: Type = Type::Scalar(Scalar::Bool);
const TEXT: Type = Type::Scalar(Scalar::Text);

/// Every way to call every function.
pub(super) const SIGNATURES: [Signature; 13] = {
    use Scalar::{Bool, Int, Text};
    [
        on_text(Function::StartsWith, "startsWith", &[Text, Text], BOOL),
        on_text(Function::EndsWith, "endsWith", &[Text, Text], BOOL),
        on_text(Function::Contains, "contains", &[Text, Text], BOOL),
        on_text(Function::LowerAscii, "lowerAscii", &[Text], TEXT),
        on_text(Function::UpperAscii, "upperAscii", &[Text], TEXT),
        on_text(Function::Trim, "trim", &[Text], TEXT),
        on_text(Function::Split, "split", &[Text, Text], Type::List(Text)),
        on_text(Function::SubstringFrom, "substring", &[Text, Int], TEXT),
        on_text(Function::Substring, "substring", &[Text, Int, Int], TEXT),
        Signature {
            function: Function::Int,
            name: "int",
            style: Style::Alone,
            takes: &[Text],
            gives: Type::Scalar(Int),
        },
        Signature { function: Function::String, name: "string", style: Style::Alone, takes: &[Int], gives: TEXT },
        Signature { function: Function::String, name: "string", style: Style::Alone, takes: &[Bool], gives: TEXT },
        Signature { function: Function::String, name: "string", style: Style::Alone, takes: &[Text], gives: TEXT },
    ]
};

impl Function {
    /// The value of a call.
    pub(super) fn call<'v>(self, arguments: &[Value<'v>]) -> Result<Value<'v>, Failure> {
        use Value::{Bool, Int, List, Text};
        Ok(match (self, arguments) {
            (Self::StartsWith, [Text(text), Text(part)]) => Bool(text.starts_with(&**part)),
            (Self::EndsWith, [Text(text), Text(part)]) => Bool(text.ends_with(&**part)),
            (Self::Contains, [Text(text), Text(part)]) => Bool(text.contains(&**part)),
            (Self::LowerAscii, [Text(text)]) => Text(Cow::Owned(text.to_ascii_lowercase())),
            (Self::UpperAscii, [Text(text)]) => Text(Cow::Owned(text.to_ascii_uppercase())),
            (Self::Trim, [Text(text)]) => Text(part(text, str::trim)),
            (Self::Split, [Text(text), Text(separator)]) => List(split(text, separator)),
            (Self::SubstringFrom, [Text(text), Int(from)]) => Text(substring(text, *from, None)?),
            (Self::Substring, [Text(text), Int(from), Int(to)]) => Text(substring(text, *from, Some(*to))?),
            (Self::Int, [Text(text)]) => Int(text.parse().map_err(|_| Failure::NotAnInt)?),
            (Self::String, [Text(text)]) => Text(text.clone()),
            (Self::String, [Int(number)]) => Text(Cow::Owned(number.to_string())),
            (Self::String, [Bool(value)]) => Text(Cow::Borrowed(if *value { "true" } else { "false" })),
            (
                Self::StartsWith
                | Self::EndsWith
                | Self::Contains
                | Self::LowerAscii
                | Self::UpperAscii
                | Self::Trim
                | Self::Split
                | Self::SubstringFrom
                | Self::Substring
                | Self::Int
                | Self::String,
                _,
            ) => return Err(Failure::Mistyped),
        })
    }
}

/// A part of a text, borrowed where the text is.
fn part<'v>(text: &Cow<'v, str>, of: impl Fn(&str) -> &str) -> Cow<'v, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(of(text)),
        Cow::Owned(text) => Cow::Owned(of(text).to_owned()),
    }
}

fn split<'v>(text: &Cow<'v, str>, separator: &str) -> Vec<Value<'v>> {
    match text {
        Cow::Borrowed(text) => pieces(text, separator).map(|piece| Value::Text(Cow::Borrowed(piece))).collect(),
        Cow::Owned(text) => pieces(text, separator).map(|piece| Value::Text(Cow::Owned(piece.to_owned()))).collect(),
    }
}

/// What is between the separators; an empty one gives the characters.
fn pieces<'t>(text: &'t str, separator: &str) -> impl Iterator<Item = &'t str> {
    let by_character = separator.is_empty();
    text.split(separator).filter(move |piece| !by_character || !piece.is_empty())
}

/// The characters from one index up to another one.
fn substring<'v>(text: &Cow<'v, str>, from: i64, to: Option<i64>) -> Result<Cow<'v, str>, Failure> {
    let byte = |index: i64| -> Result<usize, Failure> {
        let index = usize::try_from(index).map_err(|_| Failure::OutOfRange)?;
        let ends = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
        ends.into_iter().nth(index).ok_or(Failure::OutOfRange)
    };
    let (from, to) = (byte(from)?, to.map_or(Ok(text.len()), byte)?);
    if text.get(from..to).is_none() {
        return Err(Failure::OutOfRange);
    }
    Ok(part(text, |text| text.get(from..to).unwrap_or_default()))
}
