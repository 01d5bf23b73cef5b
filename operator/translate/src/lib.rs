//! Pure translation: Kubernetes objects in, keyed resources and verdicts out.
//!
//! ```text
//! Inputs -> classes -> pools -> gateways -> HTTPRoutes -> Ingresses -> malformed objects -> hosts -> default listeners -> Translation
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
mod filter;
mod gateway;
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
mod rule;
mod time;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use headgate_snapshot::{Key, Resource};

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use inputs::{
    ASSUMED_CLASS, AddressPolicy, AssumedClasses, Claim, Claims, GatewayAddress, Inputs, Kind, LastAccepted, ObjectKey,
    ObjectRef, Objects, Options, Reference, ReferredKind,
};
pub use verdict::{Concern, Force, HostVerdict, ListenerVerdict, ParentVerdict, Problem, Reason, Verdict};

use backend::Backends;
use certificate::{Certificates, Checks};
use index::Index;
use matching::Expressions;
use output::Output;

/// Everything that follows from the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What proxies get, in the order of the keys, each key once.
    pub resources: Vec<Resource>,
    /// Keys for which proxies keep what they have.
    pub holds: BTreeSet<Key>,
    /// Exactly one verdict an object of a kind that headgate governs.
    pub verdicts: BTreeMap<ObjectRef, Verdict>,
    /// Who holds which host from now on: the claims of the next inputs.
    pub claims: Claims,
    /// Every Secret and ConfigMap that was looked for, found or not: what whoever feeds translate must read.
    pub references: BTreeSet<Reference>,
}

/// Translates one world after the other, and remembers what is costly and follows from little: which regular
/// expressions are valid, and what is in which Secret.
#[derive(Debug, Default)]
pub struct Translator {
    expressions: Expressions,
    checks: Checks,
}

impl Translator {
    /// Translates the world.
    pub fn translate(&mut self, inputs: &Inputs) -> Translation {
        let Self { expressions, checks } = self;
        let index = Index::new(inputs);
        let backends = Backends::new(inputs, &index);
        let mut certificates = Certificates::new(inputs, checks);
        let mut out = Output::default();

        let classes = class::lower(inputs, &mut out);
        origin_pool::lower(inputs, &index, &mut out);
        let gateways = gateway::lower(inputs, &classes, &index, &mut certificates, &mut out);
        http_route::lower(inputs, &gateways, &backends, expressions, &mut out);
        let ingress_certificates = ingress::lower(inputs, &classes, &backends, &mut certificates, &mut out);
        malformed::judge(inputs, &mut out);
        // After all that ask for hosts, and before the listeners that only those who got theirs need.
        let claims = host_claim::settle(inputs, &mut out);
        default_listeners::lower(&gateways, &ingress_certificates, &mut out);

        expressions.turn();
        checks.turn();
        let Output { resources, holds, verdicts, references } = out;
        Translation { resources: resources.into_values().collect(), holds, verdicts, claims, references }
    }
}

/// Translates a world on its own.
pub fn translate(inputs: &Inputs) -> Translation {
    Translator::default().translate(inputs)
}
