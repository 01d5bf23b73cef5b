//! The host of a request, and tables by host.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::shared_map::SharedMap;

/// Why a host is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing before the port, or an empty label.
    #[error("the host name is empty or has an empty label")]
    Empty,
    /// A character that no host name has.
    #[error("the host name has a character that no host name may have")]
    ForbiddenCharacter,
    /// Brackets without a valid IPv6 address.
    #[error("the brackets do not hold an IPv6 address")]
    InvalidAddress,
    /// What follows the colon is no port.
    #[error("the port is not a number from 0 to 65535")]
    InvalidPort,
}

/// The `Host` header or `:authority` of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without a final dot; IPv6 addresses keep their brackets.
    pub host: Cow<'a, str>,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information is refused.
    pub fn parse(text: &'a str) -> Result<Self, InvalidHost> {
        let (host, rest) = if text.starts_with('[') {
            let end = text.find(']').ok_or(InvalidHost::InvalidAddress)?;
            text[1..end].parse::<Ipv6Addr>().map_err(|_| InvalidHost::InvalidAddress)?;
            text.split_at(end + 1)
        } else {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let host = host.strip_suffix('.').unwrap_or(host);
            check_name(host)?;
            (host, rest)
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return Err(InvalidHost::ForbiddenCharacter),
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| InvalidHost::InvalidPort)?)
            }
            Some(_) => return Err(InvalidHost::InvalidPort),
        };
        Ok(Self { host: lower_case(host), port })
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn check_name(host: &str) -> Result<(), InvalidHost> {
    let mut previous = b'.';
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if previous != b'.' => {}
            b'.' => return Err(InvalidHost::Empty),
            _ => return Err(InvalidHost::ForbiddenCharacter),
        }
        previous = byte;
    }
    if previous == b'.' { Err(InvalidHost::Empty) } else { Ok(()) }
}

/// A pattern in its one form: lower case, `*` for all hosts.
pub(crate) fn normalise_pattern(pattern: &str) -> Result<Arc<str>, InvalidHost> {
    if pattern.is_empty() || pattern == "*" {
        return Ok(Arc::from("*"));
    }
    let (wildcard, name) = match pattern.strip_prefix("*.") {
        Some(suffix) => ("*.", suffix),
        None => ("", pattern),
    };
    let authority = Authority::parse(name)?;
    match authority.port {
        None => Ok(Arc::from(format!("{wildcard}{}", authority.host))),
        Some(_) => Err(InvalidHost::ForbiddenCharacter),
    }
}

/// How specific a pattern is: an exact host before the longest suffix before all hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostRank {
    Any,
    Suffix(usize),
    Exact,
}

/// Values by host pattern: exact hosts, `*.suffix` (any depth, never the suffix itself), and `*`.
#[derive(Clone, Debug)]
pub(crate) struct HostMap<T> {
    exact: SharedMap<Arc<str>, T>,
    suffixes: SharedMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: SharedMap::default(), suffixes: SharedMap::default(), any: None }
    }
}

impl<T: Clone> HostMap<T> {
    /// The value of exactly this pattern.
    pub(crate) fn get(&self, pattern: &str) -> Option<&T> {
        match pattern.strip_prefix('*') {
            None => self.exact.get(pattern),
            Some("") => self.any.as_ref(),
            Some(suffix) => self.suffixes.get(suffix),
        }
    }

    /// Puts the value in, or takes the pattern out.
    pub(crate) fn put(&mut self, pattern: &Arc<str>, value: Option<T>) {
        let (map, name) = match pattern.strip_prefix('*') {
            None => (&mut self.exact, pattern.clone()),
            Some("") => {
                self.any = value;
                return;
            }
            Some(suffix) => (&mut self.suffixes, Arc::from(suffix)),
        };
        match value {
            Some(value) => map.insert(name, value),
            None => map.remove(&*name),
        };
    }

