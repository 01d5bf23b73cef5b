//! Requests in flight, by key, where a limit caps them.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;

use super::key::KeyHash;

/// Parts with a lock each.
const PARTS: usize = 16;

/// Requests in flight of one limit. Bounded by the requests that there are.
#[derive(Debug, Default)]
pub(crate) struct InFlightByKey {
    parts: [Mutex<HashMap<KeyHash, u32>>; PARTS],
}

/// One request in flight, until it is dropped: however the request ends.
#[derive(Debug)]
pub(crate) struct InFlight {
    of: Arc<InFlightByKey>,
    hash: KeyHash,
}

impl InFlightByKey {
    fn part(&self, hash: KeyHash) -> &Mutex<HashMap<KeyHash, u32>> {
        &self.parts[usize::try_from(hash.high % PARTS as u64).unwrap_or_default()]
    }

    /// Lets a request in where fewer than `most` are.
    pub(crate) fn enter(self: &Arc<Self>, hash: KeyHash, most: u32) -> Option<InFlight> {
        let mut part = self.part(hash).lock();
        let count = part.entry(hash).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(InFlight { of: Arc::clone(self), hash })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.of.part(self.hash).lock().entry(self.hash) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_cap_are_in_flight_and_every_end_makes_room() {
        let by_key = Arc::new(InFlightByKey::default());
        let (one, other) = (KeyHash { high: 1, low: 1 }, KeyHash { high: 1, low: 2 });
        let first = by_key.enter(one, 2);
        let second = by_key.enter(one, 2);
        assert!(first.is_some() && second.is_some() && by_key.enter(one, 2).is_none());
        assert!(by_key.enter(other, 2).is_some());
        drop(first);
        let third = by_key.enter(one, 2);
        assert!(third.is_some() && by_key.enter(one, 2).is_none());
        drop((second, third));
        assert!(by_key.parts.iter().all(|part| part.lock().is_empty()));
    }
}
