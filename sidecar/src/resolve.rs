//! Names of origins, resolved beside the requests.
//!
//! One task a name looks it up again every few seconds and passes the answer on; a request only ever reads what was
//! passed on before. A lookup that fails or takes too long is passed on as a sentence, and the engine keeps the last
//! good answer, so that a broken name server never takes traffic away from endpoints that work.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Between two lookups of a name. With a lookup that needs its whole limit, answers are at most 5 s apart.
const PERIOD: Duration = Duration::from_secs(3);
/// Between lookups after a failure.
const PERIOD_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A lookup with all of its tries.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);
/// One try at one server.
const TRY_LIMIT: Duration = Duration::from_millis(900);

/// What a lookup gave: addresses, or a sentence.
pub(crate) type Answer = Result<Vec<IpAddr>, String>;

/// Gets the name and answer of each lookup that differs from the one before.
pub(crate) type Answers = mpsc::Sender<(String, Answer)>;

/// Keeps the names of a plan resolved.
pub(crate) struct Names {
    resolver: Option<TokioResolver>,
    tasks: BTreeMap<String, AbortHandle>,
    answers: Answers,
}

impl Names {
    /// A keeper that asks `servers`, or the system's where there are none.
    pub(crate) fn new(servers: &[SocketAddr], answers: Answers) -> Self {
        let resolver = build(servers).inspect_err(|error| tracing::warn!(%error, "no name server can be used")).ok();
        Self { resolver, tasks: BTreeMap::new(), answers }
    }

    /// Starts looking up the names that are new and stops those that are gone. The others keep their schedule.
    pub(crate) fn reconcile(&mut self, names: impl IntoIterator<Item = String>) {
        let mut kept = BTreeMap::new();
        for name in names {
            let task = self.tasks.remove(&name).unwrap_or_else(|| self.follow(name.clone()));
            kept.insert(name, task);
        }
        for task in std::mem::replace(&mut self.tasks, kept).into_values() {
            task.abort();
        }
    }

    fn follow(&self, name: String) -> AbortHandle {
        let answers = self.answers.clone();
        let resolver = self.resolver.clone();
        tokio::spawn(follow(resolver, name, answers)).abort_handle()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn follow(resolver: Option<TokioResolver>, name: String, answers: Answers) {
    let mut last = None;
    loop {
        let answer = lookup(resolver.as_ref(), &name).await;
        let pause = if answer.is_ok() { PERIOD } else { PERIOD_AFTER_FAILURE };
        if last.as_ref() != Some(&answer) {
            if let Err(failure) = &answer {
                tracing::warn!(name, "the name cannot be resolved: {failure}");
            }
            if answers.send((name.clone(), answer.clone())).await.is_err() {
                return;
            }
            last = Some(answer);
        }
        sleep(pause).await;
    }
}

async fn lookup(resolver: Option<&TokioResolver>, name: &str) -> Answer {
    let resolver = resolver.ok_or_else(|| "no name server is configured".to_owned())?;
    let answer = match timeout(LOOKUP_LIMIT, resolver.lookup_ip(name)).await {
        Ok(answer) => answer.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", LOOKUP_LIMIT.as_secs())),
    };
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // Every lookup asks: the period is our cache.
    options.cache_size = 0;
    options.timeout = TRY_LIMIT;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// An A record of 192.0.2.7 for whatever is asked, or no such name for other types.
    fn reply(question: &[u8]) -> Vec<u8> {
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let asks_for_a = question[name_end..name_end + 2] == [0, 1];
        let mut reply = question[..name_end + 4].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(asks_for_a), 0, 0, 0, 0]);
        if asks_for_a {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
        }
        reply
    }

    #[tokio::test]
    async fn a_name_is_followed_and_a_server_that_falls_silent_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = server.recv_from(&mut buffer).await.unwrap();
                server.send_to(&reply(&buffer[..length]), client).await.unwrap();
            }
        });
        let (sender, mut answers) = mpsc::channel(8);
        let mut names = Names::new(&[address], sender);
        names.reconcile(["chat.example.".to_owned()]);
        let (name, answer) = answers.recv().await.unwrap();
        assert_eq!((name.as_str(), answer), ("chat.example.", Ok(vec!["192.0.2.7".parse().unwrap()])));
        answering.abort();
        let (_, answer) = answers.recv().await.unwrap();
        assert!(answer.is_err(), "{answer:?}");
    }
}
