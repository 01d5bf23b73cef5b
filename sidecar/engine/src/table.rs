//! All routes of one host, by path.
//!
//! The precedence is the Gateway API's: an exact path, then the longest prefix of whole path elements; among equal
//! paths a match with a method, then more headers, then more query parameters, then the older route, then the
//! lower namespace and name, then the earlier rule. Where the Gateway API leaves it open we say: a regular
//! expression comes after an exact path and before all prefixes, the longest expression first, since it would
//! never be met behind a rule for `/`. The hosts of a pool come last.
//!
//! Exact paths and prefixes share one tree of path elements, so that the work grows with the path and not with
//! the number of routes, and an edit copies the nodes on the way to its path alone. Regular expressions are tried one by one, and so are matches of one path that differ in
//! method, headers or query alone.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use headgate_snapshot::Key;
use smallvec::SmallVec;

use crate::matcher::{Conditions, Request};
use crate::route::{Match, PathPattern, Route, Rule, Source};

/// Routes that are taken out of a table one by one. Where it is more, the table is built anew.
const MOST_EDITED: usize = 64;

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

/// One path element in the tree. Tables share the nodes that they have in common.
#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<Arc<str>, Arc<Node>>,
    /// Those whose path ends here.
    exact: Vec<Candidate>,
    /// Those whose prefix ends here.
    prefix: Vec<Candidate>,
}

impl Node {
    /// The node of a path below this one, made where it is missing. Nodes of another table are copied.
    fn grow<'n>(&'n mut self, path: &str) -> &'n mut Self {
        path.split('/')
            .skip(1)
            .fold(self, |node, element| Arc::make_mut(node.children.entry(Arc::from(element)).or_default()))
    }

    /// Takes a route out of the node of a path, and out of the tree the nodes that nothing is left of.
    fn prune<'p>(&mut self, mut path: impl Iterator<Item = &'p str>, route: &Key) {
        let Some(element) = path.next() else {
            self.exact.retain(|candidate| candidate.route.key != *route);
            self.prefix.retain(|candidate| candidate.route.key != *route);
            return;
        };
        let Some(child) = self.children.get_mut(element) else { return };
        let child = Arc::make_mut(child);
        child.prune(path, route);
        if child.children.is_empty() && child.exact.is_empty() && child.prefix.is_empty() {
            self.children.remove(element);
        }
    }
}

/// The routes of one host pattern on one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostTable {
    routes: Vec<Arc<Route>>,
    root: Arc<Node>,
    regexes: Vec<Candidate>,
    /// The pools that have this host, the oldest first.
    pools: Vec<Candidate>,
}

impl HostTable {
    /// A table of these routes.
    pub(crate) fn new<'r>(host: &str, routes: impl IntoIterator<Item = &'r Arc<Route>>) -> Self {
        let mut table = Self::default();
        table.add_all(host, routes);
        table
    }

    /// The table without some routes and with others, which costs what these cost, and a walk over the rest.
    pub(crate) fn edited<'r>(
        &'r self,
        host: &str,
        removed: &BTreeSet<&Key>,
        added: impl IntoIterator<Item = &'r Arc<Route>>,
    ) -> Self {
        let is_removed = |route: &&Arc<Route>| removed.contains(route.key());
        if removed.len() > MOST_EDITED {
            return Self::new(host, self.routes.iter().filter(|route| !is_removed(route)).chain(added));
        }
        let mut table = self.clone();
        for route in self.routes.iter().filter(is_removed) {
            table.remove(host, route);
        }
        table.add_all(host, added);
        table
    }

    /// Whether no route is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn remove(&mut self, host: &str, route: &Arc<Route>) {
        self.routes.retain(|known| !Arc::ptr_eq(known, route));
        let is_other = |candidate: &Candidate| candidate.route.key != route.key;
        self.regexes.retain(is_other);
        self.pools.retain(is_other);
        for candidate in candidates(route, host) {
            if let PathPattern::Exact(path) | PathPattern::Prefix(path) = &candidate.matching().path {
                Arc::make_mut(&mut self.root).prune(path.split('/').skip(1), &route.key);
            }
        }
    }

    fn add_all<'r>(&mut self, host: &str, routes: impl IntoIterator<Item = &'r Arc<Route>>) {
        for route in routes {
            self.routes.push(Arc::clone(route));
            candidates(route, host).for_each(|candidate| self.add(candidate));
        }
        self.regexes.sort_by(Candidate::precedence);
        self.pools.sort_by(Candidate::precedence);
    }

    fn add(&mut self, candidate: Candidate) {
        if candidate.route.source == Source::PoolHosts {
            self.pools.push(candidate);
            return;
        }
        let root = Arc::make_mut(&mut self.root);
        let list = match &candidate.matching().path {
            PathPattern::Exact(path) => &mut root.grow(path).exact,
            PathPattern::Prefix(prefix) => &mut root.grow(prefix).prefix,
            PathPattern::Regex(_) => {
                self.regexes.push(candidate);
                return;
            }
        };
        let place = list.partition_point(|known| known.precedence(&candidate) == Ordering::Less);
        list.insert(place, candidate);
    }

    /// The first candidate in the order of precedence that the request meets.
    pub(crate) fn find<'a>(&'a self, request: &Request<'_>) -> Option<Found<'a>> {
        let holds = |candidate: &&Candidate| candidate.conditions().hold(request);
        let mut deepest = &*self.root;
        let mut above: SmallVec<[&Node; 16]> = SmallVec::new();
        let mut elements = request.path.split('/').skip(1);
        let ended = loop {
            let Some(element) = elements.next() else { break true };
            let Some(child) = deepest.children.get(element) else { break false };
            above.push(deepest);
            deepest = child;
        };
        if ended && let Some(candidate) = deepest.exact.iter().find(holds) {
            return Some(Found { candidate, prefix_length: request.path.len() });
        }
        let by_regex = self.regexes.iter().find(|candidate| match &candidate.matching().path {
            PathPattern::Regex(regex) => regex.matches(request.path) && holds(candidate),
            PathPattern::Exact(_) | PathPattern::Prefix(_) => false,
        });
        if let Some(candidate) = by_regex {
            return Some(Found { candidate, prefix_length: 0 });
        }
        above.push(deepest);
        let by_prefix = above.iter().rev().find_map(|node| node.prefix.iter().find(holds));
        if let Some(candidate) = by_prefix {
            return Some(Found { candidate, prefix_length: prefix_length(candidate) });
        }
        self.pools.first().map(|candidate| Found { candidate, prefix_length: 0 })
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
