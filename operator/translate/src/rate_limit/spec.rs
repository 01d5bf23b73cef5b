//! The spec of a limit: checks, and spec to wire.

use headgate_crds::RateLimit;
use headgate_crds::duration::Unit;
use headgate_crds::rate_limit::{
    Algorithm, Consistency, Count, LimitAction, LimitException, LimitMark, LimitResponse, LimitScope, RateLimitSpec,
    StoreFailure,
};
use headgate_snapshot as wire;
use headgate_snapshot::ProtectedHeader;
use headgate_snapshot::cel::Moment;
use headgate_snapshot::rate_limit::{Action as WireAction, Algorithm as WireAlgorithm};

use super::key;
use crate::expression::Told;
use crate::findings::Findings;
use crate::governs::{self, Targets};
use crate::inputs::ObjectKey;

/// Media type of a body that has none.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What came of a spec.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) limit: wire::RateLimit,
    pub(super) findings: Findings,
    pub(super) unenforced: Vec<String>,
}

pub(super) fn lower(name: &ObjectKey, object: &RateLimit, targets: Targets<'_>) -> Lowered {
    let RateLimitSpec {
        hosts,
        target_refs,
        when,
        key,
        limit,
        period,
        algorithm,
        burst,
        scope,
        consistency,
        block_for,
        action,
        mark,
        queue: _,
        response,
        exceptions,
        count,
        concurrent_requests,
        application_only,
        on_store_failure,
    } = &object.spec;
    let (mut findings, mut told) = (Findings::default(), Told::default());
    let governs::Lowered { governs, mut unenforced } =
        governs::lower(&name.namespace, hosts, target_refs, targets, &mut findings);
    if let Some(when) = when {
        told.condition("spec.when", when, Moment::Request, &mut findings);
    }
    let key = key::lower(key, &mut told, &mut findings);
    findings.bound("spec.period", period, [(1, Unit::Seconds), (24, Unit::Hours)]);
    if burst.is_some() && *algorithm != Algorithm::TokenBucket {
        findings.refuse("spec.burst", "is for algorithm TokenBucket; remove it, or change the algorithm");
    }
    check_together(&object.spec, &mut findings);
    findings.bound("spec.blockFor", block_for, [(0, Unit::Seconds), (24, Unit::Hours)]);
    check_action(&object.spec, &mut findings);
    let exceptions = exceptions
        .iter()
        .enumerate()
        .map(|(index, LimitException { when, limit })| {
            let field = format!("spec.exceptions[{index}].when");
            told.condition(&field, when, Moment::Request, &mut findings);
            wire::LimitException { when: when.clone(), limit: (*limit).into() }
        })
        .collect();
    let count = count.as_ref().map(|count| lower_count(count, &mut told, &mut findings));
    check_application(&object.spec, &mut findings);
    let Told { unenforced: of_expressions } = told;
    unenforced.extend(of_expressions);
    let limit = wire::RateLimit {
        governs: (!application_only).then_some(governs),
        when: when.clone().unwrap_or_default(),
        key,
        limit: (*limit).into(),
        period_ms: period.milliseconds(),
        algorithm: Some(lower_algorithm(*algorithm, *burst)),
        scope: lower_scope(*scope).into(),
        consistency: lower_consistency(*consistency).into(),
        block_for_ms: block_for.milliseconds(),
        action: Some(lower_action(*action, mark.as_ref())),
        response: response.as_ref().map(lower_response),
        exceptions,
        count,
        concurrent_requests: concurrent_requests.unwrap_or(0).into(),
        on_store_failure: lower_store_failure(*on_store_failure).into(),
    };
    Lowered { limit, findings, unenforced }
}

fn lower_algorithm(algorithm: Algorithm, burst: Option<u32>) -> WireAlgorithm {
    match algorithm {
        Algorithm::SlidingWindow => WireAlgorithm::SlidingWindow(wire::SlidingWindow {}),
        Algorithm::TokenBucket => WireAlgorithm::TokenBucket(wire::TokenBucket { burst: burst.unwrap_or(0).into() }),
    }
}

fn lower_scope(scope: LimitScope) -> wire::LimitScope {
    match scope {
        LimitScope::Cluster => wire::LimitScope::Cluster,
        LimitScope::Proxy => wire::LimitScope::Proxy,
    }
}

fn lower_consistency(consistency: Consistency) -> wire::Consistency {
    match consistency {
        Consistency::Eventual => wire::Consistency::Eventual,
        Consistency::Strict => wire::Consistency::Strict,
    }
}

fn lower_store_failure(failure: StoreFailure) -> wire::StoreFailure {
    match failure {
        StoreFailure::LocalShare => wire::StoreFailure::LocalShare,
        StoreFailure::Allow => wire::StoreFailure::Allow,
        StoreFailure::Deny => wire::StoreFailure::Deny,
    }
}

