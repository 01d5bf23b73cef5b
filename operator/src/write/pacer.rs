//! When a status may be written: transitions at once, figures now and then, and after a failure later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headgate_translate::ObjectRef;
use serde_json::{Map, Value};

/// The least time between two writes of an object's figures.
pub const FIGURES: Duration = Duration::from_secs(10);

/// The first pause after a failed write; each further one is twice as long.
pub const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A write that succeeded.
#[derive(Clone, Debug)]
struct Written {
    /// The fields as they were asked for.
    wanted: Map<String, Value>,
    /// The status that the API server made of them.
    stored: Option<Value>,
    at: Instant,
}

/// What was written of one object, and what failed.
#[derive(Clone, Debug, Default)]
struct Pace {
    written: Option<Written>,
    failures: u32,
    not_before: Option<Instant>,
}

/// The writes of all objects.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    paces: BTreeMap<ObjectRef, Pace>,
}

impl Pacer {
    /// When fields that differ from what is stored may be written.
    pub fn due(&self, object: &ObjectRef, wanted: &Map<String, Value>, now: Instant) -> Instant {
        let Some(pace) = self.paces.get(object) else { return now };
        let paced = match &pace.written {
            Some(Written { wanted: before, stored: _, at }) if essence(before) == essence(wanted) => *at + FIGURES,
            Some(_) | None => now,
        };
        pace.not_before.map_or(paced, |not_before| not_before.max(paced))
    }

    /// Whether the API server was given exactly these fields and made of them what it has: nothing is to be done.
    pub fn is_done(&self, object: &ObjectRef, wanted: &Map<String, Value>, stored: Option<&Value>) -> bool {
        let written = self.paces.get(object).and_then(|pace| pace.written.as_ref());
        written.is_some_and(|written| written.wanted == *wanted && written.stored.as_ref() == stored)
    }

    /// A write succeeded.
    pub fn written(&mut self, object: &ObjectRef, wanted: Map<String, Value>, stored: Option<Value>, now: Instant) {
        let written = Some(Written { wanted, stored, at: now });
        self.paces.insert(object.clone(), Pace { written, failures: 0, not_before: None });
    }

    /// A write failed. `chance` is from 0 to 1 and spreads what failed together. Returns when to try again.
    pub fn failed(&mut self, object: &ObjectRef, chance: f64, now: Instant) -> Instant {
        let pace = self.paces.entry(object.clone()).or_default();
        let pause = LEAST_PAUSE.saturating_mul(1 << pace.failures.min(16)).min(LONGEST_PAUSE);
        pace.failures += 1;
        let again = now + pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        pace.not_before = Some(again);
        again
    }

    /// The object is gone.
    pub fn forget(&mut self, object: &ObjectRef) {
        self.paces.remove(object);
    }

    /// Nothing is known of what was written: another replica wrote.
    pub fn clear(&mut self) {
        self.paces.clear();
    }
}

/// What of a status is a transition: all but figures, and the wording of conditions that stay as they are.
fn essence(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut essence = fields.clone();
    for figure in ["healthy", "origins", "lastMinute"] {
        essence.remove(figure);
    }
    for value in essence.values_mut() {
        strip_wording(value);
    }
    essence
}

fn strip_wording(value: &mut Value) {
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(strip_wording),
        Value::Object(fields) => {
            if fields.contains_key("lastTransitionTime") {
                fields.remove("message");
            }
            fields.values_mut().for_each(strip_wording);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
