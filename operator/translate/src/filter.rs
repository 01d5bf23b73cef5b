//! Filters of rules and backends. What headgate cannot do is refused, never skipped.

use headgate_crds::gateway_api::{
    HttpHeader, HttpHeaderFilter, HttpPathModifier, HttpRequestRedirectFilter, HttpRouteFilter, HttpUrlRewriteFilter,
};
use headgate_snapshot as wire;
use headgate_snapshot::filter::Filter;
use headgate_snapshot::path_rewrite::Rewrite;
use headgate_snapshot::{PathMatchType, ProtectedHeader};

use crate::host::mistake_in_exact_host;
use crate::matching::unreadable;
use crate::verdict::{Problem, Reason};

const DEFAULT_REDIRECT_STATUS: i32 = 302;
const REDIRECT_STATUSES: [i32; 5] = [301, 302, 303, 307, 308];

/// Where filters are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// At a rule with these matches.
    Rule(&'a [wire::Match]),
    /// At a backend, where only headers can be changed.
    Backend,
}

/// Filters that can be enforced.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    pub(crate) filters: Vec<wire::Filter>,
    pub(crate) redirect: Option<wire::Redirect>,
}

/// Reads the filters of the rule or backend at `field`. One that cannot be enforced makes the list unusable.
pub(crate) fn lower(filters: &[HttpRouteFilter], field: &str, place: Place<'_>) -> Result<Filters, Vec<Problem>> {
    let mut lowered = Filters::default();
    let mut problems = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        let field = format!("{field}.filters[{index}]");
        if let Some(first) = filters[..index].iter().position(|other| other.filter_type == filter.filter_type) {
            let sentence = format!("{} occurs twice, first as filters[{first}]; join the two", filter.filter_type);
            problems.push(Problem::new(Reason::IncompatibleFilters, field, sentence));
            continue;
        }
        match lower_one(filter, &field, place, &mut problems) {
            Some(Lowered::Filter(filter)) => lowered.filters.push(wire::Filter { filter: Some(filter) }),
            Some(Lowered::Redirect(redirect)) => lowered.redirect = Some(redirect),
            None => {}
        }
    }
    let rewrites = lowered.filters.iter().any(|filter| matches!(filter.filter, Some(Filter::UrlRewrite(_))));
    if lowered.redirect.is_some() && rewrites {
        let sentence = "RequestRedirect and URLRewrite exclude each other; a redirected request is not sent on";
        problems.push(Problem::new(Reason::IncompatibleFilters, format!("{field}.filters"), sentence));
    }
    if problems.is_empty() { Ok(lowered) } else { Err(problems) }
}

enum Lowered {
    Filter(Filter),
    Redirect(wire::Redirect),
}

/// Nothing where a problem was told.
fn lower_one(filter: &HttpRouteFilter, field: &str, place: Place<'_>, problems: &mut Vec<Problem>) -> Option<Lowered> {
    let HttpRouteFilter {
        filter_type,
        request_header_modifier,
        response_header_modifier,
        request_redirect,
        url_rewrite,
        request_mirror: _,
        cors: _,
        external_auth: _,
        extension_ref: _,
    } = filter;
    let mut missing = |name: &str| {
        let sentence = format!("type is {filter_type}, so {name} is needed");
        problems.push(Problem::new(Reason::Invalid, format!("{field}.{name}"), sentence));
    };
    match (filter_type.as_str(), place) {
        ("RequestHeaderModifier", Place::Rule(_) | Place::Backend) => {
            let Some(headers) = request_header_modifier else {
                missing("requestHeaderModifier");
                return None;
            };
            let modifier = lower_headers(headers, &format!("{field}.requestHeaderModifier"), problems);
            Some(Lowered::Filter(Filter::RequestHeaders(modifier)))
        }
        ("ResponseHeaderModifier", Place::Rule(_) | Place::Backend) => {
            let Some(headers) = response_header_modifier else {
                missing("responseHeaderModifier");
                return None;
            };
            let modifier = lower_headers(headers, &format!("{field}.responseHeaderModifier"), problems);
            Some(Lowered::Filter(Filter::ResponseHeaders(modifier)))
        }
        ("RequestRedirect", Place::Rule(matches)) => {
            let Some(redirect) = request_redirect else {
                missing("requestRedirect");
                return None;
            };
            let redirect = lower_redirect(redirect, &format!("{field}.requestRedirect"), matches, problems);
            Some(Lowered::Redirect(redirect))
        }
        ("URLRewrite", Place::Rule(matches)) => {
            let Some(rewrite) = url_rewrite else {
                missing("urlRewrite");
                return None;
            };
            let rewrite = lower_rewrite(rewrite, &format!("{field}.urlRewrite"), matches, problems);
            Some(Lowered::Filter(Filter::UrlRewrite(rewrite)))
        }
        (other, place) => {
            let supported = match place {
                Place::Rule(_) => "RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect and URLRewrite",
                Place::Backend => "RequestHeaderModifier and ResponseHeaderModifier",
            };
            let sentence = format!(
                "filter \"{other}\" is not supported here; headgate supports {supported}, and answers 500 rather than \
                 leave a filter out"
            );
            problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.type"), sentence));
            None
        }
    }
}

