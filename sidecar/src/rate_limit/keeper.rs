//! What happens to counters beside requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::limiter::Limiter;

/// Between two looks at what is to be told: what is urgent waits no longer.
const TELL_PERIOD: Duration = Duration::from_millis(headgate_engine::TELL_SOON_MS);
/// Between two heartbeats, and between two tries at a store that is away.
const JOIN_PERIOD: Duration = Duration::from_secs(1);
/// Before a connection that broke is made again, however often it breaks.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Between two sweeps.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Tells, joins and sweeps as long as the proxy lives.
pub(crate) async fn keep(limiter: Arc<Limiter>) {
    let sweep = async {
        let mut ticks = every(SWEEP_PERIOD);
        loop {
            ticks.tick().await;
            limiter.sweep();
        }
    };
    let tell = async {
        let mut ticks = every(TELL_PERIOD);
        while limiter.is_shared() {
            ticks.tick().await;
            limiter.tell().await;
        }
    };
    let join = async {
        let mut ticks = every(JOIN_PERIOD);
        while limiter.is_shared() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = limiter.is_cut_off() => sleep(CONNECT_PAUSE).await,
            }
            limiter.join().await;
        }
    };
    tokio::join!(sweep, tell, join);
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
