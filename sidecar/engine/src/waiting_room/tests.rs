//! A room never passes its limits, keeps the order, and strands nobody.

use std::collections::{BTreeMap, VecDeque};

use super::record::{HELD_MS, Limits, Record, TENTH_MS};
use super::ticket::VisitorId;
use crate::chance::Chance;
use crate::time::EpochMillis;

const START: u64 = 1_795_776_012_345;

fn at(milliseconds: u64) -> EpochMillis {
    EpochMillis(START + milliseconds)
}

const FEW: Limits = Limits { active: 3, per_minute: 5, duration: 30_000 };

#[test]
fn both_limits_hold_and_one_visitor_counts_once() {
    let mut record = Record::default();
    let enter = |record: &mut Record, id: u128, time: u64| record.enter(VisitorId(id), FEW, at(time)).is_some();
    // Many requests of one visitor are one.
    assert!((0..10).all(|request| enter(&mut record, 1, request)));
    assert_eq!([2, 3, 4].map(|id| enter(&mut record, id, 20)), [true, true, false]);
    // Three sessions have ended, and three of five have begun within the minute.
    assert_eq!([5, 6, 7].map(|id| enter(&mut record, id, 30_020)), [true, true, false]);
    // A renewal is no new session, and moves the end.
    assert_eq!(record.renew(VisitorId(5), FEW, at(59_999)), Some(at(89_999)));
    assert_eq!(record.renew(VisitorId(7), FEW, at(59_999)), None);
    assert!(!enter(&mut record, 8, 59_999));
    assert!(enter(&mut record, 8, 60_000), "the first session began a minute ago");
    record.revoke(VisitorId(5), at(89_999));
    assert!(record.is_revoked(VisitorId(5)) && enter(&mut record, 9, 60_021));
}

#[test]
fn nobody_waits_for_those_who_left() {
    let mut record = Record::default();
    let one = Limits { active: 1, per_minute: 100, duration: 10_000 };
    record.enter(VisitorId(0), one, at(0)).unwrap();
    for id in 1..=3_u64 {
        record.wait(VisitorId(id.into()), at(id * TENTH_MS), one, at(id * TENTH_MS));
    }
    // The first two never come again; the third refreshes every second.
    let mut entered = None;
    for second in 1..60 {
        let now = at(second * 1_000);
        record.wait(VisitorId(3), at(3 * TENTH_MS), one, now);
        record.call(one, now);
        if record.is_called(at(3 * TENTH_MS)) && record.enter(VisitorId(3), one, now).is_some() {
            entered = Some(second);
            break;
        }
    }
    // Ten seconds until the slot is free, and twice a refresh of a second and what a network may add.
    assert!(entered.is_some_and(|second| (10..=23).contains(&second)), "{entered:?}");
    assert_eq!(record.census(at(HELD_MS + 60_000)).waiting, 0, "places are held for five minutes");
}

/// One of the visitors of a simulation.
struct Visitor {
    id: VisitorId,
    arrived: EpochMillis,
    comes: EpochMillis,
    /// Comes no more from then on.
    leaves: EpochMillis,
}

