//! Status of waiting rooms.

use headgate_crds::WaitingRoomStatus;
use headgate_crds::waiting_room::RoomState;
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;
use headgate_snapshot::{RoomFigures, WaitingRoom};

use super::*;

fn name() -> ObjectRef {
    ObjectRef::new(Kind::WaitingRoom, ObjectKey::new("shop", "door"))
}

fn key() -> Key {
    Key::new("WaitingRoom", "shop", "door")
}

fn figures(state: wire::RoomState, active: u64, queued: u64, wait_seconds: Option<u64>, admits: bool) -> RoomFigures {
    RoomFigures { key: Some(key()), state: state.into(), active, queued, wait_seconds, admits }
}

/// The status of a room that proxies have applied, each with what it tells.
fn told(proxies: &[(&str, Option<RoomFigures>)]) -> WaitingRoomStatus {
    let hub = Arc::new(Hub::default());
    let body = Some(Body::WaitingRoom(WaitingRoom::default()));
    let resource = Resource { key: Some(key()), generation: 1, body, ..Resource::default() };
    hub.publish([Arc::new(resource)], BTreeSet::new());
    // A subscription keeps its proxy connected.
    let mut subscriptions = Vec::new();
    for (proxy, figures) in proxies {
        let mut subscription = hub.subscribe(proxy, None);
        subscription.take();
        subscriptions.push(subscription);
        let Progress { sequence, set, .. } = hub.progress();
        let rooms = figures.iter().cloned().collect();
        let (proxy, version) = ((*proxy).to_owned(), set.version());
        hub.report(Report { proxy, version, sequence, rooms, ..Report::default() });
    }
    let verdicts = BTreeMap::from([(name(), Arc::new(pool()))]);
    let mut statuses = Statuses::default();
    statuses.update(&verdicts, &hub.progress(), OURS, EARLY);
    match statuses.get(&name()) {
        Some(Status::WaitingRoom(status)) => (**status).clone(),
        other => panic!("a room's status, not {other:?}"),
    }
}

fn said(status: &WaitingRoomStatus) -> (Option<RoomState>, Option<u64>, Option<u64>, Option<u64>) {
    let WaitingRoomStatus { state, active, queued, wait_seconds, .. } = status;
    (*state, *active, *queued, *wait_seconds)
}

#[test]
fn a_room_of_one_proxy_says_how_it_stands() {
    let status = told(&[("edge-1", Some(figures(wire::RoomState::Queueing, 50, 7, Some(90), true)))]);
    assert_eq!(said(&status), (Some(RoomState::Queueing), Some(50), Some(7), Some(90)));
    assert!(find(&status.conditions, DEGRADED).is_none());
    // Nothing is told that nobody knows.
    assert_eq!(said(&told(&[("edge-1", None)])), (None, None, None, None));
}

#[test]
fn of_several_proxies_the_one_that_admits_is_named() {
    let admits = figures(wire::RoomState::NotQueueing, 3, 0, None, true);
    let waits = figures(wire::RoomState::Queueing, 1, 4, Some(9), false);
    let status = told(&[("edge-1", Some(admits.clone())), ("edge-2", Some(waits.clone()))]);
    assert_eq!(said(&status), (Some(RoomState::Queueing), Some(4), Some(4), None));
    let sentence = |status: &WaitingRoomStatus| {
        find(&status.conditions, DEGRADED).map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    let expected = "2 proxies have the room and share no store for it: edge-1 alone admits, the others show the waiting \
                    page; run one gateway in front of the room";
    assert_eq!(sentence(&status), Some(("NoSharedStore".to_owned(), expected.to_owned())));
    let nobody = sentence(&told(&[("edge-1", Some(waits.clone())), ("edge-2", Some(waits))])).expect("a condition");
    assert!(nobody.1.contains("none admits until"), "{nobody:?}");
}
