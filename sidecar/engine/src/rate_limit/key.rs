//! The key of a counter: what of a request has a counter of its own.
//!
//! Each part is written with a tag and its length, so that no two requests share a key by chance of their texts: a
//! value that is missing and one that is empty differ, and so do `ab`, `c` and `a`, `bc`. Then all of it is hashed;
//! texts of clients are not kept. The secret of the hash hangs on the identity of the counter (kind, namespace, name,
//! period, algorithm, parts of the key), so that one table holds one identity and strangers cannot make two keys meet.
//!
//! Where a client may name a cookie or a parameter of the query several times, applications differ in which of them
//! they read. Several different values are therefore one key, whatever they are: a client that adds a value of its own
//! to a session that counts gets no counter of its own for it.

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::net::IpAddr;

use headgate_snapshot as wire;
use headgate_snapshot::cel::KeyExpression;
use headgate_snapshot::{Key, jwt_claim, key_part};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use siphasher::sip128::{Hasher128 as _, SipHasher13, SipHasher24};
use smallvec::SmallVec;

use super::jwt;
use super::meter::Algorithm;
use crate::cookie::cookies;
use crate::facts::Facts;
use crate::filter::header_name;
use crate::matcher::parameters;
use crate::refusal::Mistake;

/// The hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash {
    /// The first half.
    pub high: u64,
    /// The second half.
    pub low: u64,
}

/// What counters are hashed under, from the secret that all proxies share and the identity of the counters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashKey(pub(crate) u64, pub(crate) u64);

/// What makes a counter another one when it changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) limit: Key,
    pub(crate) period: u32,
    pub(crate) algorithm: Algorithm,
    pub(crate) parts: Vec<String>,
}

impl Identity {
    /// What the counters of this identity are hashed under.
    pub(crate) fn hash_key(&self, secret: [u8; 16]) -> HashKey {
        let Self { limit: Key { kind, namespace, name }, period, algorithm, parts } = self;
        let mut hasher = SipHasher24::new_with_key(&secret);
        let algorithm = match algorithm {
            Algorithm::SlidingWindow => "SlidingWindow",
            Algorithm::TokenBucket => "TokenBucket",
        };
        let fixed = [kind.as_str(), namespace, name, algorithm];
        for text in fixed.into_iter().chain(parts.iter().map(String::as_str)) {
            hasher.write(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.write(text.as_bytes());
        }
        hasher.write(&period.to_le_bytes());
        let hash = hasher.finish128();
        HashKey(hash.h1, hash.h2)
    }
}

/// What a part of a key begins with.
mod tag {
    pub(super) const MISSING: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const SEVERAL: u8 = 2;
    pub(super) const TYPED: u8 = 3;
    pub(super) const V4: u8 = 4;
    pub(super) const V6: u8 = 5;
}

/// The parts of one key, written one after the other.
#[derive(Default)]
pub(crate) struct KeyText(SmallVec<[u8; 96]>);

impl KeyText {
    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        // Nothing of a request is as long as 4 GiB.
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// A value that is not there.
    pub(crate) fn missing(&mut self) {
        self.0.push(tag::MISSING);
    }

    /// A text.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.put(tag::TEXT, text);
    }

    /// A value that is no text, as it is written.
    pub(crate) fn typed(&mut self, written: &str) {
        self.put(tag::TYPED, written.as_bytes());
    }

    /// The only value, or that there are several.
    fn only(&mut self, mut values: impl Iterator<Item = impl AsRef<[u8]>>) {
        let Some(first) = values.next() else { return self.missing() };
        if values.all(|value| value.as_ref() == first.as_ref()) {
            self.text(first.as_ref());
        } else {
            self.put(tag::SEVERAL, &[]);
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(tag::V4, &address.octets()),
            IpAddr::V6(address) => self.put(tag::V6, &address.octets()),
        }
    }

    /// The hash of all parts.
    pub(crate) fn hash(&self, HashKey(first, second): HashKey) -> KeyHash {
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(&self.0);
        let hash = hasher.finish128();
        KeyHash { high: hash.h1, low: hash.h2 }
    }
}

