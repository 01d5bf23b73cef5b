//! A compiled room, and what becomes of a request that comes to it.

use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::Key;
use headgate_snapshot::cel::{Condition, Moment};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, UPGRADE};
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use super::record::{Census, HELD_MS, Limits as Room, Record};
use super::ticket::{Claim, Seal, Ticket, VisitorId};
use crate::chance::Chance;
use crate::cookie::cookies;
use crate::facts::Facts;
use crate::rate_limit::Limits;
use crate::reason::Reason;
use crate::refusal::Mistake;
use crate::time::EpochMillis;

/// The header by which an origin ends a session.
pub const ROOM_COMMAND: &str = "headgate-waiting-room-command";
/// What it says then.
pub const REVOKE: &[u8] = b"revoke";
/// A session is renewed once in such a part of its length.
const RENEWALS: u64 = 10;
/// Between two refreshes where the lot decides: the same for everyone, so that nobody draws more often.
const RANDOM_REFRESH_SECONDS: u64 = 5;

/// A compiled room.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own that users write")]
pub struct WaitingRoom {
    key: Arc<Key>,
    routes: Vec<(String, String)>,
    limits: Room,
    renewal: bool,
    method: Queueing,
    queue_all: bool,
    suspended: bool,
    status: u16,
    json: bool,
    language: Option<String>,
    cookie: Cookie,
    bypass: Vec<Condition>,
    origin_revoke: bool,
    seal: Seal,
    state: Arc<RoomState>,
}

/// Who gets in next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queueing {
    /// Whoever came first.
    Fifo,
    /// Whoever refreshes when a slot is free.
    Random,
    /// Everybody.
    Passthrough,
    /// Whoever finds a slot; nobody waits.
    Reject,
}

#[derive(Clone, Debug)]
struct Cookie {
    name: String,
    same_site: &'static str,
    security: wire::CookieSecurity,
    partitioned: bool,
}

/// What of a room outlives plans.
#[derive(Debug, Default)]
pub(crate) struct RoomState {
    record: Mutex<Record>,
    /// Since when this proxy is the one that admits, where several have no store that they share.
    alone_since: Mutex<Option<EpochMillis>>,
}

/// What a room has made of a request that it lets pass.
#[derive(Clone, Debug)]
pub struct Visit {
    room: Arc<WaitingRoom>,
    id: VisitorId,
    ends: EpochMillis,
    /// The cookie for the answer, absent: the client has one that holds.
    pub cookie: Option<String>,
}

/// A request that a room does not let pass now.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The room.
    pub room: Arc<WaitingRoom>,
    /// `Queued` or `RoomRejected`.
    pub reason: Reason,
    /// The status of the answer.
    pub status: u16,
    /// Visitors before this one, absent: unknown.
    pub ahead: Option<u64>,
    /// Seconds until its turn, absent: unknown.
    pub wait_seconds: Option<u64>,
    /// In how many seconds the client may come again; 0: it need not.
    pub refresh_seconds: u64,
    /// The cookie with its place.
    pub cookie: Option<String>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The room has nothing to do with it.
    Ungoverned,
    /// It passes.
    Passes(Visit),
    /// It waits, or is turned away.
    Waits(Box<Waits>),
}

/// How a room stands, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: wire::RoomState,
    /// What it tells of itself.
    pub census: Census,
    /// Seconds that somebody who comes now waits, absent: unknown.
    pub wait_seconds: Option<u64>,
    /// Whether this proxy admits.
    pub admits: bool,
}

