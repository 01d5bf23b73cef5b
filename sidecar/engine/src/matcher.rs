//! What a request must have beside its host and path.

use std::borrow::Cow;

use headgate_snapshot as wire;
use headgate_snapshot::Expression;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;

use crate::filter::header_name;
use crate::refusal::Mistake;

/// What decisions see of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// [`crate::Authority::host`].
    pub host: &'a str,
    /// The path as [`crate::normalise_path`] gives it.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The value that a header or parameter must have.
#[derive(Clone, Debug)]
enum Expected {
    Exact(String),
    Expression(Expression),
}

impl Expected {
    fn is_met_by(&self, value: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == value,
            Self::Expression(expression) => expression.matches(value),
        }
    }
}

/// Conditions on method, headers and query; all must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Method>,
    headers: Vec<(HeaderName, Expected)>,
    query: Vec<(String, Expected)>,
}

impl Conditions {
    pub(crate) fn compile(matching: &wire::Match, field: &str) -> Result<Self, Mistake> {
        let wire::Match { path: _, method, headers, query } = matching;
        let method = match method.as_str() {
            "" => None,
            word => Some(
                Method::from_bytes(word.as_bytes())
                    .map_err(|_| Mistake::invalid(format!("{field}.method"), format!("`{word}` is no method")))?,
            ),
        };
        let headers = headers
            .iter()
            .map(|header| {
                let field = format!("{field}.headers");
                Ok((header_name(&header.name, &field)?, expected(header, &field)?))
            })
            .collect::<Result<_, Mistake>>()?;
        let query = query
            .iter()
            .map(|parameter| Ok((parameter.name.clone(), expected(parameter, &format!("{field}.query"))?)))
            .collect::<Result<_, Mistake>>()?;
        Ok(Self { method, headers, query })
    }

    /// How much is asked: more comes first among equal paths.
    pub(crate) fn weight(&self) -> (bool, usize, usize) {
        (self.method.is_some(), self.headers.len(), self.query.len())
    }

    pub(crate) fn hold(&self, request: &Request<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, expected)| {
                // Of a header that comes several times, one value must match.
                request
                    .headers
                    .get_all(name)
                    .iter()
                    .any(|value| value.to_str().is_ok_and(|value| expected.is_met_by(value)))
            })
            && self.query.iter().all(|(name, expected)| {
                parameters(request.query.unwrap_or_default(), name)
                    .next()
                    .is_some_and(|value| expected.is_met_by(&value))
            })
    }
}

fn expected(wanted: &wire::ValueMatch, field: &str) -> Result<Expected, Mistake> {
    let wire::ValueMatch { name: _, value, regex } = wanted;
    if *regex { Ok(Expected::Expression(expression(value, field)?)) } else { Ok(Expected::Exact(value.clone())) }
}

/// An expression that must match the whole text.
pub(crate) fn expression(pattern: &str, field: &str) -> Result<Expression, Mistake> {
    Expression::new(pattern).map_err(|error| Mistake::invalid(field, format!("`{pattern}` {error}")))
}

/// The values of a parameter, decoded as forms are.
pub(crate) fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

/// The names of all parameters.
pub(crate) fn parameter_names(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| decoded(pair.split_once('=').map_or(pair, |(name, _)| name)))
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn value(name: &str, value: &str, regex: bool) -> wire::ValueMatch {
        wire::ValueMatch { name: name.to_owned(), value: value.to_owned(), regex }
    }

    fn check(matching: &wire::Match, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", HeaderValue::from_static("gold"));
        headers.append("x-tier", HeaderValue::from_static("silver"));
        let request = Request {
            method: &Method::GET,
            host: "a.example",
            path: "/",
            query: Some("a=1&b=x%20y&b=2&c=p+q&flag"),
            headers: &headers,
        };
        let conditions = Conditions::compile(matching, "matches[0]").unwrap();
        assert_eq!(conditions.hold(&request), expected, "{matching:?}");
    }

    #[test]
    fn all_conditions_must_hold() {
        let any = wire::Match::default;
        let headers = |found| wire::Match { headers: vec![found], ..any() };
        let query = |found| wire::Match { query: vec![found], ..any() };
        check(&any(), true);
        check(&wire::Match { method: "GET".to_owned(), ..any() }, true);
        check(&wire::Match { method: "POST".to_owned(), ..any() }, false);
        check(&headers(value("x-tier", "gold", false)), true);
        check(&headers(value("x-tier", "silver", false)), true);
        check(&headers(value("x-tier", "gol", false)), false);
        check(&headers(value("x-tier", "gol", true)), false);
        check(&headers(value("x-tier", "g.*|s.*", true)), true);
        check(&headers(value("x-other", "", false)), false);
        check(&query(value("a", "1", false)), true);
        check(&query(value("b", "x y", false)), true);
        check(&query(value("b", "2", false)), false);
        check(&query(value("c", "p q", false)), true);
        check(&query(value("flag", "", false)), true);
        check(&query(value("gone", "", false)), false);
        check(&wire::Match { method: "POST".to_owned(), ..headers(value("x-tier", "gold", false)) }, false);
    }
}