    /// The values whose patterns match a host, the most specific first.
    pub(crate) fn matching<'a>(&'a self, host: &str) -> impl Iterator<Item = (HostRank, &'a T)> {
        let exact = self.exact.get(host).map(|value| (HostRank::Exact, value));
        let labels = if self.suffixes.is_empty() { "" } else { host };
        let suffixes = labels.match_indices('.').filter_map(|(at, _)| {
            let suffix = &host[at..];
            self.suffixes.get(suffix).map(|value| (HostRank::Suffix(suffix.len()), value))
        });
        exact.into_iter().chain(suffixes).chain(self.any.iter().map(|value| (HostRank::Any, value)))
    }

    /// All values with their patterns, in no order that means anything.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Arc<str>, &T)> {
        let exact = self.exact.iter().map(|(name, value)| (name.clone(), value));
        let suffixes = self.suffixes.iter().map(|(suffix, value)| (Arc::from(format!("*{suffix}")), value));
        exact.chain(suffixes).chain(self.any.iter().map(|value| (Arc::from("*"), value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(&str, Option<u16>), InvalidHost>) {
        let found = Authority::parse(text);
        assert_eq!(found.as_ref().map(|found| (found.host.as_ref(), found.port)), expected.as_ref().copied(), "{text}");
    }

    #[test]
    fn a_host_is_read_in_lower_case_and_without_its_port() {
        check("example.com", Ok(("example.com", None)));
        check("Example.COM:8080", Ok(("example.com", Some(8080))));
        check("example.com.", Ok(("example.com", None)));
        check("example.com.:80", Ok(("example.com", Some(80))));
        check("example.com:", Ok(("example.com", None)));
        check("127.0.0.1:80", Ok(("127.0.0.1", Some(80))));
        check("[::1]:8080", Ok(("[::1]", Some(8080))));
        check("[FE80::A]", Ok(("[fe80::a]", None)));
        check("under_score", Ok(("under_score", None)));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        check("", Err(InvalidHost::Empty));
        check(".", Err(InvalidHost::Empty));
        check(":80", Err(InvalidHost::Empty));
        check("a..b", Err(InvalidHost::Empty));
        check(".a", Err(InvalidHost::Empty));
        check("a b", Err(InvalidHost::ForbiddenCharacter));
        check("user@a", Err(InvalidHost::ForbiddenCharacter));
        check("a/b", Err(InvalidHost::ForbiddenCharacter));
        check("a%2eb", Err(InvalidHost::ForbiddenCharacter));
        check("a:port", Err(InvalidHost::InvalidPort));
        check("a:99999", Err(InvalidHost::InvalidPort));
        check("a:1:2", Err(InvalidHost::InvalidPort));
        check("::1", Err(InvalidHost::Empty));
        check("[::1", Err(InvalidHost::InvalidAddress));
        check("[a]", Err(InvalidHost::InvalidAddress));
        check("[::1]x", Err(InvalidHost::ForbiddenCharacter));
    }

    fn naive(patterns: &[String], host: &str) -> Vec<String> {
        let mut found: Vec<String> = patterns
            .iter()
            .filter(|pattern| match pattern.strip_prefix('*') {
                Some(suffix) => suffix.is_empty() || (host.ends_with(suffix) && host.len() > suffix.len()),
                None => *pattern == host,
            })
            .cloned()
            .collect();
        found.sort_by_key(|pattern| (pattern.starts_with('*'), std::cmp::Reverse(pattern.len())));
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn a_host_finds_its_patterns_from_the_most_specific_on(
            patterns in prop::collection::vec("(\\*|\\*\\.|)(([ab]\\.){0,2}[ab])?".prop_filter("a pattern", |text| {
                normalise_pattern(text).is_ok_and(|normal| *normal == **text)
            }), 0..12),
            host in "([ab]\\.){0,3}[ab]",
        ) {
            let mut map = HostMap::default();
            for pattern in &patterns {
                map.put(&Arc::from(pattern.as_str()), Some(pattern.clone()));
            }
            let found: Vec<String> = map.matching(&host).map(|(_, pattern)| pattern.clone()).collect();
            prop_assert_eq!(found, naive(&patterns, &host));
            prop_assert!(map.matching(&host).map(|(rank, _)| rank).is_sorted_by(|a, b| a > b));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = Authority::parse(&text);
        }
    }
}
