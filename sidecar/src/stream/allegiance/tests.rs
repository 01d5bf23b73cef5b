//! Sentences about single rules, and a comparison with a model that reads the whole history anew each time.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static START: LazyLock<Instant> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the begin of a test")]
    Instant::now()
});

fn at(millis: u64) -> Instant {
    *START + Duration::from_millis(millis)
}

fn leads(term: u64) -> Claim {
    Claim { term, leads: true, synced: true }
}

fn waits(term: u64) -> Claim {
    Claim { term, leads: false, synced: true }
}

/// Replicas 1 and 2 are known.
fn two(has_something: bool) -> Allegiance<u8> {
    let mut allegiance = Allegiance::new(has_something);
    allegiance.known(1);
    allegiance.known(2);
    allegiance
}

#[track_caller]
fn check(allegiance: &mut Allegiance<u8>, millis: u64, expected: Option<(u8, Option<u64>)>) {
    let followed = allegiance.look(at(millis)).map(|followed| (followed.replica, followed.term));
    assert_eq!(followed, expected);
}

#[test]
fn the_leader_of_the_highest_term_is_followed() {
    let mut allegiance = two(true);
    check(&mut allegiance, 0, None);
    allegiance.claims(1, leads(3), at(0));
    check(&mut allegiance, 0, Some((1, Some(3))));
    allegiance.claims(2, leads(4), at(1));
    check(&mut allegiance, 1, Some((2, Some(4))));
}

#[test]
fn a_follower_that_has_heard_of_a_higher_term_unseats_an_old_leader() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(3), at(0));
    allegiance.claims(2, waits(4), at(1));
    check(&mut allegiance, 1, None);
}

#[test]
fn an_old_leader_that_thaws_is_ignored_with_all_that_it_prepared() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(3), at(0));
    let old = allegiance.look(at(0)).unwrap();
    assert!(allegiance.takes(1, old.number, at(1)));
    allegiance.claims(2, leads(4), at(8_000));
    let new = allegiance.look(at(8_000)).unwrap();
    assert!(!allegiance.takes(1, old.number, at(30_000)));
    allegiance.claims(2, leads(4), at(30_000));
    allegiance.claims(1, leads(3), at(30_001));
    assert!(!allegiance.takes(1, old.number, at(30_002)));
    assert!(!allegiance.takes(1, new.number, at(30_002)));
    check(&mut allegiance, 30_002, Some((2, Some(4))));
}

#[test]
fn a_term_outlives_its_connection_by_one_lease() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(9), at(0));
    allegiance.disconnected(1);
    for millis in [1, 5_000, 9_999] {
        allegiance.claims(2, leads(0), at(millis));
        check(&mut allegiance, millis, None);
    }
    assert_eq!(allegiance.next_look(at(9_999)), Some(at(10_000)));
    check(&mut allegiance, 10_000, Some((2, Some(0))));
}

#[test]
fn a_goodbye_ends_a_term_at_once() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(9), at(0));
    allegiance.claims(2, leads(0), at(0));
    allegiance.said_goodbye(1);
    check(&mut allegiance, 1, Some((2, Some(0))));
}

#[test]
fn a_leader_that_is_silent_for_a_lease_is_left_and_heard_again_with_its_next_claim() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(3), at(0));
    allegiance.heard(1, at(5_000));
    check(&mut allegiance, 14_999, Some((1, Some(3))));
    let before = allegiance.look(at(14_999)).unwrap();
    check(&mut allegiance, 15_000, None);
    allegiance.heard(1, at(15_001));
    check(&mut allegiance, 15_001, None);
    allegiance.claims(1, leads(3), at(15_002));
    let after = allegiance.look(at(15_002)).unwrap();
    assert_eq!((after.replica, after.term, after.number), (1, Some(3), before.number + 1));
}

#[test]
fn a_proxy_with_nothing_takes_one_batch_of_a_replica_that_is_synced() {
    let mut allegiance = two(false);
    allegiance.claims(1, waits(3), at(0));
    check(&mut allegiance, 1, None);
    allegiance.claims(2, Claim { synced: false, ..waits(3) }, at(2));
    check(&mut allegiance, 2, Some((1, None)));
    let number = allegiance.look(at(2)).unwrap().number;
    assert!(!allegiance.takes(2, number, at(3)));
    assert!(allegiance.takes(1, number, at(3)));
    assert!(!allegiance.takes(1, number, at(3)));
    check(&mut allegiance, 3, None);
}

