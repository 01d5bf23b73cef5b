//! The answer to a visitor who waits.
//!
//! The page needs no script and no asset: the header `Refresh` brings it back. Programs that accept JSON alone get the
//! figures, if the room says so; gRPC clients and upgrades a status that they understand.

use bytes::Bytes;
use headgate_engine::{Queueing, Reason, Waits};
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFRESH,
    RETRY_AFTER, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method};
use pingora::Result;
use pingora::http::ResponseHeader;
use serde_json::json;

use super::languages::words;
use crate::http::answer::{Format, HEADGATE_REASON, render};

/// What the page may load: nothing but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The headers of an answer, and its body.
pub(crate) fn make_wait(waits: &Waits, method: &Method, headers: &HeaderMap) -> Result<(ResponseHeader, Bytes)> {
    let format = Format::of(headers);
    let (mut header, body) = if format == Format::Grpc || waits.status == 503 {
        render(waits.reason, format)?
    } else {
        let (content_type, body) = if wants_json(waits, headers) {
            ("application/json", json(waits))
        } else {
            ("text/html; charset=utf-8", page(waits, method, headers))
        };
        let mut header = ResponseHeader::build(waits.status, Some(12))?;
        header.insert_header(CONTENT_TYPE, content_type)?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        header.insert_header(HEADGATE_REASON, waits.reason.word())?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.insert_header(CONTENT_SECURITY_POLICY, POLICY)?;
        header.insert_header(X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        header.insert_header("x-robots-tag", "noindex")?;
        header.insert_header(VARY, "Accept, Accept-Language, Cookie")?;
        (header, Bytes::from(body))
    };
    if waits.refresh_seconds > 0 {
        header.insert_header(RETRY_AFTER, waits.refresh_seconds)?;
        header.insert_header(REFRESH, waits.refresh_seconds)?;
    }
    if let Some(cookie) = &waits.cookie {
        header.append_header(SET_COOKIE, cookie.as_str())?;
    }
    Ok((header, body))
}

/// Whether a client asks for JSON and for nothing that a browser would.
fn wants_json(waits: &Waits, headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    waits.room.speaks_json() && accepted.contains("application/json") && !accepted.contains("text/html")
}

fn minutes(waits: &Waits) -> Option<u64> {
    waits.wait_seconds.map(|seconds| seconds.div_ceil(60).max(1))
}

/// The figures, under the names that users of hosted rooms know.
fn json(waits: &Waits) -> String {
    let (method, minutes) = (waits.room.method(), minutes(waits));
    let formatted = minutes.map_or("unavailable".to_owned(), |minutes| format!("{minutes} min"));
    let document = json!({ "headgateWaitingRoom": {
        "inWaitingRoom": true,
        "waitTimeKnown": minutes.is_some(),
        "waitTime": minutes.unwrap_or(0),
        "waitTimeFormatted": formatted,
        "peopleAhead": waits.ahead,
        "queueIsFull": minutes.is_some_and(|minutes| minutes > 24 * 60),
        "queueAll": waits.room.queues_all(),
        "refreshIntervalSeconds": waits.refresh_seconds,
        "queueingMethod": match method {
            Queueing::Fifo => "fifo",
            Queueing::Random => "random",
            Queueing::Passthrough => "passthrough",
            Queueing::Reject => "reject",
        },
        "isFIFOQueue": method == Queueing::Fifo,
        "isRandomQueue": method == Queueing::Random,
        "isPassthroughQueue": method == Queueing::Passthrough,
        "isRejectQueue": method == Queueing::Reject,
    }});
    document.to_string()
}

/// Everything in the page is ours, and holds nothing that HTML would need escaped.
fn page(waits: &Waits, method: &Method, headers: &HeaderMap) -> String {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let words = words(waits.room.language().unwrap_or(accepted));
    let is_rejected = waits.reason == Reason::RoomRejected;
    let mut lines = Vec::new();
    if is_rejected {
        lines.push(words.full.to_owned());
    } else if waits.room.queues_all() {
        lines.push(words.closed.to_owned());
    } else {
        lines.extend(waits.ahead.map(|ahead| words.ahead.replace("{}", &ahead.to_string())));
        let wait = minutes(waits).map(|minutes| words.minutes.replace("{}", &minutes.to_string()));
        lines.push(wait.unwrap_or_else(|| words.unknown.to_owned()));
    }
    let figures: Vec<String> = lines.iter().map(|line| format!("<p class=\"figure\">{line}</p>\n")).collect();
    let figures = figures.concat();
    let keep_open = if is_rejected { String::new() } else { format!("<p>{}</p>\n", words.keep_open) };
    let is_read = *method == Method::GET || *method == Method::HEAD;
    let send_again = if is_read { String::new() } else { format!("<p>{}</p>\n", words.send_again) };
    let (language, title) = (words.language, if is_rejected { words.full } else { words.title });
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:1.1em/1.6 system-ui,sans-serif;max-width:34em;\
         margin:12vh auto;padding:0 1.2em;background:Canvas;color:CanvasText}}h1{{line-height:1.2}}\
         .figure{{font-size:1.25em;font-variant-numeric:tabular-nums}}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<div role=\"status\">\n{figures}</div>\n{keep_open}{send_again}</main>\n</body>\n</html>\n"
    )
}