/// An action without what it needs, or one that is not there yet, has been refused: what it becomes is never sent.
fn lower_action(action: LimitAction, mark: Option<&LimitMark>) -> WireAction {
    match (action, mark) {
        (LimitAction::Mark, Some(LimitMark { header, value })) => {
            WireAction::Mark(wire::Mark { header: header.to_ascii_lowercase(), value: value.clone() })
        }
        (LimitAction::Audit, _) => WireAction::Audit(wire::Audit {}),
        (LimitAction::Enforce | LimitAction::Challenge | LimitAction::Queue, _) | (LimitAction::Mark, None) => {
            WireAction::Enforce(wire::Enforce {})
        }
    }
}

fn lower_response(response: &LimitResponse) -> wire::LimitResponse {
    let LimitResponse { status, content_type, body } = response;
    let content_type = content_type.as_deref().or(body.is_some().then_some(PLAIN_TEXT));
    wire::LimitResponse {
        status: (*status).into(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.clone().unwrap_or_default(),
    }
}

fn lower_count(count: &Count, told: &mut Told, findings: &mut Findings) -> wire::Count {
    let Count { when, cost_header } = count;
    if when.is_none() && cost_header.is_none() {
        findings.refuse("spec.count", "has neither when nor costHeader; write one of them, or remove it");
    }
    if let Some(when) = when {
        told.condition("spec.count.when", when, Moment::Answer, findings);
    }
    let of_the_connection = |header: &&String| ProtectedHeader::of(header) == Some(ProtectedHeader::Connection);
    if let Some(header) = cost_header.as_ref().filter(of_the_connection) {
        let sentence = format!("\"{header}\" says how a message is sent and is never removed; name another header");
        findings.refuse("spec.count.costHeader", sentence);
    }
    wire::Count {
        when: when.clone().unwrap_or_default(),
        cost_header: cost_header.as_deref().unwrap_or_default().to_ascii_lowercase(),
    }
}

/// What several proxies make of the limit together.
fn check_together(spec: &RateLimitSpec, findings: &mut Findings) {
    if spec.consistency == Consistency::Strict {
        if spec.scope == LimitScope::Proxy {
            let sentence = "Strict is for scope Cluster: one proxy alone is always exact; remove it";
            findings.refuse("spec.consistency", sentence);
        }
        if spec.count.is_some() {
            let sentence = "is for consistency Eventual: what an answer costs is known after it has passed; remove it, \
                            or write Eventual";
            findings.refuse("spec.count", sentence);
        }
    }
}

fn check_action(spec: &RateLimitSpec, findings: &mut Findings) {
    match spec.action {
        LimitAction::Enforce | LimitAction::Audit | LimitAction::Mark => {}
        LimitAction::Challenge => findings
            .refuse_unsupported("spec.action", "this release has no challenges yet; write Enforce, Audit or Mark"),
        LimitAction::Queue => findings
            .refuse_unsupported("spec.action", "this release has no waiting rooms yet; write Enforce, Audit or Mark"),
    }
    let parts = [
        (LimitAction::Mark, "Mark", "spec.mark", spec.mark.is_some()),
        (LimitAction::Queue, "Queue", "spec.queue", spec.queue.is_some()),
    ];
    for (needs_it, word, field, is_written) in parts {
        match (spec.action == needs_it, is_written) {
            (true, false) => findings.refuse(field, format!("is needed by action {word}; write it")),
            (false, true) => findings.refuse(field, format!("is for action {word}; remove it, or change the action")),
            (true, true) | (false, false) => {}
        }
    }
    if let Some(LimitMark { header, value: _ }) = &spec.mark
        && ProtectedHeader::of(header).is_some()
    {
        let sentence = format!(
            "\"{header}\" is not for marks: it says where a message goes, how it is sent, or is \
                                headgate's own; name another header"
        );
        findings.refuse("spec.mark.header", sentence);
    }
    let Some(LimitResponse { status: _, content_type, body }) = &spec.response else { return };
    if spec.action != LimitAction::Enforce {
        findings.refuse("spec.response", "is for action Enforce; remove it, or change the action");
    }
    if content_type.is_some() && body.is_none() {
        findings.refuse("spec.response.contentType", "is that of the body; write response.body, or remove it");
    }
}

/// What the application asks for knows of no request.
fn check_application(spec: &RateLimitSpec, findings: &mut Findings) {
    if !spec.application_only {
        return;
    }
    let of_requests = [
        ("spec.hosts", !spec.hosts.is_empty()),
        ("spec.targetRefs", !spec.target_refs.is_empty()),
        ("spec.when", spec.when.is_some()),
        ("spec.key", !spec.key.is_empty()),
        ("spec.exceptions", !spec.exceptions.is_empty()),
        ("spec.count", spec.count.is_some()),
        ("spec.concurrentRequests", spec.concurrent_requests.is_some()),
        ("spec.response", spec.response.is_some()),
        ("spec.mark", spec.mark.is_some()),
    ];
    for (field, _) in of_requests.into_iter().filter(|(_, is_written)| *is_written) {
        findings.refuse(field, "is about requests, and with applicationOnly there are none; remove one of the two");
    }
}
