//! What every store must do, whichever it is.

use std::sync::Arc;

use headgate_engine::{
    Chance, Counts, EpochMillis, KeyHash, LimitStore, Member, MemoryStore, Quota, Shared, Take, Taken, Teller, Totals,
};
use headgate_snapshot::Key;

use super::{Hand, START};

/// A question under construction.
#[derive(Clone)]
pub(super) struct Question(pub(super) Take);

impl Question {
    pub(super) fn with_cost(mut self, cost: u32) -> Self {
        self.0.cost = cost;
        self
    }

    fn told(mut self, totals: Totals) -> Self {
        self.0.totals = totals;
        self
    }

    fn quota(mut self, quota: Quota) -> Self {
        self.0.quota = quota;
        self
    }

    fn memory(mut self, memory: u32) -> Self {
        self.0.teller.memory = memory;
        self
    }

    fn blocked(mut self, until: u64) -> Self {
        self.0.blocked_until = EpochMillis(until);
        self
    }
}

const QUOTA: Quota = Quota { limit: 10, burst: 10, period: 60_000, block_for: 0 };

/// Index of the period that the tests begin in.
const INDEX: u32 = 29_929_600;

fn question(proxy: u64, key: &str, totals: Totals) -> Question {
    let mut low = Chance::new(key.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)));
    Question(Take {
        limit: Arc::new(Key::new("RateLimit", "default", "login")),
        hash: KeyHash { high: low.draw(), low: low.draw() },
        teller: Teller { proxy, memory: 1 },
        totals,
        blocked_until: EpochMillis(0),
        cost: 0,
        quota: QUOTA,
    })
}

/// A question about a window of which the proxy has counted nothing.
pub(super) fn window(proxy: u64, key: &str) -> Question {
    question(proxy, key, counted(0, 0))
}

/// A question about a bucket of which the proxy has counted nothing.
pub(super) fn bucket(proxy: u64, key: &str) -> Question {
    question(proxy, key, Totals::Bucket { total: 0, told: 0, used: 0 })
}

fn counted(previous: u32, current: u32) -> Totals {
    Totals::Window { index: INDEX, previous, current }
}

pub(super) fn member(proxy: u64) -> Member {
    Member { group: "gateway".to_owned(), proxy, secret: [u8::try_from(proxy).unwrap(); 16], lives_for: 5_000 }
}

async fn ask(store: &impl LimitStore, question: Question) -> Taken {
    store.take(&[question.0]).await.unwrap()[0]
}

/// Counts of the others and of oneself in the current period.
fn currents(taken: &Taken) -> (u32, u32) {
    match taken.shared {
        Shared::Window { others, own, .. } => (others.current, own.current),
        Shared::Bucket { .. } => panic!("a bucket"),
    }
}

fn used(taken: &Taken) -> (i64, u64) {
    match taken.shared {
        Shared::Bucket { used, own, .. } => (used, own),
        Shared::Window { .. } => panic!("a window"),
    }
}

/// All of it, on a store that is empty.
pub(super) async fn check(hand: &Hand, store: &impl LimitStore) {
    assert_eq!(u64::from(INDEX), START / 60_000);
    takes_until_the_limit(store).await;
    adds_what_it_has_not_been_told(store).await;
    knows_a_memory_from_another(store).await;
    has_no_faith_in_wrong_clocks(store).await;
    blocks_from_the_request_that_crossed(hand, store).await;
    fills_again_what_it_has_lost(store).await;
    counts_who_lives(hand, store).await;
    answers_many_at_once(store).await;
    slides_and_drains(hand, store).await;
}

async fn takes_until_the_limit(store: &impl LimitStore) {
    for make in [window, bucket] {
        let mut admitted = 0;
        for request in 0..30_u64 {
            admitted += usize::from(ask(store, make(request % 3, "limit").with_cost(1)).await.admitted);
        }
        assert_eq!(admitted, 10);
        assert!(!ask(store, make(1, "cost").with_cost(11)).await.admitted);
        assert!(ask(store, make(1, "cost").with_cost(7)).await.admitted);
        assert!(!ask(store, make(2, "cost").with_cost(4)).await.admitted);
        assert!(ask(store, make(2, "cost").with_cost(3)).await.admitted);
        // Nothing asked, nothing refused.
        assert!(ask(store, make(2, "cost")).await.admitted);
        // A higher limit has the counter that is there.
        let higher = Quota { limit: 12, burst: 12, ..QUOTA };
        assert!(ask(store, make(2, "cost").with_cost(2).quota(higher)).await.admitted);
        assert!(!ask(store, make(2, "cost").with_cost(1).quota(higher)).await.admitted);
    }
}

