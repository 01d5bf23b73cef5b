//! HTTPRoutes: which requests go to which backends.

use std::borrow::Cow;

use headgate_crds::gateway_api::{HttpRoute, HttpRouteRule, HttpRouteSpec};
use headgate_snapshot as wire;
use headgate_snapshot::resource::Body;

use crate::attachment::{Attachments, attach};
use crate::backend::Backends;
use crate::gateway::Gateways;
use crate::host::mistake_in_host;
use crate::inputs::{Inputs, Kind, ObjectKey};
use crate::matching::Expressions;
use crate::output::{Output, wire_key};
use crate::rule::{Lowered, Lowering};
use crate::time::created_at;
use crate::verdict::{Concern, Force, Problem, Reason, Verdict};

/// Judges the HTTPRoutes and emits those that attach to a Gateway of ours.
pub(crate) fn lower(
    inputs: &Inputs,
    gateways: &Gateways<'_>,
    backends: &Backends<'_, '_>,
    expressions: &mut Expressions,
    out: &mut Output,
) {
    for (key, route) in &inputs.http_routes {
        let verdict = lower_one(key, route, inputs, gateways, backends, expressions, out);
        out.judge(Kind::HttpRoute, key, verdict);
    }
}

fn lower_one(
    key: &ObjectKey,
    route: &HttpRoute,
    inputs: &Inputs,
    gateways: &Gateways<'_>,
    backends: &Backends<'_, '_>,
    expressions: &mut Expressions,
    out: &mut Output,
) -> Verdict {
    let HttpRouteSpec { parent_refs, hostnames, rules, use_default_gateways } = &route.spec;
    let generation = route.metadata.generation.unwrap_or(0);
    let Attachments { wire: attachments, listeners, parents, mut problems, is_unknown } =
        attach(key, route, gateways, inputs);
    if parents.is_empty() && is_unknown {
        out.hold(wire_key(Kind::HttpRoute, key));
        return Verdict { generation, force: Force::Held, problems, ..Verdict::default() };
    }
    if parent_refs.is_empty() {
        let sentence = "a route without parents is attached to nothing; name a Gateway";
        problems.push(Problem::new(Reason::NoMatchingParent, "spec.parentRefs", sentence));
    }
    if parents.is_empty() && problems.is_empty() {
        return Verdict { generation, force: Force::Foreign, ..Verdict::default() };
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
    let mut lowering =
        Lowering { route: key, backends, expressions, problems: &mut problems, unenforced: &mut unenforced, out };
    let lowered = lower_rules(&rules, &mut lowering);

    let mut verdict = Verdict { generation, problems, unenforced, parents, ..Verdict::default() };
    let is_refused = parentless || verdict.problems.iter().any(|problem| problem.concern == Concern::Acceptance);
    if !is_refused {
        for (gateway, position) in &listeners {
            out.verdict_of(Kind::Gateway, gateway).listeners[*position].attached_routes += 1;
        }
    }
    if hosts_are_good && !attachments.is_empty() && !lowered.is_empty() {
        let body = wire::Route { attachments, rules: lowered, created_at: created_at(&route.metadata) };
        out.emit(wire_key(Kind::HttpRoute, key), generation, Body::Route(body));
    } else {
        verdict.force = Force::Nothing;
    }
    verdict
}

/// The rules that proxies get. While one of them is enforced the others are parts of a route that is accepted.
fn lower_rules(rules: &[HttpRouteRule], lowering: &mut Lowering<'_, '_, '_>) -> Vec<wire::Rule> {
    let known_problems = lowering.problems.len();
    let mut lowered = Vec::with_capacity(rules.len());
    let mut enforced = 0;
    for (index, rule) in rules.iter().enumerate() {
        match lowering.rule(rule, &format!("spec.rules[{index}]")) {
            Lowered::Enforced(rule) => {
                enforced += 1;
                lowered.push(rule);
            }
            Lowered::Refused(rule) => lowered.push(rule),
            Lowered::Dropped => {}
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
