//! The spec of a room: checks, and spec to wire.

use headgate_crds::WaitingRoom;
use headgate_crds::duration::Unit;
use headgate_crds::rate_limit::StoreFailure;
use headgate_crds::waiting_room::{
    OriginCommand, QueueingMethod, RoomCookie, RoomEvent, RoomPage, RoomRoute, SameSite, Secure, WaitingRoomSpec,
};
use headgate_snapshot as wire;
use headgate_snapshot::cel::Moment;
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::expression::Told;
use crate::findings::Findings;
use crate::host::mistake_in_exact_host;
use crate::inputs::{MasterKey, ObjectKey};

/// Which of an installation's keys the secrets of this release come from.
const KEY_ID: u32 = 1;
/// Shortest time from the start of an event to its end, in seconds.
const SHORTEST_EVENT: i64 = 1;

/// What came of a spec.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) room: wire::WaitingRoom,
    pub(super) findings: Findings,
    pub(super) unenforced: Vec<String>,
}

pub(super) fn lower(name: &ObjectKey, object: &WaitingRoom, master: &MasterKey) -> Lowered {
    let WaitingRoomSpec {
        host,
        path,
        additional_routes,
        total_active_users,
        new_users_per_minute,
        session_duration,
        session_renewal,
        queueing_method,
        queue_all,
        suspended,
        status_code,
        json_response,
        page,
        cookie,
        bypass,
        origin_commands,
        events,
        on_store_failure,
    } = &object.spec;
    let (mut findings, mut told) = (Findings::default(), Told::default());
    let own = RoomRoute { host: host.clone(), path: path.clone() };
    let places = || std::iter::once(&own).chain(additional_routes);
    check_place(&own, "spec", &mut findings);
    for (index, route) in additional_routes.iter().enumerate() {
        check_place(route, &format!("spec.additionalRoutes[{index}]"), &mut findings);
        if places().take(index + 1).any(|before| before == route) {
            findings.refuse(format!("spec.additionalRoutes[{index}]"), "is there already; remove it");
        }
    }
    findings.bound("spec.sessionDuration", session_duration, [(10, Unit::Seconds), (24, Unit::Hours)]);
    if ![200, 202, 429].contains(status_code) {
        findings.refuse("spec.statusCode", format!("{status_code} is none of 200, 202 and 429; write one of them"));
    }
    for (index, expression) in bypass.iter().enumerate() {
        told.condition(&format!("spec.bypass[{index}]"), expression, Moment::Request, &mut findings);
    }
    check_cookie(cookie.as_ref(), &mut findings);
    check_events(events, &mut findings);
    let Told { mut unenforced } = told;
    unenforced.extend(events.iter().enumerate().map(|(index, _)| format!("spec.events[{index}]")));
    let language = page.as_ref().and_then(|page| lower_page(page, &mut findings, &mut unenforced));
    let room = wire::WaitingRoom {
        routes: places().map(lower_route).collect(),
        total_active_users: (*total_active_users).into(),
        new_users_per_minute: (*new_users_per_minute).into(),
        session_duration_ms: session_duration.milliseconds(),
        session_renewal: *session_renewal,
        method: lower_method(*queueing_method).into(),
        queue_all: *queue_all,
        suspended: *suspended,
        status_code: (*status_code).into(),
        json_response: *json_response,
        language: language.unwrap_or_default(),
        cookie: Some(lower_cookie(name, cookie.as_ref())),
        bypass: bypass.clone(),
        origin_revoke: origin_commands.contains(&OriginCommand::Revoke),
        on_store_failure: lower_store_failure(*on_store_failure).into(),
        ticket_secret: secret(name, master),
        ticket_key_id: KEY_ID,
    };
    Lowered { room, findings, unenforced }
}

fn check_place(place: &RoomRoute, field: &str, findings: &mut Findings) {
    let RoomRoute { host, path } = place;
    if let Some(sentence) = mistake_in_exact_host(host) {
        findings.refuse(format!("{field}.host"), sentence);
    }
    if !path.starts_with('/') || path.contains(['?', '#', '*']) {
        let sentence =
            format!("\"{path}\" is no path of a room; write one that begins with a slash, without query and *");
        findings.refuse(format!("{field}.path"), sentence);
    }
}

fn lower_route(route: &RoomRoute) -> wire::RoomRoute {
    let RoomRoute { host, path } = route;
    wire::RoomRoute { host: host.clone(), path: path.clone() }
}

fn lower_method(method: QueueingMethod) -> wire::QueueingMethod {
    match method {
        QueueingMethod::Fifo => wire::QueueingMethod::Fifo,
        QueueingMethod::Random => wire::QueueingMethod::Random,
        QueueingMethod::Passthrough => wire::QueueingMethod::Passthrough,
        QueueingMethod::Reject => wire::QueueingMethod::Reject,
    }
}

