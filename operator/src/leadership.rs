//! What this replica of the operator is, at one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio::time::timeout;

use crate::clock;

/// Whether this replica leads, and until when it may believe so.
///
/// Every replica streams configuration; only the leader writes to the API server, and proxies follow it. A leader
/// that cannot renew its lease stops by itself before the others may begin: whoever is about to send or to write asks
/// [`Leadership::leads`] with the time of that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// `leaseTransitions` of the lease, as this replica saw it last.
    pub term: u64,
    /// Until when this replica leads, absent: it does not.
    pub until: Option<Instant>,
    /// Whether its watches have seen everything, and since the beginning of the term where it leads.
    pub synced: bool,
}

impl Leadership {
    /// Whether this replica leads at a moment: it holds the lease and knows the whole world.
    pub fn leads(&self, now: Instant) -> bool {
        let Self { term: _, until, synced } = self;
        *synced && until.is_some_and(|until| now < until)
    }
}

/// The right to write to the API server, shared by everything in this replica that writes as the leader.
///
/// A request that was sent is stored when the server gets to it. So a leader that stops lets its lease go only once
/// all that it sent is answered: else the next one would lead while a write of this one is still under way.
#[derive(Clone, Debug)]
pub struct Pen {
    leadership: watch::Receiver<Leadership>,
    busy: Arc<RwLock<()>>,
}

/// One write that may be under way, until this is dropped.
#[derive(Debug)]
pub struct Permit {
    _busy: OwnedRwLockReadGuard<()>,
}

impl Pen {
    /// A pen with which nothing has been written.
    pub fn new(leadership: watch::Receiver<Leadership>) -> Self {
        Self { leadership, busy: Arc::default() }
    }

    /// What this replica is at this moment.
    pub fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// A permit for one write, absent where this replica does not lead at this moment.
    pub async fn take(&self) -> Option<Permit> {
        let busy = Arc::clone(&self.busy).read_owned().await;
        self.leadership().leads(clock::instant()).then_some(Permit { _busy: busy })
    }

    /// Waits until nothing is under way, at most for `limit`. Whoever leads no more begins nothing after this.
    pub async fn is_laid_down(&self, limit: Duration) -> bool {
        timeout(limit, self.busy.write()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pen_is_laid_down_once_every_write_has_ended_and_no_new_one_begins() {
        let until = Some(clock::instant() + Duration::from_hours(1));
        let leadership = watch::Sender::new(Leadership { term: 1, until, synced: true });
        let pen = Pen::new(leadership.subscribe());
        let (one, other) = (pen.take().await.expect("it leads"), pen.take().await.expect("it leads"));
        leadership.send_modify(|known| known.until = None);
        assert!(pen.take().await.is_none(), "it leads no more");
        drop(one);
        assert!(!pen.is_laid_down(Duration::from_secs(1)).await, "one write is under way");
        drop(other);
        assert!(pen.is_laid_down(Duration::from_secs(1)).await);
        assert!(pen.take().await.is_none());
    }
}
