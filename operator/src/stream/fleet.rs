//! What one proxy is told of how many there are: once before its first batch, and again where that changes.

use headgate_snapshot::Fleet;
use tokio::sync::watch;

use crate::hub::{Connection, Hub};

/// What was told, and whether it may be another now.
pub(super) struct FleetBook {
    changes: watch::Receiver<u64>,
    told: Option<Fleet>,
    is_due: bool,
}

impl FleetBook {
    pub(super) fn new(hub: &Hub) -> Self {
        Self { changes: hub.fleets(), told: None, is_due: true }
    }

    /// The proxy asks for configuration: what it heard elsewhere may be another fleet.
    pub(super) fn begin(&mut self) {
        self.told = None;
        self.is_due = true;
    }

    /// Waits until there may be something to tell. Cancelling loses nothing.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.is_due = true;
    }

    /// Tells what is another, by `say`, which is false where there is no room. Then it stays to be told.
    pub(super) fn tell(&mut self, connection: &Connection, say: impl FnOnce(Fleet) -> bool) {
        if !self.is_due {
            return;
        }
        let fleet = connection.fleet();
        self.is_due = self.told.as_ref() != Some(&fleet) && !say(fleet.clone());
        if !self.is_due {
            self.told = Some(fleet);
        }
    }
}
