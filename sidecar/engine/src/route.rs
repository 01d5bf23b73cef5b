//! A compiled route: hosts and paths, and what happens to requests that match.

use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot as wire;
use headgate_snapshot::{Expression, Key};

use crate::chance::Chance;
use crate::filter::{Filters, PathRewrite};
use crate::host::normalise_pattern;
use crate::matcher::{Conditions, expression};
use crate::path::normalise_path;
use crate::redirect::Redirect;
use crate::refusal::Mistake;

/// What a route was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A route object.
    Object,
    /// The hosts of a pool; routes win over it.
    PoolHosts,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    pub(crate) key: Key,
    pub(crate) source: Source,
    pub(crate) created_at: i64,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) rules: Vec<Rule>,
}

/// The hosts that a route serves on listeners of one Gateway.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) gateway: Key,
    /// Absent: all of its listeners.
    pub(crate) listener: Option<String>,
    pub(crate) hosts: Vec<Arc<str>>,
}

/// One rule of a route.
#[derive(Debug)]
pub struct Rule {
    /// The name that the user gave, may be empty.
    pub name: String,
    /// What is changed of requests and answers, before the filters of the backend.
    pub filters: Filters,
    /// What happens.
    pub action: Action,
    pub(crate) matches: Vec<Match>,
    /// The hosts that the rule is for, all where it is empty.
    hosts: Vec<Arc<str>>,
    /// Limit of the whole exchange.
    pub(crate) request_timeout: Option<Duration>,
    /// Limit of one attempt until the answer's headers.
    pub(crate) backend_timeout: Option<Duration>,
}

/// What a rule does with a request.
#[derive(Debug)]
pub enum Action {
    /// One of several backends, by weight.
    Split(Split),
    /// An answer without an origin.
    Redirect(Redirect),
}

/// Backends by weight.
#[derive(Debug, Default)]
pub struct Split {
    pub(crate) backends: Vec<Backend>,
    total: u64,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct Backend {
    /// The pool, absent where the reference is not resolved.
    pub pool: Option<Key>,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// What is changed of requests and answers of this backend alone.
    pub filters: Filters,
}

impl Backend {
    /// A backend that leads nowhere and changes nothing.
    pub(crate) const fn unresolved() -> Self {
        Self { pool: None, weight: 0, filters: Filters::none() }
    }
}

impl Split {
    /// The index of a backend; none where no backend has a share.
    pub(crate) fn choose(&self, chance: &mut Chance) -> Option<usize> {
        let mut left = chance.below(self.total);
        self.backends.iter().position(|backend| {
            let weight = u64::from(backend.weight);
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        })
    }
}

/// One alternative of a rule.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) path: PathPattern,
    pub(crate) conditions: Conditions,
}

/// A path that a rule matches, in the one form of paths.
#[derive(Debug)]
pub(crate) enum PathPattern {
    Exact(String),
    /// Without its final slash: the root is empty.
    Prefix(String),
    Regex(Expression),
}

