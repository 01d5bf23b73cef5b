//! Proxies that come, fall silent, are lost, and follow another replica.

use futures::FutureExt as _;

use super::*;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A hub that publishes two pools, and the version of that.
fn hub() -> (Arc<Hub>, String) {
    let hub = Arc::new(Hub::default());
    let publication = hub.publish(resources(&[(1, 1), (2, 1)]), BTreeSet::new());
    (hub, publication.version)
}

fn at(version: &str) -> Report {
    Report { version: version.to_owned(), ..Report::default() }
}

#[test]
fn a_proxy_that_follows_another_replica_counts_by_its_version() {
    let (hub, version) = hub();
    let connection = hub.connect("edge-1", Scope::All, start());
    let programmed = || hub.progress().standing(&key(1)).programmed;
    assert_eq!(programmed(), 0);
    // The number is the other replica's and means nothing here.
    connection.report(Report { sequence: 17, ..at("another") });
    assert_eq!(programmed(), 0);
    connection.report(Report { sequence: 17, ..at(&version) });
    assert_eq!(programmed(), 1);
    let next = hub.publish(resources(&[(1, 2)]), BTreeSet::new());
    assert_eq!(programmed(), 0);
    connection.report(at(&next.version));
    assert_eq!(programmed(), 1);
}

#[test]
fn a_number_of_another_replica_in_an_early_report_does_not_count_as_an_answer() {
    let (hub, version) = hub();
    let connection = hub.connect("edge-1", Scope::All, start());
    let Start::Ready(mut subscription) = connection.follow("") else { panic!("it has nothing") };
    let batch = subscription.take().unwrap();
    connection.report(Report { sequence: 17, ..at("another") });
    connection.report(Report { sequence: batch.sequence, ..at("another") });
    assert_eq!(hub.progress().standing(&key(1)).programmed, 0);
    connection.report(Report { sequence: batch.sequence, ..at(&version) });
    assert_eq!(hub.progress().standing(&key(1)).programmed, 1);
}

#[test]
fn whoever_follows_is_asked_for_an_inventory_only_where_it_has_something_else() {
    let unpublished = Arc::new(Hub::default()).connect("edge-1", Scope::All, start());
    assert!(matches!(unpublished.follow(""), Start::Unpublished));
    let (hub, version) = hub();
    let connection = hub.connect("edge-1", Scope::All, start());
    assert!(matches!(connection.follow("another"), Start::InventoryWanted));
    let Start::Ready(mut same) = connection.follow(&version) else { panic!("the same version") };
    assert_eq!(same.take(), Some(Batch { version, sequence: 1, ..Batch::default() }));
}

#[test]
fn what_a_newer_release_published_is_not_withdrawn() {
    let (hub, _) = hub();
    let connection = hub.connect("edge-1", Scope::All, start());
    let newer = Resource { key: Some(Key::new("Tomorrow", "default", "new")), ..Resource::default() };
    let gone = resource(3, 1);
    let has: ResourceSet = resources(&[(1, 1)]).into_iter().chain([newer, gone].map(Arc::new)).collect();
    let inventory = ResourceSet::of_inventory(&has.inventory(), &connection.published());
    let batch = connection.subscribe(Some(inventory)).take().unwrap();
    assert_eq!((batch.complete, batch.upserts, batch.removals), (false, vec![resource(2, 1)], vec![key(3)]));
}

#[test]
fn a_silent_proxy_is_expected_and_not_programmed_and_a_lost_one_is_away_after_a_minute() {
    let (hub, version) = hub();
    let start = start();
    let (silent, lost) = (hub.connect("silent", Scope::All, start), hub.connect("lost", Scope::All, start));
    for connection in [&silent, &lost] {
        connection.report(at(&version));
    }
    let standing = |now: u64| {
        hub.look(start + seconds(now), WALL + seconds(now));
        hub.progress().standing(&key(1))
    };
    let both = Standing { expected: 2, programmed: 2, ..Standing::default() };
    assert_eq!(standing(4), both);
    drop(lost);
    let expected = Standing {
        expected: 2,
        programmed: 0,
        silent: vec!["silent".to_owned()],
        lost: vec!["lost".to_owned()],
        ..Standing::default()
    };
    assert_eq!(standing(5), expected);
    silent.hear(start + seconds(59));
    let away = vec![("lost".to_owned(), WALL)];
    assert_eq!(standing(60), Standing { expected: 1, programmed: 1, away, ..Standing::default() });

    let back = hub.connect("lost", Scope::All, start + seconds(61));
    back.report(at(&version));
    silent.hear(start + seconds(61));
    assert_eq!(standing(61), both);
}

#[test]
fn a_proxy_that_said_goodbye_is_expected_by_nobody() {
    let (hub, _) = hub();
    let connection = hub.connect("edge-1", Scope::All, start());
    connection.goodbye();
    assert_eq!(hub.progress().standing(&key(1)), Standing::default());
    drop(connection);
    assert_eq!(hub.progress().standing(&key(1)), Standing::default());
}

#[test]
fn a_newer_connection_takes_the_place_of_an_older_one() {
    let (hub, version) = hub();
    let older = hub.connect("edge-1", Scope::All, start());
    let newer = hub.connect("edge-1", Scope::All, start());
    older.report(at(&version));
    older.goodbye();
    drop(older);
    assert_eq!(hub.progress().standing(&key(1)), Standing { expected: 1, ..Standing::default() });
    newer.report(at(&version));
    assert_eq!(hub.progress().standing(&key(1)).programmed, 1);
}

#[test]
fn whoever_watches_is_told_of_silence() {
    let (hub, _) = hub();
    let start = start();
    let connection = hub.connect("edge-1", Scope::All, start);
    let mut reports = hub.reports();
    hub.look(start + seconds(4), WALL);
    assert!(!reports.has_changed().unwrap());
    hub.look(start + seconds(5), WALL);
    assert!(reports.has_changed().unwrap());
    reports.mark_unchanged();
    connection.hear(start + seconds(6));
    assert!(reports.has_changed().unwrap());
}

#[test]
fn a_resource_that_comes_into_a_scope_later_than_it_changed_is_not_yet_programmed() {
    let (hub, _) = hub();
    let connection = hub.connect("sidecar", Scope::Namespace("default".to_owned()), start());
    let mut subscription = connection.subscribe(None);
    let batch = subscription.take().unwrap();
    connection.report(Report { sequence: batch.sequence, ..at(&batch.version) });
    assert_eq!(hub.progress().standing(&key(1)).programmed, 1);
    hub.publish(resources(&[(1, 1), (2, 1), (3, 1)]), BTreeSet::new());
    assert_eq!(hub.progress().standing(&key(3)), Standing { expected: 1, ..Standing::default() });
    assert_eq!(hub.progress().standing(&key(1)).programmed, 1);
}

#[test]
fn a_connection_of_the_same_name_takes_the_place_of_the_older_one_which_is_told() {
    let (hub, _) = hub();
    let older = hub.connect("edge-1", Scope::All, start());
    assert_eq!(older.superseded().now_or_never(), None);
    let newer = hub.connect("edge-1", Scope::All, start());
    assert_eq!(older.superseded().now_or_never(), Some(()));
    drop(older);
    assert_eq!((newer.superseded().now_or_never(), hub.progress().standing(&key(1)).expected), (None, 1));
}
