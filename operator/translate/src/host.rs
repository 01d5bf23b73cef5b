//! Hosts as users write them: checks, and where a route and a listener meet.

/// Every host.
pub(crate) const ANY_HOST: &str = "*";

const MAX_HOST_LENGTH: usize = 253;
const MAX_LABEL_LENGTH: usize = 63;

/// What is wrong with a host, as a sentence; nothing where it is an exact host or `*.suffix`.
pub(crate) fn mistake_in_host(host: &str) -> Option<String> {
    mistake_in_exact_host(host.strip_prefix("*.").unwrap_or(host)).map(|_| {
        if host.parse::<std::net::IpAddr>().is_ok() {
            format!("\"{host}\" is an IP address; write a DNS name, or leave the field out for all hosts")
        } else {
            format!("\"{host}\" is no host; write a DNS name in lower case, such as shop.example.com or *.example.com")
        }
    })
}

/// The same for a host without a wildcard.
pub(crate) fn mistake_in_exact_host(host: &str) -> Option<String> {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
        bytes.len() <= MAX_LABEL_LENGTH
            && *first != b'-'
            && *last != b'-'
            && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let is_host =
        host.len() <= MAX_HOST_LENGTH && host.split('.').all(is_label) && host.parse::<std::net::IpAddr>().is_err();
    (!is_host).then(|| format!("\"{host}\" is no host; write a DNS name in lower case, such as shop.example.com"))
}

/// The hosts that a listener and one host of a route have in common, as the Gateway API intersects them: the more
/// specific of the two where one covers the other, else none.
pub(crate) fn intersection<'a>(listener: &'a str, route: &'a str) -> Option<&'a str> {
    if covers(listener, route) {
        Some(route)
    } else if covers(route, listener) {
        Some(listener)
    } else {
        None
    }
}

/// Whether every host of `narrow` is one of `wide`. A wildcard stands for one label or more.
fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix) && narrow.len() > suffix.len(),
        None => wide == narrow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listener: &str, route: &str, expected: Option<&str>) {
        assert_eq!(intersection(listener, route), expected, "{listener} and {route}");
    }

    #[test]
    fn the_more_specific_host_is_common_to_a_listener_and_a_route() {
        check("*", "*", Some("*"));
        check("*", "shop.example.com", Some("shop.example.com"));
        check("shop.example.com", "*", Some("shop.example.com"));
        check("shop.example.com", "shop.example.com", Some("shop.example.com"));
        check("shop.example.com", "chat.example.com", None);
        check("*.example.com", "shop.example.com", Some("shop.example.com"));
        check("*.example.com", "eu.shop.example.com", Some("eu.shop.example.com"));
        check("*.example.com", "example.com", None);
        check("*.example.com", "badexample.com", None);
        check("shop.example.com", "*.example.com", Some("shop.example.com"));
        check("*.example.com", "*.example.com", Some("*.example.com"));
        check("*.example.com", "*.shop.example.com", Some("*.shop.example.com"));
        check("*.shop.example.com", "*.example.com", Some("*.shop.example.com"));
        check("*.example.com", "*.example.org", None);
    }

    #[test]
    fn what_is_no_host_is_named() {
        for host in ["shop.example.com", "a", "*.example.com", "x-1.example.com"] {
            assert_eq!(mistake_in_host(host), None, "{host}");
        }
        for host in ["", "*", "*.", "Shop.example.com", "-a.com", "a-.com", "a..b", "a b", "10.0.0.1", "x/y", "*.*.com"]
        {
            assert!(mistake_in_host(host).is_some(), "{host}");
        }
    }
}
