//! Waiting rooms: how many visitors are inside at once, and a fair queue for the others. ADR 0012 has the design.
//!
//! ```text
//! request -> RoomIndex -> WaitingRoom::enter -+-> ticket of a session that holds -> Passes (renewed now and then)
//!                                             +-> its turn, and Record::enter has room -> Passes, with a session
//!                                             +-> else Waits, with a place
//! ```

mod index;
mod record;
mod room;
#[cfg(test)]
mod tests;
mod ticket;

pub(crate) use index::RoomIndex;
pub use record::Census;
pub(crate) use room::Outcome;
pub use room::{Queueing, ROOM_COMMAND, Standing, Visit, WaitingRoom, Waits};
