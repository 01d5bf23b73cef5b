//! Where shared state is kept: `--state` of every process, read in one place.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Port of a server that does not say its own.
const PORT: u16 = 6379;
/// Port of a Sentinel that does not say its own.
const SENTINEL_PORT: u16 = 26379;

/// Where shared state is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateUrl {
    /// In this process: shared with nobody.
    #[default]
    Memory,
    /// In Valkey or Redis.
    Redis(RedisUrl),
}

/// A Valkey or Redis. The password is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// How its servers are organised.
    pub layout: RedisLayout,
    /// What is spoken to them.
    pub transport: RedisTransport,
    /// The servers, or the Sentinels, to ask first. Never empty.
    pub servers: Vec<RedisServer>,
    /// User of the access control list, absent: the default one.
    pub user: Option<String>,
    /// Number of the database, 0 for a cluster.
    pub database: u16,
}

/// How servers are organised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisLayout {
    /// One server.
    Single,
    /// Sentinels know the server.
    Sentinel {
        /// Name of the service that they watch.
        master: String,
    },
    /// Keys are spread over several.
    Cluster,
}

/// What is spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisTransport {
    /// Plain text.
    Plain,
    /// TLS.
    Tls,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// A `--state` that cannot be used: what is wrong and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidStateUrl(String);

impl StateUrl {
    /// Whether several processes that are told the same share it.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Redis(_) => true,
        }
    }
}

impl FromStr for StateUrl {
    type Err = InvalidStateUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(InvalidStateUrl(format!("\"{}\" is no place for state; {FORMS}", without_secrets(text))));
        };
        let (transport, layout) = match scheme {
            "redis" => (RedisTransport::Plain, Wanted::Single),
            "rediss" => (RedisTransport::Tls, Wanted::Single),
            "redis-sentinel" => (RedisTransport::Plain, Wanted::Sentinel),
            "rediss-sentinel" => (RedisTransport::Tls, Wanted::Sentinel),
            "redis-cluster" => (RedisTransport::Plain, Wanted::Cluster),
            "rediss-cluster" => (RedisTransport::Tls, Wanted::Cluster),
            other => return Err(InvalidStateUrl(format!("\"{other}\" is no place for state; {FORMS}"))),
        };
        read(rest, transport, layout).map(Self::Redis)
    }
}

const FORMS: &str = "write memory, redis://HOST:PORT, rediss://HOST:PORT (TLS), \
                     redis-sentinel://HOST:PORT,HOST:PORT/MASTER or redis-cluster://HOST:PORT,HOST:PORT";

#[derive(Clone, Copy)]
enum Wanted {
    Single,
    Sentinel,
    Cluster,
}

fn read(rest: &str, transport: RedisTransport, wanted: Wanted) -> Result<RedisUrl, InvalidStateUrl> {
    // What is before the last @ may be a secret: nothing of it is told.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(':')) {
        let sentence = "a password does not belong into the URL, which is shown in lists of processes; put it into a \
                        file and name that with --state-password-file";
        return Err(InvalidStateUrl(sentence.to_owned()));
    }
    if rest.contains(['?', '#']) {
        return Err(InvalidStateUrl("a URL of state has no ? and no #; leave out what follows".to_owned()));
    }
    let (servers, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if matches!(wanted, Wanted::Sentinel) { SENTINEL_PORT } else { PORT };
    let servers: Vec<RedisServer> = servers.split(',').map(|text| server(text, port)).collect::<Result<_, _>>()?;
    let (layout, database) = match wanted {
        Wanted::Single if servers.len() > 1 => {
            let sentence = "redis:// is one server; write redis-sentinel:// or redis-cluster:// for several";
            return Err(InvalidStateUrl(sentence.to_owned()));
        }
        Wanted::Single => (RedisLayout::Single, path),
        Wanted::Sentinel => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                let sentence = "Sentinels watch a service by its name; write redis-sentinel://HOST:PORT/NAME";
                return Err(InvalidStateUrl(sentence.to_owned()));
            }
            (RedisLayout::Sentinel { master: master.to_owned() }, database)
        }
        Wanted::Cluster if path.is_empty() => (RedisLayout::Cluster, path),
        Wanted::Cluster => {
            let sentence = format!("a cluster has one database; leave out \"/{path}\"");
            return Err(InvalidStateUrl(sentence));
        }
    };
    let no_database = |_| InvalidStateUrl(format!("\"{database}\" is no number of a database; write 0 to 65535"));
    let database = if database.is_empty() { 0 } else { database.parse().map_err(no_database)? };
    let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
    Ok(RedisUrl { layout, transport, servers, user, database })
}

