//! Whether a proxy is there: connected, silent, lost, or away.
//!
//! ```text
//!            no answer for 5 s            the connection ends, or no answer for 60 s
//! Present ---------------------> Silent -------+
//!    ^  ^------ an answer ---------'           |
//!    |                                         v      60 s after its last sign of life
//!    +------------- connects ----------------- Lost ------------------------------------> Away ---> forgotten
//! ```
//!
//! A goodbye ends all of it at once. Time is an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A proxy that has not answered for this long does not count as programmed.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

/// A proxy that was lost without goodbye is expected for this long after its last sign of life.
pub const EXPECTED_FOR: Duration = Duration::from_mins(1);

/// A proxy that is away is forgotten after this time.
pub const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// Where a proxy is, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attendance {
    /// Connected, and answers.
    #[default]
    Present,
    /// Connected, and has not answered for [`SILENT_AFTER`].
    Silent,
    /// Not connected, went without goodbye, and is expected back.
    Lost,
    /// Not expected any more.
    Away {
        /// When it was last heard, to the second.
        since: Timestamp,
    },
}

impl Attendance {
    /// Whether the proxy counts among those that should enforce something.
    pub fn is_expected(self) -> bool {
        match self {
            Self::Present | Self::Silent | Self::Lost => true,
            Self::Away { .. } => false,
        }
    }
}

/// The signs of life of one proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Presence {
    /// The last sign of life. Nothing: the proxy is in this process and cannot be lost.
    heard: Option<Instant>,
    connected: bool,
    pub(super) attendance: Attendance,
}

impl Presence {
    /// A proxy in this process.
    pub(super) fn local() -> Self {
        Self { heard: None, connected: true, attendance: Attendance::Present }
    }

    /// A proxy that has just connected.
    pub(super) fn connected(now: Instant) -> Self {
        Self { heard: Some(now), connected: true, attendance: Attendance::Present }
    }

    /// A sign of life. True where that changes the attendance.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        self.heard = self.heard.max(Some(now));
        std::mem::replace(&mut self.attendance, Attendance::Present) != Attendance::Present
    }

    /// The connection ended without goodbye. False where nothing is expected of the proxy any more.
    pub(super) fn lose(&mut self) -> bool {
        self.connected = false;
        self.attendance = Attendance::Lost;
        self.heard.is_some()
    }

    /// Brings the attendance up to date. True where it changed.
    pub(super) fn look(&mut self, now: Instant, wall: Timestamp) -> bool {
        let next = match (self.attendance, self.silence(now)) {
            (_, None) => Attendance::Present,
            (Attendance::Away { since }, Some(_)) => Attendance::Away { since },
            (_, Some(silence)) if self.connected && silence < SILENT_AFTER => Attendance::Present,
            (_, Some(_)) if self.connected => Attendance::Silent,
            (_, Some(silence)) if silence < EXPECTED_FOR => Attendance::Lost,
            (_, Some(silence)) => {
                let since = wall.saturating_sub(silence).unwrap_or(wall);
                Attendance::Away { since: Timestamp::from_second(since.as_second()).unwrap_or(since) }
            }
        };
        std::mem::replace(&mut self.attendance, next) != next
    }

    /// Whether the proxy has been away for so long that nobody asks for it.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        !self.connected && self.silence(now).is_some_and(|silence| silence >= FORGOTTEN_AFTER)
    }

    /// Time since the last sign of life.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp::UNIX_EPOCH;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant does, and there is no other way to make one")]
    fn start() -> Instant {
        Instant::now()
    }

    /// What a look finds at some seconds after the connection, when the proxy was last heard at `heard`.
    #[track_caller]
    fn check(heard: u64, lost: bool, at: u64, expected: Attendance) {
        let start = start();
        let mut presence = Presence::connected(start);
        presence.hear(start + seconds(heard));
        if lost {
            assert!(presence.lose());
        }
        presence.look(start + seconds(at), WALL + seconds(at));
        assert_eq!(presence.attendance, expected, "heard at {heard}, lost: {lost}, looked at {at}");
    }

    #[test]
    fn a_proxy_is_silent_after_five_seconds_and_lost_ones_are_expected_for_sixty() {
        check(0, false, 4, Attendance::Present);
        check(0, false, 5, Attendance::Silent);
        check(3, false, 7, Attendance::Present);
        check(0, false, 4_000, Attendance::Silent);
        check(10, true, 10, Attendance::Lost);
        check(10, true, 69, Attendance::Lost);
        check(10, true, 70, Attendance::Away { since: WALL + seconds(10) });
    }

    #[test]
    fn the_moment_since_when_a_proxy_is_away_stays() {
        let start = start();
        let mut presence = Presence::connected(start);
        presence.lose();
        assert!(presence.look(start + seconds(60), WALL + seconds(60)));
        assert!(!presence.look(start + seconds(90), WALL + seconds(95)));
        assert_eq!(presence.attendance, Attendance::Away { since: WALL });
        assert!(!presence.is_forgotten(start + seconds(90)));
        assert!(presence.is_forgotten(start + FORGOTTEN_AFTER));
    }

    #[test]
    fn an_answer_ends_the_silence_at_once() {
        let start = start();
        let mut presence = Presence::connected(start);
        presence.look(start + seconds(6), WALL);
        assert!(presence.hear(start + seconds(7)));
        assert_eq!(presence.attendance, Attendance::Present);
        assert!(!presence.hear(start + seconds(8)));
    }

    #[test]
    fn a_proxy_in_this_process_is_never_silent_and_never_lost() {
        let mut presence = Presence::local();
        assert!(!presence.look(start() + FORGOTTEN_AFTER, WALL));
        assert!(!presence.lose());
    }
}
