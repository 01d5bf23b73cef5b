//! A bounded stream of requests in the background, with failures counted by kind.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::client::{Answer, Ask, Connection, Failure};

/// Bad answers that a tally describes in full.
const EXAMPLES_KEPT: usize = 5;

/// How hard to ask.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// From the start of one request of a connection to its next.
    pub every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { connections: 4, every: Duration::from_millis(5) }
    }
}

/// What a load met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that have ended.
    pub requests: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers by origin; headgate's own answers are under the empty name.
    pub by_origin: BTreeMap<String, u64>,
    /// Requests without a whole answer, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// The first few that were not answered 200.
    pub examples: Vec<String>,
}

impl Tally {
    /// Requests that were not answered 200.
    pub fn bad(&self) -> u64 {
        self.requests - self.by_status.get(&200).copied().unwrap_or_default()
    }

    /// Answers of this origin.
    pub fn of(&self, origin: &str) -> u64 {
        self.by_origin.get(origin).copied().unwrap_or_default()
    }

    /// Counts one request.
    pub fn count(&mut self, ask: &Ask, outcome: &Result<Answer, Failure>) {
        self.requests += 1;
        let bad = match outcome {
            Ok(answer) => {
                *self.by_status.entry(answer.status).or_default() += 1;
                *self.by_origin.entry(answer.origin().to_owned()).or_default() += 1;
                answer.status != 200
            }
            Err(failure) => {
                *self.failures.entry(failure.kind()).or_default() += 1;
                true
            }
        };
        if bad && self.examples.len() < EXAMPLES_KEPT {
            let what = match outcome {
                Ok(answer) => format!("{} {} {}", answer.status, answer.reason(), answer.text()),
                Err(failure) => format!("{failure:?}"),
            };
            self.examples.push(format!("{ask:?}: {what}"));
        }
    }
}

/// A load that runs until it is stopped.
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<()>,
    connections: JoinSet<()>,
}

impl Load {
    /// Asks these in turn, again and again.
    pub fn start(address: SocketAddr, pace: Pace, asks: &[Ask]) -> Self {
        let (stop, stopped) = watch::channel(());
        let tally = Arc::new(Mutex::new(Tally::default()));
        let mut connections = JoinSet::new();
        for number in 0..pace.connections {
            let (tally, stopped, mut asks) = (tally.clone(), stopped.clone(), asks.to_vec());
            let first = number % asks.len();
            asks.rotate_left(first);
            connections.spawn(keep_asking(address, pace.every, asks, tally, stopped));
        }
        Self { tally, stop, connections }
    }

    /// What it met so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Lets the requests in flight end, and gives the whole tally.
    pub async fn stop(self) -> Tally {
        let Self { tally, stop, connections } = self;
        drop(stop);
        connections.join_all().await;
        Mutex::into_inner(Arc::into_inner(tally).expect("the connections that shared it have ended"))
    }
}

async fn keep_asking(
    address: SocketAddr,
    every: Duration,
    asks: Vec<Ask>,
    tally: Arc<Mutex<Tally>>,
    mut stopped: watch::Receiver<()>,
) {
    let mut pace = tokio::time::interval(every);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut kept = None;
    for ask in asks.iter().cycle() {
        tokio::select! {
            // The sender is dropped: it never sends.
            _ = stopped.changed() => return,
            _ = pace.tick() => {}
        }
        let outcome = ask_on(&mut kept, address, ask).await;
        tally.lock().count(ask, &outcome);
    }
}

/// Asks on the kept connection, or on a new one where the server has closed it between two requests.
async fn ask_on(kept: &mut Option<Connection>, address: SocketAddr, ask: &Ask) -> Result<Answer, Failure> {
    let open = match kept.take() {
        Some(mut connection) => connection.is_open().await.then_some(connection),
        None => None,
    };
    let mut connection = match open {
        Some(connection) => connection,
        None => Connection::plain(address).await?,
    };
    let answer = connection.send(ask).await?;
    *kept = Some(connection);
    Ok(answer)
}
