//! All routes of one host, by path.
//!
//! The precedence is the Gateway API's: an exact path, then the longest prefix of whole path elements; among equal
//! paths a match with a method, then more headers, then more query parameters, then the older route, then the
//! lower namespace and name, then the earlier rule. Where the Gateway API leaves it open we say: a regular
//! expression comes after an exact path and before all prefixes, the longest expression first, since it would
//! never be met behind a rule for `/`. The hosts of a pool come last.
//!
//! Exact paths and prefixes share one tree of path elements, so that the work grows with the path and not with
//! the number of routes. Regular expressions are tried one by one, and so are matches of one path that differ in
//! method, headers or query alone.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::matcher::{Conditions, Request};
use crate::route::{Match, PathPattern, Route, Rule, Source};

const ROOT: usize = 0;

/// One alternative of one rule of a route.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) route: Arc<Route>,
    pub(crate) rule: usize,
    pub(crate) matching: usize,
}

impl Candidate {
    pub(crate) fn rule(&self) -> &Rule {
        &self.route.rules[self.rule]
    }

    pub(crate) fn matching(&self) -> &Match {
        &self.rule().matches[self.matching]
    }

    fn conditions(&self) -> &Conditions {
        &self.matching().conditions
    }

    /// Which of two candidates for one host is tried first.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        let path = |candidate: &Self| match &candidate.matching().path {
            PathPattern::Exact(path) => (3, path.len()),
            PathPattern::Regex(regex) => (2, regex.pattern().len()),
            PathPattern::Prefix(prefix) => (1, prefix.len()),
        };
        let rank = |candidate: &Self| {
            let object = candidate.route.source == Source::Object;
            Reverse((object, path(candidate), candidate.conditions().weight()))
        };
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.route.created_at.cmp(&other.route.created_at))
            .then_with(|| self.name().cmp(&other.name()))
            .then_with(|| (self.rule, self.matching).cmp(&(other.rule, other.matching)))
    }

    fn name(&self) -> (&str, &str, &str) {
        let key = self.route.key();
        (&key.namespace, &key.name, &key.kind)
    }
}

/// What a table finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) candidate: &'a Candidate,
    /// Length of the part of the path that a prefix rewrite replaces, without a final slash.
    pub(crate) prefix_length: usize,
}

/// One path element in the tree.
#[derive(Debug, Default)]
struct Node {
    parent: usize,
    children: HashMap<Box<str>, usize>,
    /// Those whose path ends here.
    exact: Vec<Candidate>,
    /// Those whose prefix ends here.
    prefix: Vec<Candidate>,
}

/// The routes of one host pattern on one listener.
#[derive(Debug)]
pub(crate) struct HostTable {
    routes: Vec<Arc<Route>>,
    nodes: Vec<Node>,
    regexes: Vec<Candidate>,
    /// The pool that has this host, the oldest of several.
    pool: Option<Candidate>,
}

impl HostTable {
    pub(crate) fn new(host: &str, routes: Vec<Arc<Route>>) -> Self {
        let mut table = Self { routes, nodes: vec![Node::default()], regexes: Vec::new(), pool: None };
        for candidate in table.routes.iter().flat_map(|route| candidates(route, host)).collect::<Vec<_>>() {
            table.add(candidate);
        }
        let lists = table.nodes.iter_mut().flat_map(|node| [&mut node.exact, &mut node.prefix]);
        for list in lists.chain([&mut table.regexes]) {
            list.sort_unstable_by(Candidate::precedence);
        }
        table
    }

    pub(crate) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    fn add(&mut self, candidate: Candidate) {
        if candidate.route.source == Source::PoolHosts {
            if self.pool.as_ref().is_none_or(|pool| candidate.precedence(pool) == Ordering::Less) {
                self.pool = Some(candidate);
            }
            return;
        }
        match &candidate.matching().path {
            PathPattern::Exact(path) => {
                let node = self.grow(path);
                self.nodes[node].exact.push(candidate);
            }
            PathPattern::Prefix(prefix) => {
                let node = self.grow(prefix);
                self.nodes[node].prefix.push(candidate);
            }
            PathPattern::Regex(_) => self.regexes.push(candidate),
        }
    }

    /// The node of a path, made where it is missing.
    fn grow(&mut self, path: &str) -> usize {
        path.split('/').skip(1).fold(ROOT, |parent, element| {
            if let Some(child) = self.nodes[parent].children.get(element) {
                return *child;
            }
            let child = self.nodes.len();
            self.nodes.push(Node { parent, ..Node::default() });
            self.nodes[parent].children.insert(Box::from(element), child);
            child
        })
    }

    /// The first candidate in the order of precedence that the request meets.
    pub(crate) fn find<'a>(&'a self, request: &Request<'_>) -> Option<Found<'a>> {
        let holds = |candidate: &&Candidate| candidate.conditions().hold(request);
        let mut deepest = ROOT;
        let mut elements = request.path.split('/').skip(1);
        let ended = loop {
            let Some(element) = elements.next() else { break true };
            let Some(child) = self.nodes[deepest].children.get(element) else { break false };
            deepest = *child;
        };
        if ended && let Some(candidate) = self.nodes[deepest].exact.iter().find(holds) {
            return Some(Found { candidate, prefix_length: request.path.len() });
        }
        let by_regex = self.regexes.iter().find(|candidate| match &candidate.matching().path {
            PathPattern::Regex(regex) => regex.matches(request.path) && holds(candidate),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => false,
        });
        if let Some(candidate) = by_regex {
            return Some(Found { candidate, prefix_length: 0 });
        }
        loop {
            let node = &self.nodes[deepest];
            if let Some(candidate) = node.prefix.iter().find(holds) {
                return Some(Found { candidate, prefix_length: prefix_length(candidate) });
            }
            if deepest == ROOT {
                return self.pool.as_ref().map(|candidate| Found { candidate, prefix_length: 0 });
            }
            deepest = node.parent;
        }
    }
}

fn prefix_length(candidate: &Candidate) -> usize {
    match &candidate.matching().path {
        PathPattern::Prefix(prefix) => prefix.len(),
        PathPattern::Exact(_) | PathPattern::Regex(_) => 0,
    }
}

fn candidates(route: &Arc<Route>, host: &str) -> impl Iterator<Item = Candidate> {
    let rules = route.rules.iter().enumerate().filter(move |(_, compiled)| compiled.serves(host));
    rules.flat_map(move |(rule, compiled)| {
        (0..compiled.matches.len()).map(move |matching| Candidate { route: route.clone(), rule, matching })
    })
}
