//! Status of a WaitingRoom: who is inside, who waits, and who admits.

use headgate_crds::WaitingRoomStatus;
use headgate_crds::conditions::DEGRADED;
use headgate_crds::waiting_room::RoomState;
use headgate_snapshot as wire;
use headgate_snapshot::RoomFigures;
use headgate_translate::Verdict;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Draft, programmed, ready, settle};
use super::proxies::{away, counts};
use crate::hub::Standing;

/// How a room fares with the proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoomStanding {
    /// What each told, by name.
    pub figures: Vec<(String, RoomFigures)>,
    /// How many proxies have the room, of which one admits; 0 where one proxy is all.
    pub apart: usize,
}

impl RoomStanding {
    /// How a room fares.
    pub fn new(standing: &Standing, figures: &[(&str, &RoomFigures)]) -> Self {
        Self {
            figures: figures.iter().map(|(proxy, figures)| ((*proxy).to_owned(), (*figures).clone())).collect(),
            apart: if standing.expected > 1 { standing.expected } else { 0 },
        }
    }
}

/// The status of a room.
pub(super) fn status(
    verdict: &Verdict,
    standing: &Standing,
    room: &RoomStanding,
    previous: &[Condition],
    now: Timestamp,
) -> WaitingRoomStatus {
    let mut drafts: Vec<Draft> = verdict.conditions().into_iter().map(Draft::from).collect();
    drafts.push(programmed(verdict.force, standing));
    drafts.push(ready(&drafts));
    drafts.extend(degraded(room));
    // The schema counts with the sign.
    let sum = |of: fn(&RoomFigures) -> u64| {
        let sum = room.figures.iter().fold(0_u64, |sum, (_, figures)| sum.saturating_add(of(figures)));
        sum.min(u64::MAX >> 1)
    };
    let is_told = !room.figures.is_empty();
    let wait = |(_, figures): &(String, RoomFigures)| figures.wait_seconds.filter(|_| figures.admits);
    WaitingRoomStatus {
        conditions: settle(drafts, verdict.generation, previous, now),
        observed_generation: (verdict.generation > 0).then_some(verdict.generation),
        proxies: Some(counts(standing)),
        away: away(standing),
        state: room.figures.iter().filter_map(|(_, figures)| state(figures.state())).max_by_key(|state| rank(*state)),
        active: is_told.then(|| sum(|figures| figures.active)),
        queued: is_told.then(|| sum(|figures| figures.queued)),
        wait_seconds: room.figures.iter().find_map(wait).map(|seconds| seconds.min(u64::MAX >> 1)),
    }
}

fn state(state: wire::RoomState) -> Option<RoomState> {
    match state {
        wire::RoomState::Unspecified => None,
        wire::RoomState::NotQueueing => Some(RoomState::NotQueueing),
        wire::RoomState::Queueing => Some(RoomState::Queueing),
        wire::RoomState::QueueAll => Some(RoomState::QueueAll),
        wire::RoomState::Event => Some(RoomState::Event),
        wire::RoomState::Suspended => Some(RoomState::Suspended),
    }
}

/// Of what several proxies say the most is told.
fn rank(state: RoomState) -> u8 {
    match state {
        RoomState::NotQueueing => 0,
        RoomState::Queueing => 1,
        RoomState::Event => 2,
        RoomState::QueueAll => 3,
        RoomState::Suspended => 4,
    }
}

/// One proxy admits where several share no store.
fn degraded(room: &RoomStanding) -> Option<Draft> {
    if room.apart == 0 {
        return None;
    }
    let admitting = room.figures.iter().find(|(_, figures)| figures.admits);
    let who = admitting.map_or_else(
        || "none admits until all sessions that another may have begun are over".to_owned(),
        |(proxy, _)| format!("{proxy} alone admits"),
    );
    let sentence = format!(
        "{} proxies have the room and share no store for it: {who}, the others show the waiting page; run one gateway in \
         front of the room",
        room.apart
    );
    Some(Draft::holds(DEGRADED, "NoSharedStore", sentence))
}
