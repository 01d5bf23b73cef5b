//! Never two leaders, whatever happens to replicas and requests.

use proptest::prelude::*;

use super::*;

/// One request that is under way: what it writes, when it reaches the server and when its answer arrives.
#[derive(Clone, Debug)]
struct Flight {
    action: Option<Action>,
    sent: u64,
    reaches: u64,
    answers: Option<u64>,
    result: Option<Answer>,
}

#[derive(Clone, Debug)]
enum Answer {
    Read(Option<Record>),
    Written(String),
    Refused,
}

#[derive(Clone, Debug, Default)]
struct Server {
    record: Option<Record>,
    writes: u64,
}

impl Server {
    fn serve(&mut self, identity: &str, action: Option<&Action>) -> Answer {
        let (over, holder, term) = match action {
            None => return Answer::Read(self.record.clone()),
            Some(Action::Found { term }) => (None, NOBODY, *term),
            Some(Action::Take { over, term } | Action::Renew { over, term }) => (Some(over.clone()), identity, *term),
            Some(Action::Look) => unreachable!("a look is never written"),
        };
        if self.record.as_ref().map(|record| record.version.clone()) != over {
            return Answer::Refused;
        }
        self.writes += 1;
        let version = self.writes.to_string();
        self.record = Some(Record { version: version.clone(), holder: holder.to_owned(), transitions: term });
        Answer::Written(version)
    }
}

struct Replica {
    elector: Elector,
    flight: Option<Flight>,
    wakes: u64,
    frozen_until: u64,
}

/// After how many milliseconds a replica gives a request up, which may still arrive.
const GIVEN_UP_AFTER: u64 = 2_000;

/// What chance decides about one request: time to the server, time back (absent: the answer is lost), how long the
/// replica stands still, and whether it does before it sends or while the request is under way.
type Fate = (u64, Option<u64>, u64, bool);

fn at(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

impl Replica {
    fn new(name: &str) -> Self {
        Self { elector: Elector::new(name), flight: None, wakes: 0, frozen_until: 0 }
    }

    /// Sends a request, standing still for as long as its fate says. The deadline of a write counts from before.
    fn send(&mut self, action: Option<Action>, (there, back, freeze, is_before): Fate, now: u64) {
        self.frozen_until = now + freeze;
        let reaches = now + there + if is_before { freeze } else { 0 };
        self.flight =
            Some(Flight { action, sent: now, reaches, answers: back.map(|back| reaches + back), result: None });
    }

    /// The network and the server do not stand still with the replica.
    fn travel(&mut self, server: &mut Server, now: u64) {
        if let Some(flight) = &mut self.flight
            && flight.result.is_none()
            && now >= flight.reaches
        {
            flight.result = Some(server.serve(self.elector.identity(), flight.action.as_ref()));
        }
    }

    fn step(&mut self, start: Instant, now: u64, mut draw: impl FnMut() -> Fate) {
        if now < self.frozen_until {
            return;
        }
        let Some(Flight { action, sent, reaches: _, answers, result }) = self.flight.clone() else {
            if now >= self.wakes {
                self.send(None, draw(), now);
            }
            return;
        };
        let Some(answer) = result.filter(|_| answers.is_some_and(|answers| now >= answers)) else {
            if now >= sent + GIVEN_UP_AFTER {
                self.flight = None;
                self.wakes = now + 1_000;
            }
            return;
        };
        self.flight = None;
        match answer {
            Answer::Read(record) => {
                let action = self.elector.decide(record.as_ref(), at(start, now));
                if action != Action::Look {
                    self.send(Some(action), draw(), now);
                }
            }
            Answer::Written(version) => {
                if let Some(Action::Take { term, .. } | Action::Renew { term, .. }) = action {
                    self.elector.written(term, version, at(start, sent), at(start, now));
                }
            }
            Answer::Refused => self.elector.refused(),
        }
        let pause = self.elector.pause(at(start, now)).as_millis();
        self.wakes = now + u64::try_from(pause).expect("a pause is short");
    }
}

/// What somebody does to the lease and the replicas at a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    /// The lease is deleted.
    Deleted,
    /// One of the replicas is killed and starts anew. Its last request may still arrive.
    Restarted(usize),
}

