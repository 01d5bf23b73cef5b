//! Which listener, route, policies and origin a request meets, and why: the decisions of the proxy, told.
//!
//! The same functions decide here as on the way of a request; only the words are added.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::{Arrival, Decision, ORDER, Policy};
use crate::chance::Chance;
use crate::frontend::{FrontendId, Group, Placed, Protocol};
use crate::health::Health;
use crate::host::HostRank;
use crate::matcher::Request;
use crate::origin::Origin;
use crate::plan::{Matched, Plan};
use crate::pool::Pool;
use crate::reason::Reason;
use crate::route::{Action, PathPattern, Source};
use crate::select::active_origins;

/// What a request meets, in the order of enforcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// One entry a decision.
    pub steps: Vec<Step>,
    /// How it ends.
    pub outcome: Outcome,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is decided: `listener`, `route`, `match`, `rateLimit`, `originPool`.
    pub stage: String,
    /// What was chosen.
    pub chosen: String,
    /// Why, and what was passed over.
    pub why: Vec<String>,
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Outcome {
    /// An origin is asked.
    Forwarded {
        /// Key of the pool.
        pool: String,
        /// Name of the origin.
        origin: String,
        /// Where the proxy connects.
        address: SocketAddr,
        /// The path that the origin gets.
        path: String,
        /// The `Host` that the origin gets.
        host: String,
    },
    /// The client is sent elsewhere.
    Redirected {
        /// The status.
        status: u16,
        /// The header.
        location: String,
    },
    /// The proxy answers itself.
    Answered {
        /// The status.
        status: u16,
        /// The word in `Headgate-Reason`.
        reason: String,
        /// What it means.
        detail: String,
    },
}

impl Outcome {
    /// An answer of the proxy itself.
    pub fn answered(reason: Reason) -> Self {
        Self::Answered { status: reason.status(), reason: reason.word().to_owned(), detail: reason.detail().to_owned() }
    }
}

impl Plan {
    /// Explains what a request would meet now. Nothing is sent.
    pub fn explain(
        self: &Arc<Self>,
        frontend: FrontendId,
        request: &Request<'_>,
        arrival: &Arrival<'_>,
        mut chance: Chance,
    ) -> Explanation {
        let mut steps = Vec::new();
        let Some(placed) = self.place(frontend, request) else {
            let listening = self.frontends().any(|known| known == frontend);
            steps.push(Step {
                stage: "listener".to_owned(),
                chosen: if listening { frontend.to_string() } else { "none".to_owned() },
                why: vec![if listening {
                    format!("no route that is attached here serves {} {}{}", request.method, request.host, request.path)
                } else {
                    format!("no listener is open for {frontend}")
                }],
            });
            return Explanation { steps, outcome: Outcome::answered(Reason::NoRoute) };
        };
        steps.push(Step {
            stage: "listener".to_owned(),
            chosen: placed.group.names(),
            why: vec![format!("the most specific hostname of {frontend} for {}", request.host)],
        });
        let matched = Matched::new(placed.found);
        steps.push(route_step(&placed, &matched));
        steps.push(match_step(&matched));
        let outcome = ORDER.iter().find_map(|policy| {
            let (step, outcome) = self.explain_policy(*policy, &matched, request, arrival, &mut chance);
            steps.extend(step);
            outcome
        });
        Explanation { steps, outcome: outcome.unwrap_or_else(|| Outcome::answered(Reason::RefNotResolved)) }
    }

    /// What a policy decides, no step where the request meets none, no outcome where it passes on to the next.
    fn explain_policy(
        self: &Arc<Self>,
        policy: Policy,
        matched: &Matched,
        request: &Request<'_>,
        arrival: &Arrival<'_>,
        chance: &mut Chance,
    ) -> (Option<Step>, Option<Outcome>) {
        match policy {
            Policy::RateLimit => (self.explain_limits(matched, arrival), None),
            Policy::WaitingRoom => (self.explain_room(matched, arrival), None),
            Policy::OriginPool => {
                let (step, outcome) = self.explain_origin(matched, request, arrival, chance);
                (Some(step), Some(outcome))
            }
        }
    }

    /// The limits that govern a request, in the order of enforcement. Nothing is counted.
    fn explain_limits(&self, matched: &Matched, arrival: &Arrival<'_>) -> Option<Step> {
        let governing = self.governing(arrival.frontend, arrival.facts.request.host, matched);
        if governing.is_empty() {
            return None;
        }
        let why = governing.iter().map(|limit| {
            let applies = if limit.applies(&arrival.facts) { "" } else { "does not apply to this request: " };
            format!("{}: {applies}{}", limit.key(), limit.describe())
        });
        let chosen = format!("{} limit(s), in this order", governing.len());
        Some(Step { stage: "rateLimit".to_owned(), chosen, why: why.collect() })
    }

    /// The room that the request comes to, where there is one.
    fn explain_room(&self, matched: &Matched, arrival: &Arrival<'_>) -> Option<Step> {
        let Request { host, path, .. } = arrival.facts.request;
        let room = self.room_of(host, path, matched)?;
        let why = vec![format!("the longest path of a room of namespace {}", room.key().namespace)];
        Some(Step { stage: "waitingRoom".to_owned(), chosen: room.key().to_string(), why })
    }

