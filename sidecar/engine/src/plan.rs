//! The compiled whole: what a proxy enforces.
//!
//! ```text
//! ResourceSet -> changes since the last plan -> compile each alone -> tables of the hosts they touch -> Plan
//! ```
//!
//! A plan shares with the one before it whatever did not change, so that one edit among 10,000 routes costs a walk
//! over the keys and one small table. A resource that does not compile is refused alone: the last good one of its
//! key stays in force, and the refusal is told until the resource changes. What is known of endpoints (health,
//! requests in flight) is handed from plan to plan by the identity of the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot::resource::Body;
use headgate_snapshot::{
    ADDRESS_POLICY, Certificate, Key, LimitFigures, PoolHealth, RATE_LIMIT, Refusal, Resource, ResourceSet,
    RoomFigures, WAITING_ROOM,
};

use crate::frontend::{FrontendId, Frontends, Listener, Listening, Placed, Reattachment, compile_gateway};
use crate::matcher::Request;
use crate::pool::Pool;
use crate::rate_limit::{Governing, LimitIndex, Limits, RateLimit};
use crate::reason::Reason;
use crate::refusal::Mistake;
use crate::resolve::Resolutions;
use crate::route::{Action, Backend, Route, Rule};
use crate::shared_map::SharedMap;
use crate::table::{Candidate, Found};
use crate::time::EpochMillis;
use crate::waiting_room::{RoomIndex, Standing, WaitingRoom};

/// Features that a resource may require of this release.
pub const FEATURES: [&str; 3] = [ADDRESS_POLICY, RATE_LIMIT, WAITING_ROOM];

/// What compiling needs beside the resources.
pub struct Context<'a> {
    /// How listeners become frontends. The same for all plans of a process.
    pub listening: Listening,
    /// What DNS names stand for now.
    pub resolutions: &'a Resolutions,
    /// Where counters are kept.
    pub limits: &'a Limits,
    /// Says what is wrong with a certificate. TLS is the adapter's, refusing is the plan's.
    pub check_certificate: &'a dyn Fn(&Certificate) -> Result<(), String>,
}

/// What a proxy enforces. Shared as one `Arc`, and pinned by a request from its begin to its end.
#[derive(Debug, Default)]
pub struct Plan {
    version: String,
    resources: Arc<ResourceSet>,
    gateways: BTreeMap<Key, Arc<Vec<Listener>>>,
    routes: SharedMap<Arc<Key>, Arc<Route>>,
    pools: SharedMap<Arc<Key>, Arc<Pool>>,
    certificates: SharedMap<Arc<Key>, Arc<Certificate>>,
    limits: SharedMap<Arc<Key>, Arc<RateLimit>>,
    limit_index: Option<Arc<LimitIndex>>,
    rooms: SharedMap<Arc<Key>, Arc<WaitingRoom>>,
    room_index: Option<Arc<RoomIndex>>,
    frontends: Frontends,
    refusals: BTreeMap<Key, Mistake>,
}

/// What a request matched. Keeps the route alive, so that it can be kept beside the request.
#[derive(Clone, Debug)]
pub struct Matched {
    candidate: Candidate,
    prefix_length: usize,
}

impl Matched {
    pub(crate) fn new(found: Found<'_>) -> Self {
        Self { candidate: found.candidate.clone(), prefix_length: found.prefix_length }
    }

    /// The route.
    pub fn route(&self) -> &Route {
        &self.candidate.route
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        self.candidate.rule()
    }

    /// The index of the rule in its route.
    pub fn rule_index(&self) -> usize {
        self.candidate.rule
    }

    /// Length of the part of the path that the rule matched as a prefix, without a final slash.
    pub fn prefix_length(&self) -> usize {
        self.prefix_length
    }

    pub(crate) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    pub(crate) fn backend(&self, index: usize) -> &Backend {
        const NOTHING: &Backend = &Backend::unresolved();
        match &self.rule().action {
            Action::Split(split) => split.backends.get(index).unwrap_or(NOTHING),
            Action::Redirect(_) => NOTHING,
        }
    }
}