/// Two replicas for two minutes, in steps of a tenth of a second. Returns how often the leader changed, and what each
/// replica tells as the term at the end.
fn simulate(fates: &[Fate], mishaps: &[(u64, Mishap)]) -> (usize, [u64; 2]) {
    let start = crate::clock::instant();
    let mut server = Server::default();
    let mut replicas = ["a", "b"].map(Replica::new);
    let mut ghosts: Vec<Replica> = Vec::new();
    let mut fates = fates.iter().cycle();
    let mut draw = move || *fates.next().expect("some fate");
    let (mut leaders, mut last) = (0, None);
    for now in (0_u64..1_200).map(|step| step * 100) {
        for (_, mishap) in mishaps.iter().filter(|(step, _)| step * 100 == now) {
            match mishap {
                Mishap::Deleted => server.record = None,
                Mishap::Restarted(which) => {
                    let name = format!("{which}-{now}");
                    ghosts.push(std::mem::replace(&mut replicas[*which], Replica::new(&name)));
                }
            }
        }
        for ghost in &mut ghosts {
            ghost.travel(&mut server, now);
        }
        for replica in &mut replicas {
            replica.travel(&mut server, now);
            replica.step(start, now, &mut draw);
        }
        let leads = |replica: &&Replica| replica.elector.until(at(start, now)).is_some();
        let leading: Vec<&str> = replicas.iter().filter(leads).map(|replica| replica.elector.identity()).collect();
        assert!(leading.len() < 2, "two lead after {now} ms");
        if let Some(leader) = leading.first().map(|name| (*name).to_owned())
            && last.as_ref() != Some(&leader)
        {
            leaders += 1;
            last = Some(leader);
        }
    }
    (leaders, replicas.map(|replica| replica.elector.term(at(start, 119_900))))
}

