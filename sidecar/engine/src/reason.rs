//! Why a request is answered by the proxy itself.

use std::fmt;

/// Why the proxy answered in place of an origin: the word in `Headgate-Reason`, in metrics and in the log.
///
/// It holds only what this release can say. The reasons of objects are another enum, in translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No listener, route or pool serves this host and path.
    NoRoute,
    /// The connection was made for another host than the request names.
    Misdirected,
    /// The request is not valid HTTP, or its host or path cannot be read.
    BadRequest,
    /// The header section is larger than the proxy takes.
    HeadersTooLarge,
    /// The body is larger than the proxy takes.
    BodyTooLarge,
    /// The client did not finish sending its request in time.
    RequestTimeout,
    /// The client has sent more than a limit lets pass.
    RateLimited,
    /// The client waits for a room.
    Queued,
    /// A room is full, and nobody waits for it.
    RoomRejected,
    /// A limit cannot be checked, and says that nothing passes then.
    StoreUnavailable,
    /// Every endpoint of the pool is unhealthy, or there is none.
    NoHealthyOrigin,
    /// The proxy has as much to do as it can.
    Overloaded,
    /// The proxy is about to stop.
    Draining,
    /// No connection to the origin could be made.
    ConnectFailed,
    /// The origin closed the connection before its answer was complete.
    OriginReset,
    /// The origin's answer is not valid HTTP.
    OriginProtocol,
    /// The origin did not answer in time.
    OriginTimeout,
    /// The route refers to something that does not exist.
    RefNotResolved,
}

impl Reason {
    /// All reasons, for metrics that show a zero before the first event.
    pub const ALL: [Self; 18] = [
        Self::NoRoute,
        Self::Misdirected,
        Self::BadRequest,
        Self::HeadersTooLarge,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::RateLimited,
        Self::Queued,
        Self::RoomRejected,
        Self::StoreUnavailable,
        Self::NoHealthyOrigin,
        Self::Overloaded,
        Self::Draining,
        Self::ConnectFailed,
        Self::OriginReset,
        Self::OriginProtocol,
        Self::OriginTimeout,
        Self::RefNotResolved,
    ];

    /// The word for machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoute => "NoRoute",
            Self::Misdirected => "Misdirected",
            Self::BadRequest => "BadRequest",
            Self::HeadersTooLarge => "HeadersTooLarge",
            Self::BodyTooLarge => "BodyTooLarge",
            Self::RequestTimeout => "RequestTimeout",
            Self::RateLimited => "RateLimited",
            Self::Queued => "Queued",
            Self::RoomRejected => "RoomRejected",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::NoHealthyOrigin => "NoHealthyOrigin",
            Self::Overloaded => "Overloaded",
            Self::Draining => "Draining",
            Self::ConnectFailed => "ConnectFailed",
            Self::OriginReset => "OriginReset",
            Self::OriginProtocol => "OriginProtocol",
            Self::OriginTimeout => "OriginTimeout",
            Self::RefNotResolved => "RefNotResolved",
        }
    }

    /// The HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::Misdirected => 421,
            Self::BadRequest => 400,
            Self::HeadersTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::RequestTimeout => 408,
            Self::RateLimited => 429,
            Self::Queued
            | Self::RoomRejected
            | Self::StoreUnavailable
            | Self::NoHealthyOrigin
            | Self::Overloaded
            | Self::Draining => 503,
            Self::ConnectFailed | Self::OriginReset | Self::OriginProtocol => 502,
            Self::OriginTimeout => 504,
            Self::RefNotResolved => 500,
        }
    }

    /// The title of the problem document.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NoRoute => "Nothing is served here",
            Self::Misdirected => "Wrong connection for this host",
            Self::BadRequest => "The request cannot be read",
            Self::HeadersTooLarge => "The headers are too large",
            Self::BodyTooLarge => "The body is too large",
            Self::RequestTimeout => "The request took too long to arrive",
            Self::RateLimited => "Too many requests",
            Self::Queued => "Waiting for a place",
            Self::RoomRejected => "There is no place now",
            Self::StoreUnavailable => "Limits cannot be checked",
            Self::NoHealthyOrigin => "No healthy origin",
            Self::Overloaded => "Too much to do at the moment",
            Self::Draining => "This proxy is about to stop",
            Self::ConnectFailed => "The origin cannot be reached",
            Self::OriginReset => "The origin broke off its answer",
            Self::OriginProtocol => "The origin's answer cannot be read",
            Self::OriginTimeout => "The origin did not answer in time",
            Self::RefNotResolved => "The route leads nowhere",
        }
    }

    /// The sentence of the problem document: what happened, and what the reader can do about it.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoRoute => "No route serves this host and path. Check the address.",
            Self::Misdirected => "The connection was opened for another host name. Open a new connection for this one.",
            Self::BadRequest => "The host, the path or the framing of the request is not valid. Correct the request.",
            Self::HeadersTooLarge => "The request's headers exceed what is accepted here. Send fewer or shorter ones.",
            Self::BodyTooLarge => "The request's body exceeds what is accepted here. Send a smaller one.",
            Self::RequestTimeout => "The request did not arrive completely in time. Send it again.",
            Self::RateLimited => "More requests came than are allowed. Wait as long as Retry-After says.",
            Self::Queued => "Others came first. Keep the cookie, and come again when Retry-After says.",
            Self::RoomRejected => "As many visitors as there is room for are inside. Try again later.",
            Self::StoreUnavailable => "Whether the request is within its limits cannot be told now. Try again soon.",
            Self::NoHealthyOrigin => "No server behind this address is healthy at the moment. Try again soon.",
            Self::Overloaded => "The proxy takes no more requests at the moment. Try again soon.",
            Self::Draining => "The proxy is about to stop and takes no new requests. Send the request again.",
            Self::ConnectFailed => "No connection to a server behind this address could be made. Try again soon.",
            Self::OriginReset => "The server closed the connection before its answer was complete. Try again soon.",
            Self::OriginProtocol => "The server's answer is not valid HTTP. Its operator has to correct it.",
            Self::OriginTimeout => "The server did not answer within the time limit. Try again later.",
            Self::RefNotResolved => {
                "The route refers to a backend that does not exist. Its operator has to correct it."
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_an_error_status() {
        let words: std::collections::BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| (400..600).contains(&reason.status())));
        assert!(Reason::ALL.iter().all(|reason| reason.word() == format!("{reason:?}")));
    }
}