/// Visitors come, refresh when they are told to, leave or get in; some sessions are renewed, some revoked.
fn simulate(seed: u64, limits: Limits, arrivals: u64, every: u64) {
    println!("seed {seed}, {limits:?}, {arrivals} arrivals, one in {every} ms");
    let mut chance = Chance::new(seed);
    let mut record = Record::default();
    let (mut now, mut next_arrival, mut arrived) = (at(0), at(0), 0);
    let mut outside: BTreeMap<(EpochMillis, u64), Visitor> = BTreeMap::new();
    // What a naive observer sees: the ends of sessions, and when each began.
    let (mut inside, mut began): (BTreeMap<VisitorId, EpochMillis>, VecDeque<EpochMillis>) = Default::default();
    let (mut admitted, mut left, mut last_tenth, mut behind, mut longest_idle) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let (mut idle_since, mut visits) = (None, 0);
    while arrived < arrivals || !outside.is_empty() {
        let next_visit = outside.first_key_value().map(|((when, _), _)| *when);
        now = match (next_visit, arrived < arrivals) {
            (Some(visit), true) => visit.min(next_arrival),
            (Some(visit), false) => visit,
            (None, _) => next_arrival,
        }
        .max(now);
        inside.retain(|_, end| *end > now);
        while began.front().is_some_and(|moment| now.since(*moment) >= 60_000) {
            began.pop_front();
        }
        let mut visitor = if arrived < arrivals && next_arrival <= now {
            arrived += 1;
            next_arrival = now.after(chance.below(2 * every) + 1);
            let patience = if chance.below(4) == 0 { chance.below(120_000) } else { u64::MAX / 4 };
            let id = VisitorId(u128::from(chance.draw()));
            Visitor { id, arrived: now, comes: now, leaves: now.after(patience) }
        } else {
            let Some((_, visitor)) = outside.pop_first() else { break };
            visitor
        };
        if visitor.comes >= visitor.leaves {
            left += 1;
            continue;
        }
        let is_new = visitor.comes == visitor.arrived;
        record.call(limits, now);
        let may = if is_new { record.is_open(limits) } else { record.is_called(visitor.arrived) };
        let end = if may { record.enter(visitor.id, limits, now) } else { None };
        if let Some(end) = end {
            admitted += 1;
            inside.insert(visitor.id, end);
            began.push_back(now);
            let tenth = visitor.arrived.0 / TENTH_MS;
            // Order to the grain, but for those who come late to their turn.
            behind += u64::from(tenth + 10 * 26 < last_tenth);
            last_tenth = last_tenth.max(tenth);
            if chance.below(10) == 0 {
                record.revoke(visitor.id, end);
                inside.remove(&visitor.id);
            }
        } else {
            let refresh = record.wait(visitor.id, visitor.arrived, limits, now);
            visitor.comes = now.after(refresh * 1_000 + chance.below(300));
            visits += 1;
            outside.insert((visitor.comes, visits), visitor);
        }
        assert!(inside.len() as u64 <= u64::from(limits.active), "{} inside of {}", inside.len(), limits.active);
        assert!(began.len() as u64 <= u64::from(limits.per_minute), "{} began within a minute", began.len());
        let is_idle = record.free(limits) > 0 && !outside.is_empty();
        idle_since = is_idle.then(|| idle_since.unwrap_or(now));
        longest_idle = longest_idle.max(idle_since.map_or(0, |since: EpochMillis| now.since(since)));
    }
    println!("  {admitted} admitted, {left} left, {behind} came late, a slot was free for {longest_idle} ms at most");
    assert_eq!(admitted + left, arrivals, "nobody is stranded");
    assert!(admitted > arrivals / 3 && longest_idle < 26_000 * 2);
}

#[test]
fn a_room_under_pressure_holds_its_limits_and_strands_nobody() {
    let scale = if std::env::var_os("HEADGATE_SOAK").is_some() { 100 } else { 1 };
    simulate(1, Limits { active: 50, per_minute: 200, duration: 10_000 }, 2_000 * scale, 150);
    simulate(2, Limits { active: 5, per_minute: 1_000, duration: 3_000 }, 1_000 * scale, 400);
    simulate(3, Limits { active: 1_000, per_minute: 100, duration: 60_000 }, 2_000 * scale, 300);
    simulate(4, Limits { active: 1, per_minute: 1, duration: 1_000 }, 50 * scale, 30_000);
}

#[test]
fn the_numbers_of_people_ahead_follow_the_line() {
    let mut record = Record::default();
    let full = Limits { active: 1, per_minute: 100, duration: 1_000_000 };
    record.enter(VisitorId(0), full, at(0)).unwrap();
    for number in 1..=1_000_u64 {
        record.wait(VisitorId(number.into()), at(number * TENTH_MS), full, at(number * TENTH_MS));
    }
    let now = at(200_000);
    let ahead = |record: &mut Record, number: u64| record.ahead_of(at(number * TENTH_MS), now);
    assert_eq!([1, 2, 500, 1_000].map(|number| ahead(&mut record, number)), [0, 1, 499, 999]);
    assert_eq!(record.ahead_of(now, now), 1_000);
}
