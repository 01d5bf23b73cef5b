//! Who the client is, and what origins are told about it.
//!
//! Headers that name a client are believed from trusted proxies only. From any other peer they are removed and
//! written anew, so that an origin can rely on them. `Headgate-*` headers of a request are ours alone and are
//! always removed.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use headgate_snapshot::OWN_HEADER_PREFIX;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::headers::Headers;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names that only a trusted proxy may send, beside those that begin with `x-forwarded-`.
const BELIEVED_FROM_TRUSTED: [&str; 14] = [
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "true-client-ip",
    "cf-connecting-ip",
    "x-envoy-external-address",
];

/// Proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        // A v4 address that came in on a v6 socket is still the v4 address that the user wrote.
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Whether the peer's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The peer is a trusted proxy.
    Trusted,
    /// It is not.
    Untrusted,
}

/// Who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub address: IpAddr,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// Whether the peer's word counts.
    pub trust: Trust,
}

impl Client {
    /// The peer, or where that is a trusted proxy, the right-most address of `X-Forwarded-For` that is not. What
    /// cannot be read ends the search: nothing to the left of it can be relied on.
    pub fn find(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        if !trusted.contains(peer) {
            return Self { address: peer, peer, trust: Trust::Untrusted };
        }
        let mut address = peer;
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for word in value.to_str().unwrap_or_default().rsplit(',') {
                let Some(found) = parse_address(word.trim()) else {
                    return Self { address, peer, trust: Trust::Trusted };
                };
                address = found;
                if !trusted.contains(found) {
                    return Self { address, peer, trust: Trust::Trusted };
                }
            }
        }
        Self { address, peer, trust: Trust::Trusted }
    }
}

/// An address as proxies write them: with or without port and brackets.
fn parse_address(word: &str) -> Option<IpAddr> {
    let address = word
        .parse()
        .or_else(|_| word.parse().map(|address: std::net::SocketAddr| address.ip()))
        .or_else(|_| word.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()?;
    Some(IpAddr::to_canonical(&address))
}

/// What is known of a request when it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Who sent it.
    pub client: Client,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The `Host` as the client sent it.
    pub host: &'a HeaderValue,
    /// The number given to this request, used unless a trusted proxy gave one.
    pub request_id: &'a str,
}

