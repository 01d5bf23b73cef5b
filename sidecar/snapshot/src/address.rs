//! Which addresses may be origins. The control plane judges the addresses that users write, a proxy those that their
//! DNS names stand for, and both have to say the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::wire::{AddressPolicy, AddressScope};

/// The word in `Resource.requires` of a pool whose names are judged by the proxy.
pub const ADDRESS_POLICY: &str = "AddressPolicy";

/// An [`AddressPolicy`], read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRules {
    scope: Scope,
    denied: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Any,
    Public { allowed: Vec<IpNet> },
}

/// An [`AddressPolicy`] that cannot be read. To guess would lift a protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddressPolicy(String);

impl std::fmt::Display for InvalidAddressPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not known to this proxy; upgrade the proxy", self.0)
    }
}

impl AddressRules {
    /// Public, loopback and private addresses but for those denied.
    pub fn any(denied: Vec<SocketAddr>) -> Self {
        Self { scope: Scope::Any, denied }
    }

    /// Public addresses and those of `allowed`, but for those denied.
    pub fn public(allowed: Vec<IpNet>, denied: Vec<SocketAddr>) -> Self {
        Self { scope: Scope::Public { allowed }, denied }
    }

    /// Reads a policy.
    pub fn read(policy: &AddressPolicy) -> Result<Self, InvalidAddressPolicy> {
        let AddressPolicy { scope, allowed, denied } = policy;
        let scope = match AddressScope::try_from(*scope) {
            Ok(AddressScope::Any) => Scope::Any,
            Ok(AddressScope::Public) => {
                let network = |text: &String| text.parse::<IpNet>().map_err(|_| InvalidAddressPolicy(text.clone()));
                Scope::Public { allowed: allowed.iter().map(network).collect::<Result<_, _>>()? }
            }
            Ok(AddressScope::Unspecified) | Err(_) => return Err(InvalidAddressPolicy(format!("scope {scope}"))),
        };
        let address = |text: &String| text.parse::<SocketAddr>().map_err(|_| InvalidAddressPolicy(text.clone()));
        Ok(Self { scope, denied: denied.iter().map(address).collect::<Result<_, _>>()? })
    }

