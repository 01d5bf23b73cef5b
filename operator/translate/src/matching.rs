//! Matches of rules: path, method, headers and query parameters.

use std::collections::BTreeMap;

use headgate_crds::gateway_api::{HttpPathMatch, HttpRouteMatch, HttpValueMatch};
use headgate_snapshot as wire;
use headgate_snapshot::{Expression, PathMatchType};

use crate::filter::mistake_in_header_name;
use crate::verdict::{Problem, Reason};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Most expressions that are remembered. Then all are forgotten, which costs time and nothing else.
const EXPRESSIONS_KNOWN: usize = 20_000;

/// What is wrong with the regular expressions that were checked: many routes tend to share one, and all are lowered
/// again when their Gateway changes.
#[derive(Debug, Default)]
pub(crate) struct Expressions(BTreeMap<String, Option<String>>);

impl Expressions {
    /// What is wrong with an expression, as a sentence.
    fn mistake_in(&mut self, expression: &str) -> Option<String> {
        let Self(known) = self;
        if let Some(known) = known.get(expression) {
            return known.clone();
        }
        if known.len() >= EXPRESSIONS_KNOWN {
            known.clear();
        }
        let mistake = Expression::new(expression).err().map(|error| format!("\"{expression}\" {error}"));
        known.insert(expression.to_owned(), mistake.clone());
        mistake
    }
}

/// The match of a rule that has none: every request.
pub(crate) fn match_all() -> wire::Match {
    match_path(PathMatchType::Prefix, "/")
}

/// A match by path alone.
pub(crate) fn match_path(path_type: PathMatchType, value: &str) -> wire::Match {
    let path = Some(wire::PathMatch { r#type: path_type.into(), value: value.to_owned() });
    wire::Match { path, method: String::new(), headers: Vec::new(), query: Vec::new() }
}

/// Reads one match.
pub(crate) fn lower(
    written: &HttpRouteMatch,
    field: &str,
    expressions: &mut Expressions,
    problems: &mut Vec<Problem>,
) -> wire::Match {
    let HttpRouteMatch { path, headers, query_params, method } = written;
    if let Some(method) = method.as_deref()
        && !METHODS.contains(&method)
    {
        let sentence = format!("\"{method}\" is no method; write one of {}", METHODS.join(", "));
        problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.method"), sentence));
    }
    let path = lower_path(path.as_ref(), field, expressions, problems);
    for (index, header) in headers.iter().enumerate() {
        if let Some(sentence) = mistake_in_header_name(&header.name) {
            problems.push(Problem::new(Reason::Invalid, format!("{field}.headers[{index}].name"), sentence));
        }
    }
    for (index, parameter) in query_params.iter().enumerate() {
        if parameter.name.is_empty() {
            let field = format!("{field}.queryParams[{index}].name");
            problems.push(Problem::new(Reason::Invalid, field, "a query parameter needs a name"));
        }
    }
    let lower_case = |name: &str| name.to_ascii_lowercase();
    wire::Match {
        path: Some(path),
        method: method.clone().unwrap_or_default(),
        headers: lower_values(headers, (field, "headers"), lower_case, expressions, problems),
        query: lower_values(query_params, (field, "queryParams"), str::to_owned, expressions, problems),
    }
}

fn lower_path(
    path: Option<&HttpPathMatch>,
    field: &str,
    expressions: &mut Expressions,
    problems: &mut Vec<Problem>,
) -> wire::PathMatch {
    let written_type = path.and_then(|path| path.match_type.as_deref()).unwrap_or("PathPrefix");
    let value = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
    let (path_type, mistake) = match written_type {
        "Exact" => (PathMatchType::Exact, mistake_in_path(value)),
        "PathPrefix" => (PathMatchType::Prefix, mistake_in_path(value)),
        "RegularExpression" => (PathMatchType::Regex, expressions.mistake_in(value)),
        other => {
            let sentence = format!("\"{other}\" is none of Exact, PathPrefix and RegularExpression");
            problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.path.type"), sentence));
            (PathMatchType::Unspecified, None)
        }
    };
    if let Some(sentence) = mistake {
        problems.push(Problem::new(Reason::Invalid, format!("{field}.path.value"), sentence));
    }
    wire::PathMatch { r#type: path_type.into(), value: value.to_owned() }
}

/// What is wrong with a path to match, as a sentence. Such a path would never be met, because the paths of requests
/// are brought into their one form first.
pub(crate) fn mistake_in_path(path: &str) -> Option<String> {
    let complaint = if let Some(complaint) = unreadable(path) {
        complaint
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        "segments . and .. are resolved before a request is matched; remove them"
    } else if path.contains("//") {
        "two slashes follow each other; write one"
    } else {
        return None;
    };
    Some(format!("\"{path}\" cannot be matched: {complaint}"))
}

/// Why no request and no proxy can have a path, whatever it is for: what proxies refuse is refused here.
pub(crate) fn unreadable(path: &str) -> Option<&'static str> {
    let is_hexadecimal = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let broken_percent = |(index, byte): (usize, &u8)| {
        *byte == b'%' && !(is_hexadecimal(bytes.get(index + 1)) && is_hexadecimal(bytes.get(index + 2)))
    };
    if !path.starts_with('/') {
        Some("a path begins with /")
    } else if bytes.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'?' | b'#')) {
        Some("a path has no spaces, ? or #; encode them, and match the query with queryParams")
    } else if bytes.iter().enumerate().any(broken_percent) {
        Some("each % is followed by two hexadecimal digits")
    } else if path.contains("%00") {
        Some("%00 is the end of a text to many programs, so that no request may have it; remove it")
    } else {
        None
    }
}

/// Reads conditions on headers or query parameters. Of several for one name only the first counts, as the Gateway API
/// says.
fn lower_values(
    written: &[HttpValueMatch],
    (field, list): (&str, &str),
    canonical: impl Fn(&str) -> String,
    expressions: &mut Expressions,
    problems: &mut Vec<Problem>,
) -> Vec<wire::ValueMatch> {
    let mut lowered: Vec<wire::ValueMatch> = Vec::with_capacity(written.len());
    for (index, HttpValueMatch { match_type, name, value }) in written.iter().enumerate() {
        let regex = match match_type.as_deref() {
            None | Some("Exact") => false,
            Some("RegularExpression") => {
                if let Some(sentence) = expressions.mistake_in(value) {
                    problems.push(Problem::new(Reason::Invalid, format!("{field}.{list}[{index}].value"), sentence));
                }
                true
            }
            Some(other) => {
                let sentence = format!("\"{other}\" is neither Exact nor RegularExpression");
                problems.push(Problem::new(
                    Reason::UnsupportedValue,
                    format!("{field}.{list}[{index}].type"),
                    sentence,
                ));
                false
            }
        };
        let name = canonical(name);
        if !lowered.iter().any(|known| known.name == name) {
            lowered.push(wire::ValueMatch { name, value: value.clone(), regex });
        }
    }
    lowered
}
