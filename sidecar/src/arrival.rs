//! What happens to a request when its headers have come, before anything is sent anywhere: it is brought into its
//! one form, routed and decided.

use std::sync::Arc;

use ::http::header::{CONTENT_LENGTH, HOST};
use ::http::uri::{Authority as UriAuthority, PathAndQuery};
use ::http::{HeaderMap, HeaderValue, Method, Uri};
use headgate_engine::{
    Arrival, Authority, Body, Chance, Client, Decision, Facts, Forwarding, Limited, Protocol, Reason, Replay, Request,
    StoreError, Waits, normalise_path,
};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr as _};

use crate::config::Frontends;
use crate::gate::Gate;
use crate::http::headers::{change_headers, fit, join_cookies};
use crate::passage::Passage;

/// What follows.
pub(crate) enum Arrived {
    /// An origin is asked.
    Onwards,
    /// The client is sent elsewhere.
    Redirected { status: u16, location: String },
    /// A limit refuses it.
    Limited(Box<Limited>),
    /// A room does not let it in now.
    Waits(Box<Waits>),
}

/// The name of a request: 32 hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; 32]);

impl RequestId {
    /// A new name.
    pub(crate) fn new(chance: &mut Chance) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 32];
        for half in digits.chunks_exact_mut(16) {
            let mut bits = chance.draw();
            for digit in half {
                *digit = DIGITS[usize::try_from(bits & 15).unwrap_or_default()];
                bits >>= 4;
            }
        }
        Self(digits)
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The host as the client wrote it, shared with the request that it came in.
enum Named {
    Header(HeaderValue),
    Authority(UriAuthority),
}

impl Named {
    fn of(request: &RequestHeader) -> Option<Self> {
        if let Some(authority) = request.uri.authority() {
            return Some(Self::Authority(authority.clone()));
        }
        request.headers.get(HOST).cloned().map(Self::Header)
    }

    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Header(value) => value.to_str().ok(),
            Self::Authority(authority) => Some(authority.as_str()),
        }
    }

    fn as_value(&self) -> Option<HeaderValue> {
        match self {
            Self::Header(value) => Some(value.clone()),
            Self::Authority(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        }
    }
}

/// Puts another path into a request and keeps its query. Whatever form the target had, it is origin-form after this.
pub(crate) fn set_path(request: &mut RequestHeader, path: &str) -> pingora::Result<()> {
    let target: PathAndQuery = match request.uri.query() {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse(),
    }
    .or_err(ErrorType::InvalidHTTPHeader, "a path that cannot be written")?;
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "a target that cannot be written")?);
    Ok(())
}

/// Brings the path into its one form.
fn normalise(request: &mut RequestHeader) -> Result<(), Reason> {
    if !request.raw_path_is_utf8() {
        return Err(Reason::BadRequest);
    }
    let path = normalise_path(request.uri.path()).map_err(|_| Reason::BadRequest)?;
    let is_origin_form = request.raw_path().starts_with(b"/");
    if path != request.uri.path() || !is_origin_form {
        let path = path.into_owned();
        set_path(request, &path).map_err(|_| Reason::BadRequest)?;
    }
    Ok(())
}