impl Forwarding<'_> {
    /// Writes the headers that origins get: `X-Forwarded-For|Proto|Host` and `X-Request-Id`.
    pub fn write(&self, headers: &mut impl Headers) {
        let names: SmallVec<[HeaderName; 8]> =
            headers.map().keys().filter(|name| self.is_removed(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(&name);
        }
        let peer = AddressText::new(self.client.peer);
        let chain = match self.client.trust {
            Trust::Trusted => {
                let mut chain = Vec::new();
                for before in headers.map().get_all(FORWARDED_FOR).iter().filter(|value| value.to_str().is_ok()) {
                    chain.extend_from_slice(before.as_bytes());
                    chain.extend_from_slice(b", ");
                }
                chain.extend_from_slice(peer.as_bytes());
                HeaderValue::try_from(chain).ok()
            }
            Trust::Untrusted => HeaderValue::from_bytes(peer.as_bytes()).ok(),
        };
        if let Some(chain) = chain {
            headers.set(&FORWARDED_FOR, chain);
        }
        // What is still there comes from a trusted proxy, which has seen more of the way than we have.
        if !headers.map().contains_key(FORWARDED_PROTO) {
            headers.set(&FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        }
        if !headers.map().contains_key(FORWARDED_HOST) {
            headers.set(&FORWARDED_HOST, self.host.clone());
        }
        if !headers.map().contains_key(REQUEST_ID)
            && let Ok(request_id) = HeaderValue::from_str(self.request_id)
        {
            headers.set(&REQUEST_ID, request_id);
        }
    }

    /// Most headers begin with another letter, and then nothing more is compared.
    fn is_removed(&self, name: &str) -> bool {
        let believed = || name.starts_with("x-forwarded-") || BELIEVED_FROM_TRUSTED.contains(&name);
        match name.as_bytes().first() {
            Some(b'h') => name.starts_with(OWN_HEADER_PREFIX),
            Some(b'c' | b'f' | b't' | b'x') => self.client.trust == Trust::Untrusted && believed(),
            Some(_) | None => false,
        }
    }
}

/// The text of an address, without an allocation.
struct AddressText {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl AddressText {
    /// Bytes of the longest text: an IPv6 address that ends as an IPv4 address does.
    const LONGEST: usize = 45;

    fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; Self::LONGEST], length: 0 };
        // Every address fits.
        let _ = write!(text, "{address}");
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self.length + piece.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(piece.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    fn check_client(peer: &str, forwarded: &[&'static str], expected: &str) {
        let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
        let client = Client::find(peer.parse().unwrap(), &map(&headers), &trusted());
        assert_eq!(client.address, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_not_trusted() {
        check_client("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
        check_client("10.0.0.1", &[], "10.0.0.1");
        check_client("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check_client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check_client("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1");
        check_client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check_client("10.0.0.1", &["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2");
        check_client("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check_client("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1");
        check_client("fd00::1", &["[2001:db8::1]"], "2001:db8::1");
        check_client("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check_client("::ffff:192.0.2.1", &[], "192.0.2.1");
    }

    fn check_write(peer: &str, before: &[(&'static str, &'static str)], expected: &[(&str, &str)]) {
        let mut headers = map(before);
        let client = Client::find(peer.parse().unwrap(), &headers, &trusted());
        let host = &HeaderValue::from_static("a.example:8443");
        Forwarding { client, scheme: "https", host, request_id: "new" }.write(&mut headers);
        let mut found: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{peer} {before:?}");
    }

    #[test]
    fn every_name_that_only_a_trusted_proxy_may_send_is_removed_from_others() {
        let peer = "192.0.2.1".parse().unwrap();
        let removed = |trusted: &TrustedProxies, name: &str| {
            let client = Client::find(peer, &HeaderMap::new(), trusted);
            let host = &HeaderValue::from_static("a.example");
            Forwarding { client, scheme: "http", host, request_id: "new" }.is_removed(name)
        };
        let all = TrustedProxies(vec!["0.0.0.0/0".parse().unwrap()]);
        for name in BELIEVED_FROM_TRUSTED.into_iter().chain(["x-forwarded-for", "x-forwarded-prefix"]) {
            assert!(removed(&trusted(), name) && !removed(&all, name), "{name}");
        }
        assert!(removed(&trusted(), "headgate-version") && removed(&all, "headgate-version"));
        for name in ["host", "cookie", "te", "from", "x-tier", "accept"] {
            assert!(!removed(&trusted(), name), "{name}");
        }
    }

    #[test]
    fn an_address_is_written_as_everywhere_else() {
        for text in
            ["0.0.0.0", "255.255.255.255", "::1", "2001:db8:1111:2222:3333:4444:5555:6666", "::ffff:255.255.255.255"]
        {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(AddressText::new(address).as_bytes(), address.to_string().as_bytes());
        }
    }

    #[test]
    fn an_untrusted_peer_says_nothing_about_the_client() {
        check_write(
            "192.0.2.1",
            &[
                ("accept", "*/*"),
                ("forwarded", "for=1.1.1.1"),
                ("headgate-version", "v2"),
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-host", "b.example"),
                ("x-forwarded-prefix", "/admin"),
                ("x-forwarded-proto", "http"),
                ("x-original-url", "/admin"),
                ("x-real-ip", "1.1.1.1"),
                ("x-request-id", "old"),
            ],
            &[
                ("accept", "*/*"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "a.example:8443"),
                ("x-forwarded-proto", "https"),
                ("x-request-id", "new"),
            ],
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to_the_chain() {
        check_write(
            "10.0.0.1",
            &[
                ("headgate-version", "v2"),
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("x-forwarded-proto", "http"),
                ("x-real-ip", "1.1.1.1"),
                ("x-request-id", "old"),
            ],
            &[
                ("x-forwarded-for", "1.1.1.1, 10.0.0.2, 10.0.0.1"),
                ("x-forwarded-host", "a.example:8443"),
                ("x-forwarded-proto", "http"),
                ("x-real-ip", "1.1.1.1"),
                ("x-request-id", "old"),
            ],
        );
    }
}
