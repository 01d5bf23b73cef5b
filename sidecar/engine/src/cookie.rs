//! Cookies of a request.

use http::HeaderMap;
use http::header::COOKIE;

/// Names and values, without the quotation marks that a value may have. What has no equals sign is no cookie.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some((name, unquoted.unwrap_or(value)))
    })
}

/// The values of a cookie, in their order.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    pairs(headers).filter_map(move |(found, value)| (found == name.as_bytes()).then_some(value))
}

/// The names of all cookies.
pub(crate) fn cookie_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    pairs(headers).map(|(name, _)| name)
}
