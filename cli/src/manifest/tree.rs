//! YAML and JSON text as a tree whose every node knows its line and column.
//!
//! Events come from a YAML 1.2 parser; what a plain scalar means is decided in [`super::scalar`], because kubectl
//! reads YAML 1.1. Aliases are expanded where they stand. Three bounds keep hostile text cheap: the depth of a
//! document, the count of its nodes after expansion, and the one that YAML gives itself (an alias may only refer
//! back).

use std::collections::BTreeMap;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Number;

use super::scalar;

/// How deep sequences and mappings may nest.
const DEPTH: usize = 64;

/// How many nodes a document may have once its aliases are expanded.
const NODES: usize = 2_000_000;

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields in the order of the text.
    Mapping(Vec<Field>),
}

/// One field of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where the name begins.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

/// Text that is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Node {
    /// A field of a mapping.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.field(name).map(|field| &field.node)
    }

    /// A field of a mapping, with its name's place.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.value {
            Value::Mapping(fields) => fields.iter().find(|field| field.name == name),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Sequence(_) => None,
        }
    }

    /// The text of a text node.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The place of a field path such as `spec.origins[1].name`, or of its nearest part that exists. A key that
    /// holds dots is not found by its path; its mapping is.
    pub fn locate(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (step.strip_suffix(']').map(str::parse::<usize>), &node.value) {
                (Some(Ok(index)), Value::Sequence(items)) => items.get(index).map(|item| (item.place, item)),
                (_, Value::Mapping(_)) => node.field(step).map(|field| (field.place, &field.node)),
                _ => None,
            };
            let Some((at, child)) = next else { break };
            (place, node) = (at, child);
        }
        place
    }

    /// The node as JSON. Fields without a value are left out, as an API server prunes them.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(fields) => fields
                .iter()
                .filter(|field| field.node.value != Value::Null)
                .map(|field| (field.name.clone(), field.node.to_json()))
                .collect(),
        }
    }
}

/// All documents of a text. Empty ones are left out.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    // A file from another system may begin with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
            event => {
                let node = builder.node(event, span, 0)?;
                if node.value != Value::Null {
                    documents.push(node);
                }
                builder.anchors.clear();
                builder.nodes = 0;
            }
        }
    }
    Ok(documents)
}

struct Builder<'text> {
    parser: Parser<'text, StrInput<'text>>,
    /// Anchored nodes with the count of nodes in each.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'text> Builder<'text> {
    fn next(&mut self) -> Result<Option<(Event<'text>, Span)>, SyntaxError> {
        self.parser.next().transpose().map_err(|error| syntax_error(&error))
    }

    /// The event after which a collection ends or goes on.
    fn inside(&mut self, opened: Place) -> Result<(Event<'text>, Span), SyntaxError> {
        self.next()?.ok_or_else(|| SyntaxError {
            place: opened,
            message: "what begins here does not end; the file may be cut off".to_owned(),
        })
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        if self.nodes > NODES {
            let message = format!("the document has more than {NODES} values; split it into several files");
            return Err(SyntaxError { place, message });
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'text>, span: Span, depth: usize) -> Result<Node, SyntaxError> {
        let place = place_of(&span);
        if depth > DEPTH {
            let message = format!("values nest deeper than {DEPTH} levels; no Kubernetes object does");
            return Err(SyntaxError { place, message });
        }
        let before = self.nodes;
        self.count(1, place)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    let message = "this alias refers to nothing before it; write the value out".to_owned();
                    return Err(SyntaxError { place, message });
                };
                self.count(size, place)?;
                return Ok(Node { place, ..node });
            }
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar_value(&text, style, tag.as_deref(), place)?),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(place, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(place, depth)?),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err(SyntaxError { place, message: "expected a value here".to_owned() });
            }
        };
        let node = Node { place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn sequence(&mut self, opened: Place, depth: usize) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.inside(opened)? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, opened: Place, depth: usize) -> Result<Value, SyntaxError> {
        let mut fields: Vec<Field> = Vec::new();
        let mut lines = BTreeMap::new();
        let mut merged: Vec<Field> = Vec::new();
        loop {
            let (event, span) = self.inside(opened)?;
            if event == Event::MappingEnd {
                break;
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let name = self.node(event, span, depth + 1)?;
            let (event, span) = self.inside(opened)?;
            let node = self.node(event, span, depth + 1)?;
            if merge {
                merged.extend(merged_fields(node)?);
                continue;
            }
            let Some(text) = field_name(&name.value) else {
                let message = "a field's name must be text".to_owned();
                return Err(SyntaxError { place: name.place, message });
            };
            if let Some(first) = lines.insert(text.clone(), name.place.line) {
                let message = format!("the field `{text}` is here a second time, first on line {first}; remove one");
                return Err(SyntaxError { place: name.place, message });
            }
            fields.push(Field { name: text, place: name.place, node });
        }
        for field in merged {
            if !lines.contains_key(&field.name) {
                lines.insert(field.name.clone(), field.place.line);
                fields.push(field);
            }
        }
        Ok(Value::Mapping(fields))
    }
}

/// What `<<` brings in: the fields of a mapping, or of several, the first of a name winning.
fn merged_fields(node: Node) -> Result<Vec<Field>, SyntaxError> {
    match node.value {
        Value::Mapping(fields) => Ok(fields),
        Value::Sequence(items) => {
            items.into_iter().map(merged_fields).collect::<Result<Vec<_>, _>>().map(|fields| fields.concat())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            Err(SyntaxError { place: node.place, message: "`<<` needs an alias of a mapping".to_owned() })
        }
    }
}

/// How kubectl writes a key that is not text when it turns YAML into JSON.
fn field_name(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Value, SyntaxError> {
    let plain = match style {
        ScalarStyle::Plain => scalar::resolve(text),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded => {
            Value::Text(text.to_owned())
        }
    };
    let Some(tag) = tag else { return Ok(plain) };
    if tag.handle == "!" || tag.suffix == "str" {
        return Ok(Value::Text(text.to_owned()));
    }
    let resolved = scalar::resolve(text);
    let fits = match (tag.suffix.as_str(), &resolved) {
        ("null", Value::Null) | ("bool", Value::Bool(_)) | ("float", Value::Number(_)) => true,
        ("int", Value::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    if fits {
        return Ok(resolved);
    }
    let message = format!("`{text}` is not of the type that the tag !!{} says; remove the tag", tag.suffix);
    Err(SyntaxError { place, message })
}

fn place_of(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    let marker = error.marker();
    let hint = match error.info() {
        info if info.contains("tab") => "; indent with spaces",
        info if info.contains("simple key") || info.contains("mapping values") => {
            "; check the indentation and that a space follows each colon"
        }
        _ => "",
    };
    SyntaxError {
        place: Place { line: marker.line(), column: marker.col() + 1 },
        message: format!("not valid YAML: {}{hint}", error.info()),
    }
}
