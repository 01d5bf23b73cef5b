//! Several proxies, a store and the way between them, in simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::rate_limit::book::Errand;
use crate::rate_limit::store::{Take, Taken};

/// Milliseconds from a proxy to the store, and back.
const WAY: u64 = 1;

/// From one look at what is due to the next.
const TICK: u64 = 5;

/// What happens at a moment.
enum Event {
    /// A question reaches the store.
    Question(usize, Take),
    /// The store's answer, or that there is none, reaches the proxy. When it was asked.
    Answer(usize, Take, Option<Taken>, u64),
    /// The same for what is told behind.
    Told(usize, Errand, Option<Taken>, u64),
}

/// A cluster with one limit.
pub(super) struct Cluster {
    pub(super) hand: Hand,
    pub(super) store: MemoryStore,
    pub(super) proxies: Vec<Proxy>,
    pub(super) quota: Quota,
    pub(super) on_failure: StoreFailure,
    /// Whether the store answers.
    pub(super) store_is_up: bool,
    /// When each request passed, and at which proxy.
    pub(super) passed: Vec<(u64, usize)>,
    pub(super) refused: Vec<(u64, usize)>,
    pub(super) asked: usize,
    pub(super) told: usize,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    bodies: Vec<Option<Event>>,
}

impl Cluster {
    pub(super) fn new(algorithm: Algorithm, quota: Quota, proxies: u64) -> Self {
        // A new period is about to begin, so that the first one is whole.
        let hand = Hand::at(START - START % u64::from(quota.period) + u64::from(quota.period));
        let fleet = |number| headgate_snapshot::Fleet { proxies: 4, index: number, shares: Vec::new() };
        let proxy = |number: u64| {
            let proxy = Proxy::new(number, algorithm, quota, Sharing::Store);
            proxy.limits.set_fleet(fleet(u32::try_from(number).unwrap()));
            proxy
        };
        Self {
            store: hand.store(),
            hand,
            proxies: (0..proxies).map(proxy).collect(),
            quota,
            on_failure: StoreFailure::LocalShare,
            store_is_up: true,
            passed: Vec::new(),
            refused: Vec::new(),
            asked: 0,
            told: 0,
            events: BinaryHeap::new(),
            bodies: Vec::new(),
        }
    }

    /// A request arrives at a proxy.
    pub(super) fn request(&mut self, proxy: usize) {
        let now = self.hand.now();
        let quotas = [self.quota];
        let Proxy { limits, set } = &self.proxies[proxy];
        let terms = Terms::new(&quotas, 0, limits.standing(set, false, self.on_failure));
        let verdict = set.decide(set.hash(&key("a")), &terms, Charge::of(1), limits.shared_time(now));
        match verdict {
            Verdict::Ask(take) => {
                self.asked += 1;
                self.at(WAY, Event::Question(proxy, take));
            }
            verdict => self.count(proxy, &outcome(verdict)),
        }
    }

    fn count(&mut self, proxy: usize, outcome: &Outcome) {
        let list = if outcome.0.is_ok() { &mut self.passed } else { &mut self.refused };
        list.push((self.hand.now().0, proxy));
    }

    fn at(&mut self, after: u64, event: Event) {
        self.events.push(Reverse((self.hand.now().0 + after, self.bodies.len())));
        self.bodies.push(Some(event));
    }

    /// Lets a millisecond pass.
    pub(super) fn pass_time(&mut self) {
        self.hand.turn(1);
        let now = self.hand.now();
        while let Some(Reverse((time, body))) = self.events.peek().copied() {
            if time > now.0 {
                break;
            }
            self.events.pop();
            if let Some(event) = self.bodies[body].take() {
                self.happen(event);
            }
        }
        if now.0.is_multiple_of(TICK) {
            for proxy in 0..self.proxies.len() {
                for errand in self.proxies[proxy].limits.due(now, 1_000) {
                    self.told += 1;
                    let taken = self.store_is_up.then(|| self.store.take_one(errand.take()));
                    self.at(2 * WAY, Event::Told(proxy, errand, taken, now.0));
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.hand.now();
        match event {
            Event::Question(proxy, take) => {
                let taken = self.store_is_up.then(|| self.store.take_one(&take));
                self.at(WAY, Event::Answer(proxy, take, taken, now.0 - WAY));
            }
            Event::Answer(proxy, take, taken, asked) => {
                let quotas = [self.quota];
                let Proxy { limits, set } = &self.proxies[proxy];
                set.asked(take.hash, Charge::of(1));
                let verdict = if let Some(taken) = taken {
                    limits.heard(EpochMillis(asked), taken.now);
                    let terms = Terms::new(&quotas, 0, limits.standing(set, false, self.on_failure));
                    set.answered(&take, &taken, &terms, Charge::of(1), limits.shared_time(now))
                } else {
                    let terms = Terms::new(&quotas, 0, limits.apart(set, self.on_failure));
                    set.decide(take.hash, &terms, Charge::of(1), limits.shared_time(now))
                };
                self.count(proxy, &outcome(verdict));
            }
            Event::Told(proxy, errand, taken, asked) => {
                let taken = taken.map(|taken| vec![taken]);
                self.proxies[proxy].limits.told(&[errand], taken.as_deref(), EpochMillis(asked), now);
            }
        }
    }

    /// How many passed in each aligned period, the first one first.
    pub(super) fn passed_by_period(&self) -> Vec<usize> {
        let period = u64::from(self.quota.period);
        let mut counts = BTreeMap::<u64, usize>::new();
        for (time, _) in &self.passed {
            *counts.entry(time / period).or_default() += 1;
        }
        counts.into_values().collect()
    }

    /// What the store would say of the key, nothing told.
    pub(super) fn shared(&self) -> Taken {
        let Proxy { limits: _, set } = &self.proxies[0];
        let proxy = Proxy::new(99, set.identity().algorithm, self.quota, Sharing::Store);
        let terms = [self.quota];
        let terms = Terms::new(&terms, 0, Standing::Together { proxies: 1, strict: true });
        match proxy.set.decide(proxy.hash("a"), &terms, Charge::of(1), self.hand.now()) {
            Verdict::Ask(take) => self.store.take_one(&Take { cost: 0, ..take }),
            verdict => panic!("{verdict:?}"),
        }
    }
}