/// Whether one thing is another one than before, or there was none, or is none.
fn is_another<T>(before: Option<&Arc<T>>, after: Option<&Arc<T>>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => !Arc::ptr_eq(before, after),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}

impl Plan {
    /// Compiles what changed since `previous`, and takes over the rest.
    pub fn compile(resources: &Arc<ResourceSet>, previous: Option<&Self>, context: &Context<'_>) -> Self {
        let nothing = Self::default();
        let previous = previous.unwrap_or(&nothing);
        let mut plan = Self {
            version: resources.version(),
            resources: resources.clone(),
            gateways: previous.gateways.clone(),
            routes: previous.routes.clone(),
            pools: previous.pools.clone(),
            certificates: previous.certificates.clone(),
            limits: previous.limits.clone(),
            limit_index: previous.limit_index.clone(),
            rooms: previous.rooms.clone(),
            room_index: previous.room_index.clone(),
            frontends: previous.frontends.clone(),
            refusals: previous.refusals.clone(),
        };
        let mut reattachments = Vec::new();
        let (mut changes_limits, mut changes_rooms) = (false, false);
        for (key, entry) in resources.changes_since(&previous.resources) {
            plan.refusals.remove(key);
            let before = plan.limits.get(key).cloned();
            let room_before = plan.rooms.get(key).cloned();
            let outcome = if let Some(entry) = entry {
                plan.put(key, &entry.resource, context, &mut reattachments)
            } else {
                plan.withdraw(key, None, &mut reattachments);
                Ok(())
            };
            if let Err(mistake) = outcome {
                plan.refusals.insert(key.clone(), mistake);
            }
            changes_limits |= is_another(before.as_ref(), plan.limits.get(key));
            changes_rooms |= is_another(room_before.as_ref(), plan.rooms.get(key));
        }
        if plan.gateways != previous.gateways && !plan.frontends.replace(&plan.gateways) {
            reattachments = plan.all_attachments();
        }
        plan.frontends.reattach(&reattachments);
        if changes_limits {
            let index = || Arc::new(LimitIndex::new(plan.limits.values()));
            plan.limit_index = (!plan.limits.is_empty()).then(index);
        }
        if changes_rooms {
            let index = || Arc::new(RoomIndex::new(plan.rooms.values()));
            plan.room_index = (!plan.rooms.is_empty()).then(index);
        }
        plan
    }

    /// The content version of the resources, those refused among them.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The resources that the plan was compiled from.
    pub fn resources(&self) -> &Arc<ResourceSet> {
        &self.resources
    }