    /// The policy as it is sent, sorted.
    pub fn wire(&self) -> AddressPolicy {
        let Self { scope, denied } = self;
        let sorted = |mut texts: Vec<String>| {
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let denied = sorted(denied.iter().map(ToString::to_string).collect());
        match scope {
            Scope::Any => AddressPolicy { scope: AddressScope::Any.into(), allowed: Vec::new(), denied },
            Scope::Public { allowed } => {
                let allowed = sorted(allowed.iter().map(ToString::to_string).collect());
                AddressPolicy { scope: AddressScope::Public.into(), allowed, denied }
            }
        }
    }

    /// Why an address must not be an origin, as a sentence with the remedy; nothing where it may.
    pub fn mistake(&self, address: SocketAddr) -> Option<String> {
        let ip = embedded(address.ip());
        let class = Class::of(ip);
        if let Class::Never(what) = class {
            return Some(format!("{} is {what}, which is nobody's; write the address of the origin", address.ip()));
        }
        if self.denies(address) {
            return Some(format!(
                "{address} belongs to the control plane or to headgate itself, which is never an origin; write another \
                 address"
            ));
        }
        let what = match (&self.scope, class) {
            (_, Class::Public | Class::Never(_)) | (Scope::Any, Class::Inner(_)) => return None,
            // Credentials of a cloud machine are served there, to whoever can make the machine ask.
            (Scope::Any, Class::LinkLocal) => {
                return Some(format!(
                    "{} is a link-local address, which is never an origin; write another address",
                    address.ip()
                ));
            }
            (Scope::Public { allowed }, _) if allowed.iter().any(|network| network.contains(&ip)) => return None,
            (Scope::Public { .. }, Class::Inner(what)) => what,
            (Scope::Public { .. }, Class::LinkLocal) => "a link-local address",
        };
        Some(format!(
            "{} is {what}; write a public address, name a Service instead, or have the operator started with \
             --allow-origins for it",
            address.ip()
        ))
    }

    /// Whether an address belongs to the API server or to headgate itself, however it is written.
    pub fn denies(&self, address: SocketAddr) -> bool {
        let ip = embedded(address.ip());
        self.denied.iter().filter(|denied| denied.port() == address.port()).any(|denied| {
            let denied = embedded(denied.ip());
            denied == ip || denied.is_unspecified() && ip.is_loopback()
        })
    }
}

/// What an address is, as far as it matters here.
#[derive(Clone, Copy, Debug)]
enum Class {
    Public,
    Inner(&'static str),
    LinkLocal,
    Never(&'static str),
}

impl Class {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                match (first, second) {
                    (0, _) => Self::Never("an unspecified address"),
                    (224..=239, _) => Self::Never("a multicast address"),
                    (240..=255, _) => Self::Never("a reserved address"),
                    (127, _) => Self::Inner("a loopback address"),
                    (169, 254) => Self::LinkLocal,
                    (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) => Self::Inner("a private address"),
                    _ => Self::Public,
                }
            }
            IpAddr::V6(ip) if ip.is_unspecified() => Self::Never("an unspecified address"),
            IpAddr::V6(ip) if ip.is_multicast() => Self::Never("a multicast address"),
            IpAddr::V6(ip) if ip.is_loopback() => Self::Inner("a loopback address"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Inner("a private address"),
            IpAddr::V6(_) => Self::Public,
        }
    }
}

/// The IPv4 address inside an IPv6 address that leads to it (mapped, NAT64, 6to4), else the address itself.
fn embedded(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let v4 = |[a, b, c, d]: [u8; 4]| IpAddr::from(Ipv4Addr::new(a, b, c, d));
            match (ip.segments(), ip.octets()) {
                ([0x64, 0xff9b, 0, 0, 0, 0, _, _], [.., a, b, c, d]) | ([0x2002, ..], [_, _, a, b, c, d, ..]) => {
                    v4([a, b, c, d])
                }
                _ => Ipv6Addr::into(ip),
            }
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &AddressRules, allowed: &[&str], refused: &[&str]) {
        for text in allowed {
            assert_eq!(rules.mistake(text.parse().unwrap()), None, "{text}");
        }
        for text in refused {
            assert!(rules.mistake(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn standalone_allows_loopback_and_private_addresses_beside_public_ones() {
        check(
            &AddressRules::any(Vec::new()),
            &["127.0.0.1:80", "10.1.2.3:80", "[::1]:80", "[fd00::1]:80", "192.0.2.7:80"],
            &["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "[ff02::1]:80", "255.255.255.255:80", "[::ffff:0.0.0.0]:80"],
        );
    }

    #[test]
    fn standalone_refuses_link_local_addresses_whatever_they_are_wrapped_in() {
        let refused = [
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:169.254.1.1]:80",
            "[64:ff9b::169.254.1.1]:80",
            "[2002:a9fe:a9fe::1]:80",
        ];
        check(&AddressRules::any(Vec::new()), &[], &refused);
    }

    #[test]
    fn standalone_refuses_its_own_listeners_and_a_wildcard_one_on_every_loopback_address() {
        let own = vec!["127.0.0.1:8080".parse().unwrap(), "[::]:9901".parse().unwrap()];
        check(
            &AddressRules::any(own),
            &["127.0.0.2:8080", "127.0.0.1:80", "10.0.0.1:9901"],
            &["127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", "127.0.0.1:9901", "127.9.9.9:9901", "[::1]:9901"],
        );
    }

    #[test]
    fn a_cluster_allows_public_addresses_and_those_it_was_told() {
        let rules = AddressRules::public(
            vec!["10.7.0.0/16".parse().unwrap(), "fd07::/16".parse().unwrap()],
            vec!["10.7.0.1:6443".parse().unwrap(), "203.0.113.9:6443".parse().unwrap()],
        );
        check(
            &rules,
            &["192.0.2.7:80", "[2001:db8::7]:443", "10.7.1.2:80", "[fd07::1]:80", "10.7.0.1:443", "203.0.113.9:443"],
            &[
                "127.0.0.1:80",
                "10.8.0.1:80",
                "172.16.0.1:80",
                "192.168.0.1:80",
                "100.64.0.1:80",
                "169.254.169.254:80",
                "[::1]:80",
                "[fe80::1]:80",
                "[fd00::1]:80",
                "[::ffff:127.0.0.1]:80",
                "[64:ff9b::10.0.0.1]:80",
                "[2002:a00:1::1]:80",
                "10.7.0.1:6443",
                "203.0.113.9:6443",
                "[::ffff:203.0.113.9]:6443",
                "0.0.0.0:80",
            ],
        );
        assert_eq!(AddressRules::read(&rules.wire()), Ok(rules));
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_refused() {
        let policy = |scope: i32, allowed: &str, denied: &str| AddressPolicy {
            scope,
            allowed: vec![allowed.to_owned()],
            denied: vec![denied.to_owned()],
        };
        for (bad, told) in [
            (policy(0, "10.0.0.0/8", "10.0.0.1:1"), "scope 0"),
            (policy(9, "10.0.0.0/8", "10.0.0.1:1"), "scope 9"),
            (policy(2, "10.0.0.0/99", "10.0.0.1:1"), "10.0.0.0/99"),
            (policy(1, "", "10.0.0.1"), "10.0.0.1"),
        ] {
            assert_eq!(AddressRules::read(&bad), Err(InvalidAddressPolicy(told.to_owned())));
        }
    }
}
