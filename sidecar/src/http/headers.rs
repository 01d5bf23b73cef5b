//! Headers on their way through, beyond what the engine decides of them.

use headgate_engine::Headers;
use headgate_snapshot::OWN_HEADER_PREFIX;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// What an origin says to caches such as ours about an answer, which is nothing to the client either.
const CACHE_TAG: &str = "cache-tag";
const REQUEST_ID: &str = "x-request-id";
/// Headers that are written into each request.
const FORWARDING_HEADERS: usize = 4;

/// Joins the pieces that HTTP/2 may cut a cookie into: HTTP/1.1 origins and we ourselves want one line.
pub(crate) fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let mut pieces = request.headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return Ok(()) };
    let mut joined = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece.as_bytes());
    }
    request.insert_header(COOKIE, joined)
}

/// Puts the name of a request back into what goes to the origin. A client can have it removed by naming it in
/// `Connection`; the other headers of ours cannot be named there.
pub(crate) fn restore_request_id(sent: &mut RequestHeader, arrived: &RequestHeader) -> Result<()> {
    match arrived.headers.get(REQUEST_ID) {
        Some(id) if !sent.headers.contains_key(REQUEST_ID) => sent.insert_header(REQUEST_ID, id.clone()),
        Some(_) | None => Ok(()),
    }
}

/// Removes what an origin says to us and not to the client.
pub(crate) fn consume_commands(response: &mut ResponseHeader) {
    // Nearly no answer has any, and then nothing is allocated.
    let is_command = |name: &&HeaderName| name.as_str().starts_with(OWN_HEADER_PREFIX) || name.as_str() == CACHE_TAG;
    let found: Vec<HeaderName> = response.headers.keys().filter(is_command).cloned().collect();
    for name in found {
        response.remove_header(&name);
    }
}

/// Whether a request's headers are within the limits.
pub(crate) fn fit(headers: &HeaderMap, most_bytes: usize, most_headers: usize) -> bool {
    let bytes = || headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    headers.len() <= most_headers && bytes() <= most_bytes
}

/// Changes a request's headers and leaves their spelling behind.
///
/// Pingora keeps the client's spelling of each name in a second map, and copies both maps for each attempt: the few
/// headers that we write cost some forty allocations that way. A name means the same in any spelling. Well-known
/// names are sent as `User-Agent`, others in lower case, as they are in HTTP/2.
pub(crate) fn change_headers(request: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap)) {
    let (nothing, ()) = http::Request::new(()).into_parts();
    let mut parts = Parts::from(std::mem::replace(request, RequestHeader::from(nothing)));
    parts.headers.reserve(FORWARDING_HEADERS);
    change(&mut parts.headers);
    *request = RequestHeader::from(parts);
}

/// A request's headers, as the engine changes them.
pub(crate) struct RequestHeaders<'a>(pub(crate) &'a mut RequestHeader);

/// An answer's headers, as the engine changes them.
pub(crate) struct ResponseHeaders<'a>(pub(crate) &'a mut ResponseHeader);

// A name and a value that exist are valid, so that putting them in cannot fail.

impl Headers for RequestHeaders<'_> {
    fn map(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.0.insert_header(name, value);
    }

    fn add(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.0.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}

impl Headers for ResponseHeaders<'_> {
    fn map(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.0.insert_header(name, value);
    }

    fn add(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.0.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_cookie_are_joined() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.append_header("cookie", "a=1").unwrap();
        request.append_header("cookie", "b=2").unwrap();
        join_cookies(&mut request).unwrap();
        let cookies: Vec<_> = request.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn an_origins_commands_do_not_reach_the_client() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("Headgate-Cost", "3").unwrap();
        response.append_header("Cache-Tag", "news").unwrap();
        response.append_header("Content-Type", "text/plain").unwrap();
        consume_commands(&mut response);
        assert_eq!(response.headers.keys().collect::<Vec<_>>(), ["content-type"]);
    }
}
