//! Conditions: drafts without a time, and the times that they get.

use headgate_crds::conditions::{ACCEPTED, DEGRADED, PROGRAMMED, READY, RESOLVED_REFS};
use headgate_snapshot::Trouble;
use headgate_translate::{Condition as Judgement, Force};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::hub::Standing;

/// Longest sentence of a condition, in bytes. The API server takes 32 KiB; nobody reads half of that.
const MAX_MESSAGE: usize = 8 * 1024;

const TRUE: &str = "True";
const FALSE: &str = "False";

/// A condition that does not know yet since when it is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// `type`
    pub condition_type: &'static str,
    /// `status`
    pub status: &'static str,
    /// `reason`
    pub reason: String,
    /// `message`
    pub message: String,
}

impl Draft {
    /// A condition that holds.
    pub fn holds(condition_type: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { condition_type, status: TRUE, reason: reason.into(), message: message.into() }
    }

    /// A condition that does not hold.
    pub fn fails(condition_type: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { condition_type, status: FALSE, reason: reason.into(), message: message.into() }
    }
}

impl From<Judgement> for Draft {
    fn from(condition: Judgement) -> Self {
        let Judgement { condition_type, status, reason, message } = condition;
        let (condition_type, status) = (condition_type.as_str(), status.as_str());
        Self { condition_type, status, reason: reason.as_str().to_owned(), message }
    }
}

/// A condition of a list by its type.
pub fn find<'c>(conditions: &'c [Condition], condition_type: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.type_ == condition_type)
}

/// True where a condition of this type is there and holds.
pub fn is_true(conditions: &[Condition], condition_type: &str) -> bool {
    find(conditions, condition_type).is_some_and(|condition| condition.status == TRUE)
}

/// Conditions with generation and time. A time stays as long as the status of its condition does.
pub fn settle(drafts: Vec<Draft>, generation: i64, previous: &[Condition], now: Timestamp) -> Vec<Condition> {
    let conditions = drafts.into_iter().map(|Draft { condition_type, status, reason, message }| {
        let since = find(previous, condition_type)
            .filter(|before| before.status == status)
            .map_or(Time(now), |before| before.last_transition_time.clone());
        Condition {
            type_: condition_type.to_owned(),
            status: status.to_owned(),
            reason,
            message: shortened(message, MAX_MESSAGE),
            observed_generation: (generation > 0).then_some(generation),
            last_transition_time: since,
        }
    });
    conditions.collect()
}

/// A text of at most `most` bytes that says where it was cut.
pub fn shortened(mut text: String, most: usize) -> String {
    const MARK: &str = " ...";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
    text
}

/// Whether the proxies enforce the object as it is now.
pub fn programmed(force: Force, standing: &Standing) -> Draft {
    let Standing { expected, programmed, refused, silent, lost, away: _ } = standing;
    match force {
        Force::Nothing | Force::Foreign => Draft::fails(PROGRAMMED, "NotAccepted", "nothing of it is enforced"),
        Force::LastAccepted => Draft::fails(PROGRAMMED, "LastAccepted", "the spec last accepted is enforced"),
        Force::Held | Force::Unknown => Draft::fails(PROGRAMMED, "Held", "proxies enforce what they had of it"),
        Force::Current => {
            if let Some((proxy, refusal)) = refused.first() {
                let others = others(refused.len());
                Draft::fails(PROGRAMMED, &refusal.reason, format!("proxy {proxy}{others}: {}", refusal.message))
            } else if let Some(proxy) = silent.first() {
                let (others, answer) = (others(silent.len()), if silent.len() > 1 { "do" } else { "does" });
                Draft::fails(PROGRAMMED, "ProxySilent", format!("proxy {proxy}{others} {answer} not answer"))
            } else if *expected == 0 {
                Draft::fails(PROGRAMMED, "NoProxies", "no proxy is connected")
            } else if programmed < expected {
                let lost = match lost.first() {
                    None => String::new(),
                    Some(proxy) => format!("; the connection to proxy {proxy}{} is lost", others(lost.len())),
                };
                Draft::fails(PROGRAMMED, "Pending", format!("{programmed} of {expected} proxies have applied it{lost}"))
            } else {
                Draft::holds(PROGRAMMED, PROGRAMMED, "")
            }
        }
    }
}

/// How many there are beside the one that is named.
fn others(all: usize) -> String {
    if all > 1 { format!(" (and {} more)", all - 1) } else { String::new() }
}

/// The summary: what keeps the object from serving, in the order in which a user would look for it.
pub fn ready(drafts: &[Draft]) -> Draft {
    let obstacle = [ACCEPTED, RESOLVED_REFS, PROGRAMMED]
        .into_iter()
        .filter_map(|wanted| drafts.iter().find(|draft| draft.condition_type == wanted))
        .find(|draft| draft.status != TRUE);
    match obstacle {
        Some(Draft { condition_type: _, status: _, reason, message }) => Draft::fails(READY, reason, message),
        None => Draft::holds(READY, READY, ""),
    }
}

/// A trouble of the proxies themselves, told at the Gateway that they serve.
pub fn degraded_by_trouble(troubles: &[(&str, &Trouble)]) -> Option<Draft> {
    let (_, first) = troubles.first()?;
    let sentences: Vec<String> =
        troubles.iter().map(|(proxy, trouble)| format!("proxy {proxy}: {}", trouble.message)).collect();
    Some(Draft::holds(DEGRADED, &first.reason, sentences.join("; ")))
}
