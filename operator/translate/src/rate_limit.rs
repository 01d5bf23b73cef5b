//! RateLimits.
//!
//! ```text
//! each limit: spec -> wire, findings -> in force: the limit as it is, else as last accepted, else held
//! ```
//!
//! What the schema of the kind says about types, lengths and ranges has been checked where the object came from.
//! Everything else is checked here, the CEL rules of the schema included, because files meet no CEL.

mod key;
mod spec;

use std::sync::Arc;

use headgate_crds::RateLimit;
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;

use crate::gateway::Gateways;
use crate::governs::Targets;
use crate::inputs::{Inputs, Kind, ObjectKey};
use crate::memo::{Memo, Same};
use crate::output::{Fragment, Output, requiring, wire_key};
use crate::verdict::{Force, Verdict};
use crate::view::{Changed, View};

/// What became of the limits, from translation to translation.
pub(crate) type Limits = Memo<ObjectKey, Same<RateLimit>, Fragment>;

/// Judges the RateLimits and emits them.
pub(crate) fn lower(
    inputs: &Inputs,
    gateways: &Gateways,
    view: &View<'_>,
    changed: &Changed,
    limits: &mut Limits,
    out: &mut Output,
) {
    let targets = Targets { gateways, view };
    let objects = inputs.rate_limits.iter().map(|(key, limit)| (key, Same::of(limit)));
    limits.follow(objects, changed, view, |key, Same(limit)| lower_one(key, limit, targets));
    for found in limits.iter() {
        if found.value.verdict.force == Force::Held {
            out.hold(wire_key(Kind::RateLimit, &found.name));
        }
        out.add(Kind::RateLimit, &found.name, &found.value, &found.needs);
    }
}

fn lower_one(key: &ObjectKey, object: &Arc<RateLimit>, targets: Targets<'_>) -> Fragment {
    let spec::Lowered { limit, findings, unenforced } = spec::lower(key, object, targets);
    let generation = object.metadata.generation.unwrap_or(0);
    let is_accepted = !findings.refuses();
    let verdict = Verdict { generation, problems: findings.into_problems(), unenforced, ..Verdict::default() };
    if is_accepted {
        return Fragment { resource: Some(emit(key, generation, limit)), verdict: Arc::new(verdict) };
    }
    let Some(last) = targets.view.last_accepted_limit(key) else {
        return Fragment { resource: None, verdict: Arc::new(Verdict { force: Force::Held, ..verdict }) };
    };
    let limit = spec::lower(key, last, targets).limit;
    let resource = emit(key, last.metadata.generation.unwrap_or(0), limit);
    Fragment { resource: Some(resource), verdict: Arc::new(Verdict { force: Force::LastAccepted, ..verdict }) }
}

fn emit(key: &ObjectKey, generation: i64, limit: wire::RateLimit) -> Arc<wire::Resource> {
    let requires = vec![wire::RATE_LIMIT.to_owned()];
    requiring(wire_key(Kind::RateLimit, key), generation, requires, Body::RateLimit(limit))
}
