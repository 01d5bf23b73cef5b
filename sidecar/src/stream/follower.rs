//! The one task that decides whom to follow, applies batches, and says what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use headgate_snapshot::{Batch, Fleet, Follow, Report, Standing, proxy_message};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::allegiance::{Allegiance, Claim, Followed};
use super::session::Urgent;
use crate::proxy::Proxy;

/// Events that may wait while a batch is applied. All that wait are heard before the next plan is compiled.
pub(crate) const MOST_EVENTS: usize = 1_024;

/// Something that a session heard, and when.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) replica: SocketAddr,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

/// What a session heard.
#[derive(Debug)]
pub(crate) enum What {
    /// The replica will be dialled.
    Known,
    /// Its stream is open.
    Connected(Urgent),
    /// It says what it is.
    Standing(Standing),
    /// It asks what the proxy has.
    InventoryWanted { follow: u64 },
    /// It sends configuration.
    Batch { batch: Batch, follow: u64 },
    /// It says how many proxies there are.
    Fleet { fleet: Fleet, follow: u64 },
    /// It says anything else.
    Heard,
    /// It is about to stop.
    Goodbye,
    /// Its stream is over.
    Disconnected,
    /// It will not be dialled again.
    Gone,
}

/// What the replicas are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The newest report, without a number. Nothing before the proxy has looked at itself.
    report: Option<Report>,
    /// The replica that is followed, and the number of its last batch that was applied.
    applied: Option<(SocketAddr, u64)>,
}

impl Told {
    /// The report for one replica: numbers of batches are those of the replica that sent them.
    pub(crate) fn report_for(&self, replica: SocketAddr) -> Option<Report> {
        let sequence = self.applied.filter(|(sender, _)| *sender == replica).map_or(0, |(_, sequence)| sequence);
        self.report.clone().map(|report| Report { sequence, ..report })
    }
}

/// Everything that is known of the replicas.
pub(crate) struct Follower {
    proxy: Arc<Proxy>,
    told: watch::Sender<Told>,
    allegiance: Allegiance<SocketAddr>,
    streams: BTreeMap<SocketAddr, Urgent>,
    followed: Option<Followed<SocketAddr>>,
    /// Batches that were taken and are not applied yet.
    taken: Vec<Batch>,
    /// The version of the last batch applied. A proxy that keeps held resources is at another content.
    version: Option<String>,
    /// The number of the last batch applied since the last decision.
    sequence: u64,
}

impl Follower {
    /// Nobody is heard yet.
    pub(crate) fn new(proxy: Arc<Proxy>, told: watch::Sender<Told>) -> Self {
        let allegiance = Allegiance::new(proxy.serves_a_plan());
        Self {
            proxy,
            told,
            allegiance,
            streams: BTreeMap::new(),
            followed: None,
            taken: Vec::new(),
            version: None,
            sequence: 0,
        }
    }

    /// Listens until all sessions are over.
    pub(crate) async fn follow(mut self, mut heard: mpsc::Receiver<Event>) {
        let mut reports = self.proxy.reports();
        reports.mark_changed();
        let mut events = Vec::new();
        loop {
            let next_look = self.allegiance.next_look(self.proxy.clock().now());
            let time_to_look = async {
                match next_look {
                    Some(time) => sleep_until(time.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What was heard already comes before the conclusion that somebody is silent.
                biased;
                count = heard.recv_many(&mut events, MOST_EVENTS) => {
                    if count == 0 {
                        return;
                    }
                    for event in events.drain(..) {
                        self.hear(event).await;
                    }
                    self.apply().await;
                }
                Ok(()) = reports.changed() => {
                    let report = reports.borrow_and_update().clone();
                    self.tell(report);
                }
                () = time_to_look => self.decide(self.proxy.clock().now()).await,
            }
        }
    }

    async fn hear(&mut self, event: Event) {
        let Event { replica, at, what } = event;
        match what {
            What::Known => self.allegiance.known(replica),
            What::Connected(urgent) => {
                self.streams.insert(replica, urgent);
            }
            What::Standing(Standing { replica: _, term, leads, synced }) => {
                self.allegiance.claims(replica, Claim { term, leads, synced }, at);
            }
            What::InventoryWanted { follow } => {
                self.allegiance.heard(replica, at);
                self.answer_inventory(replica, follow).await;
            }
            What::Batch { batch, follow } => {
                let takes = self.allegiance.takes(replica, follow, at);
                self.proxy.metrics().operator.count_batch(takes);
                if takes {
                    self.taken.push(batch);
                } else {
                    tracing::debug!(%replica, version = batch.version, "a batch of a replica that is not followed");
                }
            }
            What::Fleet { fleet, follow } => {
                self.allegiance.heard(replica, at);
                let follows =
                    self.followed.is_some_and(|followed| followed.replica == replica && followed.number == follow);
                if follows {
                    self.proxy.set_fleet(fleet);
                }
            }
            What::Heard => self.allegiance.heard(replica, at),
            What::Goodbye => self.allegiance.said_goodbye(replica),
            What::Disconnected => {
                self.streams.remove(&replica);
                self.allegiance.disconnected(replica);
            }
            What::Gone => self.allegiance.gone(replica),
        }
        self.decide(at).await;
    }

    /// Follows whom the rules name now.
    async fn decide(&mut self, now: Instant) {
        let followed = self.allegiance.look(now);
        if followed == self.followed {
            return;
        }
        // What was taken before belongs to the decision before.
        self.apply().await;
        self.followed = followed;
        self.sequence = 0;
        self.proxy.metrics().operator.follow(followed.is_some(), followed.and_then(|followed| followed.term));
        if let Some(Followed { replica, term, number }) = followed {
            tracing::info!(%replica, ?term, "taking configuration from this replica of the operator");
            let version = self.proxy.plan().version().to_owned();
            let follow = Follow { term: term.unwrap_or_default(), version, number };
            self.send(replica, proxy_message::Message::Follow(follow));
        } else {
            tracing::info!("no replica of the operator leads; keeping what is in force");
        }
        self.told.send_modify(|told| told.applied = followed.map(|followed| (followed.replica, 0)));
    }

    async fn answer_inventory(&mut self, replica: SocketAddr, follow: u64) {
        let asked = self.followed.is_some_and(|followed| followed.replica == replica && followed.number == follow);
        if asked {
            self.apply().await;
            let inventory = self.proxy.plan().resources().inventory();
            self.send(replica, proxy_message::Message::Inventory(inventory));
        }
    }

    /// Puts what was taken in force, with one plan for all of it.
    async fn apply(&mut self) {
        let Some(last) = self.taken.last() else { return };
        self.version = Some(last.version.clone());
        self.sequence = last.sequence;
        let report = self.proxy.apply_all(std::mem::take(&mut self.taken)).await;
        self.tell(report);
    }

    fn tell(&self, report: Report) {
        let version = self.version.clone().unwrap_or_else(|| report.version.clone());
        let report = Some(Report { version, ..report });
        let applied = self.followed.map(|followed| (followed.replica, self.sequence));
        let news = Told { report, applied };
        self.told.send_if_modified(|told| {
            let changed = *told != news;
            *told = news;
            changed
        });
    }

    fn send(&self, replica: SocketAddr, message: proxy_message::Message) {
        let sent = self.streams.get(&replica).is_some_and(|urgent| urgent.try_send(message).is_ok());
        if !sent {
            // The session finds out by itself that its replica does not read, and ends.
            tracing::debug!(%replica, "the replica does not read");
        }
    }
}