impl Route {
    /// The object that the route comes from: a route, an Ingress, or a pool with hosts.
    pub fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn compile(key: &Key, route: &wire::Route) -> Result<Self, Mistake> {
        let wire::Route { attachments, rules, created_at } = route;
        let attachments = attachments
            .iter()
            .enumerate()
            .map(|(index, attachment)| {
                let wire::Attachment { gateway, listener, hosts } = attachment;
                Ok(Attachment {
                    gateway: gateway.clone().unwrap_or_default(),
                    listener: Some(listener.clone()),
                    hosts: host_patterns(hosts, &format!("attachments[{index}].hosts"))?,
                })
            })
            .collect::<Result<_, Mistake>>()?;
        let rules = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| Rule::compile(rule, &format!("rules[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Self { key: key.clone(), source: Source::Object, created_at: *created_at, attachments, rules })
    }

    /// The route that the hosts of a pool stand for: all paths, on all default listeners.
    pub(crate) fn of_pool_hosts(key: &Key, pool: &wire::OriginPool) -> Result<Option<Self>, Mistake> {
        if pool.hosts.is_empty() {
            return Ok(None);
        }
        let backend = Backend { pool: Some(key.clone()), weight: 1, filters: Filters::default() };
        let rule = Rule {
            name: String::new(),
            filters: Filters::default(),
            action: Action::Split(Split { backends: vec![backend], total: 1 }),
            matches: vec![Match { path: PathPattern::Prefix(String::new()), conditions: Conditions::default() }],
            hosts: Vec::new(),
            request_timeout: None,
            backend_timeout: None,
        };
        let attachment = Attachment {
            gateway: Key::default_listeners(),
            listener: None,
            hosts: host_patterns(&pool.hosts, "hosts")?,
        };
        Ok(Some(Self {
            key: key.clone(),
            source: Source::PoolHosts,
            created_at: pool.created_at,
            attachments: vec![attachment],
            rules: vec![rule],
        }))
    }
}

fn host_patterns(hosts: &[String], field: &str) -> Result<Vec<Arc<str>>, Mistake> {
    hosts
        .iter()
        .map(|host| {
            normalise_pattern(host).map_err(|error| Mistake::invalid(field, format!("`{host}` is no host: {error}")))
        })
        .collect()
}

impl Rule {
    fn compile(rule: &wire::Rule, field: &str) -> Result<Self, Mistake> {
        let wire::Rule { matches, filters, action, request_timeout_ms, backend_timeout_ms, name, hosts } = rule;
        let matches: Vec<Match> = matches
            .iter()
            .enumerate()
            .map(|(index, matching)| Match::compile(matching, &format!("{field}.matches[{index}]")))
            .collect::<Result<_, _>>()?;
        if matches.is_empty() {
            return Err(Mistake::invalid(format!("{field}.matches"), "a rule without matches"));
        }
        let action = match action {
            Some(wire::rule::Action::Backends(wire::Backends { backends })) => {
                Action::Split(Split::compile(backends, &format!("{field}.backends"))?)
            }
            Some(wire::rule::Action::Redirect(redirect)) => {
                Action::Redirect(Redirect::compile(redirect, &format!("{field}.redirect"))?)
            }
            None => return Err(Mistake::invalid(field, "a rule without an action that this proxy knows")),
        };
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Ok(Self {
            name: name.clone(),
            filters: Filters::compile(filters, &format!("{field}.filters"))?,
            action,
            matches,
            hosts: host_patterns(hosts, &format!("{field}.hosts"))?,
            request_timeout: limit(*request_timeout_ms),
            backend_timeout: limit(*backend_timeout_ms),
        })
    }

    /// Whether the rule is for this host pattern.
    pub(crate) fn serves(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|served| **served == *host)
    }

    /// The rewrite of the path: the backend's own, else the rule's.
    pub(crate) fn path_rewrite<'a>(&'a self, backend: &'a Backend) -> Option<&'a PathRewrite> {
        backend.filters.path.as_ref().or(self.filters.path.as_ref())
    }

    /// The rewrite of the host: the backend's own, else the rule's.
    pub(crate) fn host_rewrite<'a>(&'a self, backend: &'a Backend) -> Option<&'a str> {
        backend.filters.hostname.as_deref().or(self.filters.hostname.as_deref())
    }
}

impl Split {
    fn compile(backends: &[wire::Backend], field: &str) -> Result<Self, Mistake> {
        let backends: Vec<Backend> = backends
            .iter()
            .enumerate()
            .map(|(index, wire::Backend { pool, weight, filters })| {
                Ok(Backend {
                    pool: pool.clone(),
                    weight: *weight,
                    filters: Filters::compile(filters, &format!("{field}[{index}].filters"))?,
                })
            })
            .collect::<Result<_, Mistake>>()?;
        let total = backends.iter().map(|backend| u64::from(backend.weight)).sum();
        Ok(Self { backends, total })
    }
}

impl Match {
    fn compile(matching: &wire::Match, field: &str) -> Result<Self, Mistake> {
        let conditions = Conditions::compile(matching, field)?;
        let Some(wire::PathMatch { r#type, value }) = &matching.path else {
            return Ok(Self { path: PathPattern::Prefix(String::new()), conditions });
        };
        let field = format!("{field}.path");
        let normal = || {
            normalise_path(value).map_err(|error| Mistake::invalid(&field, format!("`{value}` is no path: {error}")))
        };
        let path = match wire::PathMatchType::try_from(*r#type) {
            Ok(wire::PathMatchType::Exact) => PathPattern::Exact(normal()?.into_owned()),
            Ok(wire::PathMatchType::Prefix) => {
                let prefix = normal()?;
                PathPattern::Prefix(prefix.strip_suffix('/').unwrap_or(&prefix).to_owned())
            }
            Ok(wire::PathMatchType::Regex) => PathPattern::Regex(expression(value, &field)?),
            Ok(wire::PathMatchType::Unspecified) | Err(_) => {
                return Err(Mistake::invalid(field, "a type of match that this proxy does not know"));
            }
        };
        Ok(Self { path, conditions })
    }
}