    /// Every resource that is refused now.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.iter().map(|(key, mistake)| mistake.refusal(key)).collect()
    }

    /// The ports to listen on.
    pub fn frontends(&self) -> impl Iterator<Item = FrontendId> {
        self.frontends.ids()
    }

    /// The listeners that are joined on a frontend: the key of each one's Gateway, and its name.
    pub fn listeners(&self, frontend: FrontendId) -> impl Iterator<Item = (&Key, &str)> {
        let all = self.gateways.iter().flat_map(|(key, listeners)| listeners.iter().map(move |it| (key, it)));
        all.filter(move |(_, listener)| listener.frontend == frontend)
            .map(|(key, listener)| (key, listener.name.as_str()))
    }

    /// The rule that a request meets.
    pub fn route(&self, frontend: FrontendId, request: &Request<'_>) -> Result<Matched, Reason> {
        self.place(frontend, request).map(|placed| Matched::new(placed.found)).ok_or(Reason::NoRoute)
    }

    pub(crate) fn place(&self, frontend: FrontendId, request: &Request<'_>) -> Option<Placed<'_>> {
        self.frontends.get(frontend)?.route(request)
    }

    /// Whether the name that a TLS connection was made for belongs to another listener than the host of a request.
    pub fn is_misdirected(&self, frontend: FrontendId, server_name: &str, host: &str) -> bool {
        self.frontends.get(frontend).is_some_and(|frontend| match (frontend.group(server_name), frontend.group(host)) {
            (Some(connected), Some(asked)) => !Arc::ptr_eq(connected, asked),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        })
    }

    /// Secrets whose certificate may serve a name, in the order in which they are asked whether it covers the name.
    /// Nearly every name is covered by one of the first; a key may come again later.
    pub fn certificates(&self, frontend: FrontendId, server_name: &str) -> impl Iterator<Item = &Key> {
        self.frontends.get(frontend).into_iter().flat_map(move |frontend| frontend.certificates(server_name))
    }

    /// The last good certificate of a Secret; the same `Arc` while it does not change.
    pub fn certificate(&self, key: &Key) -> Option<&Arc<Certificate>> {
        self.certificates.get(key)
    }

    /// One pool.
    pub fn pool(&self, key: &Key) -> Option<&Arc<Pool>> {
        self.pools.get(key)
    }

    /// One limit.
    pub fn limit(&self, key: &Key) -> Option<&Arc<RateLimit>> {
        self.limits.get(key)
    }

    /// All limits in the order of their keys.
    pub fn limits(&self) -> Vec<&Arc<RateLimit>> {
        let mut limits: Vec<&Arc<RateLimit>> = self.limits.values().collect();
        limits.sort_unstable_by_key(|limit| limit.key());
        limits
    }

    /// The limits that govern a request, in the order of enforcement.
    pub(crate) fn governing(&self, frontend: FrontendId, host: &str, matched: &Matched) -> Governing {
        let Some(index) = &self.limit_index else { return Governing::new() };
        index.find(host, matched, || self.frontends.get(frontend).map(|at| at.entrances(host)).unwrap_or_default())
    }

    /// The room that a request comes to.
    pub(crate) fn room_of(&self, host: &str, path: &str, matched: &Matched) -> Option<&Arc<WaitingRoom>> {
        self.room_index.as_ref()?.find(host, path, matched)
    }

    /// All rooms in the order of their keys.
    pub fn rooms(&self) -> Vec<&Arc<WaitingRoom>> {
        let mut rooms: Vec<&Arc<WaitingRoom>> = self.rooms.values().collect();
        rooms.sort_unstable_by_key(|room| room.key());
        rooms
    }

    /// All pools in the order of their keys.
    pub fn pools(&self) -> Vec<&Arc<Pool>> {
        let mut pools: Vec<&Arc<Pool>> = self.pools.values().collect();
        pools.sort_unstable_by_key(|pool| pool.key());
        pools
    }

    /// The DNS names among the endpoints of all pools.
    pub fn names(&self) -> BTreeSet<&str> {
        self.pools.values().flat_map(|pool| pool.names()).collect()
    }

    /// Makes the lists of endpoints anew where they come from names. Only for the plan in force, and only from the
    /// task that compiles: the last call decides which endpoints are remembered.
    pub fn resolve(&self, resolutions: &Resolutions) {
        let with_names = self.pools.values().filter(|pool| pool.names().next().is_some());
        with_names.for_each(|pool| pool.resolve(resolutions));
    }

    /// Health of every pool, for reports.
    pub fn health(&self) -> Vec<PoolHealth> {
        self.pools().into_iter().map(|pool| pool.report()).collect()
    }

    /// Figures of every room, for reports.
    pub fn room_figures(&self, limits: &Limits, now: EpochMillis) -> Vec<RoomFigures> {
        let figures = |room: &Arc<WaitingRoom>| {
            let Standing { state, census, wait_seconds, admits } = room.standing(limits, now);
            RoomFigures {
                key: Some(room.key().clone()),
                state: state.into(),
                active: census.active,
                queued: census.waiting,
                wait_seconds,
                admits,
            }
        };
        self.rooms().into_iter().map(figures).collect()
    }

    /// Figures of every limit that was asked in the last minute, or whose store is away, for reports.
    pub fn limit_figures(&self, limits: &Limits, now: EpochMillis) -> Vec<LimitFigures> {
        let figures = self.limits().into_iter().map(|limit| limit.figures(limits, now));
        let is_told =
            |figures: &LimitFigures| figures.allowed > 0 || !figures.refused.is_empty() || figures.store_away_since > 0;
        figures.filter(is_told).collect()
    }

    /// Compiles one resource and puts it in place of the last one of its key.
    fn put(
        &mut self,
        key: &Key,
        resource: &Resource,
        context: &Context<'_>,
        reattachments: &mut Vec<Reattachment>,
    ) -> Result<(), Mistake> {
        let Resource { key: _, generation: _, requires, body } = resource;
        if let Some(missing) = requires.iter().find(|word| !FEATURES.contains(&word.as_str())) {
            return Err(Mistake::MissingFeature(missing.clone()));
        }
        let body = body.as_ref().ok_or(Mistake::UnknownBody)?;
        match body {
            Body::Gateway(gateway) => {
                let listeners = compile_gateway(gateway, context.listening)?;
                self.gateways.insert(key.clone(), Arc::new(listeners));
            }
            Body::Certificate(certificate) => {
                (context.check_certificate)(certificate).map_err(|message| Mistake::invalid("certificate", message))?;
                self.certificates.insert(Arc::new(key.clone()), Arc::new(certificate.clone()));
            }
            Body::Route(route) => {
                let new = Arc::new(Route::compile(key, route)?);
                let old = self.routes.insert(Arc::new(key.clone()), new.clone());
                reattachments.push(Reattachment { old, new: Some(new) });
            }
            Body::RateLimit(limit) => {
                let limit = RateLimit::compile(key, limit, context.limits)?;
                self.limits.insert(Arc::new(key.clone()), Arc::new(limit));
            }
            Body::WaitingRoom(room) => {
                let room = WaitingRoom::compile(key, room, self.rooms.get(key).map(|room| &**room))?;
                self.rooms.insert(Arc::new(key.clone()), Arc::new(room));
            }
            Body::OriginPool(pool) => {
                let previous = self.pools.get(key).cloned();
                let pool = Arc::new(Pool::compile(key, pool, previous.as_deref(), context.resolutions)?);
                let old = previous.and_then(|previous| previous.host_route.clone());
                let new = pool.host_route.clone();
                let same = match (&old, &new) {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                    (old, new) => old.is_none() && new.is_none(),
                };
                if !same {
                    reattachments.push(Reattachment { old, new });
                }
                self.pools.insert(pool.key.clone(), pool);
            }
        }
        // A key whose body is of another kind now does not keep the old one beside it.
        self.withdraw(key, Some(body), reattachments);
        Ok(())
    }

    /// Takes out what a key stands for, except what is of the kind of `kept`.
    fn withdraw(&mut self, key: &Key, kept: Option<&Body>, reattachments: &mut Vec<Reattachment>) {
        if !matches!(kept, Some(Body::Gateway(_))) {
            self.gateways.remove(key);
        }
        if !matches!(kept, Some(Body::Certificate(_))) {
            self.certificates.remove(key);
        }
        if !matches!(kept, Some(Body::RateLimit(_))) {
            self.limits.remove(key);
        }
        if !matches!(kept, Some(Body::WaitingRoom(_))) {
            self.rooms.remove(key);
        }
        if !matches!(kept, Some(Body::Route(_)))
            && let Some(old) = self.routes.remove(key)
        {
            reattachments.push(Reattachment { old: Some(old), new: None });
        }
        if !matches!(kept, Some(Body::OriginPool(_)))
            && let Some(old) = self.pools.remove(key)
        {
            reattachments.push(Reattachment { old: old.host_route.clone(), new: None });
        }
    }

    fn all_attachments(&self) -> Vec<Reattachment> {
        let routes = self.routes.values().cloned();
        let of_pools = self.pools.values().filter_map(|pool| pool.host_route.clone());
        routes.chain(of_pools).map(|route| Reattachment { old: None, new: Some(route) }).collect()
    }
}
