//! WaitingRooms.
//!
//! ```text
//! each room: spec -> wire, findings -> in force: the room as it is, else as last accepted, else held
//! ```
//!
//! Without the installation's key nothing is known of any room: proxies keep what they have.
//!
//! A room is in front of what its own namespace routes: that somebody else's room names your host does not touch your
//! traffic.

mod spec;

use std::sync::Arc;

use headgate_crds::WaitingRoom;
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;

use crate::inputs::{Inputs, Kind, MasterKey, ObjectKey};
use crate::memo::{Memo, Same};
use crate::output::{Fragment, Output, requiring, wire_key};
use crate::verdict::{Force, Verdict};
use crate::view::{Changed, View};

/// What became of the rooms, from translation to translation.
pub(crate) type Rooms = Memo<ObjectKey, Same<WaitingRoom>, Fragment>;

/// Judges the WaitingRooms and emits them.
pub(crate) fn lower(inputs: &Inputs, view: &View<'_>, changed: &Changed, rooms: &mut Rooms, out: &mut Output) {
    let objects = inputs.waiting_rooms.iter().map(|(key, room)| (key, Same::of(room)));
    let master = &inputs.options.master_key;
    rooms.follow(objects, changed, view, |key, Same(room)| lower_one(key, room, master, view));
    for found in rooms.iter() {
        if matches!(found.value.verdict.force, Force::Held | Force::Unknown) {
            out.hold(wire_key(Kind::WaitingRoom, &found.name));
        }
        out.add(Kind::WaitingRoom, &found.name, &found.value, &found.needs);
    }
}

fn lower_one(key: &ObjectKey, object: &Arc<WaitingRoom>, master: &MasterKey, view: &View<'_>) -> Fragment {
    if master.0.is_empty() {
        // Nobody knows the keys yet, and tickets of others would open nothing.
        let generation = object.metadata.generation.unwrap_or(0);
        let verdict = Verdict { generation, force: Force::Unknown, ..Verdict::default() };
        return Fragment { resource: None, verdict: Arc::new(verdict) };
    }
    let spec::Lowered { room, findings, unenforced } = spec::lower(key, object, master);
    let generation = object.metadata.generation.unwrap_or(0);
    let is_accepted = !findings.refuses();
    let verdict = Verdict { generation, problems: findings.into_problems(), unenforced, ..Verdict::default() };
    if is_accepted {
        return Fragment { resource: Some(emit(key, generation, room)), verdict: Arc::new(verdict) };
    }
    let Some(last) = view.last_accepted_room(key) else {
        return Fragment { resource: None, verdict: Arc::new(Verdict { force: Force::Held, ..verdict }) };
    };
    let room = spec::lower(key, last, master).room;
    let resource = emit(key, last.metadata.generation.unwrap_or(0), room);
    Fragment { resource: Some(resource), verdict: Arc::new(Verdict { force: Force::LastAccepted, ..verdict }) }
}

fn emit(key: &ObjectKey, generation: i64, room: wire::WaitingRoom) -> Arc<wire::Resource> {
    let requires = vec![wire::WAITING_ROOM.to_owned()];
    requiring(wire_key(Kind::WaitingRoom, key), generation, requires, Body::WaitingRoom(room))
}
