//! The keys of a part of a limit, bounded in number.
//!
//! ```text
//! index: hash -> place        ordinary: entries that still have room       refused: entries that were refused last
//! ```
//!
//! Both lists are dense, so that a key costs its entry and some five bytes. When they are full, one key is forgotten
//! for each that comes: one whose refusal is over if the oldest are, else of eight ordinary ones the one that has used
//! least, since that forgives the fewest requests. A key that is still refused goes only when no other is left. So
//! who floods a limit with new keys pushes out his own, which have counted one request each.

use hashbrown::HashTable;

use super::entry::Entry;
use super::key::KeyHash;
use super::meter::Meter;

/// Keys looked at to find the one to forget.
const SAMPLE: usize = 8;

/// Where an entry is: an index, and the list that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    const REFUSED: u32 = 1 << 31;

    fn new(refused: bool, index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX) & !Self::REFUSED;
        Self(if refused { index | Self::REFUSED } else { index })
    }

    const fn is_refused(self) -> bool {
        self.0 & Self::REFUSED != 0
    }

    const fn index(self) -> usize {
        (self.0 & !Self::REFUSED) as usize
    }
}

/// How an entry is weighed when one must go.
pub(crate) trait Weigh<M> {
    /// Units of room that it has: the more, the less is forgiven by forgetting it.
    fn room(&self, entry: &Entry<M>) -> i64;

    /// Whether it is refused now.
    fn is_refused(&self, entry: &Entry<M>) -> bool;

    /// Whether forgetting it changes no decision.
    fn is_idle(&self, entry: &Entry<M>) -> bool;
}

/// The keys.
#[derive(Debug)]
pub(crate) struct Keys<M> {
    index: HashTable<Place>,
    ordinary: Vec<Entry<M>>,
    refused: Vec<Entry<M>>,
    capacity: usize,
    /// Where the next search for a key to forget begins.
    hand: usize,
    refused_hand: usize,
}

impl<M: Meter> Keys<M> {
    /// Room for so many keys, of which none costs anything before it comes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            index: HashTable::new(),
            ordinary: Vec::new(),
            refused: Vec::new(),
            capacity: capacity.max(1),
            hand: 0,
            refused_hand: 0,
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.ordinary.len() + self.refused.len()
    }

    /// Where a key is.
    pub(crate) fn find(&self, hash: KeyHash) -> Option<Place> {
        self.index.find(hash.low, |place| self.at(*place).hash == hash).copied()
    }

    pub(crate) fn at(&self, place: Place) -> &Entry<M> {
        if place.is_refused() { &self.refused[place.index()] } else { &self.ordinary[place.index()] }
    }

    pub(crate) fn at_mut(&mut self, place: Place) -> &mut Entry<M> {
        if place.is_refused() { &mut self.refused[place.index()] } else { &mut self.ordinary[place.index()] }
    }

    /// Puts a key in that is not there, and says whether another had to go for it.
    pub(crate) fn insert(&mut self, entry: Entry<M>, weigh: &impl Weigh<M>) -> (Place, bool) {
        let full = self.len() >= self.capacity;
        if full {
            let victim = self.victim(weigh);
            self.remove(victim);
        }
        (self.push(entry, false), full)
    }

    /// Moves an entry to the list where it belongs.
    pub(crate) fn sort(&mut self, place: Place, refused: bool) {
        if place.is_refused() != refused {
            let entry = self.remove(place);
            self.push(entry, refused);
        }
    }

    fn push(&mut self, entry: Entry<M>, refused: bool) -> Place {
        let capacity = self.capacity;
        let list = if refused { &mut self.refused } else { &mut self.ordinary };
        let place = Place::new(refused, list.len());
        if list.len() == list.capacity() {
            // Less than twice as much, so that many keys cost little more than they are.
            let more = (list.len() / 4).max(4).min(capacity.saturating_sub(list.len())).max(1);
            list.reserve_exact(more);
        }
        list.push(entry);
        let (ordinary, refused) = (&self.ordinary, &self.refused);
        self.index.insert_unique(entry.hash.low, place, |place| {
            let list = if place.is_refused() { refused } else { ordinary };
            list[place.index()].hash.low
        });
        place
    }

    /// Takes an entry out. The last one of its list comes into its place.
    fn remove(&mut self, place: Place) -> Entry<M> {
        let hash = self.at(place).hash;
        if let Ok(found) = self.index.find_entry(hash.low, |found| *found == place) {
            found.remove();
        }
        let list = if place.is_refused() { &mut self.refused } else { &mut self.ordinary };
        let entry = list.swap_remove(place.index());
        if let Some(moved) = list.get(place.index()).map(|moved| moved.hash) {
            let end = Place::new(place.is_refused(), list.len());
            if let Some(found) = self.index.find_mut(moved.low, |found| *found == end) {
                *found = place;
            }
        }
        entry
    }

    /// The entry that goes when one must.
    fn victim(&mut self, weigh: &impl Weigh<M>) -> Place {
        // Refusals end in the order in which they began, roughly: one look each time keeps up with them.
        if !self.refused.is_empty() {
            self.refused_hand = (self.refused_hand + 1) % self.refused.len();
            if !weigh.is_refused(&self.refused[self.refused_hand]) {
                return Place::new(true, self.refused_hand);
            }
        }
        let (refused, hand) =
            if self.ordinary.is_empty() { (true, &mut self.refused_hand) } else { (false, &mut self.hand) };
        let list = if refused { &self.refused } else { &self.ordinary };
        let mut best = (i64::MIN, 0);
        for _ in 0..SAMPLE.min(list.len()) {
            *hand = (*hand + 1) % list.len();
            let room = weigh.room(&list[*hand]);
            if room > best.0 {
                best = (room, *hand);
            }
        }
        Place::new(refused, best.1)
    }

    /// Looks at some entries from a place on, forgets those that are idle, and gives the memory of many of them back.
    /// Returns where to go on, 0 after the last one.
    pub(crate) fn sweep(&mut self, from: usize, entries: usize, weigh: &impl Weigh<M>) -> usize {
        let mut at = from;
        for _ in 0..entries {
            let refused = at.checked_sub(self.ordinary.len());
            let place = refused.map_or(Place::new(false, at), |at| Place::new(true, at));
            let list = if place.is_refused() { &self.refused } else { &self.ordinary };
            let Some(entry) = list.get(place.index()) else {
                self.shrink();
                return 0;
            };
            if weigh.is_idle(entry) {
                self.remove(place);
            } else if place.is_refused() && !weigh.is_refused(entry) {
                self.sort(place, false);
                at += 1;
            } else {
                at += 1;
            }
        }
        at
    }

    fn shrink(&mut self) {
        for list in [&mut self.ordinary, &mut self.refused] {
            if list.len() < list.capacity() / 4 {
                list.shrink_to(list.len() * 2);
            }
        }
        if self.len() < self.index.capacity() / 4 {
            let (ordinary, refused) = (&self.ordinary, &self.refused);
            self.index.shrink_to(self.len() * 2, |place| {
                let list = if place.is_refused() { refused } else { ordinary };
                list[place.index()].hash.low
            });
        }
    }

    /// Every entry.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<M>> {
        self.ordinary.iter_mut().chain(&mut self.refused)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Bytes that the keys take.
    pub(crate) fn bytes(&self) -> usize {
        let entries = self.ordinary.capacity() + self.refused.capacity();
        entries * size_of::<Entry<M>>() + self.index.allocation_size()
    }
}
