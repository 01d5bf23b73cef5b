//! What both ends must agree on about waiting rooms.

/// The word in `Resource.requires` of a room.
pub const WAITING_ROOM: &str = "WaitingRoom";