#[test]
fn a_proxy_with_nothing_waits_a_second_for_replicas_that_it_does_not_hear() {
    let mut allegiance = two(false);
    allegiance.claims(1, waits(3), at(500));
    check(&mut allegiance, 1_499, None);
    assert_eq!(allegiance.next_look(at(1_499)), Some(at(1_500)));
    check(&mut allegiance, 1_500, Some((1, None)));
    allegiance.claims(2, leads(3), at(1_600));
    check(&mut allegiance, 1_600, Some((2, Some(3))));
}

#[test]
fn a_batch_of_an_earlier_decision_for_the_same_replica_is_not_taken() {
    let mut allegiance = two(true);
    allegiance.claims(1, leads(3), at(0));
    let first = allegiance.look(at(0)).unwrap();
    allegiance.claims(2, leads(4), at(1));
    allegiance.look(at(1));
    allegiance.claims(1, leads(5), at(2));
    let third = allegiance.look(at(2)).unwrap();
    assert_eq!((first.replica, third.replica), (1, 1));
    assert!(!allegiance.takes(1, first.number, at(3)));
    assert!(allegiance.takes(1, third.number, at(3)));
}

/// What can happen to a replica.
#[derive(Clone, Copy, Debug)]
enum Event {
    Known,
    Gone,
    Claims(Claim),
    Heard,
    Goodbye,
    Disconnected,
    /// A batch that answers the newest decision, or the one before it.
    Batch {
        newest: bool,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    let claim = (0u64..4, any::<bool>(), any::<bool>()).prop_map(|(term, leads, synced)| Claim { term, leads, synced });
    prop_oneof![
        1 => Just(Event::Known),
        1 => Just(Event::Gone),
        6 => claim.prop_map(Event::Claims),
        3 => Just(Event::Heard),
        1 => Just(Event::Goodbye),
        2 => Just(Event::Disconnected),
        4 => any::<bool>().prop_map(|newest| Event::Batch { newest }),
    ]
}

/// Reads the whole history for each question.
#[derive(Default)]
struct Model {
    history: Vec<(Instant, u8, Event)>,
    taken: bool,
}

impl Model {
    /// The claim that counts and when its replica was heard last, where a replica is connected and not silent.
    fn claim(&self, replica: u8, now: Instant) -> Option<Claim> {
        let mut heard: Option<(Claim, Instant)> = None;
        for (time, _, event) in self.history.iter().filter(|(_, who, _)| *who == replica) {
            let alive = heard.filter(|(_, last)| *time < *last + LEASE);
            heard = match event {
                Event::Claims(claim) => Some((*claim, *time)),
                Event::Heard | Event::Batch { .. } => alive.map(|(claim, _)| (claim, *time)),
                Event::Gone | Event::Goodbye | Event::Disconnected => None,
                Event::Known => alive,
            };
        }
        heard.filter(|(_, last)| now < *last + LEASE).map(|(claim, _)| claim)
    }

    fn highest_term(&self, now: Instant) -> Option<u64> {
        let mut highest = None;
        for (index, (time, who, event)) in self.history.iter().enumerate() {
            let until_now = self.history[index..].iter();
            let forgotten = until_now.clone().any(|(_, other, later)| other == who && matches!(later, Event::Goodbye));
            let spoken = match event {
                Event::Claims(claim) => Some(claim.term),
                Event::Heard | Event::Batch { .. } => {
                    let so_far = Self { history: self.history[..index].to_vec(), taken: false };
                    so_far.claim(*who, *time).map(|claim| claim.term)
                }
                Event::Known | Event::Gone | Event::Goodbye | Event::Disconnected => None,
            };
            if !forgotten && now < *time + LEASE {
                highest = highest.max(spoken);
            }
        }
        highest
    }

    fn known(&self) -> BTreeSet<u8> {
        let mut known = BTreeSet::new();
        for (_, who, event) in &self.history {
            match event {
                Event::Known | Event::Claims(_) => known.insert(*who),
                Event::Gone => known.remove(who),
                Event::Heard | Event::Goodbye | Event::Disconnected | Event::Batch { .. } => false,
            };
        }
        known
    }

