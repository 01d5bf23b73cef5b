//! The record of a room: who is inside, how many came in the last minute, and who waits.
//!
//! ADR 0012 says why neither limit can be passed: there is one way to become active, [`Record::enter`], and it checks both.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::ticket::VisitorId;
use crate::time::EpochMillis;

/// The grain of the order, in milliseconds.
pub const TENTH_MS: u64 = 100;
/// Between two refreshes of a waiting page, in seconds: of those who are far from their turn, and of those who are near.
pub const REFRESH_SECONDS: u64 = 20;
const NEAR_REFRESH_SECONDS: u64 = 1;
/// Most visitors who are near.
const MOST_NEAR: u64 = 5_000;
/// How long a place is held after the last refresh, in milliseconds.
pub const HELD_MS: u64 = 300_000;
/// The length of the window of [`Limits::per_minute`], in milliseconds.
const MINUTE_MS: u64 = 60_000;
/// How long after the next refresh one who is called is expected still: what a network may add.
const LATE_MS: u64 = 5_000;
/// How long the numbers of people ahead may be old.
const COUNTED_MS: u64 = 1_000;
/// Visitors of a room that are remembered while they wait. More wait, uncounted, and get in after those before them.
pub const MOST_WAITING: usize = 1_000_000;

/// How many may be inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once.
    pub active: u32,
    /// Sessions that begin in a minute.
    pub per_minute: u32,
    /// How long a session lasts, in milliseconds.
    pub duration: u64,
}

/// Who is inside and who waits.
#[derive(Debug, Default)]
pub struct Record {
    active: HashMap<VisitorId, EpochMillis>,
    ends: BTreeSet<(EpochMillis, VisitorId)>,
    /// Moments of the admissions of the last minute.
    began: VecDeque<EpochMillis>,
    waiting: HashMap<VisitorId, Waiting>,
    seen: BTreeSet<(EpochMillis, VisitorId)>,
    /// Those who wait and are not called, by the tenth in which they came.
    tenths: BTreeMap<u64, BTreeSet<VisitorId>>,
    /// Those who are called and still expected.
    expected: BTreeSet<(EpochMillis, VisitorId)>,
    /// Whoever came in this tenth or before is called.
    line: u64,
    /// Sessions that were ended, until their tickets end.
    revoked: BTreeMap<VisitorId, EpochMillis>,
    ahead: Ahead,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    tenth: u64,
    seen: EpochMillis,
    /// When the visitor is to come again.
    comes: EpochMillis,
    /// Until when one who is called is expected, 0: not.
    expected: EpochMillis,
}

/// How many wait before each tenth, as it was counted last.
#[derive(Debug, Default)]
struct Ahead {
    counted: EpochMillis,
    before: Vec<(u64, u64)>,
}

/// What a room tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Sessions.
    pub active: u64,
    /// Visitors who wait.
    pub waiting: u64,
    /// Sessions that began in the last minute.
    pub began: u64,
}

