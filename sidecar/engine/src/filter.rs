//! What a rule changes in a request and its answer.

use std::borrow::Cow;

use headgate_snapshot as wire;
use headgate_snapshot::ProtectedHeader;
use http::{HeaderName, HeaderValue};

use crate::headers::Headers;
use crate::path::normalise_path;
use crate::refusal::Mistake;

/// One change of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HeaderChange {
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// Another path in place of the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathRewrite {
    /// The whole path.
    Full(String),
    /// What stands in place of the matched prefix, without a final slash.
    Prefix(String),
}

/// The filters of a rule or backend, in the order of their kinds: headers of the request, the URL, headers of the
/// answer. Among those of one kind, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    request: Vec<HeaderChange>,
    response: Vec<HeaderChange>,
    pub(crate) hostname: Option<String>,
    pub(crate) path: Option<PathRewrite>,
}

impl Filters {
    /// No change.
    pub(crate) const fn none() -> Self {
        Self { request: Vec::new(), response: Vec::new(), hostname: None, path: None }
    }

    pub(crate) fn compile(filters: &[wire::Filter], field: &str) -> Result<Self, Mistake> {
        let mut compiled = Self::default();
        for (index, wire::Filter { filter }) in filters.iter().enumerate() {
            let field = format!("{field}[{index}]");
            match filter {
                Some(wire::filter::Filter::RequestHeaders(modifier)) => {
                    header_changes(modifier, &field, &mut compiled.request)?;
                }
                Some(wire::filter::Filter::ResponseHeaders(modifier)) => {
                    header_changes(modifier, &field, &mut compiled.response)?;
                }
                Some(wire::filter::Filter::UrlRewrite(wire::UrlRewrite { hostname, path })) => {
                    if !hostname.is_empty() {
                        HeaderValue::from_str(hostname)
                            .map_err(|_| Mistake::invalid(format!("{field}.hostname"), "not a host name"))?;
                        compiled.hostname = Some(hostname.clone());
                    }
                    if let Some(path) = path {
                        compiled.path = PathRewrite::compile(path, &field)?;
                    }
                }
                None => return Err(Mistake::invalid(field, "a filter that this proxy does not know")),
            }
        }
        Ok(compiled)
    }

    /// Changes the headers that go to the origin.
    pub fn change_request(&self, headers: &mut impl Headers) {
        apply(&self.request, headers);
    }

    /// Changes the headers that go to the client.
    pub fn change_response(&self, headers: &mut impl Headers) {
        apply(&self.response, headers);
    }
}

fn apply(changes: &[HeaderChange], headers: &mut impl Headers) {
    for change in changes {
        match change {
            HeaderChange::Set(name, value) => headers.set(name, value.clone()),
            HeaderChange::Add(name, value) => headers.add(name, value.clone()),
            HeaderChange::Remove(name) => headers.remove(name),
        }
    }
}

fn header_changes(
    modifier: &wire::HeaderModifier,
    field: &str,
    changes: &mut Vec<HeaderChange>,
) -> Result<(), Mistake> {
    let wire::HeaderModifier { set, add, remove } = modifier;
    for header in set {
        let (name, value) = header_pair(header, field)?;
        changes.push(HeaderChange::Set(name, value));
    }
    for header in add {
        let (name, value) = header_pair(header, field)?;
        changes.push(HeaderChange::Add(name, value));
    }
    for name in remove {
        changes.push(HeaderChange::Remove(changed_header(name, field)?));
    }
    Ok(())
}

fn header_pair(header: &wire::Header, field: &str) -> Result<(HeaderName, HeaderValue), Mistake> {
    let wire::Header { name, value } = header;
    // Bytes, so that text beyond ASCII passes as it was written.
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| Mistake::invalid(field, format!("the value of header `{name}` has a forbidden character")))?;
    Ok((changed_header(name, field)?, value))
}

/// The name of a header that filters may change.
fn changed_header(name: &str, field: &str) -> Result<HeaderName, Mistake> {
    match ProtectedHeader::of(name) {
        Some(protected) => Err(Mistake::invalid(field, format!("`{name}` {protected}"))),
        None => header_name(name, field),
    }
}

pub(crate) fn header_name(name: &str, field: &str) -> Result<HeaderName, Mistake> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Mistake::invalid(field, format!("`{name}` is no header name")))
}