async fn adds_what_it_has_not_been_told(store: &impl LimitStore) {
    let tell = |proxy, current| ask(store, window(proxy, "tell").told(counted(0, current)));
    assert_eq!(currents(&tell(1, 3).await), (0, 3));
    assert_eq!(currents(&tell(2, 4).await), (3, 4));
    // Again, late, and more.
    assert_eq!(currents(&tell(1, 3).await), (4, 3));
    assert_eq!(currents(&tell(1, 1).await), (4, 3));
    assert_eq!(currents(&tell(1, 5).await), (4, 5));
    // What is taken counts as told.
    let taken = ask(store, window(1, "tell").told(counted(0, 5)).with_cost(1)).await;
    assert_eq!((taken.admitted, currents(&taken)), (true, (4, 6)));
    assert!(!ask(store, window(3, "tell").with_cost(1)).await.admitted);
    // More than the limit may have passed: it is counted all the same.
    assert_eq!(currents(&tell(2, 400).await), (6, 400));

    let total = |total, told| Totals::Bucket { total, told, used: 0 };
    let tell = |proxy, totals| ask(store, bucket(proxy, "tell").told(totals));
    assert_eq!(used(&tell(1, total(3, 0)).await), (180_000, 3));
    assert_eq!(used(&tell(2, total(4, 0)).await), (420_000, 4));
    assert_eq!(used(&tell(1, total(3, 0)).await), (420_000, 3));
    assert_eq!(used(&tell(1, total(1, 0)).await), (420_000, 3));
    assert_eq!(used(&tell(1, total(5, 3)).await), (540_000, 5));
    assert_eq!(used(&ask(store, bucket(1, "tell").told(total(5, 5)).with_cost(1)).await), (600_000, 6));
    assert!(!ask(store, bucket(3, "tell").with_cost(1)).await.admitted);
}

async fn knows_a_memory_from_another(store: &impl LimitStore) {
    let tell = |memory, current| ask(store, window(1, "memory").told(counted(0, current)).memory(memory));
    assert_eq!(currents(&tell(1, 4).await), (0, 4));
    // The proxy forgot the key, and counts it anew.
    assert_eq!(currents(&tell(2, 2).await), (4, 2));
    assert_eq!(currents(&tell(2, 3).await), (4, 3));
    let tell =
        |memory, total| ask(store, bucket(1, "memory").told(Totals::Bucket { total, told: 0, used: 0 }).memory(memory));
    assert_eq!(used(&tell(1, 4).await), (240_000, 4));
    assert_eq!(used(&tell(2, 2).await), (360_000, 2));
}

async fn has_no_faith_in_wrong_clocks(store: &impl LimitStore) {
    let at = |index, current| window(1, "clock").told(Totals::Window { index, previous: 0, current });
    // A century ahead is now, years behind is over.
    assert_eq!(currents(&ask(store, at(INDEX * 2, 3)).await), (0, 3));
    assert_eq!(currents(&ask(store, window(2, "clock").told(counted(0, 1))).await), (3, 1));
    let behind = Totals::Window { index: INDEX / 2, previous: 9, current: 9 };
    assert_eq!(currents(&ask(store, window(3, "clock").told(behind)).await), (4, 0));
    // The period before counts as the one before.
    let before =
        ask(store, window(4, "clock").told(Totals::Window { index: INDEX - 1, previous: 0, current: 8 })).await;
    let Shared::Window { own, .. } = before.shared else { panic!("a bucket") };
    assert_eq!(own, Counts { previous: 8, current: 0 });
    // A moment ahead of the store begins the next period for all.
    let ahead = ask(store, window(5, "clock").told(Totals::Window { index: INDEX + 1, previous: 1, current: 2 })).await;
    let Shared::Window { index, others, own } = ahead.shared else { panic!("a bucket") };
    let expected = (INDEX + 1, Counts { previous: 4, current: 0 }, Counts { previous: 1, current: 2 });
    assert_eq!((index, others, own), expected);
}

async fn blocks_from_the_request_that_crossed(hand: &Hand, store: &impl LimitStore) {
    for make in [window, bucket] {
        let quota = Quota { limit: 1, burst: 1, block_for: 5_000, ..QUOTA };
        let block = |proxy| make(proxy, "block").with_cost(1).quota(quota);
        assert!(ask(store, block(1)).await.admitted);
        let crossed = ask(store, block(2)).await;
        let until = hand.now().after(5_000);
        assert_eq!((crossed.admitted, crossed.blocked_until), (false, until));
        hand.turn(1_000);
        assert_eq!(ask(store, block(1)).await.blocked_until, until);
        // A proxy that blocked on its own, later, has nothing to say.
        let later = make(3, "block").quota(quota).blocked(hand.now().0 + 5_000);
        assert_eq!(ask(store, later).await.blocked_until, until);
        hand.turn(4_000);
        let block = |until| make(3, "block").quota(quota).blocked(until);
        assert_eq!(ask(store, block(0)).await.blocked_until, EpochMillis(0));
        assert_eq!(ask(store, block(hand.now().0 + 100)).await.blocked_until, hand.now().after(100));
        // Nobody blocks for longer than the limit says.
        hand.turn(100);
        assert_eq!(ask(store, block(hand.now().0 + 1_000_000)).await.blocked_until, hand.now().after(5_000));
        hand.turn(10_000);
    }
}

