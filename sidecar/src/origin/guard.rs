//! Deadlines of attempts at origins, enforced from outside of the exchange.
//!
//! Pingora knows one read timeout a connection to an origin, set before the request is written. The contract has
//! two: `request` counts until the answer's headers, `idle` the silence after them, which may be much longer (a
//! WebSocket) than `request`. So Pingora's read timeout is `idle`, and `request` is enforced here: each connection
//! carries a [`Guard`] with a second handle of its socket. An attempt arms the guard with its deadline; the answer's
//! headers disarm it. A sweeper looks at all guards every few milliseconds and shuts the sockets down that are
//! overdue, which Pingora sees as a closed connection, and the attempt's error becomes `OriginTimeout` because its
//! guard says that it fired.
//!
//! A guard costs a request two atomic writes and no timer. A guard serves one request at a time: HTTP/1.1 anyway,
//! HTTP/2 because origins get one stream a connection. Firing and disarming race for the same word, so a connection
//! is never shut down for the deadline of a request that it has already answered.

use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;

/// How late a deadline may be noticed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// A deadline that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

const DISARMED: u64 = 0;
const FIRED: u64 = u64::MAX;
/// The low bits of an armed state tell one arming from the next; the deadline is above them.
const TURN_BITS: u32 = 12;

/// The deadline of the request that a connection to an origin serves now.
#[derive(Debug)]
pub(crate) struct Guard {
    socket: socket2::Socket,
    /// `DISARMED`, `FIRED`, or a deadline with a turn.
    state: AtomicU64,
    turn: AtomicU64,
}

/// One arming. Only who armed a guard can take that deadline away again, since a connection may be in the hands of
/// the next request by the time that the last one is written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Armed(u64);

impl Guard {
    fn new(socket: socket2::Socket) -> Self {
        Self { socket, state: AtomicU64::new(DISARMED), turn: AtomicU64::new(0) }
    }

    /// Sets or moves the deadline. A guard that has fired stays so: its connection is gone.
    pub(crate) fn arm(&self, deadline_millis: u64) -> Armed {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) & ((1 << TURN_BITS) - 1);
        let armed = deadline_millis.clamp(1, FIRED >> (TURN_BITS + 1)) << TURN_BITS | turn;
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now != FIRED).then_some(armed));
        Armed(armed)
    }

    /// Takes a deadline away, unless the guard has fired or was armed anew.
    pub(crate) fn disarm(&self, armed: Armed) {
        let _ = self.state.compare_exchange(armed.0, DISARMED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether the deadline passed and the connection was shut down.
    pub(crate) fn has_fired(&self) -> bool {
        self.state.load(Ordering::Acquire) == FIRED
    }

    fn fire_if_due(&self, now_millis: u64) {
        let state = self.state.load(Ordering::Acquire);
        let due = state != DISARMED && state != FIRED && state >> TURN_BITS <= now_millis;
        if due && self.state.compare_exchange(state, FIRED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // An error means that the connection is closed already, which is what is wanted.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

/// All guards of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    guards: Mutex<Vec<Weak<Guard>>>,
    added: Notify,
}

impl Guards {
    /// A guard for a new connection.
    pub(crate) fn guard(&self, stream: &tokio::net::TcpStream) -> std::io::Result<Arc<Guard>> {
        let guard = Arc::new(Guard::new(socket2::SockRef::from(stream).try_clone()?));
        self.guards.lock().push(Arc::downgrade(&guard));
        self.added.notify_one();
        Ok(guard)
    }

    /// Fires what is overdue and forgets the guards of closed connections. False when there is nothing to guard.
    fn sweep(&self, now_millis: u64) -> bool {
        let mut guards = self.guards.lock();
        guards.retain(|guard| match guard.upgrade() {
            Some(guard) => {
                guard.fire_if_due(now_millis);
                true
            }
            None => false,
        });
        !guards.is_empty()
    }

    /// Sweeps until the task is dropped. Sleeps while there are no connections to origins.
    pub(crate) async fn run(self: Arc<Self>, clock: Clock) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.sweep(clock.millis()) {
                ticks.tick().await;
            } else {
                self.added.notified().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A guarded connection and whether a read on it has ended.
    async fn guarded(guards: &Guards) -> (Arc<Guard>, TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (guards.guard(&stream).unwrap(), stream, listener)
    }

    #[tokio::test]
    async fn an_overdue_guard_shuts_its_connection_down() {
        let guards = Guards::default();
        let (guard, mut stream, _listener) = guarded(&guards).await;
        guard.arm(100);
        assert!(guards.sweep(99));
        assert!(!guard.has_fired());
        assert!(guards.sweep(100));
        assert!(guard.has_fired());
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_disarmed_guard_never_fires() {
        let guards = Guards::default();
        let (guard, _stream, _listener) = guarded(&guards).await;
        let armed = guard.arm(100);
        guard.disarm(armed);
        assert!(guards.sweep(1_000));
        assert!(!guard.has_fired());
    }

    #[tokio::test]
    async fn the_deadline_of_the_next_request_is_not_taken_away_by_the_last_one() {
        let guards = Guards::default();
        let (guard, _stream, _listener) = guarded(&guards).await;
        let last = guard.arm(100);
        guard.arm(100);
        guard.disarm(last);
        guards.sweep(100);
        assert!(guard.has_fired());
    }

    #[tokio::test]
    async fn a_guard_that_fired_cannot_be_armed_again() {
        let guards = Guards::default();
        let (guard, _stream, _listener) = guarded(&guards).await;
        guard.arm(1);
        guards.sweep(1);
        let armed = guard.arm(500);
        guard.disarm(armed);
        assert!(guard.has_fired());
    }

    #[tokio::test]
    async fn guards_of_closed_connections_are_forgotten() {
        let guards = Guards::default();
        let (guard, stream, _listener) = guarded(&guards).await;
        drop((guard, stream));
        assert!(!guards.sweep(1));
    }
}