impl PathRewrite {
    /// Nothing where the wire says nothing.
    pub(crate) fn compile(path: &wire::PathRewrite, field: &str) -> Result<Option<Self>, Mistake> {
        let normal = |value: &str| {
            normalise_path(value)
                .map(Cow::into_owned)
                .map_err(|error| Mistake::invalid(format!("{field}.path"), error.to_string()))
        };
        Ok(match &path.rewrite {
            Some(wire::path_rewrite::Rewrite::Full(value)) => Some(Self::Full(normal(value)?)),
            Some(wire::path_rewrite::Rewrite::Prefix(value)) => {
                Some(Self::Prefix(normal(value)?.trim_end_matches('/').to_owned()))
            }
            None => None,
        })
    }

    /// The path that an origin or a redirect gets. `prefix_length` is the length of what the rule matched, without
    /// a final slash.
    pub(crate) fn apply(&self, path: &str, prefix_length: usize) -> Cow<'_, str> {
        match self {
            Self::Full(value) => Cow::Borrowed(value),
            Self::Prefix(replacement) => match (replacement.as_str(), path.get(prefix_length..).unwrap_or_default()) {
                ("", "") => Cow::Borrowed("/"),
                (_, "") => Cow::Borrowed(replacement),
                (_, rest) => Cow::Owned(format!("{replacement}{rest}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_prefix_is_replaced_as_the_gateway_api_says() {
        // Path, matched prefix, replacement, result: the table of the Gateway API.
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
        ] {
            let rewrite = wire::path_rewrite::Rewrite::Prefix(replacement.to_owned());
            let rewrite = PathRewrite::compile(&wire::PathRewrite { rewrite: Some(rewrite) }, "filters[0]");
            let rewrite = rewrite.unwrap().unwrap();
            assert_eq!(rewrite.apply(path, prefix.len()), expected, "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn headers_are_set_then_added_then_removed() {
        let header = |name: &str, value: &str| wire::Header { name: name.to_owned(), value: value.to_owned() };
        let modifier = wire::HeaderModifier {
            set: vec![header("x-set", "new"), header("x-gone", "brief")],
            add: vec![header("X-Add", "two")],
            remove: vec!["x-gone".to_owned()],
        };
        let filter = wire::Filter { filter: Some(wire::filter::Filter::RequestHeaders(modifier)) };
        let filters = Filters::compile(&[filter], "filters").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-set", HeaderValue::from_static("old"));
        headers.insert("x-add", HeaderValue::from_static("one"));
        filters.change_request(&mut headers);
        let mut found: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        found.sort_unstable();
        assert_eq!(found, [("x-add", b"one".as_slice()), ("x-add", b"two"), ("x-set", b"new")]);
    }

    fn check_refused(name: &str, expected: &str) {
        let header = || vec![wire::Header { name: name.to_owned(), value: String::new() }];
        let none = wire::HeaderModifier::default;
        for modifier in [
            wire::HeaderModifier { set: header(), ..none() },
            wire::HeaderModifier { add: header(), ..none() },
            wire::HeaderModifier { remove: vec![name.to_owned()], ..none() },
        ] {
            use wire::filter::Filter::{RequestHeaders, ResponseHeaders};
            for filter in [RequestHeaders(modifier.clone()), ResponseHeaders(modifier)] {
                let filter = wire::Filter { filter: Some(filter) };
                let mistake = Filters::compile(&[filter], "rules[0].filters").unwrap_err();
                assert_eq!(mistake.to_string(), format!("rules[0].filters[0]: `{name}` {expected}"));
            }
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_with_its_field() {
        check_refused("x y", "is no header name");
    }

    #[test]
    fn a_header_that_would_desynchronise_the_origin_is_refused_with_its_field() {
        let of_the_connection = "says how a message is sent, which headgate decides itself; leave it out";
        check_refused("Transfer-Encoding", of_the_connection);
        check_refused("content-length", of_the_connection);
        check_refused("connection", of_the_connection);
        check_refused("Host", "is not changed by filters of headers; use a filter URLRewrite with hostname");
        check_refused("headgate-reason", "begins with Headgate-, as headgate's own headers do; use another name");
    }

    #[test]
    fn a_headers_value_beyond_ascii_passes_as_it_was_written() {
        let header = wire::Header { name: "x-city".to_owned(), value: "Zürich".to_owned() };
        let modifier = wire::HeaderModifier { set: vec![header], ..wire::HeaderModifier::default() };
        let filter = wire::Filter { filter: Some(wire::filter::Filter::RequestHeaders(modifier)) };
        let mut headers = HeaderMap::new();
        Filters::compile(&[filter], "filters").unwrap().change_request(&mut headers);
        assert_eq!(headers.get("x-city").map(HeaderValue::as_bytes), Some("Zürich".as_bytes()));
    }
}
