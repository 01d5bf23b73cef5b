//! What a visitor carries: a sealed ticket for a place, or for a session.
//!
//! AES-256-GCM under a key of the room, with the room's name as associated data: nobody can read or change a ticket, and
//! one of another room does not open. The form is `version, key id,
//! nonce, sealed(kind, id, two moments)` in base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headgate_snapshot::Key;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;

use crate::time::EpochMillis;

/// Tickets of another version do not open.
const VERSION: u8 = 1;
/// Kind, id and two moments.
const PLAIN_LEN: usize = 1 + 16 + 8 + 8;
const HEAD_LEN: usize = 2 + NONCE_LEN;
/// Length of a ticket in base64url without padding.
const TEXT_LEN: usize = ((HEAD_LEN + PLAIN_LEN + MAX_TAG_LEN) * 4).div_ceil(3);

/// A visitor of a room. Drawn at random, so that nobody meets another's by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitorId(pub u128);

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose it is.
    pub id: VisitorId,
    /// What it is for.
    pub claim: Claim,
}

/// What a ticket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A place among those who wait.
    Place {
        /// When the visitor came.
        arrived: EpochMillis,
        /// When it was seen last.
        seen: EpochMillis,
    },
    /// A session.
    Session {
        /// When it began, or was renewed last.
        renewed: EpochMillis,
        /// When it ends.
        ends: EpochMillis,
    },
}

/// The key of a room's tickets.
#[derive(Debug)]
pub struct Seal {
    key: LessSafeKey,
    nonces: hmac::Key,
    key_id: u8,
    /// The room.
    bound_to: Vec<u8>,
}

impl Seal {
    /// The key of a room, from a secret that may be shared by rooms. Whoever knows one room's key knows nothing of another's.
    pub fn new(secret: &[u8], key_id: u8, room: &Key) -> Option<Self> {
        let Key { kind, namespace, name } = room;
        let info = [kind.as_bytes(), b"/", namespace.as_bytes(), b"/", name.as_bytes()];
        let secret = Salt::new(HKDF_SHA256, b"headgate").extract(secret);
        let mut key = [0; 32];
        secret.expand(&info, &AES_256_GCM).ok()?.fill(&mut key).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        let bound_to = info.concat();
        let mut nonce_key = [0; 32];
        let parts: [&[u8]; 2] = [b"nonces", &bound_to];
        secret.expand(&parts, HKDF_SHA256).ok()?.fill(&mut nonce_key).ok()?;
        Some(Self { key, nonces: hmac::Key::new(hmac::HMAC_SHA256, &nonce_key), key_id, bound_to })
    }

    /// Seals a ticket. The nonce follows from a number drawn at random and from what is sealed: two tickets that say different things
    /// never have one, however bad the luck of the draw.
    pub fn seal(&self, ticket: &Ticket, drawn: u64) -> Option<String> {
        let Ticket { id, claim } = ticket;
        let (kind, one, other) = match claim {
            Claim::Place { arrived, seen } => (0, *arrived, *seen),
            Claim::Session { renewed, ends } => (1, *renewed, *ends),
        };
        let mut sealed = Vec::with_capacity(PLAIN_LEN + MAX_TAG_LEN);
        sealed.push(kind);
        sealed.extend(id.0.to_be_bytes());
        sealed.extend(one.0.to_be_bytes());
        sealed.extend(other.0.to_be_bytes());
        let tag = hmac::sign(&self.nonces, &[sealed.as_slice(), &drawn.to_be_bytes()].concat());
        let nonce = *tag.as_ref().first_chunk::<NONCE_LEN>()?;
        let bound = Aad::from(&self.bound_to);
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut sealed).ok()?;
        let whole = [&[VERSION, self.key_id], nonce.as_slice(), &sealed].concat();
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// What a ticket says, where it is one of this room.
    pub fn open(&self, text: &[u8]) -> Option<Ticket> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut whole = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, sealed) = whole.split_at_mut_checked(HEAD_LEN)?;
        let ([VERSION, key_id, nonce @ ..], key_id_now) = (&*head, self.key_id) else { return None };
        if *key_id != key_id_now {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain: &[u8] = self.key.open_in_place(nonce, Aad::from(&self.bound_to), sealed).ok()?;
        let (kind, rest) = plain.split_first()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (one, rest) = rest.split_first_chunk::<8>()?;
        let other = <[u8; 8]>::try_from(rest).ok()?;
        let (one, other) = (EpochMillis(u64::from_be_bytes(*one)), EpochMillis(u64::from_be_bytes(other)));
        let claim = match kind {
            0 => Claim::Place { arrived: one, seen: other },
            1 => Claim::Session { renewed: one, ends: other },
            _ => return None,
        };
        Some(Ticket { id: VisitorId(u128::from_be_bytes(*id)), claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn seal(namespace: &str, name: &str) -> Seal {
        Seal::new(b"a secret of the test", 1, &Key::new("WaitingRoom", namespace, name)).unwrap()
    }

    fn some(chance: &mut Chance) -> Ticket {
        let id = VisitorId(u128::from(chance.draw()) << 64 | u128::from(chance.draw()));
        let (one, other) = (EpochMillis(chance.draw()), EpochMillis(chance.draw()));
        let claim = if chance.below(2) == 0 {
            Claim::Place { arrived: one, seen: other }
        } else {
            Claim::Session { renewed: one, ends: other }
        };
        Ticket { id, claim }
    }

    #[test]
    fn a_ticket_opens_in_its_room_alone() {
        let (own, chance) = (seal("default", "sale"), &mut Chance::new(1));
        let others = [seal("default", "tickets"), seal("shop", "sale"), seal("defaul", "t/sale")];
        let rotated = Seal::new(b"a secret of the test", 2, &Key::new("WaitingRoom", "default", "sale")).unwrap();
        let stranger = Seal::new(b"another secret", 1, &Key::new("WaitingRoom", "default", "sale")).unwrap();
        for _ in 0..1_000 {
            let ticket = some(chance);
            let text = own.seal(&ticket, chance.draw()).unwrap();
            assert_eq!(text.len(), TEXT_LEN);
            assert_eq!(own.open(text.as_bytes()), Some(ticket));
            for other in others.iter().chain([&rotated, &stranger]) {
                assert_eq!(other.open(text.as_bytes()), None);
            }
        }
    }

    #[test]
    fn what_is_forged_cut_or_changed_does_not_open() {
        let seed = 7;
        let (own, chance) = (seal("default", "sale"), &mut Chance::new(seed));
        let forgeries = if std::env::var_os("HEADGATE_SOAK").is_some() { 1_000_000 } else { 50_000 };
        println!("seed {seed}, {forgeries} forgeries");
        for number in 0..forgeries {
            let mut text = own.seal(&some(chance), chance.draw()).unwrap().into_bytes();
            let original = text.clone();
            let at = chance.index(text.len());
            match number % 5 {
                0 => text[at] = text[at].wrapping_add(1 + u8::try_from(chance.below(255)).unwrap()),
                1 => text.truncate(at),
                2 => text.insert(at, b'A'),
                3 => text.iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).unwrap()),
                _ => text.rotate_left(at.max(1)),
            }
            // Some changes of the last characters' unused bits, or turns of equal ones, change nothing.
            assert!(text == original || own.open(&text).is_none(), "{number}: {}", String::from_utf8_lossy(&text));
        }
    }
}