fn mishaps() -> impl Strategy<Value = Vec<(u64, Mishap)>> {
    let mishap = prop_oneof![2 => Just(Mishap::Deleted), 1 => (0_usize..2).prop_map(Mishap::Restarted)];
    prop::collection::vec((0_u64..1_200, mishap), 0..24)
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let delay = prop_oneof![4 => 0_u64..300, 1 => 300_u64..9_000];
    let back = prop_oneof![6 => delay.clone().prop_map(Some), 1 => Just(None)];
    let freeze = prop_oneof![8 => Just(0_u64), 1 => 0_u64..25_000];
    prop::collection::vec((delay, back, freeze, any::<bool>()), 1..64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn two_replicas_never_lead_at_once_however_late_lost_or_frozen(fates in fates()) {
        simulate(&fates, &[]);
    }

    #[test]
    fn two_replicas_never_lead_at_once_whenever_the_lease_is_deleted_and_replicas_start(
        fates in fates(), mishaps in mishaps(),
    ) {
        simulate(&fates, &mishaps);
    }
}

#[test]
fn on_a_quiet_network_one_replica_leads_and_stays() {
    assert_eq!(simulate(&[(1, Some(1), 0, true)], &[]), (1, [1, 1]));
}

#[test]
fn after_a_deletion_one_replica_leads_again_and_all_tell_its_term() {
    // Both knew a term, and one forgot it: a new lease may begin with a lower one.
    for step in 500..520 {
        let mishaps = [(500, Mishap::Deleted), (step, Mishap::Restarted(0)), (520, Mishap::Deleted)];
        let (leaders, [one, other]) = simulate(&[(1, Some(1), 0, true)], &mishaps);
        assert!(leaders >= 1 && one == other && one > 0, "{step}: {leaders} leaders, terms {one} and {other}");
    }
}

fn held(version: &str, holder: &str, transitions: u64) -> Record {
    Record { version: version.to_owned(), holder: holder.to_owned(), transitions }
}

fn seconds(start: Instant, count: u64) -> Instant {
    start + Duration::from_secs(count)
}

#[test]
fn a_lease_is_taken_once_it_has_stood_unchanged_for_its_time_and_at_once_where_it_was_let_go() {
    let start = crate::clock::instant();
    let mut elector = Elector::new("b");
    let other = held("7", "a", 3);
    assert_eq!(elector.decide(Some(&other), start), Action::Look);
    assert_eq!(elector.decide(Some(&other), seconds(start, 8)), Action::Look);
    let renewed = held("8", "a", 3);
    assert_eq!(elector.decide(Some(&renewed), seconds(start, 10)), Action::Look);
    let (early, due) = (at(start, 18_400), at(start, 18_500));
    assert_eq!(elector.decide(Some(&renewed), early), Action::Look);
    let pauses = [seconds(start, 10), early, due].map(|now| elector.pause(now));
    assert_eq!(pauses, [LOOK, due - early, LOOK], "it looks again in the moment in which it may take the lease");
    let take = Action::Take { over: "8".to_owned(), term: 4 };
    assert_eq!(elector.decide(Some(&renewed), due), take);
    let free = held("9", "", 3);
    let take = Action::Take { over: "9".to_owned(), term: 4 };
    assert_eq!(elector.decide(Some(&free), seconds(start, 21)), take);
}

#[test]
fn a_holder_past_its_deadline_begins_a_new_term() {
    let start = crate::clock::instant();
    let mut elector = Elector::new("a");
    elector.written(1, "1".to_owned(), start, start);
    let own = held("1", "a", 1);
    assert_eq!(elector.decide(Some(&own), seconds(start, 2)), Action::Renew { over: "1".to_owned(), term: 1 });
    assert_eq!(elector.until(seconds(start, 7)), None);
    let again = Action::Take { over: "1".to_owned(), term: 2 };
    assert_eq!(elector.decide(Some(&own), seconds(start, 8)), again);
}

#[test]
fn a_lease_that_does_not_exist_is_founded_and_stands_for_its_time_before_anybody_takes_it() {
    let start = crate::clock::instant();
    let mut elector = Elector::new("b");
    assert_eq!(elector.decide(None, start), Action::Found { term: 0 });
    let founded = held("1", NOBODY, 0);
    assert_eq!(elector.decide(Some(&founded), seconds(start, 1)), Action::Look);
    assert_eq!(elector.decide(None, seconds(start, 10)), Action::Found { term: 0 });
    let again = held("2", NOBODY, 0);
    assert_eq!(elector.decide(Some(&again), seconds(start, 11)), Action::Look);
    let take = Action::Take { over: "2".to_owned(), term: 1 };
    assert_eq!(elector.decide(Some(&again), seconds(start, 21)), take);
}

#[test]
fn the_term_that_is_told_is_the_present_one_and_none_once_the_lease_is_out_of_reach() {
    let start = crate::clock::instant();
    let mut elector = Elector::new("a");
    elector.written(5, "7".to_owned(), start, start);
    assert_eq!((elector.term(start), elector.until(start).is_some()), (5, true));
    assert_eq!(elector.decide(Some(&held("9", "b", 1)), seconds(start, 1)), Action::Look);
    assert_eq!((elector.term(seconds(start, 1)), elector.until(seconds(start, 1))), (1, None));
    assert_eq!([10, 11].map(|at| elector.term(seconds(start, at))), [1, 0]);
}

#[test]
fn a_lease_is_let_go_once_and_leadership_ends_with_it() {
    let start = crate::clock::instant();
    let mut elector = Elector::new("a");
    assert_eq!(elector.release(), None);
    elector.written(5, "1".to_owned(), start, start);
    assert_eq!(elector.release(), Some(("1".to_owned(), 5)));
    assert_eq!((elector.until(start), elector.release()), (None, None));
}
