//! What expressions may ask of a request and its answer.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use headgate_snapshot::cel::{Map, Number, Text, Variables};
use http::HeaderMap;

use crate::cookie::{cookie_names, cookies};
use crate::matcher::{Request, parameter_names, parameters};

/// A request, and its answer where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The request.
    pub request: Request<'a>,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The announced length of the body in bytes; absent where none is announced.
    pub size: Option<u64>,
    /// Status and headers of the answer.
    pub answer: Option<(u16, &'a HeaderMap)>,
}

impl Variables for Facts<'_> {
    fn text(&self, variable: Text) -> Option<Cow<'_, str>> {
        match variable {
            Text::Method => Some(Cow::Borrowed(self.request.method.as_str())),
            Text::Scheme => Some(Cow::Borrowed(self.scheme)),
            Text::Host => Some(Cow::Borrowed(self.request.host)),
            Text::Path => Some(Cow::Borrowed(self.request.path)),
            Text::ClientIp => Some(Cow::Owned(self.client.to_canonical().to_string())),
            Text::Country | Text::Continent | Text::Version => None,
        }
    }

    fn number(&self, variable: Number) -> Option<i64> {
        match variable {
            Number::Size => self.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            Number::Status => self.answer.map(|(status, _)| status.into()),
            Number::Asn => None,
        }
    }

    fn entry(&self, map: Map, name: &str) -> Option<Cow<'_, str>> {
        match map {
            Map::Query => joined(parameters(self.request.query.unwrap_or_default(), name)),
            Map::Headers => header(self.request.headers, name),
            Map::Cookies => joined(cookies(self.request.headers, name).map(String::from_utf8_lossy)),
            Map::ResponseHeaders => header(self.answer?.1, name),
        }
    }

    fn names(&self, map: Map) -> Vec<Cow<'_, str>> {
        let names: BTreeSet<Cow<'_, str>> = match map {
            Map::Query => parameter_names(self.request.query.unwrap_or_default()).collect(),
            Map::Headers => header_names(self.request.headers).collect(),
            Map::Cookies => cookie_names(self.request.headers).map(String::from_utf8_lossy).collect(),
            Map::ResponseHeaders => self.answer.into_iter().flat_map(|(_, headers)| header_names(headers)).collect(),
        };
        names.into_iter().collect()
    }
}

fn header_names(headers: &HeaderMap) -> impl Iterator<Item = Cow<'_, str>> {
    headers.keys().map(|name| Cow::Borrowed(name.as_str()))
}

/// The values of a header. Names that no header can have are those of none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    joined(headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())))
}

/// Values in their order, with commas between them.
fn joined<'a>(mut values: impl Iterator<Item = Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let first = values.next()?;
    Some(values.fold(first, |joined, value| Cow::Owned(format!("{joined},{value}"))))
}

#[cfg(test)]
mod tests {
    use headgate_snapshot::cel::{Condition, Moment};
    use http::{HeaderValue, Method};

    use super::*;

    fn check(expression: &str, expected: Option<bool>) {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-tier", "gold"), ("x-tier", "silver"), ("cookie", "a=1; b=\"2\"; a=3")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut answer = HeaderMap::new();
        answer.append("x-cost", HeaderValue::from_static("7"));
        let query = Some("q=x%20y&q=z&empty");
        let request = Request { method: &Method::POST, host: "a.test", path: "/login/x", query, headers: &headers };
        let client = "::ffff:192.0.2.7".parse().unwrap();
        let facts = Facts { request, scheme: "https", client, size: None, answer: Some((401, &answer)) };
        let found = Condition::new(expression, Moment::Answer).unwrap().holds(&facts).ok();
        assert_eq!(found, expected, "{expression}");
    }

    #[test]
    fn a_request_and_its_answer_are_seen_as_the_contract_says() {
        check("request.path.startsWith('/login') && request.method == 'POST'", Some(true));
        check("client.ip == '192.0.2.7' && request.scheme == 'https' && request.host == 'a.test'", Some(true));
        check("request.headers['X-Tier'] == 'gold,silver'", Some(true));
        check("request.query['q'] == 'x y,z' && request.query['empty'] == ''", Some(true));
        check("request.cookies['a'] == '1,3' && request.cookies['b'] == '2'", Some(true));
        check("'x-other' in request.headers || 'c' in request.cookies", Some(false));
        check("request.headers['x-other'] == ''", None);
        check("response.status == 401 && response.headers['x-cost'] == '7'", Some(true));
        check("request.size > 10", None);
        check("client.country == 'DE'", None);
        check("request.headers.exists(name, name == 'x-tier')", Some(true));
    }
}
