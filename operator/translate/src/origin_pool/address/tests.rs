use super::*;

fn check_policy(policy: &AddressPolicy, allowed: &[&str], refused: &[&str]) {
    for text in allowed {
        assert_eq!(mistake(text.parse().unwrap(), policy), None, "{text}");
    }
    for text in refused {
        assert!(mistake(text.parse().unwrap(), policy).is_some(), "{text}");
    }
}

#[test]
fn an_endpoint_is_an_address_a_name_or_a_service() {
    let check = |text: &str, expected: Written| assert_eq!(parse(text), Ok(expected), "{text}");
    let address = |text: &str| Written::Address(text.parse().unwrap());
    let service = |port| Written::Service { namespace: "shop".to_owned(), name: "chat".to_owned(), port };
    check("127.0.0.1:9001", address("127.0.0.1:9001"));
    check("[::1]:80", address("[::1]:80"));
    check("origin.example.com:443", Written::Name("origin.example.com".to_owned(), 443));
    check("Origin.Example.COM.:443", Written::Name("origin.example.com".to_owned(), 443));
    check("localhost:8080", Written::Name("localhost".to_owned(), 8080));
    check("chat.shop.svc:80", service(80));
    check("chat.shop.svc.cluster.local:81", service(81));
    check("svc.example.com:80", Written::Name("svc.example.com".to_owned(), 80));
}

#[test]
fn a_wrong_endpoint_is_told_with_the_remedy() {
    let check = |text: &str, expected: &str| assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
    check(
        "http://origin.example.com:80",
        "\"http://origin.example.com:80\" is a URL; write host and port only, such as 192.0.2.7:8080, \
         [2001:db8::7]:443 or origin.example.com:443",
    );
    check("::1", "\"::1\" is an IPv6 address without brackets and port; write [::1]:443 for instance");
    check(
        "2001:db8:0:0:0:0:0:7:80",
        "\"2001:db8:0:0:0:0:0:7:80\" is an IPv6 address without brackets; write [2001:db8:0:0:0:0:0:7]:80",
    );
    check("10.0.0.1:+80", "\"+80\" is no port; write a number from 1 to 65535");
    check("10.0.0.1:65536", "\"65536\" is no port; write a number from 1 to 65535");
    for text in
        ["", ":80", "[::1]", "[::1:80", "[::g]:80", "a b:80", "10.0.0:80", "256.0.0.1:80", "x_y:80", "a:", "*.a:80"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn standalone_allows_loopback_and_private_addresses_beside_public_ones() {
    check_policy(
        &AddressPolicy::Any,
        &["127.0.0.1:80", "10.1.2.3:80", "[::1]:80", "[fd00::1]:80", "192.0.2.7:80"],
        &["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "[ff02::1]:80", "255.255.255.255:80", "[::ffff:0.0.0.0]:80"],
    );
}

#[test]
fn standalone_refuses_link_local_addresses_whatever_they_are_wrapped_in() {
    let refused = ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.1.1]:80", "[64:ff9b::169.254.1.1]:80"];
    check_policy(&AddressPolicy::Any, &[], &refused);
}

#[test]
fn a_cluster_allows_public_addresses_and_those_it_was_told() {
    let policy = AddressPolicy::Public {
        allowed: vec!["10.7.0.0/16".parse().unwrap(), "fd07::/16".parse().unwrap()],
        denied: vec!["10.7.0.1:6443".parse().unwrap(), "203.0.113.9:6443".parse().unwrap()],
    };
    check_policy(
        &policy,
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
            "10.7.0.1:6443",
            "203.0.113.9:6443",
            "[::ffff:203.0.113.9]:6443",
            "0.0.0.0:80",
        ],
    );
}
