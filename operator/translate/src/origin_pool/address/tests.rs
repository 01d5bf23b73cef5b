use super::*;

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