fn lower_store_failure(failure: StoreFailure) -> wire::StoreFailure {
    match failure {
        StoreFailure::LocalShare => wire::StoreFailure::LocalShare,
        StoreFailure::Allow => wire::StoreFailure::Allow,
        StoreFailure::Deny => wire::StoreFailure::Deny,
    }
}

/// The language, where one is written.
fn lower_page(page: &RoomPage, findings: &mut Findings, unenforced: &mut Vec<String>) -> Option<String> {
    let RoomPage { language, html, config_map } = page;
    if [language.is_some(), html.is_some(), config_map.is_some()].into_iter().filter(|present| *present).count() != 1 {
        findings.refuse("spec.page", "is exactly one of language, html and configMap; write one of them");
    }
    unenforced.extend(html.as_ref().map(|_| "spec.page.html".to_owned()));
    unenforced.extend(config_map.as_ref().map(|_| "spec.page.configMap".to_owned()));
    language.clone()
}

fn lower_cookie(name: &ObjectKey, cookie: Option<&RoomCookie>) -> wire::RoomCookie {
    let RoomCookie { suffix, same_site, secure, partitioned } = cookie.cloned().unwrap_or_default();
    let ObjectKey { namespace, name } = name;
    let suffix = suffix.map_or(String::new(), |suffix| format!("_{suffix}"));
    wire::RoomCookie {
        name: format!("headgate_room_{namespace}_{name}{suffix}"),
        same_site: match same_site {
            SameSite::Auto | SameSite::Lax => wire::SameSite::Lax,
            SameSite::None => wire::SameSite::None,
            SameSite::Strict => wire::SameSite::Strict,
        }
        .into(),
        security: match secure {
            // What other sites carry, and what is one for each of them, browsers take by HTTPS alone.
            Secure::Auto if same_site == SameSite::None || partitioned => wire::CookieSecurity::Always,
            Secure::Auto => wire::CookieSecurity::Auto,
            Secure::Always => wire::CookieSecurity::Always,
            Secure::Never => wire::CookieSecurity::Never,
        }
        .into(),
        partitioned,
    }
}

fn check_cookie(cookie: Option<&RoomCookie>, findings: &mut Findings) {
    let Some(RoomCookie { suffix: _, same_site, secure, partitioned }) = cookie else { return };
    if *secure == Secure::Never && (*same_site == SameSite::None || *partitioned) {
        let sentence = "is Never, and browsers drop a cookie with sameSite None or partitioned that is not secure; write \
                        Auto or Always";
        findings.refuse("spec.cookie.secure", sentence);
    }
}

fn check_events(events: &[RoomEvent], findings: &mut Findings) {
    for (index, event) in events.iter().enumerate() {
        let field = |name: &str| format!("spec.events[{index}].{name}");
        let RoomEvent { name, prequeue_start, start, end, shuffle_at_start, total_active_users, new_users_per_minute } =
            event;
        if end.0.duration_since(start.0).as_secs() < SHORTEST_EVENT {
            findings.refuse(field("end"), "is not after the start; write a later time");
        }
        if prequeue_start.as_ref().is_some_and(|prequeue| prequeue.0 > start.0) {
            findings.refuse(field("prequeueStart"), "is after the start; write an earlier time, or remove it");
        }
        if *shuffle_at_start && prequeue_start.is_none() {
            findings.refuse(field("shuffleAtStart"), "is for a pre-queue; write prequeueStart, or remove it");
        }
        if total_active_users.is_some() != new_users_per_minute.is_some() {
            let missing = if total_active_users.is_some() { "newUsersPerMinute" } else { "totalActiveUsers" };
            findings.refuse(field(missing), "is missing: an event has both limits or none; write it");
        }
        let begin = |event: &RoomEvent| event.prequeue_start.as_ref().map_or(event.start.0, |prequeue| prequeue.0);
        for other in events.iter().take(index) {
            if other.name == *name {
                findings.refuse(field("name"), format!("\"{name}\" is there already; write another one"));
            } else if begin(event) < other.end.0 && begin(other) < end.0 {
                let sentence = format!("overlaps with event \"{}\", pre-queues included; move one of them", other.name);
                findings.refuse(format!("spec.events[{index}]"), sentence);
            }
        }
    }
}

/// The secret of a room, from which nobody learns that of another.
fn secret(name: &ObjectKey, master: &MasterKey) -> Vec<u8> {
    let ObjectKey { namespace, name } = name;
    let info = [b"WaitingRoom/", namespace.as_bytes(), b"/", name.as_bytes()];
    let mut secret = vec![0; 32];
    let pseudorandom = Salt::new(HKDF_SHA256, b"headgate").extract(&master.0);
    // Thirty-two bytes are never too many.
    if let Ok(expanded) = pseudorandom.expand(&info, HKDF_SHA256) {
        let _ = expanded.fill(&mut secret);
    }
    secret
}
