//! What this replica of the operator is, at one moment.

use std::time::Instant;

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
