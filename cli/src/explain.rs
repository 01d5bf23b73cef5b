//! Asks a plan what it does with a request.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use headgate_engine::{
    Arrival, Authority, Chance, EpochMillis, Explanation, Facts, FrontendId, Limits, Listening, Plan, Protocol, Replay,
    Request, Sharing, normalise_path,
};
use serde::{Deserialize, Serialize};

/// The client of a request that nobody sent.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A request to explain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `http://shop.example.com/chat?room=1`
    pub url: String,
    /// `GET` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `name: value`, one a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub headers: String,
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The URL is not one.
    #[error("`{0}` is not a URL; write it as http://shop.example.com/path")]
    Url(String),
    /// The scheme is not served.
    #[error("`{0}` is not a scheme that headgate serves; use http or https")]
    Scheme(String),
    /// The host is not one.
    #[error("`{0}` is not a host: {1}")]
    Host(String, headgate_engine::InvalidHost),
    /// The path is not one.
    #[error("`{0}` is not a path that headgate accepts: {1}")]
    Path(String, headgate_engine::InvalidPath),
    /// The method is not one.
    #[error("`{0}` is not a method")]
    Method(String),
    /// A header is not one.
    #[error("`{0}` is not a header; write it as `name: value`")]
    Header(String),
}

/// Answers a question from a plan. Chance decides where it decides in the proxy.
pub fn answer(
    plan: &Arc<Plan>,
    question: &Question,
    listening: Listening,
    chance: Chance,
) -> Result<Explanation, QuestionError> {
    let Question { url, method, headers } = question;
    let invalid = || QuestionError::Url(url.clone());
    let uri: http::Uri = url.parse().map_err(|_| invalid())?;
    let scheme = uri.scheme_str().ok_or_else(invalid)?;
    let (protocol, default_port) = match scheme {
        "http" => (Protocol::Http, 80),
        "https" => (Protocol::Https, 443),
        other => return Err(QuestionError::Scheme(other.to_owned())),
    };
    let authority = uri.authority().ok_or_else(invalid)?.as_str();
    let authority = Authority::parse(authority).map_err(|error| QuestionError::Host(authority.to_owned(), error))?;
    let path = normalise_path(uri.path()).map_err(|error| QuestionError::Path(uri.path().to_owned(), error))?;
    let method = method.as_deref().unwrap_or("GET");
    let method: http::Method = method.parse().map_err(|_| QuestionError::Method(method.to_owned()))?;
    let headers = header_map(headers)?;
    let request =
        Request { method: &method, host: &authority.host, path: &path, query: uri.query(), headers: &headers };
    let named = authority.port.unwrap_or(default_port);
    let port = match listening {
        Listening::ByPort => named,
        Listening::Merged => default_port,
    };
    let frontend = FrontendId { port, protocol };
    let arrival = Arrival {
        facts: Facts { request, scheme, client: NOBODY, size: Some(0), answer: None },
        frontend,
        port: named,
        replay: Replay::Never,
        // Nothing is counted.
        limits: &Limits::new(0, [0; 16], Sharing::Nothing),
        now: EpochMillis::default(),
    };
    Ok(plan.explain(frontend, &request, &arrival, chance))
}

fn header_map(lines: &str) -> Result<http::HeaderMap, QuestionError> {
    let mut headers = http::HeaderMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let invalid = || QuestionError::Header(line.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(invalid)?;
        let name = http::HeaderName::try_from(name.trim()).map_err(|_| invalid())?;
        let value = http::HeaderValue::try_from(value.trim()).map_err(|_| invalid())?;
        headers.append(name, value);
    }
    Ok(headers)
}
