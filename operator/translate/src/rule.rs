//! One rule of an HTTPRoute.
//!
//! A rule whose matches cannot be read is dropped, since it is unknown which requests it is for. A rule that asks for
//! something else that headgate cannot do answers 500 to its requests: to serve them without a filter that the user
//! asked for would be worse.

use headgate_crds::gateway_api::{GATEWAY_API_GROUP, HttpBackendRef, HttpRouteRule, HttpRouteTimeouts};
use headgate_snapshot as wire;
use headgate_snapshot::rule::Action;

use crate::backend::{self, BackendReference, PortReference};
use crate::filter::{self, Place};
use crate::index::Referrer;
use crate::inputs::ObjectKey;
use crate::matching::{self, Expressions};
use crate::time::milliseconds;
use crate::verdict::{Concern, Problem, Reason};
use crate::view::View;

const DEFAULT_WEIGHT: i32 = 1;
const MAX_WEIGHT: i32 = 1_000_000;

/// What `0s` of `timeouts.backendRequest` becomes, a year: on the wire 0 leaves it to the pool.
const NO_BACKEND_LIMIT_MS: u64 = 365 * 24 * 3_600_000;

/// What rules are lowered with.
pub(crate) struct Lowering<'l, 'a> {
    pub(crate) route: &'l ObjectKey,
    pub(crate) view: &'l View<'a>,
    pub(crate) expressions: &'l mut Expressions,
    pub(crate) problems: &'l mut Vec<Problem>,
    pub(crate) unenforced: &'l mut Vec<String>,
}

/// What became of a rule.
#[derive(Debug)]
pub(crate) enum Lowered {
    /// It is enforced.
    Enforced(wire::Rule),
    /// Its requests are answered 500.
    Refused(wire::Rule),
    /// It is not there.
    Dropped,
}

impl Lowering<'_, '_> {
    /// Lowers one rule.
    pub(crate) fn rule(&mut self, rule: &HttpRouteRule, field: &str) -> Lowered {
        let HttpRouteRule { name, matches, filters, backend_refs, timeouts, retry, session_persistence } = rule;
        let name = name.clone().unwrap_or_default();
        let known_problems = self.problems.len();

        let mut lowered_matches: Vec<wire::Match> = matches
            .iter()
            .enumerate()
            .map(|(index, written)| {
                matching::lower(written, &format!("{field}.matches[{index}]"), self.expressions, self.problems)
            })
            .collect();
        if lowered_matches.is_empty() {
            lowered_matches.push(matching::match_all());
        }
        if self.problems.len() > known_problems {
            return Lowered::Dropped;
        }

        if retry.is_some() {
            self.unenforced.push(format!("{field}.retry"));
        }
        if session_persistence.is_some() {
            self.unenforced.push(format!("{field}.sessionPersistence"));
        }
        let limits = self.timeouts(timeouts.as_ref(), field);
        let filters = filter::lower(filters, field, Place::Rule(&lowered_matches));
        let filters = filters.map_err(|problems| self.problems.extend(problems)).unwrap_or_default();
        if filters.redirect.is_some() && !backend_refs.is_empty() {
            let sentence = "a rule with RequestRedirect answers by itself; remove backendRefs or the filter";
            self.problems.push(Problem::new(Reason::IncompatibleFilters, format!("{field}.backendRefs"), sentence));
        }
        if self.problems.len() > known_problems {
            return Lowered::Refused(refused(name, lowered_matches));
        }

        let action = match filters.redirect {
            Some(redirect) => Action::Redirect(redirect),
            None => Action::Backends(self.backends(backend_refs, field)),
        };
        let (request_timeout_ms, backend_timeout_ms) = limits;
        Lowered::Enforced(wire::Rule {
            matches: lowered_matches,
            filters: filters.filters,
            action: Some(action),
            request_timeout_ms,
            backend_timeout_ms,
            name,
            hosts: Vec::new(),
        })
    }

    fn timeouts(&mut self, timeouts: Option<&HttpRouteTimeouts>, field: &str) -> (u64, u64) {
        let Some(HttpRouteTimeouts { request, backend_request }) = timeouts else { return (0, 0) };
        let mut read = |written: &Option<String>, name: &str| {
            written.as_deref().map(|text| {
                milliseconds(text).unwrap_or_else(|sentence| {
                    let field = format!("{field}.timeouts.{name}");
                    self.problems.push(Problem::new(Reason::Invalid, field, sentence));
                    0
                })
            })
        };
        let request = read(request, "request").unwrap_or(0);
        let backend_request = match read(backend_request, "backendRequest") {
            None => return (request, 0),
            Some(0) => NO_BACKEND_LIMIT_MS,
            Some(limit) => limit,
        };
        if request > 0 && backend_request > request && backend_request != NO_BACKEND_LIMIT_MS {
            let sentence = "one attempt cannot take longer than the whole request; lower it, or raise timeouts.request";
            let field = format!("{field}.timeouts.backendRequest");
            self.problems.push(Problem::new(Reason::Invalid, field, sentence));
        }
        (request, backend_request)
    }

    fn backends(&mut self, references: &[HttpBackendRef], field: &str) -> wire::Backends {
        let backends = references
            .iter()
            .enumerate()
            .map(|(index, reference)| self.backend(reference, &format!("{field}.backendRefs[{index}]")))
            .collect();
        wire::Backends { backends }
    }

    /// A reference that leads nowhere keeps its share, whose requests are answered 500.
    fn backend(&mut self, reference: &HttpBackendRef, field: &str) -> wire::Backend {
        let HttpBackendRef { group, kind, name, namespace, port, weight, filters } = reference;
        let from = Referrer { group: GATEWAY_API_GROUP, kind: "HTTPRoute", namespace: &self.route.namespace };
        let to = BackendReference {
            group: group.as_deref().unwrap_or_default(),
            kind: kind.as_deref().unwrap_or("Service"),
            namespace: namespace.as_deref().unwrap_or(&self.route.namespace),
            name,
            port: port.map(PortReference::Number),
        };
        let mut pool = match backend::resolve(from, to, self.view) {
            Ok(pool) => Some(pool),
            Err((reason, sentence)) => {
                self.problems.push(Problem::new(reason, field, sentence).with_concern(Concern::References));
                None
            }
        };
        let mut weight = weight.unwrap_or(DEFAULT_WEIGHT);
        let mut partly = |problem: Problem| self.problems.push(problem.with_concern(Concern::PartialInvalidity));
        if !(0..=MAX_WEIGHT).contains(&weight) {
            let sentence = format!("{weight} is no weight; write a number from 0 to {MAX_WEIGHT}");
            partly(Problem::new(Reason::Invalid, format!("{field}.weight"), sentence));
            weight = weight.clamp(0, MAX_WEIGHT);
            pool = None;
        }
        let filters = filter::lower(filters, field, Place::Backend).unwrap_or_else(|problems| {
            problems.into_iter().for_each(partly);
            pool = None;
            filter::Filters::default()
        });
        wire::Backend { pool, weight: weight.unsigned_abs(), filters: filters.filters }
    }
}

/// A rule that answers 500 to its requests.
fn refused(name: String, matches: Vec<wire::Match>) -> wire::Rule {
    wire::Rule {
        matches,
        filters: Vec::new(),
        action: Some(Action::Backends(wire::Backends::default())),
        request_timeout_ms: 0,
        backend_timeout_ms: 0,
        name,
        hosts: Vec::new(),
    }
}
