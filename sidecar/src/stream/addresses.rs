//! Every address of every host is one replica: who is new is dialled, who is gone is not dialled again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::OperatorAddress;
use super::session::{Session, left};
use crate::resolve::{Answer, Names};

/// Answers of name servers that may wait.
const MOST_ANSWERS: usize = 16;

/// The hosts, what they resolve to, and a session for each address.
pub(crate) struct Addresses {
    operators: Vec<OperatorAddress>,
    answers: mpsc::Receiver<(String, Answer)>,
    /// Kept, because lookups end with it.
    _names: Names,
    resolved: BTreeMap<String, Vec<IpAddr>>,
    wanted: watch::Sender<BTreeSet<SocketAddr>>,
    template: Session,
    sessions: JoinSet<SocketAddr>,
    running: BTreeSet<SocketAddr>,
}

impl Addresses {
    /// Looks for `operators`, and starts sessions like `template`.
    pub(crate) fn new(operators: &[OperatorAddress], servers: &[SocketAddr], template: Session) -> Self {
        let (sender, answers) = mpsc::channel(MOST_ANSWERS);
        let mut names = Names::new(servers, sender);
        let mut resolved = BTreeMap::new();
        let is_address = |host: &str| host.parse::<IpAddr>().ok();
        for operator in operators {
            if let Some(address) = is_address(&operator.host) {
                resolved.insert(operator.host.clone(), vec![address]);
            }
        }
        let to_look_up = operators.iter().map(|operator| operator.host.clone());
        names.reconcile(to_look_up.filter(|host| is_address(host).is_none()).collect::<BTreeSet<_>>());
        Self {
            operators: operators.to_vec(),
            answers,
            _names: names,
            resolved,
            wanted: watch::Sender::default(),
            template,
            sessions: JoinSet::new(),
            running: BTreeSet::new(),
        }
    }

    /// Keeps a session for each address until the proxy leaves.
    pub(crate) async fn follow(mut self) {
        let mut leaving = self.template.leaving.clone();
        self.dial();
        loop {
            tokio::select! {
                Some((host, answer)) = self.answers.recv() => {
                    // After a lookup that failed the addresses of the one before are as good as any.
                    if let Ok(addresses) = answer {
                        self.resolved.insert(host, addresses);
                        self.dial();
                    }
                }
                Some(ended) = self.sessions.join_next(), if !self.sessions.is_empty() => {
                    if let Ok(address) = ended {
                        self.running.remove(&address);
                        // It may have come back meanwhile.
                        self.dial();
                    }
                }
                () = left(&mut leaving) => break,
            }
        }
        while self.sessions.join_next().await.is_some() {}
    }

    /// Starts the sessions that are missing, and tells the others whether they are to go on.
    fn dial(&mut self) {
        let mut wanted = BTreeMap::new();
        for operator in &self.operators {
            for address in self.resolved.get(&operator.host).into_iter().flatten() {
                wanted.entry(SocketAddr::new(*address, operator.port)).or_insert(operator);
            }
        }
        self.wanted.send_replace(wanted.keys().copied().collect());
        for (address, operator) in wanted {
            if self.running.insert(address) {
                let session = self.template.clone();
                self.sessions.spawn(session.keep(operator.clone(), address, self.wanted.subscribe()));
            }
        }
    }
}
