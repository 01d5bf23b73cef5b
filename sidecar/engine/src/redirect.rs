//! Answers that send the client elsewhere.

use std::borrow::Cow;
use std::fmt::Write as _;

use headgate_snapshot as wire;

use crate::filter::PathRewrite;
use crate::refusal::Mistake;

/// Where a request came in, for the parts of a redirect that stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host that the client named, without port.
    pub host: &'a str,
    /// The port that the client reached: the listener's, or where all listeners are merged into one, the one that
    /// the client named.
    pub port: u16,
    /// The path in its one form.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
}

/// A redirect, with what it changes of the client's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    scheme: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
    path: Option<PathRewrite>,
    status: u16,
}

impl Redirect {
    pub(crate) fn compile(redirect: &wire::Redirect, field: &str) -> Result<Self, Mistake> {
        let wire::Redirect { scheme, hostname, port, path, status } = redirect;
        let scheme = match scheme.as_str() {
            "" => None,
            "http" | "https" => Some(scheme.clone()),
            other => {
                return Err(Mistake::invalid(format!("{field}.scheme"), format!("`{other}` is not http or https")));
            }
        };
        let port = match u16::try_from(*port) {
            Ok(0) => None,
            Ok(port) => Some(port),
            Err(_) => return Err(Mistake::invalid(format!("{field}.port"), format!("{port} is no port"))),
        };
        let status = match *status {
            0 => 302,
            301 | 302 | 303 | 307 | 308 => u16::try_from(*status).unwrap_or(302),
            other => return Err(Mistake::invalid(format!("{field}.status"), format!("{other} is no redirect"))),
        };
        let path = match path {
            Some(path) => PathRewrite::compile(path, field)?,
            None => None,
        };
        let hostname = (!hostname.is_empty()).then(|| hostname.clone());
        Ok(Self { scheme, hostname, port, path, status })
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The `Location` of the answer. The query stays.
    pub fn location(&self, place: &Place<'_>, prefix_length: usize) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(place.scheme);
        let host = self.hostname.as_deref().unwrap_or(place.host);
        let well_known = if scheme == "https" { 443 } else { 80 };
        let port = self.port.unwrap_or(if self.scheme.is_some() { well_known } else { place.port });
        let path = match &self.path {
            Some(rewrite) => rewrite.apply(place.path, prefix_length),
            None => Cow::Borrowed(place.path),
        };
        let mut location = format!("{scheme}://{host}");
        if port != well_known {
            let _ = write!(location, ":{port}");
        }
        location.push_str(&path);
        if let Some(query) = place.query {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(redirect: &wire::Redirect, port: u16, expected: &str) {
        let redirect = Redirect::compile(redirect, "redirect").unwrap();
        let place = Place { scheme: "http", host: "a.example", port, path: "/old/x", query: Some("q=1") };
        assert_eq!(redirect.location(&place, "/old".len()), expected);
    }

    #[test]
    fn a_location_keeps_what_the_redirect_does_not_change() {
        let nothing = wire::Redirect::default;
        let prefix = wire::PathRewrite { rewrite: Some(wire::path_rewrite::Rewrite::Prefix("/new".to_owned())) };
        let full = wire::PathRewrite { rewrite: Some(wire::path_rewrite::Rewrite::Full("/all".to_owned())) };
        check(&nothing(), 80, "http://a.example/old/x?q=1");
        check(&nothing(), 8080, "http://a.example:8080/old/x?q=1");
        check(&wire::Redirect { scheme: "https".into(), ..nothing() }, 8080, "https://a.example/old/x?q=1");
        check(&wire::Redirect { port: 8443, ..nothing() }, 80, "http://a.example:8443/old/x?q=1");
        check(&wire::Redirect { port: 80, ..nothing() }, 8080, "http://a.example/old/x?q=1");
        check(&wire::Redirect { hostname: "b.example".into(), ..nothing() }, 80, "http://b.example/old/x?q=1");
        check(&wire::Redirect { path: Some(prefix), ..nothing() }, 80, "http://a.example/new/x?q=1");
        check(&wire::Redirect { path: Some(full), ..nothing() }, 80, "http://a.example/all?q=1");
    }

    #[test]
    fn a_status_that_is_no_redirect_is_refused() {
        let redirect = wire::Redirect { status: 200, ..wire::Redirect::default() };
        let mistake = Redirect::compile(&redirect, "rules[0].redirect").unwrap_err();
        assert_eq!(mistake.to_string(), "rules[0].redirect.status: 200 is no redirect");
    }
}
