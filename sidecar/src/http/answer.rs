//! The one place that turns reasons into bytes.
//!
//! Programs get an RFC 9457 problem document, browsers a small page, gRPC clients a trailers-only answer. All carry
//! `Headgate-Reason`. Bodies do not depend on the request, so they are written once; an attack that is answered with
//! errors costs little more than its headers.

use std::sync::LazyLock;

use bytes::Bytes;
use headgate_engine::{Fields, LimitAnswer, Limited, RATE_LIMIT, RATE_LIMIT_POLICY, Reason, Screening};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde::Serialize;

/// Why the proxy answered.
pub(crate) const HEADGATE_REASON: HeaderName = HeaderName::from_static("headgate-reason");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What a client can read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// `application/problem+json`.
    Problem,
    /// A page.
    Html,
    /// Trailers-only.
    Grpc,
}

impl Format {
    /// What the client of a request can read. Those who say nothing, or take anything, get the problem document.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if content_type.starts_with(b"application/grpc") {
            return Self::Grpc;
        }
        let ranges = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).flat_map(|accept| {
            accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        });
        for range in ranges {
            match range.as_str() {
                "application/problem+json" | "application/json" | "*/*" => return Self::Problem,
                "text/html" => return Self::Html,
                _ => {}
            }
        }
        Self::Problem
    }
}

#[derive(Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    reason: &'static str,
}

/// The bodies of one reason.
struct Bodies {
    problem: Bytes,
    html: Bytes,
}

static BODIES: LazyLock<Vec<Bodies>> =
    LazyLock::new(|| Reason::ALL.iter().map(|reason| Bodies::of(*reason, reason.status())).collect());

impl Bodies {
    fn of(reason: Reason, status: u16) -> Self {
        Self { problem: problem(reason, status), html: html(reason, status) }
    }
}

fn problem(reason: Reason, status: u16) -> Bytes {
    let problem = Problem {
        r#type: format!("https://headgate.dev/reasons/{reason}"),
        title: reason.title(),
        status,
        detail: reason.detail(),
        reason: reason.word(),
    };
    let mut text = serde_json::to_vec(&problem).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

/// Titles and details are ours and hold nothing that HTML would need escaped but apostrophes, which it does not.
fn html(reason: Reason, status: u16) -> Bytes {
    let (title, detail) = (reason.title(), reason.detail());
    Bytes::from(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{status} {title}</title>\n\
         <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em}}</style>\n\
         <h1>{title}</h1>\n<p>{detail}</p>\n<p><small>{status} {reason}</small></p>\n</html>\n"
    ))
}

/// The body of a reason in a format.
fn body(reason: Reason, status: u16, format: Format) -> Bytes {
    let of = |Bodies { problem, html }: &Bodies| match format {
        Format::Problem => problem.clone(),
        Format::Html => html.clone(),
        Format::Grpc => Bytes::new(),
    };
    if status != reason.status() {
        return of(&Bodies::of(reason, status));
    }
    let index = Reason::ALL.iter().position(|known| *known == reason).unwrap_or_default();
    of(&BODIES[index])
}

/// The status of gRPC for a reason, as the gRPC documentation maps those of HTTP where they exist.
const fn grpc_status(reason: Reason) -> &'static str {
    const DEADLINE_EXCEEDED: &str = "4";
    const RESOURCE_EXHAUSTED: &str = "8";
    const UNIMPLEMENTED: &str = "12";
    const INTERNAL: &str = "13";
    const UNAVAILABLE: &str = "14";
    match reason {
        Reason::NoRoute => UNIMPLEMENTED,
        Reason::BadRequest | Reason::OriginProtocol | Reason::RefNotResolved => INTERNAL,
        Reason::HeadersTooLarge | Reason::BodyTooLarge | Reason::RateLimited => RESOURCE_EXHAUSTED,
        Reason::RequestTimeout | Reason::OriginTimeout => DEADLINE_EXCEEDED,
        Reason::Misdirected
        | Reason::Queued
        | Reason::RoomRejected
        | Reason::StoreUnavailable
        | Reason::NoHealthyOrigin
        | Reason::Overloaded
        | Reason::Draining
        | Reason::ConnectFailed
        | Reason::OriginReset => UNAVAILABLE,
    }
}

/// The headers of an answer, and its body.
pub(crate) fn render(reason: Reason, format: Format) -> Result<(ResponseHeader, Bytes)> {
    render_as(reason, reason.status(), format)
}

/// The same with another status, which gRPC does not have.
fn render_as(reason: Reason, status: u16, format: Format) -> Result<(ResponseHeader, Bytes)> {
    let body = body(reason, status, format);
    let (status, content_type) = match format {
        Format::Problem => (status, "application/problem+json"),
        Format::Html => (status, "text/html; charset=utf-8"),
        Format::Grpc => (200, "application/grpc"),
    };
    let mut header = ResponseHeader::build(status, Some(8))?;
    header.insert_header(CONTENT_TYPE, content_type)?;
    header.insert_header(HEADGATE_REASON, reason.word())?;
    header.insert_header(CACHE_CONTROL, NO_STORE)?;
    if format == Format::Grpc {
        header.insert_header(GRPC_STATUS, grpc_status(reason))?;
        header.insert_header(GRPC_MESSAGE, reason.detail())?;
    } else {
        header.insert_header(CONTENT_LENGTH, body.len())?;
    }
    Ok((header, body))
}