    /// Everybody who may be followed, with the term.
    fn allowed(&self, now: Instant) -> BTreeSet<(u8, Option<u64>)> {
        let highest = self.highest_term(now);
        let known = self.known();
        let claims: Vec<_> = known.iter().filter_map(|who| Some((*who, self.claim(*who, now)?))).collect();
        let leaders: BTreeSet<_> = claims
            .iter()
            .filter(|(_, claim)| claim.leads && Some(claim.term) == highest)
            .map(|(who, _)| (*who, highest))
            .collect();
        if !leaders.is_empty() || self.taken {
            return leaders;
        }
        let first = self.history.iter().find(|(_, _, event)| matches!(event, Event::Claims(_)));
        let waited = first.is_some_and(|(time, _, _)| now >= *time + HEARING);
        if !waited && claims.len() < known.len() {
            return BTreeSet::new();
        }
        claims.iter().filter(|(_, claim)| claim.synced && !claim.leads).map(|(who, _)| (*who, None)).collect()
    }
}

proptest! {
    #[test]
    fn decisions_are_those_of_a_reader_of_the_whole_history(
        has_something in any::<bool>(),
        events in prop::collection::vec((prop_oneof![0u64..20, 0u64..2_000, 0u64..15_000], 1u8..4, any_event()), 1..60),
    ) {
        let mut allegiance = Allegiance::new(has_something);
        let mut model = Model { history: Vec::new(), taken: has_something };
        let (mut millis, mut last, mut numbers) = (0, None::<Followed<u8>>, (0, 0));
        for (pause, who, event) in events {
            millis += pause;
            let now = at(millis);
            // A replica that nobody knows cannot speak.
            let speaks = matches!(event, Event::Claims(_) | Event::Heard | Event::Batch { .. });
            if speaks {
                allegiance.known(who);
                model.history.push((now, who, Event::Known));
            }
            model.history.push((now, who, event));
            match event {
                Event::Known => allegiance.known(who),
                Event::Gone => {
                    allegiance.disconnected(who);
                    allegiance.gone(who);
                }
                Event::Claims(claim) => allegiance.claims(who, claim, now),
                Event::Heard => allegiance.heard(who, now),
                Event::Goodbye => allegiance.said_goodbye(who),
                Event::Disconnected => allegiance.disconnected(who),
                Event::Batch { newest } => {
                    let allowed = model.allowed(now);
                    let number = if newest { numbers.1 } else { numbers.0 };
                    let taken = allegiance.takes(who, number, now);
                    if taken {
                        prop_assert!(newest && allowed.iter().any(|(replica, _)| *replica == who), "{allowed:?}");
                    }
                    model.taken |= taken;
                }
            }
            let followed = allegiance.look(now);
            let allowed = model.allowed(now);
            match followed {
                None => prop_assert!(allowed.is_empty(), "nobody is followed of {allowed:?}"),
                Some(followed) => {
                    prop_assert!(allowed.contains(&(followed.replica, followed.term)), "{followed:?} of {allowed:?}");
                    if let Some(last) = last && last != followed {
                        prop_assert!(followed.number > last.number);
                    }
                    if followed.number != numbers.1 {
                        numbers = (numbers.1, followed.number);
                    }
                }
            }
            if let Some(next) = allegiance.next_look(now) {
                prop_assert!(next > now);
            }
            last = followed;
        }
    }

    /// Looking at no other times than the machine asks for misses no decision that time alone brings.
    #[test]
    fn nothing_changes_between_two_looks(
        claims in prop::collection::vec((0u64..3_000, 1u8..4, (0u64..3, any::<bool>())), 1..8),
        has_something in any::<bool>(),
    ) {
        let mut allegiance = Allegiance::new(has_something);
        let mut millis = 0;
        for (pause, who, (term, leads)) in claims {
            millis += pause;
            allegiance.claims(who, Claim { term, leads, synced: true }, at(millis));
        }
        let mut now = at(millis);
        loop {
            let followed = allegiance.look(now);
            let Some(next) = allegiance.next_look(now) else { break };
            let before = next.checked_sub(Duration::from_millis(1)).unwrap();
            prop_assert_eq!(allegiance.look(before), followed);
            now = next;
        }
    }
}