async fn fills_again_what_it_has_lost(store: &impl LimitStore) {
    // The store confirmed six of these eight once, and knows nothing any more: what the proxy saw of all holds.
    let lost = Totals::Bucket { total: 8, told: 6, used: 540_000 };
    assert_eq!(used(&ask(store, bucket(1, "lost").told(lost)).await), (540_000, 8));
    // Another one saw seven requests, three of its own, and has one more since.
    let other = Totals::Bucket { total: 4, told: 3, used: 420_000 };
    assert_eq!(used(&ask(store, bucket(2, "lost").told(other)).await), (600_000, 4));
}

async fn counts_who_lives(hand: &Hand, store: &impl LimitStore) {
    let join = |proxy| async move { store.join(&member(proxy)).await.unwrap() };
    let first = join(1).await;
    assert_eq!((first.proxies, first.secret, first.now), (1, [1; 16], hand.now()));
    let second = join(2).await;
    // The first one's secret is everyone's.
    assert_eq!((second.proxies, second.secret), (2, [1; 16]));
    let stranger = Member { group: "sidecar".to_owned(), ..member(3) };
    assert_eq!(store.join(&stranger).await.unwrap().proxies, 1);
    hand.turn(3_000);
    assert_eq!(join(2).await.proxies, 2);
    hand.turn(3_000);
    assert_eq!(join(2).await.proxies, 1);
}

async fn answers_many_at_once(store: &impl LimitStore) {
    let takes: Vec<Take> = (0..300)
        .map(|key| match key % 2 {
            0 => window(1, &format!("many {key}")).with_cost(1 + key % 5).0,
            _ => bucket(1, &format!("many {key}")).with_cost(1 + key % 5).0,
        })
        .collect();
    let answers = store.take(&takes).await.unwrap();
    for (take, taken) in takes.iter().zip(&answers) {
        let own = match taken.shared {
            Shared::Window { own, .. } => u64::from(own.current),
            Shared::Bucket { own, .. } => own,
        };
        assert_eq!((taken.admitted, own), (true, take.cost.into()));
    }
    assert_eq!(store.take(&[]).await, Ok(Vec::new()));
}

async fn slides_and_drains(hand: &Hand, store: &impl LimitStore) {
    let quota = Quota { limit: 100, burst: 100, ..QUOTA };
    let mut slid = Vec::new();
    for make in [window, bucket] {
        // From the begin of a period: forty-two, then a quarter of a period later as many as fit.
        hand.turn(60_000 - hand.now().0 % 60_000);
        let index = u32::try_from(hand.now().0 / 60_000).unwrap();
        let at = |question: Question, index| match question.0.totals {
            Totals::Window { .. } => question.told(Totals::Window { index, previous: 0, current: 0 }),
            Totals::Bucket { .. } => question,
        };
        assert!(ask(store, at(make(1, "slide").with_cost(42).quota(quota), index)).await.admitted);
        hand.turn(75_000);
        let mut passed = 0;
        while ask(store, at(make(2, "slide").with_cost(1).quota(quota), index + 1)).await.admitted {
            passed += 1;
        }
        slid.push(passed);
    }
    // 42 x 45 / 60 = 31.5 are left of the window; the bucket has drained.
    assert_eq!(slid, [68, 100]);
}

/// A store answers random questions as its model does.
pub(super) async fn compare(hand: &Hand, store: &impl LimitStore, model: &MemoryStore) {
    let seed = 51;
    let mut chance = Chance::new(seed);
    let steps = if std::env::var_os("HEADGATE_SOAK").is_some() { 100_000 } else { 3_000 };
    println!("seed {seed}, {steps} steps");
    for step in 0..steps {
        hand.turn(chance.below(20_000) * u64::from(chance.below(3) == 0));
        let below = |chance: &mut Chance, bound| u32::try_from(chance.below(bound)).unwrap();
        let index = u32::try_from(hand.now().0 / 60_000).unwrap();
        let index = (index + below(&mut chance, 6)).saturating_sub(3);
        let proxy = chance.below(3);
        let key = format!("compare {}", chance.below(4));
        let question = if chance.below(2) == 0 {
            let previous = below(&mut chance, 30);
            window(proxy, &key).told(Totals::Window { index, previous, current: below(&mut chance, 30) })
        } else {
            let total = chance.below(40);
            let used =
                i64::try_from(chance.below(100_000_000 * 60)).unwrap() / i64::from(below(&mut chance, 9_000) + 1);
            // No counter is both.
            bucket(proxy, &format!("{key} bucket")).told(Totals::Bucket { total, told: chance.below(total + 1), used })
        };
        let limit = below(&mut chance, 100) + 1;
        let block_for = chance.below(3) * 7_000;
        let quota = Quota { limit, burst: below(&mut chance, 200) + 1, period: 60_000, block_for };
        let cost = below(&mut chance, 4);
        let blocked = if chance.below(10) == 0 { hand.now().0 + chance.below(20_000) } else { 0 };
        let question = question.quota(quota).with_cost(cost).memory(below(&mut chance, 2)).blocked(blocked);
        let take = question.0;
        let (found, expected) = (store.take(std::slice::from_ref(&take)).await.unwrap()[0], model.take_one(&take));
        assert_eq!(found, expected, "step {step}: {take:?}");
    }
}
