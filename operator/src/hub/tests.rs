//! Laws of the hub, and its manners towards a single proxy.

mod fleets;
mod presences;
mod scopes;

use headgate_snapshot::{Batch, Refusal};
use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant does, and there is no other way to make one")]
fn start() -> Instant {
    Instant::now()
}

fn key(name: u8) -> Key {
    Key::new("OriginPool", "default", format!("pool-{name}"))
}

fn resource(name: u8, generation: i64) -> Resource {
    Resource { key: Some(key(name)), generation, requires: Vec::new(), body: None }
}

fn resources(world: &[(u8, i64)]) -> Vec<Arc<Resource>> {
    world.iter().map(|(name, generation)| Arc::new(resource(*name, *generation))).collect()
}

fn upserts(batch: Batch) -> Vec<Arc<Resource>> {
    batch.upserts.into_iter().map(Arc::new).collect()
}

/// A proxy that applies whatever it is sent, and what it then has.
struct Follower {
    subscription: Subscription,
    set: ResourceSet,
    version: String,
    sequence: u64,
}

impl Follower {
    fn new(hub: &Arc<Hub>, has: Option<ResourceSet>) -> Self {
        let set = has.clone().unwrap_or_default();
        Self { subscription: hub.subscribe("proxy", has), set, version: String::new(), sequence: 0 }
    }

    fn poll(&mut self) -> Option<Batch> {
        let batch = self.subscription.take()?;
        self.set = self.set.after(&batch);
        self.version.clone_from(&batch.version);
        self.sequence = batch.sequence;
        Some(batch)
    }

    fn report(&self, refusals: Vec<Refusal>) -> Report {
        Report {
            proxy: "proxy".to_owned(),
            version: self.version.clone(),
            sequence: self.sequence,
            refusals,
            ..Report::default()
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<(u8, i64)>, BTreeSet<u8>),
    Poll,
    Report,
    Reconnect,
    ReconnectWithNothing,
}

fn any_world() -> impl Strategy<Value = Vec<(u8, i64)>> {
    prop::collection::btree_map(0u8..8, 0i64..3, 0..8).prop_map(|world| world.into_iter().collect())
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any_world(), prop::collection::btree_set(0u8..8, 0..3)).prop_map(|(world, holds)| Step::Publish(world, holds)),
        3 => Just(Step::Poll),
        2 => Just(Step::Report),
        1 => Just(Step::Reconnect),
        1 => Just(Step::ReconnectWithNothing),
    ]
}

proptest! {
    #[test]
    fn whoever_polls_at_random_moments_ends_at_the_latest_set(steps in prop::collection::vec(any_step(), 0..24), last in any_world()) {
        let hub = Arc::new(Hub::default());
        let mut follower = Follower::new(&hub, None);
        for step in steps {
            match step {
                Step::Publish(world, holds) => {
                    hub.publish(resources(&world), holds.into_iter().map(key).collect());
                }
                Step::Poll => {
                    follower.poll();
                }
                Step::Report => hub.report(follower.report(Vec::new())),
                Step::Reconnect => follower = Follower::new(&hub, Some(follower.set)),
                Step::ReconnectWithNothing => follower = Follower::new(&hub, None),
            }
        }
        let publication = hub.publish(resources(&last), BTreeSet::new());
        follower.poll();
        prop_assert_eq!(&follower.set, &resources(&last).into_iter().collect::<ResourceSet>());
        prop_assert_eq!(&follower.set.version(), &publication.version);
        prop_assert_eq!(&follower.version, &publication.version);

        hub.report(follower.report(Vec::new()));
        let progress = hub.progress();
        prop_assert!(progress.reached(publication.sequence));
        for (name, _) in last {
            prop_assert_eq!(progress.standing(&key(name)), Standing { expected: 1, programmed: 1, ..Standing::default() });
        }
    }
}

#[test]
fn nothing_is_sent_before_the_first_publication_and_an_empty_one_is_sent() {
    let hub = Arc::new(Hub::default());
    let mut follower = Follower::new(&hub, None);
    assert_eq!(follower.poll(), None);
    hub.publish([], BTreeSet::new());
    let empty = Batch { sequence: 1, ..ResourceSet::default().complete(Vec::new()) };
    assert_eq!(follower.poll(), Some(empty));
}

