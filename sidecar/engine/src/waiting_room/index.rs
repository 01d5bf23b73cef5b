//! Finding the room of a request.

use std::sync::Arc;

use hashbrown::HashMap;

use super::room::WaitingRoom;
use crate::plan::Matched;

/// Where a challenge of a certificate authority is answered.
const ACME: &str = "/.well-known/acme-challenge/";

/// Rooms by host.
#[derive(Debug, Default)]
pub(crate) struct RoomIndex {
    /// Longer paths first, then rooms by name.
    by_host: HashMap<String, Vec<(String, Arc<WaitingRoom>)>>,
}

impl RoomIndex {
    pub(crate) fn new<'a>(rooms: impl Iterator<Item = &'a Arc<WaitingRoom>>) -> Self {
        let mut by_host: HashMap<String, Vec<(String, Arc<WaitingRoom>)>> = HashMap::new();
        for room in rooms {
            for (host, path) in room.routes() {
                by_host.entry(host.clone()).or_default().push((path.clone(), Arc::clone(room)));
            }
        }
        for places in by_host.values_mut() {
            places.sort_by(|(one, a), (other, b)| other.len().cmp(&one.len()).then_with(|| a.key().cmp(b.key())));
        }
        Self { by_host }
    }

    /// The room of a request that a rule of its namespace matched.
    pub(crate) fn find(&self, host: &str, path: &str, matched: &Matched) -> Option<&Arc<WaitingRoom>> {
        let places = self.by_host.get(host)?;
        // A rule that is there for these alone.
        if path.starts_with(ACME) && matched.prefix_length() >= ACME.len() - 1 {
            return None;
        }
        let namespace = &matched.route().key().namespace;
        let found = places.iter().find(|(place, room)| room.key().namespace == *namespace && is_under(path, place));
        found.map(|(_, room)| room)
    }
}

/// Whether a path is another or below it, at segments.
fn is_under(path: &str, place: &str) -> bool {
    let place = place.strip_suffix('/').unwrap_or(place);
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_under;

    #[test]
    fn a_room_is_in_front_of_its_path_and_all_below_it_at_segments() {
        for (path, place, expected) in [
            ("/", "/", true),
            ("/sale", "/", true),
            ("/sale", "/sale", true),
            ("/sale/", "/sale", true),
            ("/sale/now", "/sale/", true),
            ("/sales", "/sale", false),
            ("/Sale", "/sale", false),
            ("/", "/sale", false),
        ] {
            assert_eq!(is_under(path, place), expected, "{path} {place}");
        }
    }
}
