//! Pure translation: Kubernetes objects in, keyed resources and verdicts out.
//!
//! ```text
//! Inputs -> classes -> pools -> Gateways -> HTTPRoutes -> Ingresses -> limits -> Services and Secrets that these refer
//!        to -> malformed objects -> hosts -> default listeners -> Translation
//! ```
//!
//! [`Translator::translate`] is the table of contents: each step judges one kind and emits its resources. Steps only
//! hand on what is in the signatures; [`Inputs`] are never changed, and [`Translation`] is all that comes out. What a
//! [`Translator`] remembers spares it work and changes nothing.
//!
//! Invariants: no client, no clock, no chance, no async; the same objects in any order, after whatever
//! was translated before, give the same bytes; every
//! object of a kind that headgate governs gets exactly one verdict; a user's mistake is a value in a verdict, never an
//! error or a panic; one bad object harms itself alone.

mod allowed_routes;
mod attachment;
mod backend;
mod certificate;
mod class;
mod condition;
mod default_listeners;
mod expression;
mod filter;
mod findings;
mod gateway;
mod governs;
mod host;
mod host_claim;
mod http_route;
mod index;
mod ingress;
mod inputs;
mod listener;
mod malformed;
mod matching;
mod memo;
mod origin_pool;
mod output;
mod rate_limit;
mod rule;
mod time;
mod verdict;
mod view;
mod waiting_room;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot::{Key, Resource};

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use inputs::{
    ASSUMED_CLASS, AddressPolicy, AssumedClasses, Claim, Claims, Dependency, GatewayAddress, Inputs, Kind,
    LastAccepted, MasterKey, ObjectKey, ObjectRef, Objects, Options, Reference, ReferredKind,
};
pub use verdict::{Concern, Force, HostVerdict, ListenerVerdict, ParentVerdict, Problem, Reason, Verdict};

use gateway::Gateways;
use http_route::Routes;
use index::Index;
use ingress::Ingresses;
use matching::Expressions;
use origin_pool::{Pools, ServicePools};
use output::Output;
use rate_limit::Limits;
use view::{Need, View};
use waiting_room::Rooms;

/// Everything that follows from the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What proxies get, in the order of the keys, each key once.
    pub resources: Vec<Arc<Resource>>,
    /// Keys for which proxies keep what they have.
    pub holds: BTreeSet<Key>,
    /// Keys of resources, emitted or not, that follow from what was never read: a proxy that has something for such a
    /// key keeps it, and one that has nothing takes what is emitted.
    pub uncertain: BTreeSet<Key>,
    /// Exactly one verdict an object of a kind that headgate governs.
    pub verdicts: BTreeMap<ObjectRef, Arc<Verdict>>,
    /// Who holds which host from now on: the claims of the next inputs.
    pub claims: Arc<Claims>,
    /// Every Secret and ConfigMap that was looked for, found or not: what whoever feeds translate must read.
    pub references: BTreeSet<Reference>,
}

/// Kinds on the wire of what is emitted because something refers to it. Of what refers to them nothing is known while it is
/// held or uncertain, or while its kind is unread.
pub const REFERRED: [&str; 2] = [certificate::WIRE_KIND, backend::SERVICE_WIRE_KIND];

/// Translates one world after the other, and remembers what became of each object: an edit costs what it touches, and
/// a walk over the rest. What did not change keeps its allocations.
#[derive(Debug, Default)]
pub struct Translator {
    options: Options,
    unread: BTreeSet<Dependency>,
    index: Index,
    gateways: Gateways,
    pools: Pools,
    routes: Routes,
    ingresses: Ingresses,
    limits: Limits,
    rooms: Rooms,
    service_pools: ServicePools,
    expressions: Expressions,
}

impl Translator {
    /// Translates the world.
    pub fn translate(&mut self, inputs: &Inputs) -> Translation {
        if self.options != inputs.options || self.unread != inputs.unread {
            *self = Self { options: inputs.options.clone(), unread: inputs.unread.clone(), ..Self::default() };
        }
        let Self {
            options: _,
            unread: _,
            index,
            gateways,
            pools,
            routes,
            ingresses,
            limits,
            rooms,
            service_pools,
            expressions,
        } = self;
        let mut changed = index.follow(inputs);
        let view = View::new(inputs, index);
        let mut out = Output::default();

        let classes = class::lower(inputs, &mut out);
        origin_pool::lower(inputs, &view, &changed, pools, &mut out);
        gateway::lower(inputs, &classes, &view, &mut changed, gateways, &mut out);
        http_route::lower(inputs, gateways, &view, &changed, (routes, expressions), &mut out);
        let ingress_certificates = ingress::lower(inputs, &classes, &view, &changed, ingresses, &mut out);
        rate_limit::lower(inputs, gateways, &view, &changed, limits, &mut out);
        waiting_room::lower(inputs, &view, &changed, rooms, &mut out);
        // After all that refer to Services and Secrets.
        origin_pool::lower_services(inputs, &view, &changed, service_pools, &mut out);
        certificate::lower(index, &mut out);
        malformed::judge(inputs, &mut out);
        // After all that ask for hosts, and before the listeners that only those who got theirs need.
        let claims = host_claim::settle(inputs, &mut out);
        default_listeners::lower(inputs, gateways, &ingress_certificates, &mut out);

        let Output { mut resources, holds, uncertain, verdicts, needs } = out;
        resources.sort_by(|one, other| one.key.cmp(&other.key));
        let references = needs.into_iter().filter_map(|need| match need {
            Need::Object(reference) => Some(reference),
            Need::Service { .. } | Need::Certificate(_) | Need::Unread(_) => None,
        });
        Translation { resources, holds, uncertain, verdicts, claims, references: references.collect() }
    }
}

/// Translates a world on its own.
pub fn translate(inputs: &Inputs) -> Translation {
    Translator::default().translate(inputs)
}