#[test]
fn a_proxy_that_has_it_all_is_told_the_version_alone() {
    let hub = Arc::new(Hub::default());
    let publication = hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    let mut follower = Follower::new(&hub, Some(resources(&[(1, 1)]).into_iter().collect()));
    assert_eq!(
        follower.poll(),
        Some(Batch { version: publication.version, sequence: publication.sequence, ..Batch::default() })
    );
}

#[test]
fn the_same_set_again_changes_nothing() {
    let hub = Arc::new(Hub::default());
    let first = hub.publish(resources(&[(1, 1), (2, 1)]), BTreeSet::new());
    let mut follower = Follower::new(&hub, None);
    follower.poll();
    let second = hub.publish(resources(&[(2, 1), (1, 1)]), BTreeSet::new());
    assert_eq!(second, Publication { upserts: 0, removals: 0, ..first });
    assert_eq!(follower.poll(), None);
}

#[test]
fn a_held_key_stays_until_its_hold_ends() {
    let hub = Arc::new(Hub::default());
    hub.publish(resources(&[(1, 1), (2, 1)]), BTreeSet::new());
    let mut follower = Follower::new(&hub, None);
    follower.poll();
    hub.publish(resources(&[(2, 2)]), BTreeSet::from([key(1)]));
    follower.poll();
    assert_eq!(follower.set, resources(&[(1, 1), (2, 2)]).into_iter().collect());
    hub.publish(resources(&[(2, 2)]), BTreeSet::new());
    follower.poll();
    assert_eq!(follower.set, resources(&[(2, 2)]).into_iter().collect());
}

#[test]
fn what_a_proxy_kept_for_a_hub_that_knows_nothing_is_withdrawn_when_the_hold_ends() {
    let hub = Arc::new(Hub::default());
    hub.publish([], BTreeSet::from([key(1)]));
    let kept: ResourceSet = resources(&[(1, 1)]).into_iter().collect();
    let mut follower = Follower::new(&hub, Some(kept.clone()));
    follower.poll();
    assert_eq!(follower.set, kept);
    hub.publish([], BTreeSet::new());
    follower.poll();
    assert_eq!(follower.set, ResourceSet::default());
}

#[test]
fn what_a_proxy_has_of_a_kind_that_cannot_be_read_stays_until_it_can() {
    let hub = Arc::new(Hub::default());
    let doubt = Doubt { kinds: BTreeSet::from(["OriginPool".to_owned()]), ..Doubt::default() };
    hub.publish_in_doubt([], BTreeSet::new(), doubt);
    let kept: ResourceSet = resources(&[(1, 1), (2, 1)]).into_iter().collect();
    let mut follower = Follower::new(&hub, Some(kept.clone()));
    follower.poll();
    assert_eq!(follower.set, kept);
    hub.publish(resources(&[(2, 1)]), BTreeSet::new());
    follower.poll();
    assert_eq!(follower.set, resources(&[(2, 1)]).into_iter().collect());
}

#[test]
fn what_follows_from_something_unread_changes_nothing_that_a_proxy_has_and_serves_one_that_has_nothing() {
    let hub = Arc::new(Hub::default());
    let doubt = Doubt { keys: BTreeSet::from([key(1), key(3)]), ..Doubt::default() };
    hub.publish_in_doubt(resources(&[(1, 2), (2, 2)]), BTreeSet::new(), doubt.clone());
    let mut known = Follower::new(&hub, Some(resources(&[(1, 1), (2, 1), (3, 1)]).into_iter().collect()));
    let mut young = Follower::new(&hub, None);
    known.poll();
    young.poll();
    assert_eq!(known.set, resources(&[(1, 1), (2, 2), (3, 1)]).into_iter().collect());
    assert_eq!(young.set, resources(&[(1, 2), (2, 2)]).into_iter().collect());
    hub.publish_in_doubt(resources(&[(1, 3), (2, 3)]), BTreeSet::new(), doubt);
    known.poll();
    assert_eq!(known.set, resources(&[(1, 1), (2, 3), (3, 1)]).into_iter().collect());
    hub.publish(resources(&[(1, 3), (2, 3)]), BTreeSet::new());
    known.poll();
    assert_eq!(known.set, resources(&[(1, 3), (2, 3)]).into_iter().collect());
}

