//! From the located tree to a typed object: a serde deserializer that knows where it is.
//!
//! The first value of a wrong type ends the reading with one mistake. Fields that the type does not have are all
//! collected, with the nearest name that it has: kubectl refuses them too, and a misspelt field that is silently
//! ignored is a protection that is silently missing.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Field, Node, Place, Value};

/// How alike two names must be (0 to 1) for one to be suggested in place of the other.
const ALIKE: f64 = 0.75;

/// Something in a manifest that its author must change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where, from the beginning of the document.
    pub place: Place,
    /// The field, `spec.origins[1].weight` for instance; empty: the object as a whole.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place: _, field, message } = self;
        if field.is_empty() { f.write_str(message) } else { write!(f, "{field}: {message}") }
    }
}

/// Reads a node with `read` and returns what came of it, and the fields that the type does not have.
pub fn decode<T>(
    node: &Node,
    read: impl FnOnce(Decoder<'_, '_>) -> Result<T, Refused>,
) -> (Result<T, Mistake>, Vec<Mistake>) {
    let unknown = RefCell::new(Vec::new());
    let decoder = Decoder { node, place: node.place, path: &Path::Root, siblings: &[], unknown: &unknown };
    let result = read(decoder).map_err(|Refused { at, message }| {
        let (place, field) = at.unwrap_or_default();
        Mistake { place, field, message }
    });
    (result, unknown.into_inner())
}

/// The nearest of `names` to what was written, as a question to append to a sentence.
pub fn suggestion<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Why a value was refused, and where once that is known.
#[derive(Debug)]
pub struct Refused {
    at: Option<(Place, String)>,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: None, message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expectation(&expected.to_string());
        let remedy = match (&found, expected.as_str()) {
            (Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_), "text") => {
                "; put the value in quotes"
            }
            (Unexpected::Str(_), "a number") => "; write it without quotes and units",
            (Unexpected::Str("true" | "false"), "true or false") => "; write it without quotes",
            (_, "a list") => "; begin each item with a dash, or put the items in [ ]",
            (_, "fields") => "; write fields below it, each as `name: value`",
            _ => "",
        };
        Self::custom(format!("expected {expected}, found {}{remedy}", description(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {}, found {}", expectation(&expected.to_string()), description(&found)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the field `{field}` is missing; add it"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let near = suggestion(variant, expected.iter().copied());
        Self::custom(format!("`{variant}` is not one of {}{near}", expected.join(", ")))
    }
}

/// What serde and the Kubernetes types say that they expect, in words of a manifest.
fn expectation(expected: &str) -> String {
    match expected {
        "a string" | "a borrowed string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "fields".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") => "fields".to_owned(),
        other => other.to_owned(),
    }
}

fn description(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text \"{text}\""),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "fields".to_owned(),
        other => other.to_string(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A deserializer of one node.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'t, 'p> {
    node: &'t Node,
    /// Where the field's name is, or the value where it has none.
    place: Place,
    path: &'p Path<'p>,
    /// The fields that the type around this value has.
    siblings: &'static [&'static str],
    unknown: &'p RefCell<Vec<Mistake>>,
}

impl<'t> Decoder<'t, '_> {
    fn located(self, refused: Refused) -> Refused {
        let Refused { at, message } = refused;
        Refused { at: at.or_else(|| Some((self.place, self.path.to_string()))), message }
    }

    fn visit<V: Visitor<'t>>(self, visitor: V, siblings: &'static [&'static str]) -> Result<V::Value, Refused> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Sequence(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), parent: self }),
            Value::Mapping(_) => visitor.visit_map(self.fields(siblings)),
        };
        result.map_err(|refused| self.located(refused))
    }

    fn fields(self, siblings: &'static [&'static str]) -> Fields<'t, Self> {
        let fields = match &self.node.value {
            Value::Mapping(fields) => fields.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Sequence(_) => &[],
        };
        Fields { rest: fields.iter(), value: None, parent: self, siblings }
    }
}

impl<'t> Deserializer<'t> for Decoder<'t, '_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.visit(visitor, &[])
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match &self.node.value {
            // A derived visitor would take a list as the values of the fields in order.
            Value::Sequence(_) => Err(self.located(Refused::invalid_type(Unexpected::Seq, &"a map"))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Mapping(_) => {
                self.visit(visitor, fields)
            }
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Sequence(_) | Value::Mapping(_) => {
                visitor.visit_some(self)
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self).map_err(|refused| self.located(refused))
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Mapping(_) => visitor.visit_enum(MapAccessDeserializer::new(self.fields(&[]))),
            Value::Bool(value) => Err(Refused::invalid_type(Unexpected::Bool(*value), &"a string")),
            Value::Null | Value::Number(_) | Value::Sequence(_) => self.visit(visitor, &[]),
        };
        result.map_err(|refused| self.located(refused))
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Refused> {
        // What every object has, some types leave to whoever reads them.
        let envelope = matches!(self.path, Path::Field(Path::Root, "apiVersion" | "kind"));
        if let (Path::Field(_, name), false) = (self.path, envelope) {
            let message = format!("unknown field{}", suggestion(name, self.siblings.iter().copied()));
            self.unknown.borrow_mut().push(Mistake { place: self.place, field: self.path.to_string(), message });
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <W: Visitor<'t>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier
    }
}

struct Items<'t, P> {
    items: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
    parent: P,
}

impl<'t> SeqAccess<'t> for Items<'t, Decoder<'t, '_>> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path::Index(self.parent.path, index);
        let item = Decoder { node, place: node.place, path: &path, siblings: &[], unknown: self.parent.unknown };
        seed.deserialize(item).map_err(|refused| item.located(refused)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields<'t, P> {
    rest: std::slice::Iter<'t, Field>,
    value: Option<&'t Field>,
    parent: P,
    siblings: &'static [&'static str],
}

impl<'t> MapAccess<'t> for Fields<'t, Decoder<'t, '_>> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        // A field without a value counts as absent, as an API server prunes it.
        let Some(field) = self.rest.find(|field| field.node.value != Value::Null) else { return Ok(None) };
        self.value = Some(field);
        seed.deserialize(field.name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let Some(field) = self.value.take() else {
            return Err(Refused::custom("a value was asked for before its field's name"));
        };
        let Field { name, place, node } = field;
        let path = Path::Field(self.parent.path, name);
        let value = Decoder { node, place: *place, path: &path, siblings: self.siblings, unknown: self.parent.unknown };
        seed.deserialize(value).map_err(|refused| value.located(refused))
    }
}