impl Record {
    /// Forgets what is over.
    pub fn tidy(&mut self, now: EpochMillis) {
        while let Some((end, id)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, id));
            self.active.remove(&id);
        }
        while self.began.front().is_some_and(|began| now.since(*began) >= MINUTE_MS) {
            self.began.pop_front();
        }
        while let Some((until, id)) = self.expected.first().copied().filter(|(until, _)| *until <= now) {
            self.expected.remove(&(until, id));
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.expected = EpochMillis::default();
            }
        }
        while let Some((_, id)) = self.seen.first().copied().filter(|(seen, _)| now.since(*seen) >= HELD_MS) {
            self.leave(id);
        }
        self.revoked.retain(|_, until| *until > now);
    }

    /// Makes a visitor active, where both limits allow it, and says when the session ends. One who is active already stays
    /// so, however many requests come at once.
    pub fn enter(&mut self, id: VisitorId, limits: Limits, now: EpochMillis) -> Option<EpochMillis> {
        self.tidy(now);
        if let Some(end) = self.active.get(&id) {
            return Some(*end);
        }
        if self.free(limits) == 0 {
            return None;
        }
        Some(self.admit(id, limits, now))
    }

    /// Makes a visitor active whatever the limits say.
    pub fn admit(&mut self, id: VisitorId, limits: Limits, now: EpochMillis) -> EpochMillis {
        self.leave(id);
        let end = now.after(limits.duration);
        if let Some(before) = self.active.insert(id, end) {
            self.ends.remove(&(before, id));
        } else {
            self.began.push_back(now);
        }
        self.ends.insert((end, id));
        end
    }

    /// Moves the end of a session that is there, and says the new one.
    pub fn renew(&mut self, id: VisitorId, limits: Limits, now: EpochMillis) -> Option<EpochMillis> {
        self.tidy(now);
        let end = self.active.get_mut(&id)?;
        let before = std::mem::replace(end, (*end).max(now.after(limits.duration)));
        self.ends.remove(&(before, id));
        self.ends.insert((*end, id));
        Some(*end)
    }

    /// Ends a session, whose ticket may live until then.
    pub fn revoke(&mut self, id: VisitorId, ticket_ends: EpochMillis) {
        if let Some(end) = self.active.remove(&id) {
            self.ends.remove(&(end, id));
        }
        self.revoked.insert(id, ticket_ends);
    }

    /// Whether a session was ended before its ticket.
    pub fn is_revoked(&self, id: VisitorId) -> bool {
        self.revoked.contains_key(&id)
    }

    /// Takes a session over that a ticket proves and nobody here knows: of a process that is gone.
    pub fn remember(&mut self, id: VisitorId, ends: EpochMillis) {
        if self.active.insert(id, ends).is_none() {
            self.ends.insert((ends, id));
        }
    }

    /// A visitor waits, with a ticket that says since when. The answer is in how many seconds it is to come again.
    pub fn wait(&mut self, id: VisitorId, arrived: EpochMillis, limits: Limits, now: EpochMillis) -> u64 {
        self.tidy(now);
        let tenth = arrived.min(now).0 / TENTH_MS;
        // Those whose turn is near come often, so that a slot is not free for long: twice as many as may enter at once.
        let near = (2 * u64::from(limits.per_minute.min(limits.active)) + 50).min(MOST_NEAR);
        let is_near = tenth <= self.line || self.ahead_of(arrived, now) < near;
        let refresh = if is_near { NEAR_REFRESH_SECONDS } else { REFRESH_SECONDS };
        let comes = now.after(refresh * 1_000);
        if let Some(waiting) = self.waiting.get_mut(&id) {
            self.seen.remove(&(waiting.seen, id));
            (waiting.seen, waiting.comes) = (now, comes);
        } else if self.waiting.len() < MOST_WAITING {
            self.waiting.insert(id, Waiting { tenth, seen: now, comes, expected: EpochMillis::default() });
            if tenth > self.line {
                self.tenths.entry(tenth).or_default().insert(id);
            }
        } else {
            return REFRESH_SECONDS;
        }
        self.seen.insert((now, id));
        if tenth <= self.line {
            self.expect(id);
        }
        refresh
    }

    /// Calls as many as there is room for.
    pub fn call(&mut self, limits: Limits, now: EpochMillis) {
        self.tidy(now);
        let free = self.free(limits);
        while free > self.expected.len() as u64 {
            let Some((tenth, visitors)) = self.tenths.pop_first() else { break };
            self.line = tenth;
            for id in visitors {
                self.expect(id);
            }
        }
    }

    /// Whether one who came then may ask to enter.
    pub fn is_called(&self, arrived: EpochMillis) -> bool {
        arrived.0 / TENTH_MS <= self.line
    }

    /// Whether somebody new may ask to enter: nobody waits whose turn would come before.
    pub fn is_open(&self, limits: Limits) -> bool {
        self.tenths.is_empty() && self.free(limits) > self.expected.len() as u64
    }

    /// How many wait before one who came then, to within a second.
    pub fn ahead_of(&mut self, arrived: EpochMillis, now: EpochMillis) -> u64 {
        if self.ahead.before.is_empty() || now.since(self.ahead.counted) >= COUNTED_MS {
            let mut sum = self.expected.len() as u64;
            let count = |(tenth, visitors): (&u64, &BTreeSet<VisitorId>)| {
                let before = sum;
                sum += visitors.len() as u64;
                (*tenth, before)
            };
            let mut before: Vec<(u64, u64)> = self.tenths.iter().map(count).collect();
            before.push((u64::MAX, sum));
            self.ahead = Ahead { counted: now, before };
        }
        let tenth = arrived.0 / TENTH_MS;
        let at = self.ahead.before.partition_point(|(known, _)| *known < tenth);
        self.ahead.before.get(at).map_or(0, |(_, before)| *before)
    }

    /// What the room tells of itself.
    pub fn census(&mut self, now: EpochMillis) -> Census {
        self.tidy(now);
        Census { active: self.active.len() as u64, waiting: self.waiting.len() as u64, began: self.began.len() as u64 }
    }

    /// How many may enter now.
    pub fn free(&self, limits: Limits) -> u64 {
        let inside = u64::from(limits.active).saturating_sub(self.active.len() as u64);
        inside.min(u64::from(limits.per_minute).saturating_sub(self.began.len() as u64))
    }

    fn expect(&mut self, id: VisitorId) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        self.expected.remove(&(waiting.expected, id));
        waiting.expected = waiting.comes.after(LATE_MS);
        self.expected.insert((waiting.expected, id));
    }

    fn leave(&mut self, id: VisitorId) {
        let Some(Waiting { tenth, seen, comes: _, expected }) = self.waiting.remove(&id) else { return };
        self.seen.remove(&(seen, id));
        self.expected.remove(&(expected, id));
        if let Some(visitors) = self.tenths.get_mut(&tenth) {
            visitors.remove(&id);
            if visitors.is_empty() {
                self.tenths.remove(&tenth);
            }
        }
    }
}