#[test]
fn a_proxy_that_has_it_all_is_programmed_before_it_answers_the_first_batch() {
    let hub = Arc::new(Hub::default());
    hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    let has: ResourceSet = resources(&[(1, 1)]).into_iter().collect();
    let mut follower = Follower::new(&hub, Some(has.clone()));
    hub.report(Report { proxy: "proxy".to_owned(), version: has.version(), ..Report::default() });
    let programmed = Standing { expected: 1, programmed: 1, ..Standing::default() };
    assert_eq!(hub.progress().standing(&key(1)), programmed);
    follower.poll();
    assert_eq!(hub.progress().standing(&key(1)), programmed);
    hub.publish(resources(&[(1, 2)]), BTreeSet::new());
    follower.poll();
    assert_eq!(hub.progress().standing(&key(1)), Standing { expected: 1, ..Standing::default() });
}

#[test]
fn a_refused_key_is_not_programmed_and_the_rest_of_the_batch_is() {
    let hub = Arc::new(Hub::default());
    hub.publish(resources(&[(1, 1), (2, 1)]), BTreeSet::new());
    let mut follower = Follower::new(&hub, None);
    follower.poll();
    let refusal = Refusal { key: Some(key(1)), reason: "Requires".to_owned(), message: "too new".to_owned() };
    hub.report(follower.report(vec![refusal.clone()]));
    let progress = hub.progress();
    let refused = vec![("proxy".to_owned(), refusal)];
    assert_eq!(progress.standing(&key(1)), Standing { expected: 1, programmed: 0, refused, ..Standing::default() });
    assert_eq!(progress.standing(&key(2)), Standing { expected: 1, programmed: 1, ..Standing::default() });
}

#[test]
fn a_change_and_its_reversal_between_two_polls_leave_the_proxy_programmed() {
    let hub = Arc::new(Hub::default());
    hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    let mut follower = Follower::new(&hub, None);
    follower.poll();
    hub.report(follower.report(Vec::new()));
    hub.publish(resources(&[(1, 2)]), BTreeSet::new());
    let last = hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    assert_eq!(follower.poll(), None);
    assert!(hub.progress().reached(last.sequence));
}

#[test]
fn a_proxy_that_went_away_is_not_expected_and_its_late_report_is_ignored() {
    let hub = Arc::new(Hub::default());
    hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    let follower = Follower::new(&hub, None);
    let report = follower.report(Vec::new());
    drop(follower);
    hub.report(report);
    assert_eq!(hub.progress().standing(&key(1)), Standing::default());
}

#[tokio::test(start_paused = true)]
async fn the_first_change_of_a_quiet_time_goes_out_at_once_and_the_next_ones_together() {
    let hub = Arc::new(Hub::default());
    hub.publish([], BTreeSet::new());
    let mut subscription = hub.subscribe("proxy", None);
    subscription.next().await;
    tokio::time::advance(PACE).await;

    hub.publish(resources(&[(1, 1)]), BTreeSet::new());
    let at_once = tokio::time::timeout(Duration::ZERO, subscription.next()).await;
    assert_eq!(at_once.map(upserts).ok(), Some(resources(&[(1, 1)])));

    hub.publish(resources(&[(1, 2)]), BTreeSet::new());
    hub.publish(resources(&[(1, 2), (2, 1)]), BTreeSet::new());
    let too_soon = tokio::time::timeout(PACE / 2, subscription.next()).await;
    assert!(too_soon.is_err(), "a second batch within the pace");
    let together = tokio::time::timeout(PACE, subscription.next()).await;
    assert_eq!(together.map(upserts).ok(), Some(resources(&[(1, 2), (2, 1)])));
}
