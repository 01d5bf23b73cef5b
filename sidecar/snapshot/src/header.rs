//! Headers that no filter changes, at either end of the wire.

/// Headers that say how a message is framed, where it goes and what holds for one connection only. Whoever changes
/// one of them makes proxy and origin disagree about where a request ends.
const OF_THE_CONNECTION: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// What the names of headgate's own headers begin with, in lower case.
pub const OWN_HEADER_PREFIX: &str = "headgate-";

/// Why a filter must not change a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectedHeader {
    /// It is of the connection.
    Connection,
    /// It names the host.
    Host,
    /// It is headgate's own.
    Own,
}

impl ProtectedHeader {
    /// Why a filter must not change this header, nothing where it may. The case of the name does not matter.
    pub fn of(name: &str) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if name.get(..OWN_HEADER_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(OWN_HEADER_PREFIX)) {
            Some(Self::Own)
        } else if is("host") {
            Some(Self::Host)
        } else {
            OF_THE_CONNECTION.into_iter().any(is).then_some(Self::Connection)
        }
    }
}

impl std::fmt::Display for ProtectedHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "says how a message is sent, which headgate decides itself; leave it out",
            Self::Host => "is not changed by filters of headers; use a filter URLRewrite with hostname",
            Self::Own => "begins with Headgate-, as headgate's own headers do; use another name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<ProtectedHeader>) {
        assert_eq!(ProtectedHeader::of(name), expected, "{name}");
    }

    #[test]
    fn headers_of_the_connection_the_host_and_our_own_are_protected() {
        check("Connection", Some(ProtectedHeader::Connection));
        check("content-length", Some(ProtectedHeader::Connection));
        check("TE", Some(ProtectedHeader::Connection));
        check("Host", Some(ProtectedHeader::Host));
        check("Headgate-Reason", Some(ProtectedHeader::Own));
        check("headgate", None);
        check("x-headgate-reason", None);
        check("content-type", None);
        check("ümlaut-e", None);
    }
}