/// One part of a key.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    ClientIp { prefix_v4: u8, prefix_v6: u8 },
    Header(HeaderName),
    Cookie(String),
    Query(String),
    Path,
    Claim { claim: String, source: TokenSource },
    Expression(String, KeyExpression),
}

/// Where a token is.
#[derive(Clone, Debug)]
pub(crate) enum TokenSource {
    Header(HeaderName),
    Cookie(String),
}

impl TokenSource {
    fn compile(source: &jwt_claim::Source, field: &str) -> Result<Self, Mistake> {
        Ok(match source {
            jwt_claim::Source::Header(name) => Self::Header(header_name(name, field)?),
            jwt_claim::Source::Cookie(name) => Self::Cookie(name.clone()),
        })
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| jwt::without_scheme(value.as_bytes())),
            Self::Cookie(name) => cookies(headers, name).next(),
        }
    }
}

impl Part {
    /// The part that the wire means.
    pub(crate) fn compile(part: &wire::KeyPart, field: &str) -> Result<Self, Mistake> {
        let unknown = || Mistake::invalid(field, "a part of the key that this proxy does not know");
        let prefix = |bits: u32, most: u8| {
            u8::try_from(bits)
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| Mistake::invalid(field, format!("a prefix of {bits} bits; write 0 to {most}")))
        };
        Ok(match part.part.as_ref().ok_or_else(unknown)? {
            key_part::Part::ClientIp(wire::ClientIp { prefix_v4, prefix_v6 }) => {
                Self::ClientIp { prefix_v4: prefix(*prefix_v4, 32)?, prefix_v6: prefix(*prefix_v6, 128)? }
            }
            key_part::Part::Header(name) => Self::Header(header_name(name, field)?),
            key_part::Part::Cookie(name) => Self::Cookie(name.clone()),
            key_part::Part::Query(name) => Self::Query(name.clone()),
            key_part::Part::Path(wire::RequestPath {}) => Self::Path,
            key_part::Part::JwtClaim(wire::JwtClaim { claim, source }) => {
                let source = TokenSource::compile(source.as_ref().ok_or_else(unknown)?, field)?;
                Self::Claim { claim: claim.clone(), source }
            }
            key_part::Part::Expression(text) => {
                let expression =
                    KeyExpression::new(text).map_err(|mistake| Mistake::invalid(field, mistake.to_string()))?;
                Self::Expression(text.clone(), expression)
            }
        })
    }

    /// The part as it is written in the identity of a counter.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ClientIp { prefix_v4, prefix_v6 } => format!("clientIP/{prefix_v4}/{prefix_v6}"),
            Self::Header(name) => format!("header/{name}"),
            Self::Cookie(name) => format!("cookie/{name}"),
            Self::Query(name) => format!("query/{name}"),
            Self::Path => "path".to_owned(),
            Self::Claim { claim, source: TokenSource::Header(name) } => format!("jwtClaim/header/{name}/{claim}"),
            Self::Claim { claim, source: TokenSource::Cookie(name) } => format!("jwtClaim/cookie/{name}/{claim}"),
            Self::Expression(text, _) => format!("expression/{text}"),
        }
    }

    /// Writes the value that a request has. False where an expression failed.
    pub(crate) fn write(&self, facts: &Facts<'_>, key: &mut KeyText) -> bool {
        let request = &facts.request;
        match self {
            Self::ClientIp { prefix_v4, prefix_v6 } => {
                let address = facts.client.to_canonical();
                let prefix = if address.is_ipv4() { *prefix_v4 } else { *prefix_v6 };
                key.address(IpNet::new(address, prefix).map_or(address, |network| network.network()));
            }
            Self::Header(name) => {
                let mut values = request.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => key.missing(),
                    (Some(only), None) => key.text(only.as_bytes()),
                    (Some(first), Some(second)) => {
                        let rest = [second].into_iter().chain(values);
                        let joined = rest.fold(first.as_bytes().to_vec(), |mut joined, value| {
                            joined.push(b',');
                            joined.extend_from_slice(value.as_bytes());
                            joined
                        });
                        key.text(&joined);
                    }
                }
            }
            Self::Cookie(name) => key.only(cookies(request.headers, name)),
            Self::Query(name) => {
                key.only(parameters(request.query.unwrap_or_default(), name).map(Cow::into_owned));
            }
            Self::Path => key.text(request.path.as_bytes()),
            Self::Claim { claim, source } => match source.token(request.headers) {
                Some(token) => jwt::write_claim(token, claim, key),
                None => key.missing(),
            },
            Self::Expression(_, expression) => {
                let Ok(value) = expression.value(facts) else {
                    key.missing();
                    return false;
                };
                key.text(value.as_bytes());
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::matcher::Request;

    const SECRET: [u8; 16] = [7; 16];

    fn part(part: key_part::Part) -> Part {
        Part::compile(&wire::KeyPart { part: Some(part) }, "key[0]").unwrap()
    }

    fn identity(parts: &[Part]) -> Identity {
        let parts = parts.iter().map(Part::name).collect();
        let limit = Key::new("RateLimit", "default", "login");
        Identity { limit, period: 60_000, algorithm: Algorithm::SlidingWindow, parts }
    }

    /// The key of a request of `client` with these headers and this query.
    fn key(parts: &[Part], client: &str, headers: &[(&'static str, &str)], query: &str) -> KeyHash {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let query = Some(query);
        let request = Request { method: &Method::GET, host: "a.test", path: "/p", query, headers: &map };
        let client = client.parse().unwrap();
        let facts = Facts { request, scheme: "http", client, size: None, answer: None };
        let mut text = KeyText::default();
        for part in parts {
            part.write(&facts, &mut text);
        }
        text.hash(identity(parts).hash_key(SECRET))
    }

    fn by_client(prefix_v4: u32, prefix_v6: u32) -> Vec<Part> {
        vec![part(key_part::Part::ClientIp(wire::ClientIp { prefix_v4, prefix_v6 }))]
    }

    fn check_clients(prefix_v4: u32, prefix_v6: u32, one: &str, other: &str, same: bool) {
        let parts = by_client(prefix_v4, prefix_v6);
        assert_eq!(key(&parts, one, &[], "") == key(&parts, other, &[], ""), same, "{one} {other}");
    }

    #[test]
    fn clients_are_told_apart_by_their_network() {
        check_clients(32, 64, "192.0.2.1", "192.0.2.2", false);
        check_clients(24, 64, "192.0.2.1", "192.0.2.2", true);
        check_clients(24, 64, "192.0.2.1", "192.0.3.1", false);
        check_clients(32, 64, "2001:db8::1", "2001:db8::2", true);
        check_clients(32, 64, "2001:db8::1", "2001:db8:0:1::1", false);
        check_clients(32, 64, "::ffff:192.0.2.1", "192.0.2.1", true);
        check_clients(32, 64, "::ffff:192.0.2.1", "::ffff:192.0.2.2", false);
        check_clients(0, 0, "192.0.2.1", "198.51.100.1", true);
        check_clients(0, 0, "192.0.2.1", "2001:db8::1", false);
    }

    fn check_cookies(one: &str, other: &str, same: bool) {
        let parts = [part(key_part::Part::Cookie("session".to_owned()))];
        let of = |cookies: &str| key(&parts, "192.0.2.1", &[("cookie", cookies)], "");
        assert_eq!(of(one) == of(other), same, "{one} | {other}");
    }

    #[test]
    fn a_client_with_several_values_of_a_cookie_gets_no_counter_of_its_own_for_each() {
        check_cookies("session=a", "session=b", false);
        check_cookies("session=a", "session=\"a\"", true);
        check_cookies("session=a", "other=x; session=a ;y=1", true);
        check_cookies("session=a", "session=a; session=a", true);
        check_cookies("session=a; session=b", "session=a; session=c", true);
        check_cookies("session=a; session=b", "session=x; session=y; session=z", true);
        check_cookies("session=a", "session=a; session=b", false);
        check_cookies("session=", "other=x", false);
        check_cookies("session", "other=x", true);
        check_cookies("Session=a", "other=x", true);
    }

    #[test]
    fn a_client_with_several_values_of_a_parameter_gets_no_counter_of_its_own_for_each() {
        let parts = [part(key_part::Part::Query("id".to_owned()))];
        let of = |query: &str| key(&parts, "192.0.2.1", &[], query);
        assert_ne!(of("id=1"), of("id=2"));
        assert_ne!(of("id="), of(""));
        assert_eq!(of("id=%41&x=1"), of("id=A"));
        assert_eq!(of("id=1&id=2"), of("id=1&id=3"));
    }

    #[test]
    fn values_that_are_missing_empty_or_cut_elsewhere_are_different_keys() {
        let header = |name: &str| part(key_part::Part::Header(name.to_owned()));
        let parts = [header("x-a"), header("x-b")];
        let of = |headers: &[(&'static str, &str)]| key(&parts, "192.0.2.1", headers, "");
        let all = [
            of(&[]),
            of(&[("x-a", "")]),
            of(&[("x-b", "")]),
            of(&[("x-a", ""), ("x-b", "")]),
            of(&[("x-a", "ab"), ("x-b", "c")]),
            of(&[("x-a", "a"), ("x-b", "bc")]),
            of(&[("x-a", "a"), ("x-a", "b"), ("x-b", "c")]),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of(&[("x-a", "a"), ("x-a", "b")]), of(&[("x-a", "a,b")]));
    }

    #[test]
    fn the_same_values_are_another_key_under_another_identity_or_secret() {
        let text = KeyText::default();
        let parts = by_client(32, 64);
        let one = identity(&parts);
        let mut others = vec![one.hash_key([8; 16])];
        others.push(Identity { period: 61_000, ..one.clone() }.hash_key(SECRET));
        others.push(Identity { algorithm: Algorithm::TokenBucket, ..one.clone() }.hash_key(SECRET));
        others.push(Identity { limit: Key::new("RateLimit", "default", "other"), ..one.clone() }.hash_key(SECRET));
        others.push(Identity { parts: vec!["clientIP/24/64".to_owned()], ..one.clone() }.hash_key(SECRET));
        for other in others {
            assert_ne!(text.hash(other), text.hash(one.hash_key(SECRET)));
        }
        // Proxies of all releases must agree on this.
        assert_eq!(
            text.hash(one.hash_key(SECRET)),
            KeyHash { high: 15_371_705_521_246_429_864, low: 10_842_038_842_285_821_109 }
        );
    }

    #[test]
    fn an_expression_is_a_value_and_a_failure_is_a_missing_one() {
        let parts = [part(key_part::Part::Expression("request.headers['x-a']".to_owned()))];
        let of = |headers: &[(&'static str, &str)]| key(&parts, "192.0.2.1", headers, "");
        assert_eq!(of(&[("x-a", "1")]), of(&[("x-a", "1"), ("x-b", "2")]));
        assert_ne!(of(&[("x-a", "1")]), of(&[("x-a", "2")]));
        assert_ne!(of(&[("x-a", "")]), of(&[]));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        let refused = |part| Part::compile(&wire::KeyPart { part }, "key[0]").is_err();
        assert!(refused(None));
        assert!(refused(Some(key_part::Part::ClientIp(wire::ClientIp { prefix_v4: 33, prefix_v6: 64 }))));
        assert!(refused(Some(key_part::Part::ClientIp(wire::ClientIp { prefix_v4: 32, prefix_v6: 129 }))));
        assert!(refused(Some(key_part::Part::Header("x y".to_owned()))));
        assert!(refused(Some(key_part::Part::Expression("response.status".to_owned()))));
        assert!(refused(Some(key_part::Part::JwtClaim(wire::JwtClaim { claim: "sub".to_owned(), source: None }))));
    }
}