    fn explain_origin(
        self: &Arc<Self>,
        matched: &Matched,
        request: &Request<'_>,
        arrival: &Arrival<'_>,
        chance: &mut Chance,
    ) -> (Step, Outcome) {
        let mut step = Step { stage: "originPool".to_owned(), chosen: "none".to_owned(), why: self.backends(matched) };
        let mut exchange = match matched.clone().act(self, arrival, chance) {
            Ok(Decision::Forward(exchange)) => exchange,
            Ok(Decision::Redirect { status, location }) => {
                "redirect".clone_into(&mut step.chosen);
                return (step, Outcome::Redirected { status, location });
            }
            // Limits come before, and are told of without being asked.
            Ok(Decision::Limited(_) | Decision::Ask | Decision::Waits(_)) => {
                return (step, Outcome::answered(Reason::RateLimited));
            }
            Err(reason) => return (step, Outcome::answered(reason)),
        };
        let asked = exchange.pool().clone();
        step.chosen = asked.key().to_string();
        step.why.extend(asked.describe());
        let selected = exchange.select(chance).map(|_| ());
        let pool = exchange.pool().clone();
        if selected.is_ok() && !Arc::ptr_eq(&asked, &pool) {
            step.why.push(format!("no endpoint of it can be used, so its fallback answers: {}", pool.key()));
            step.why.extend(pool.describe());
        }
        let outcome = match (selected, exchange.selection()) {
            (Ok(()), Some(selection)) => Outcome::Forwarded {
                pool: pool.key().to_string(),
                origin: selection.origin().name.clone(),
                address: selection.endpoint().address(),
                path: exchange.path(request.path).into_owned(),
                host: exchange.host().unwrap_or(request.host).to_owned(),
            },
            (Err(reason), _) => Outcome::answered(reason),
            (Ok(()), None) => Outcome::answered(Reason::NoHealthyOrigin),
        };
        (step, outcome)
    }

    /// The backends of a rule with their shares.
    fn backends(&self, matched: &Matched) -> Vec<String> {
        let Action::Split(split) = &matched.rule().action else { return Vec::new() };
        if split.backends.is_empty() {
            return vec!["the rule has no backend".to_owned()];
        }
        let described = split.backends.iter().map(|backend| match &backend.pool {
            Some(key) if self.pool(key).is_none() => {
                format!("backend {key}, weight {}: does not exist", backend.weight)
            }
            Some(key) => format!("backend {key}, weight {}", backend.weight),
            None => format!("a backend that is not resolved, weight {}", backend.weight),
        });
        described.collect()
    }
}

fn route_step(placed: &Placed<'_>, matched: &Matched) -> Step {
    let host = match placed.rank {
        HostRank::Exact => "the host is listed as it is".to_owned(),
        HostRank::Suffix(_) => "the host matches a wildcard, and no rule for a more specific host matches".to_owned(),
        HostRank::Any => "the route serves all hosts, and no rule for a more specific host matches".to_owned(),
    };
    let mut why = vec![host];
    if matched.candidate().route.source == Source::PoolHosts {
        why.push("spec.hosts of the pool; no route serves this host and path".to_owned());
    }
    Step { stage: "route".to_owned(), chosen: matched.route().key().to_string(), why }
}

fn match_step(matched: &Matched) -> Step {
    let candidate = matched.candidate();
    let path = match &candidate.matching().path {
        PathPattern::Exact(path) => format!("path is exactly {path}"),
        PathPattern::Prefix(prefix) if prefix.is_empty() => "every path".to_owned(),
        PathPattern::Prefix(prefix) => format!("path begins with {prefix}"),
        PathPattern::Regex(regex) => format!("path matches {}", regex.pattern()),
    };
    let rule = matched.rule();
    let name = if rule.name.is_empty() { String::new() } else { format!(" ({})", rule.name) };
    let (method, headers, query) = candidate.matching().conditions.weight();
    let mut why = vec![path];
    if method {
        why.push("the method matches".to_owned());
    }
    why.extend((headers > 0).then(|| format!("{headers} header condition(s) hold")));
    why.extend((query > 0).then(|| format!("{query} query condition(s) hold")));
    Step {
        stage: "match".to_owned(),
        chosen: format!("rules[{}].matches[{}]{name}", candidate.rule, candidate.matching),
        why,
    }
}

impl Group {
    fn names(&self) -> String {
        let names: Vec<String> = self.listeners.iter().map(|(gateway, name)| format!("{gateway} {name}")).collect();
        names.join(", ")
    }
}

impl Pool {
    /// One sentence an origin: its place in the order, its endpoints, and whether it takes traffic.
    fn describe(&self) -> Vec<String> {
        let members = self.members();
        let active = active_origins(self, &members);
        let origins = self.origins().iter().zip(&members.origins).enumerate();
        origins
            .map(|(index, (origin, member))| {
                let Origin { name, priority, weight, .. } = &**origin;
                let endpoints = &member.endpoints;
                let with = |health| endpoints.iter().filter(|endpoint| endpoint.health() == health).count();
                let health = if self.has_health_check() {
                    let (healthy, unknown) = (with(Health::Healthy), with(Health::Unknown));
                    format!("{healthy} of {} healthy, {unknown} not yet probed", endpoints.len())
                } else {
                    format!("{} endpoint(s), not checked", endpoints.len())
                };
                let traffic = match (active & (1 << index) != 0, weight) {
                    (true, _) => "takes traffic",
                    (false, 0) => "takes none, its weight is 0",
                    (false, _) => "takes none now",
                };
                format!("origin {name}: priority {priority}, weight {weight}, {health}: {traffic}")
            })
            .collect()
    }
}

impl fmt::Display for FrontendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Http => "HTTP",
            Protocol::Https => "HTTPS",
        };
        write!(f, "{protocol} port {}", self.port)
    }
}