fn server(text: &str, default_port: u16) -> Result<RedisServer, InvalidStateUrl> {
    let wrong = || InvalidStateUrl(format!("\"{text}\" is no server; write HOST:PORT, such as store.example.com:6379"));
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(wrong)).transpose()? {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |host: &str| {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !host.is_empty() && host.bytes().all(is_of_a_name)
    };
    if !is_name(host) && host.parse::<IpAddr>().is_err() {
        return Err(wrong());
    }
    let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| wrong()))?;
    if port == 0 {
        return Err(wrong());
    }
    Ok(RedisServer { host: host.to_owned(), port })
}

/// A text without what may be a password.
fn without_secrets(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

impl fmt::Display for InvalidStateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidStateUrl {}

impl fmt::Display for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, transport, servers, user, database } = self;
        f.write_str(match transport {
            RedisTransport::Plain => "redis",
            RedisTransport::Tls => "rediss",
        })?;
        f.write_str(match layout {
            RedisLayout::Single => "://",
            RedisLayout::Sentinel { master: _ } => "-sentinel://",
            RedisLayout::Cluster => "-cluster://",
        })?;
        if let Some(user) = user {
            write!(f, "{user}@")?;
        }
        for (index, server) in servers.iter().enumerate() {
            write!(f, "{}{server}", if index > 0 { "," } else { "" })?;
        }
        if let RedisLayout::Sentinel { master } = layout {
            write!(f, "/{master}")?;
        }
        if *database > 0 { write!(f, "/{database}") } else { Ok(()) }
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, written: &str) {
        let url: StateUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.to_string(), written, "{text}");
        assert_eq!(written.parse(), Ok(url), "{text}");
    }

    #[test]
    fn every_kind_of_store_is_read() {
        check("memory", "memory");
        check("redis://store", "redis://store:6379");
        check("redis://127.0.0.1:6380/3", "redis://127.0.0.1:6380/3");
        check("rediss://headgate@[2001:db8::7]:6379", "rediss://headgate@[2001:db8::7]:6379");
        check("redis-sentinel://a,b:26380,[::1]/mymaster", "redis-sentinel://a:26379,b:26380,[::1]:26379/mymaster");
        check("rediss-sentinel://a/mymaster/2", "rediss-sentinel://a:26379/mymaster/2");
        check("redis-cluster://a:7000,b:7001/", "redis-cluster://a:7000,b:7001");
        check("rediss-cluster://user@a", "rediss-cluster://user@a:6379");
    }

    #[test]
    fn the_parts_of_a_url_are_where_they_belong() {
        let url = "rediss-sentinel://limits@one:1,two:2/main/7".parse();
        let server = |host: &str, port| RedisServer { host: host.to_owned(), port };
        let expected = RedisUrl {
            layout: RedisLayout::Sentinel { master: "main".to_owned() },
            transport: RedisTransport::Tls,
            servers: vec![server("one", 1), server("two", 2)],
            user: Some("limits".to_owned()),
            database: 7,
        };
        assert_eq!(url, Ok(StateUrl::Redis(expected)));
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let error = text.parse::<StateUrl>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy_and_without_secrets() {
        for text in ["redis://:secret@store", "rediss://user:secret@store:6379", "redis-cluster://u:se@secret@a"] {
            check_refused(text, "--state-password-file");
        }
        check_refused("disk", "write memory, redis://HOST:PORT");
        check_refused("secret@store", "write memory");
        check_refused("memcached://store", "\"memcached\" is no place for state");
        check_refused("redis://", "\"\" is no server");
        check_refused("redis://store:0", "\"store:0\" is no server");
        check_refused("redis://store:port", "no server");
        check_refused("redis://[::1", "no server");
        check_refused("redis://a,b", "write redis-sentinel://");
        check_refused("redis://store/first", "\"first\" is no number of a database");
        check_refused("redis://store?db=1", "leave out what follows");
        check_refused("redis-sentinel://store", "write redis-sentinel://HOST:PORT/NAME");
        check_refused("redis-cluster://store/1", "leave out \"/1\"");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_read_again(text in "(memory|rediss?(-sentinel|-cluster)?://)?[a-z0-9@:,/.\\[\\]?]{0,24}") {
            if let Ok(url) = text.parse::<StateUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