/// The answer of a limit: its own where it has one that the client can read.
fn render_limited(limited: &Limited, format: Format) -> Result<(ResponseHeader, Bytes)> {
    let reason = limited.reason();
    let (mut header, body) = match limited.answer() {
        Some(LimitAnswer { status, body: Some((content_type, text)) }) if format != Format::Grpc => {
            let mut header = ResponseHeader::build(*status, Some(8))?;
            header.insert_header(CONTENT_TYPE, content_type.clone())?;
            header.insert_header(HEADGATE_REASON, reason.word())?;
            header.insert_header(CACHE_CONTROL, NO_STORE)?;
            header.insert_header(CONTENT_LENGTH, text.len())?;
            (header, Bytes::copy_from_slice(text.as_bytes()))
        }
        Some(LimitAnswer { status, body: _ }) => render_as(reason, *status, format)?,
        None => render(reason, format)?,
    };
    header.insert_header(RETRY_AFTER, limited.retry_after())?;
    Ok((header, body))
}

/// Tells a client of its limits, beside what an origin may have told it of others.
fn tell_limits(header: &mut ResponseHeader, fields: Option<Fields>) -> Result<()> {
    let Some(Fields { policy, limit }) = fields else { return Ok(()) };
    header.append_header(RATE_LIMIT_POLICY, policy)?;
    header.append_header(RATE_LIMIT, limit)?;
    Ok(())
}

/// Tells a client of its limits and its session, whatever is answered.
pub(crate) fn tell(header: &mut ResponseHeader, screening: &Screening) -> Result<()> {
    if let Some(cookie) = screening.visit.as_ref().and_then(|visit| visit.cookie.as_ref()) {
        header.append_header(SET_COOKIE, cookie.as_str())?;
    }
    tell_limits(header, screening.fields(None))
}

/// Answers a request with a reason.
pub(crate) async fn refuse(session: &mut Session, reason: Reason, screening: &Screening) -> Result<()> {
    let (mut header, body) = render(reason, Format::of(&session.req_header().headers))?;
    tell(&mut header, screening)?;
    write(session, header, body).await
}

/// Answers a request that a limit refuses.
pub(crate) async fn refuse_limited(session: &mut Session, limited: &Limited, fields: Option<Fields>) -> Result<()> {
    let (mut header, body) = render_limited(limited, Format::of(&session.req_header().headers))?;
    tell_limits(&mut header, fields)?;
    write(session, header, body).await
}

/// Sends a client elsewhere.
pub(crate) async fn redirect(session: &mut Session, status: u16, location: &str, screening: &Screening) -> Result<()> {
    let mut header = ResponseHeader::build(StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND), Some(4))?;
    header.insert_header(LOCATION, location)?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    tell(&mut header, screening)?;
    write(session, header, Bytes::new()).await
}

/// Writes an answer of our own.
pub(crate) async fn write(session: &mut Session, header: ResponseHeader, body: Bytes) -> Result<()> {
    let without_body = body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), without_body).await?;
    if !without_body {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_format(headers: &[(&'static str, &'static str)], expected: Format) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(Format::of(&map), expected, "{headers:?}");
    }

    #[test]
    fn clients_get_what_they_can_read() {
        check_format(&[], Format::Problem);
        check_format(&[("accept", "*/*")], Format::Problem);
        check_format(&[("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")], Format::Html);
        check_format(&[("accept", "application/json, text/html;q=0.5")], Format::Problem);
        check_format(&[("accept", "image/png")], Format::Problem);
        check_format(&[("content-type", "application/grpc+proto"), ("accept", "text/html")], Format::Grpc);
    }

    #[test]
    fn a_problem_document_says_what_happened() {
        let (header, body) = render(Reason::NoHealthyOrigin, Format::Problem).unwrap();
        assert_eq!(header.status, 503);
        assert_eq!(header.headers[&HEADGATE_REASON], "NoHealthyOrigin");
        assert_eq!(header.headers[CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "https://headgate.dev/reasons/NoHealthyOrigin",
            "title": Reason::NoHealthyOrigin.title(),
            "status": 503,
            "detail": Reason::NoHealthyOrigin.detail(),
            "reason": "NoHealthyOrigin",
        });
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_grpc_client_gets_trailers_only() {
        let (header, body) = render(Reason::OriginTimeout, Format::Grpc).unwrap();
        assert_eq!((header.status.as_u16(), body.len()), (200, 0));
        assert_eq!(header.headers[&GRPC_STATUS], "4");
        assert_eq!(header.headers[&HEADGATE_REASON], "OriginTimeout");
    }
}