fn lower_headers(headers: &HttpHeaderFilter, field: &str, problems: &mut Vec<Problem>) -> wire::HeaderModifier {
    let HttpHeaderFilter { set, add, remove } = headers;
    let mut lower_list = |headers: &[HttpHeader], list: &str| {
        let each = headers.iter().enumerate().map(|(index, HttpHeader { name, value })| {
            let field = format!("{field}.{list}[{index}]");
            if let Some(sentence) = mistake_in_changed_header(name) {
                problems.push(Problem::new(Reason::Invalid, format!("{field}.name"), sentence));
            }
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                let sentence = "a header's value has no line breaks or other control characters; remove them";
                problems.push(Problem::new(Reason::Invalid, format!("{field}.value"), sentence));
            }
            wire::Header { name: name.clone(), value: value.clone() }
        });
        each.collect::<Vec<_>>()
    };
    let (set, add) = (lower_list(set, "set"), lower_list(add, "add"));
    for (index, name) in remove.iter().enumerate() {
        if let Some(sentence) = mistake_in_changed_header(name) {
            problems.push(Problem::new(Reason::Invalid, format!("{field}.remove[{index}]"), sentence));
        }
    }
    wire::HeaderModifier { set, add, remove: remove.clone() }
}

/// What is wrong with the name of a header that a filter changes, as a sentence.
fn mistake_in_changed_header(name: &str) -> Option<String> {
    let protected = || ProtectedHeader::of(name).map(|protected| format!("\"{name}\" {protected}"));
    mistake_in_header_name(name).or_else(protected)
}

/// What is wrong with the name of a header, as a sentence.
pub(crate) fn mistake_in_header_name(name: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    (!is_name).then(|| format!("\"{name}\" is no name of a header; write letters, digits and dashes"))
}

fn lower_redirect(
    redirect: &HttpRequestRedirectFilter,
    field: &str,
    matches: &[wire::Match],
    problems: &mut Vec<Problem>,
) -> wire::Redirect {
    let HttpRequestRedirectFilter { scheme, hostname, path, port, status_code } = redirect;
    if let Some(scheme) = scheme.as_deref()
        && !matches!(scheme, "http" | "https")
    {
        let sentence = format!("\"{scheme}\" is neither http nor https");
        problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.scheme"), sentence));
    }
    check_host(hostname.as_deref(), field, problems);
    if let Some(port) = port
        && !(1..=65535).contains(port)
    {
        let sentence = format!("{port} is no port; write a number from 1 to 65535");
        problems.push(Problem::new(Reason::Invalid, format!("{field}.port"), sentence));
    }
    let status = status_code.unwrap_or(DEFAULT_REDIRECT_STATUS);
    if !REDIRECT_STATUSES.contains(&status) {
        let sentence = format!("{status} is no status of a redirect; write 301, 302, 303, 307 or 308");
        problems.push(Problem::new(Reason::UnsupportedValue, format!("{field}.statusCode"), sentence));
    }
    wire::Redirect {
        scheme: scheme.clone().unwrap_or_default(),
        hostname: hostname.clone().unwrap_or_default(),
        port: port.and_then(|port| u32::try_from(port).ok()).unwrap_or(0),
        path: lower_path(path.as_ref(), field, matches, problems),
        status: u32::try_from(status).unwrap_or(0),
    }
}

fn lower_rewrite(
    rewrite: &HttpUrlRewriteFilter,
    field: &str,
    matches: &[wire::Match],
    problems: &mut Vec<Problem>,
) -> wire::UrlRewrite {
    let HttpUrlRewriteFilter { hostname, path } = rewrite;
    check_host(hostname.as_deref(), field, problems);
    wire::UrlRewrite {
        hostname: hostname.clone().unwrap_or_default(),
        path: lower_path(path.as_ref(), field, matches, problems),
    }
}

fn check_host(hostname: Option<&str>, field: &str, problems: &mut Vec<Problem>) {
    if let Some(sentence) = hostname.and_then(mistake_in_exact_host) {
        problems.push(Problem::new(Reason::Invalid, format!("{field}.hostname"), sentence));
    }
}

fn lower_path(
    path: Option<&HttpPathModifier>,
    field: &str,
    matches: &[wire::Match],
    problems: &mut Vec<Problem>,
) -> Option<wire::PathRewrite> {
    let HttpPathModifier { modifier_type, replace_full_path, replace_prefix_match } = path?;
    let field = format!("{field}.path");
    let mut refuse = |reason: Reason, name: &str, sentence: String| {
        problems.push(Problem::new(reason, format!("{field}.{name}"), sentence));
        None
    };
    let (name, value, rewrite): (_, _, fn(String) -> Rewrite) = match modifier_type.as_str() {
        "ReplaceFullPath" => ("replaceFullPath", replace_full_path, Rewrite::Full),
        "ReplacePrefixMatch" => ("replacePrefixMatch", replace_prefix_match, Rewrite::Prefix),
        other => {
            let sentence = format!("\"{other}\" is neither ReplaceFullPath nor ReplacePrefixMatch");
            return refuse(Reason::UnsupportedValue, "type", sentence);
        }
    };
    let Some(value) = value else {
        return refuse(Reason::Invalid, name, format!("type is {modifier_type}, so {name} is needed"));
    };
    if name == "replacePrefixMatch" && !matches.iter().all(matches_prefix) {
        let sentence = "only a prefix can be replaced: every match of the rule must have a path of type PathPrefix";
        return refuse(Reason::IncompatibleFilters, name, sentence.to_owned());
    }
    if !value.is_empty()
        && let Some(complaint) = unreadable(value)
    {
        return refuse(Reason::Invalid, name, format!("\"{value}\" is no path: {complaint}"));
    }
    Some(wire::PathRewrite { rewrite: Some(rewrite(value.clone())) })
}

fn matches_prefix(matching: &wire::Match) -> bool {
    matching.path.as_ref().is_some_and(|path| path.r#type() == PathMatchType::Prefix)
}