impl WaitingRoom {
    /// Compiles a room. `before` is the one of this key in the plan before.
    pub(crate) fn compile(key: &Key, room: &wire::WaitingRoom, before: Option<&Self>) -> Result<Self, Mistake> {
        let wire::WaitingRoom {
            routes,
            total_active_users,
            new_users_per_minute,
            session_duration_ms,
            session_renewal,
            method,
            queue_all,
            suspended,
            status_code,
            json_response,
            language,
            cookie,
            bypass,
            origin_revoke,
            on_store_failure: _,
            ticket_secret,
            ticket_key_id,
        } = room;
        let number = |value: u64, field: &str| {
            u32::try_from(value)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| Mistake::invalid(field, format!("{value}: write 1 to {}", u32::MAX)))
        };
        if routes.is_empty() {
            return Err(Mistake::invalid("routes", "a room is in front of one place at least"));
        }
        let method = match wire::QueueingMethod::try_from(*method) {
            Ok(wire::QueueingMethod::Fifo) => Queueing::Fifo,
            Ok(wire::QueueingMethod::Random) => Queueing::Random,
            Ok(wire::QueueingMethod::Passthrough) => Queueing::Passthrough,
            Ok(wire::QueueingMethod::Reject) => Queueing::Reject,
            Ok(wire::QueueingMethod::Unspecified) | Err(_) => {
                return Err(Mistake::invalid("method", "a method that this proxy does not know"));
            }
        };
        let bypass = bypass.iter().enumerate().map(|(index, text)| {
            let mistake = |error: &dyn ToString| Mistake::invalid(format!("bypass[{index}]"), error.to_string());
            Condition::new(text, Moment::Request).map_err(|error| mistake(&error))
        });
        let key_id = u8::try_from(*ticket_key_id).ok();
        let seal = key_id.filter(|_| ticket_secret.len() >= 16).and_then(|id| Seal::new(ticket_secret, id, key));
        Ok(Self {
            routes: routes.iter().map(|wire::RoomRoute { host, path }| (host.clone(), path.clone())).collect(),
            limits: Room {
                active: number(*total_active_users, "total_active_users")?,
                per_minute: number(*new_users_per_minute, "new_users_per_minute")?,
                duration: (*session_duration_ms).max(1_000),
            },
            renewal: *session_renewal,
            method,
            queue_all: *queue_all,
            suspended: *suspended,
            status: u16::try_from(*status_code).unwrap_or(200),
            json: *json_response,
            language: Some(language.clone()).filter(|language| !language.is_empty()),
            cookie: Cookie::compile(cookie.as_ref())?,
            bypass: bypass.collect::<Result<_, _>>()?,
            origin_revoke: *origin_revoke,
            seal: seal.ok_or_else(|| Mistake::invalid("ticket_secret", "there is no key for tickets"))?,
            state: before.map(|before| Arc::clone(&before.state)).unwrap_or_default(),
            key: Arc::new(key.clone()),
        })
    }

    /// Kind, namespace and name.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Hosts and paths.
    pub(crate) fn routes(&self) -> &[(String, String)] {
        &self.routes
    }

    /// Who gets in next.
    pub fn method(&self) -> Queueing {
        self.method
    }

    /// Whether everybody new waits.
    pub fn queues_all(&self) -> bool {
        self.queue_all
    }

    /// Whether clients that ask for JSON get it.
    pub fn speaks_json(&self) -> bool {
        self.json
    }

    /// The language of the page, absent: what the visitor prefers.
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    /// What becomes of a request.
    pub(crate) fn enter(
        self: &Arc<Self>,
        facts: &Facts<'_>,
        book: &Limits,
        now: EpochMillis,
        chance: &mut Chance,
    ) -> Outcome {
        if self.suspended || is_preflight(facts) || self.bypass.iter().any(|when| when.holds(facts).unwrap_or(false)) {
            return Outcome::Ungoverned;
        }
        let is_https = facts.scheme == "https";
        let ticket = cookies(facts.request.headers, &self.cookie.name).find_map(|text| self.seal.open(text));
        let mut record = self.state.record.lock();
        if let Some(Ticket { id, claim: Claim::Session { renewed, ends } }) = ticket
            && ends > now
            && !record.is_revoked(id)
        {
            // Of a process before this one, perhaps.
            record.remember(id, ends);
            let is_due = self.renewal && now.since(renewed) >= self.limits.duration / RENEWALS;
            let renewed = if is_due { record.renew(id, self.limits, now) } else { None };
            let cookie = renewed.and_then(|ends| self.session_cookie(id, ends, is_https, now, chance));
            return self.passes(id, renewed.unwrap_or(ends), cookie);
        }
        let place = match ticket {
            Some(Ticket { id, claim: Claim::Place { arrived, seen } }) if now.since(seen) < HELD_MS => {
                Some((id, arrived.min(now)))
            }
            Some(_) | None => None,
        };
        let id =
            place.map_or_else(|| VisitorId(u128::from(chance.draw()) << 64 | u128::from(chance.draw())), |it| it.0);
        if let Some(ends) = self.admits(&mut record, id, place.map(|(_, arrived)| arrived), book, now) {
            let cookie = self.session_cookie(id, ends, is_https, now, chance);
            return self.passes(id, ends, cookie);
        }
        if self.method == Queueing::Reject && !self.queue_all {
            return self.waits(Reason::RoomRejected, None, 0, None);
        }
        if facts.request.headers.contains_key(UPGRADE) {
            // What has no page cannot wait.
            let mut waits = Waits { status: 503, ..self.waiting(Reason::Queued, None, 0, None) };
            waits.refresh_seconds = super::record::REFRESH_SECONDS;
            return Outcome::Waits(Box::new(waits));
        }
        let arrived = place.map_or(now, |(_, arrived)| arrived);
        let refresh = record.wait(id, arrived, self.limits, now);
        let refresh = if self.method == Queueing::Random { RANDOM_REFRESH_SECONDS } else { refresh };
        let forecast = (!self.queue_all).then(|| self.forecast(&mut record, arrived, now));
        drop(record);
        let claim = Claim::Place { arrived, seen: now };
        let cookie = self.cookie(&Ticket { id, claim }, HELD_MS / 1_000, is_https, chance);
        self.waits(Reason::Queued, forecast, refresh, cookie)
    }

    /// Lets a visitor in where it is his turn and there is room.
    fn admits(
        &self,
        record: &mut Record,
        id: VisitorId,
        arrived: Option<EpochMillis>,
        book: &Limits,
        now: EpochMillis,
    ) -> Option<EpochMillis> {
        if self.queue_all || !self.is_in_charge(book, now) {
            return None;
        }
        if self.method == Queueing::Passthrough {
            return Some(record.admit(id, self.limits, now));
        }
        record.call(self.limits, now);
        let is_next = match (self.method, arrived) {
            (Queueing::Fifo, None) => record.is_open(self.limits),
            (Queueing::Fifo, Some(arrived)) => record.is_called(arrived),
            (Queueing::Random, None) => record.census(now).waiting == 0,
            (Queueing::Random, Some(_)) | (Queueing::Reject | Queueing::Passthrough, _) => true,
        };
        if is_next { record.enter(id, self.limits, now) } else { None }
    }

    /// Whether this proxy admits. Of several without a store that they share the first one does, and a new first one only
    /// when all that another may have admitted are out again.
    fn is_in_charge(&self, book: &Limits, now: EpochMillis) -> bool {
        let mut since = self.state.alone_since.lock();
        match book.place_of(&self.key) {
            (_, proxies) if proxies <= 1 => {
                *since = None;
                true
            }
            (0, _) => now.since(*since.get_or_insert(now)) >= self.limits.duration,
            _ => {
                *since = None;
                false
            }
        }
    }

    /// Those before one who came then, and the seconds until its turn, where that is known.
    fn forecast(&self, record: &mut Record, arrived: EpochMillis, now: EpochMillis) -> (u64, Option<u64>) {
        let ahead = if self.method == Queueing::Random {
            record.census(now).waiting.saturating_sub(1)
        } else {
            record.ahead_of(arrived, now)
        };
        let began = record.census(now).began;
        (ahead, ((ahead + 1) * 60).checked_div(began))
    }

    /// Ends the session of a visit, where the origin says so. The answer's headers are left without the command.
    pub fn obey(&self, visit: &Visit, headers: &HeaderMap) {
        if self.origin_revoke && headers.get_all(ROOM_COMMAND).iter().any(|value| value.as_bytes() == REVOKE) {
            self.state.record.lock().revoke(visit.id, visit.ends);
        }
    }

    /// How it stands.
    pub fn standing(&self, book: &Limits, now: EpochMillis) -> Standing {
        let admits = self.is_in_charge(book, now);
        let mut record = self.state.record.lock();
        let census = record.census(now);
        let (_, wait_seconds) = self.forecast(&mut record, now, now);
        let state = match (self.suspended, self.queue_all, census.waiting > 0) {
            (true, _, _) => wire::RoomState::Suspended,
            (false, true, _) => wire::RoomState::QueueAll,
            (false, false, true) => wire::RoomState::Queueing,
            (false, false, false) => wire::RoomState::NotQueueing,
        };
        let wait_seconds = wait_seconds.filter(|_| state == wire::RoomState::Queueing);
        Standing { state, census, wait_seconds, admits }
    }

    fn passes(self: &Arc<Self>, id: VisitorId, ends: EpochMillis, cookie: Option<String>) -> Outcome {
        Outcome::Passes(Visit { room: Arc::clone(self), id, ends, cookie })
    }

    fn waiting(
        self: &Arc<Self>,
        reason: Reason,
        forecast: Option<(u64, Option<u64>)>,
        refresh_seconds: u64,
        cookie: Option<String>,
    ) -> Waits {
        let (ahead, wait_seconds) = forecast.map_or((None, None), |(ahead, wait)| (Some(ahead), wait));
        Waits { room: Arc::clone(self), reason, status: self.status, ahead, wait_seconds, refresh_seconds, cookie }
    }

    fn waits(
        self: &Arc<Self>,
        reason: Reason,
        forecast: Option<(u64, Option<u64>)>,
        refresh_seconds: u64,
        cookie: Option<String>,
    ) -> Outcome {
        Outcome::Waits(Box::new(self.waiting(reason, forecast, refresh_seconds, cookie)))
    }

    fn session_cookie(
        &self,
        id: VisitorId,
        ends: EpochMillis,
        is_https: bool,
        now: EpochMillis,
        chance: &mut Chance,
    ) -> Option<String> {
        let claim = Claim::Session { renewed: now, ends };
        self.cookie(&Ticket { id, claim }, ends.since(now) / 1_000, is_https, chance)
    }

    fn cookie(&self, ticket: &Ticket, seconds: u64, is_https: bool, chance: &mut Chance) -> Option<String> {
        let Cookie { name, same_site, security, partitioned } = &self.cookie;
        let sealed = self.seal.seal(ticket, chance.draw())?;
        let is_secure = match security {
            wire::CookieSecurity::Always => true,
            wire::CookieSecurity::Never => false,
            wire::CookieSecurity::Auto | wire::CookieSecurity::Unspecified => is_https,
        };
        let secure = if is_secure { "; Secure" } else { "" };
        let partitioned = if *partitioned { "; Partitioned" } else { "" };
        Some(format!("{name}={sealed}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}{partitioned}"))
    }
}

impl Visit {
    /// The room.
    pub fn room(&self) -> &Arc<WaitingRoom> {
        &self.room
    }
}

impl Cookie {
    fn compile(cookie: Option<&wire::RoomCookie>) -> Result<Self, Mistake> {
        let Some(wire::RoomCookie { name, same_site, security, partitioned }) = cookie else {
            return Err(Mistake::invalid("cookie", "a room has a cookie"));
        };
        let same_site = match wire::SameSite::try_from(*same_site) {
            Ok(wire::SameSite::Lax) => "Lax",
            Ok(wire::SameSite::None) => "None",
            Ok(wire::SameSite::Strict) => "Strict",
            Ok(wire::SameSite::Unspecified) | Err(_) => {
                return Err(Mistake::invalid("cookie.same_site", "a value that this proxy does not know"));
            }
        };
        let security = wire::CookieSecurity::try_from(*security)
            .map_err(|_| Mistake::invalid("cookie.security", "a value that this proxy does not know"))?;
        Ok(Self { name: name.clone(), same_site, security, partitioned: *partitioned })
    }
}

/// A question of a browser that asks before it asks, and can keep no place.
fn is_preflight(facts: &Facts<'_>) -> bool {
    *facts.request.method == Method::OPTIONS && facts.request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
