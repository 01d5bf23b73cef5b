//! What an expression may ask for.

use std::borrow::Cow;
use std::fmt;

use super::Moment;

/// Where values come from when an expression is evaluated. Each is fetched when it is asked for, so that what nobody
/// asks for costs nothing.
pub trait Variables {
    /// A text. Nothing where it is not known.
    fn text(&self, variable: Text) -> Option<Cow<'_, str>>;

    /// A number. Nothing where it is not known.
    fn number(&self, variable: Number) -> Option<i64>;

    /// What stands under a name, several values joined by commas in their order. Nothing where the name is not there.
    /// Names of headers come in any case.
    fn entry(&self, map: Map, name: &str) -> Option<Cow<'_, str>>;

    /// The names in a map, each once.
    fn names(&self, map: Map) -> Vec<Cow<'_, str>>;
}

/// Something that has a name in expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// A string.
    Text(Text),
    /// An int.
    Number(Number),
    /// A map of strings.
    Map(Map),
}

/// The strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// `request.method`, as it was sent.
    Method,
    /// `request.scheme`: `http` or `https`.
    Scheme,
    /// `request.host`, in lower case, without port.
    Host,
    /// `request.path`, normalised, without query.
    Path,
    /// `client.ip`, in its canonical form.
    ClientIp,
    /// `client.country`: two letters.
    Country,
    /// `client.continent`: two letters.
    Continent,
    /// `version`: the name of the version that answers.
    Version,
}

/// The ints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// `request.size`: the announced length of the body in bytes, 0 without a body. Not known where it is not announced.
    Size,
    /// `client.asn`: the number of the autonomous system.
    Asn,
    /// `response.status`.
    Status,
}

/// The maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    /// `request.query`: the parameters, decoded as forms are.
    Query,
    /// `request.headers`.
    Headers,
    /// `request.cookies`.
    Cookies,
    /// `response.headers`.
    ResponseHeaders,
}

impl Variable {
    /// All of them, in the order in which people are told them.
    pub const ALL: [Self; 15] = [
        Self::Text(Text::Method),
        Self::Text(Text::Scheme),
        Self::Text(Text::Host),
        Self::Text(Text::Path),
        Self::Map(Map::Query),
        Self::Map(Map::Headers),
        Self::Map(Map::Cookies),
        Self::Number(Number::Size),
        Self::Text(Text::ClientIp),
        Self::Text(Text::Country),
        Self::Text(Text::Continent),
        Self::Number(Number::Asn),
        Self::Number(Number::Status),
        Self::Map(Map::ResponseHeaders),
        Self::Text(Text::Version),
    ];

    /// Its name in expressions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text(Text::Method) => "request.method",
            Self::Text(Text::Scheme) => "request.scheme",
            Self::Text(Text::Host) => "request.host",
            Self::Text(Text::Path) => "request.path",
            Self::Text(Text::ClientIp) => "client.ip",
            Self::Text(Text::Country) => "client.country",
            Self::Text(Text::Continent) => "client.continent",
            Self::Text(Text::Version) => "version",
            Self::Number(Number::Size) => "request.size",
            Self::Number(Number::Asn) => "client.asn",
            Self::Number(Number::Status) => "response.status",
            Self::Map(map) => map.name(),
        }
    }

    /// Whether it exists at a moment.
    pub const fn exists(self, moment: Moment) -> bool {
        match (self, moment) {
            (Self::Number(Number::Status) | Self::Map(Map::ResponseHeaders), Moment::Request) => false,
            (Self::Text(_) | Self::Number(_) | Self::Map(_), Moment::Request | Moment::Answer) => true,
        }
    }
}

impl Map {
    const fn name(self) -> &'static str {
        match self {
            Self::Query => "request.query",
            Self::Headers => "request.headers",
            Self::Cookies => "request.cookies",
            Self::ResponseHeaders => "response.headers",
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
