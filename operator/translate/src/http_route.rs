//! HTTPRoutes: which requests go to which backends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::gateway_api::{HttpRoute, HttpRouteRule, HttpRouteSpec};
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;

use crate::attachment::{Attachments, attach};
use crate::gateway::Gateways;
use crate::host::mistake_in_host;
use crate::inputs::{Inputs, Kind, ObjectKey};
use crate::matching::Expressions;
use crate::memo::{Memo, Same};
use crate::output::{self, Fragment, Output, wire_key};
use crate::rule::{self, Lowering};
use crate::time::created_at;
use crate::verdict::{Concern, Force, Problem, Reason, Verdict};
use crate::view::{Changed, View};

/// What became of the routes, from translation to translation.
pub(crate) type Routes = Memo<ObjectKey, Same<HttpRoute>, Lowered>;

/// What became of a route.
#[derive(Debug)]
pub(crate) struct Lowered {
    fragment: Fragment,
    /// Gateways and positions of the listeners that count it.
    counted_at: Vec<(ObjectKey, usize)>,
}

/// Judges the HTTPRoutes and emits those that attach to a Gateway of ours.
pub(crate) fn lower(
    inputs: &Inputs,
    gateways: &Gateways,
    view: &View<'_>,
    changed: &Changed,
    known: (&mut Routes, &mut Expressions),
    out: &mut Output,
) {
    let (routes, expressions) = known;
    let objects = inputs.http_routes.iter().map(|(key, route)| (key, Same::of(route)));
    routes.follow(objects, changed, view, |key, Same(route)| lower_one(key, route, gateways, view, expressions));
    let mut attached: BTreeMap<&(ObjectKey, usize), u32> = BTreeMap::new();
    for found in routes.iter() {
        let fragment = &found.value.fragment;
        if fragment.verdict.force == Force::Held {
            out.hold(wire_key(Kind::HttpRoute, &found.name));
        }
        out.add(Kind::HttpRoute, &found.name, fragment, &found.needs);
        for place in &found.value.counted_at {
            *attached.entry(place).or_default() += 1;
        }
    }
    for ((gateway, position), count) in attached {
        out.verdict_of(Kind::Gateway, gateway).listeners[*position].attached_routes = count;
    }
}

fn lower_one(
    key: &ObjectKey,
    route: &HttpRoute,
    gateways: &Gateways,
    view: &View<'_>,
    expressions: &mut Expressions,
) -> Lowered {
    let HttpRouteSpec { parent_refs, hostnames, rules, use_default_gateways } = &route.spec;
    let generation = route.metadata.generation.unwrap_or(0);
    let Attachments { wire: attachments, listeners, parents, mut problems, is_unknown } =
        attach(key, route, gateways, view);
    if parents.is_empty() && is_unknown {
        let verdict = Verdict { generation, force: Force::Held, problems, ..Verdict::default() };
        return Lowered { fragment: Fragment { resource: None, verdict: Arc::new(verdict) }, counted_at: Vec::new() };
    }
    if parent_refs.is_empty() {
        let sentence = "a route without parents is attached to nothing; name a Gateway";
        problems.push(Problem::new(Reason::NoMatchingParent, "spec.parentRefs", sentence));
    }
    if parents.is_empty() && problems.is_empty() {
        let verdict = Verdict { generation, force: Force::Foreign, ..Verdict::default() };
        return Lowered { fragment: Fragment { resource: None, verdict: Arc::new(verdict) }, counted_at: Vec::new() };
    }
    let parentless = parents.is_empty();
    if !parentless {
        // A parent that does not exist takes nothing from those that do.
        problems = problems.into_iter().map(|problem| problem.with_concern(Concern::Remark)).collect();
    }

    let mut unenforced = Vec::new();
    if use_default_gateways.as_deref().is_some_and(|value| value != "None") {
        unenforced.push("spec.useDefaultGateways".to_owned());
    }
    let bad_hosts = hostnames.iter().enumerate().filter_map(|(index, host)| {
        let sentence = mistake_in_host(host)?;
        Some(Problem::new(Reason::Invalid, format!("spec.hostnames[{index}]"), sentence))
    });
    let known_problems = problems.len();
    problems.extend(bad_hosts);
    let hosts_are_good = problems.len() == known_problems;

    let rules = match rules.as_deref() {
        None | Some([]) => Cow::Owned(vec![HttpRouteRule::default()]),
        Some(rules) => Cow::Borrowed(rules),
    };
    let mut lowering = Lowering { route: key, view, expressions, problems: &mut problems, unenforced: &mut unenforced };
    let lowered = lower_rules(&rules, &mut lowering);

    let mut verdict = Verdict { generation, problems, unenforced, parents, ..Verdict::default() };
    let is_refused = parentless || verdict.problems.iter().any(|problem| problem.concern == Concern::Acceptance);
    let mut resource = None;
    if hosts_are_good && !attachments.is_empty() && !lowered.is_empty() {
        let body = wire::Route { attachments, rules: lowered, created_at: created_at(&route.metadata) };
        resource = Some(output::resource(wire_key(Kind::HttpRoute, key), generation, Body::Route(body)));
    } else {
        verdict.force = Force::Nothing;
    }
    Lowered {
        fragment: Fragment::with_hosts(resource, verdict),
        counted_at: if is_refused { Vec::new() } else { listeners },
    }
}

/// The rules that proxies get. While one of them is enforced the others are parts of a route that is accepted.
fn lower_rules(rules: &[HttpRouteRule], lowering: &mut Lowering<'_, '_>) -> Vec<wire::Rule> {
    let known_problems = lowering.problems.len();
    let mut lowered = Vec::with_capacity(rules.len());
    let mut enforced = 0;
    for (index, rule) in rules.iter().enumerate() {
        match lowering.rule(rule, &format!("spec.rules[{index}]")) {
            rule::Lowered::Enforced(rule) => {
                enforced += 1;
                lowered.push(rule);
            }
            rule::Lowered::Refused(rule) => lowered.push(rule),
            rule::Lowered::Dropped => {}
        }
    }
    if enforced > 0 {
        let refused = lowering.problems[known_problems..].iter_mut();
        for problem in refused.filter(|problem| problem.concern == Concern::Acceptance) {
            problem.concern = Concern::PartialInvalidity;
        }
    }
    lowered
}