impl Gate {
    /// Decides what happens to a request, and selects the endpoint of its first attempt.
    pub(crate) async fn arrive(&self, session: &mut Session, passage: &mut Passage) -> Result<Arrived, Reason> {
        let connection = Arc::clone(Self::connection(session).ok_or(Reason::BadRequest)?);
        passage.client = Some(connection.peer.ip());
        passage.body = if session.as_mut().is_body_empty() { Body::Absent } else { Body::Present };
        if session.req_header().method == Method::CONNECT {
            // What follows is for the other end of a tunnel that there is not, and no request.
            session.set_keepalive(None);
            return Err(Reason::BadRequest);
        }
        let request = session.req_header_mut();
        if !fit(&request.headers, self.limits.header_bytes, self.limits.header_count) {
            return Err(Reason::HeadersTooLarge);
        }
        let named = Named::of(request).ok_or(Reason::BadRequest)?;
        let host = named.as_value().ok_or(Reason::BadRequest)?;
        let named = named.as_str().ok_or(Reason::BadRequest)?;
        let authority = Authority::parse(named).map_err(|_| Reason::BadRequest)?;
        normalise(request)?;
        join_cookies(request).map_err(|_| Reason::BadRequest)?;
        let client = Client::find(connection.peer.ip(), &request.headers, &self.trusted_proxies);
        passage.client = Some(client.address);
        let scheme = scheme(connection.frontend.protocol);
        let forwarding = Forwarding { client, scheme, host: &host, request_id: passage.request_id.as_str() };
        change_headers(request, |headers| forwarding.write(headers));

        let request = Request {
            method: &request.method,
            host: &authority.host,
            path: request.uri.path(),
            query: request.uri.query(),
            headers: &request.headers,
        };
        let current = self.current.load_full();
        let frontend = connection.frontend;
        if let Some(server_name) = connection.server_name.get()
            && current.plan.is_misdirected(frontend, server_name, request.host)
        {
            return Err(Reason::Misdirected);
        }
        let port = match &self.frontends {
            Frontends::ByPort { .. } => frontend.port,
            // The port that the plan has is not the one that the client reached.
            Frontends::Merged { .. } => authority.port.unwrap_or(frontend.port),
        };
        let size = announced_size(passage.body, request.headers);
        let facts = Facts { request, scheme, client: client.address, size, answer: None };
        let replay = Replay::of(request.method, passage.body);
        loop {
            // To route again after the store has answered costs less than to keep each match for it.
            let matched = current.plan.route(frontend, &request)?;
            let (limits, now) = (self.limiter.limits(), self.clock.epoch());
            let arrival = Arrival { facts, frontend, port, replay, limits, now };
            match matched.decide(&current.plan, &arrival, &mut passage.screening, &mut passage.chance)? {
                Decision::Redirect { status, location } => return Ok(Arrived::Redirected { status, location }),
                Decision::Limited(limited) => return Ok(Arrived::Limited(limited)),
                Decision::Waits(waits) => return Ok(Arrived::Waits(waits)),
                Decision::Ask => {
                    let answer = match passage.screening.question() {
                        Some(take) => self.limiter.ask(take).await,
                        None => Err(StoreError::Protocol("nothing was asked".to_owned())),
                    };
                    passage.screening.answer(answer);
                }
                Decision::Forward(mut exchange) => {
                    let selected = exchange.select(&mut passage.chance).map(|_| ());
                    passage.exchange = Some(exchange);
                    passage.pinned = Some(current);
                    selected?;
                    return Ok(Arrived::Onwards);
                }
            }
        }
    }

    /// Counts a request by its answer, where a limit does so.
    pub(crate) fn count_answer(&self, session: &Session, passage: &Passage, status: u16, headers: &HeaderMap) {
        if !passage.screening.waits_for_answer() {
            return;
        }
        let request = session.req_header();
        let Some(connection) = Self::connection(session) else { return };
        let Some(client) = passage.client else { return };
        let Some(named) = Named::of(request) else { return };
        let Some(authority) = named.as_str().and_then(|named| Authority::parse(named).ok()) else { return };
        let facts = Facts {
            request: Request {
                method: &request.method,
                host: &authority.host,
                path: request.uri.path(),
                query: request.uri.query(),
                headers: &request.headers,
            },
            scheme: scheme(connection.frontend.protocol),
            client,
            size: announced_size(passage.body, &request.headers),
            answer: Some((status, headers)),
        };
        passage.screening.count(&facts, self.limiter.limits(), self.clock.epoch());
    }
}

const fn scheme(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
    }
}

/// Bytes of the body as announced, absent where it comes in pieces of unknown number.
fn announced_size(body: Body, headers: &HeaderMap) -> Option<u64> {
    match body {
        Body::Absent => Some(0),
        Body::Present => headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_normalise(target: &str, expected: Option<&str>) {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        let normal = normalise(&mut request).ok().map(|()| String::from_utf8_lossy(request.raw_path()).into_owned());
        assert_eq!(normal.as_deref(), expected, "{target}");
    }

    #[test]
    fn the_target_gets_its_one_form_and_keeps_its_query() {
        check_normalise("/a/b", Some("/a/b"));
        check_normalise("/a/../b?x=%7E", Some("/b?x=%7E"));
        check_normalise("/%61%2f", Some("/a%2F"));
        check_normalise("http://a.example/x/./y?q", Some("/x/y?q"));
        check_normalise("/%zz", None);
        check_normalise("*", None);
    }

    #[test]
    fn request_ids_are_hexadecimal_and_differ() {
        let mut chance = Chance::new(7);
        let (one, other) = (RequestId::new(&mut chance), RequestId::new(&mut chance));
        assert!(one.as_str().len() == 32 && one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.as_str(), other.as_str());
    }
}
