//! What translate says about each object.
//!
//! A user's mistake is data: it becomes a [`Problem`] with a [`Reason`] from the one enum of reasons of objects,
//! which is the condition reason, the event reason and the metric label at once. How problems become conditions is in
//! `condition.rs`.

use std::collections::BTreeSet;
use std::fmt;

use headgate_crds::gateway_api::{ParentReference, RouteGroupKind};
use serde::{Serialize, Serializer};

use crate::condition::{Condition, ConditionStatus, ConditionType, conditions_of, gather, not_yet_enforced};
use crate::inputs::{Dependency, GatewayAddress};

/// Why a condition of an object is as it is. Words of the Gateway API are used where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All is well: `Accepted=True`.
    Accepted,
    /// All is well: `ResolvedRefs=True`.
    ResolvedRefs,
    /// All is well: `Conflicted=False`.
    NoConflicts,

    /// The object is not of the shape of its kind and could not be read.
    Malformed,
    /// A field has a value that it cannot have.
    Invalid,
    /// An address that this installation does not allow as an origin.
    AddressNotAllowed,
    /// A value that the schema allows and headgate does not support.
    UnsupportedValue,
    /// Filters that cannot be combined.
    IncompatibleFilters,
    /// A protocol of a listener that headgate does not serve.
    UnsupportedProtocol,
    /// A GatewayClass with parameters, of which headgate has none.
    InvalidParameters,
    /// A Gateway with a listener that is not valid.
    ListenersNotValid,
    /// Another listener of the port has the same hostname.
    HostnameConflict,
    /// Another listener of the port has another protocol.
    ProtocolConflict,
    /// A port that another Gateway has with another protocol.
    PortUnavailable,
    /// A type of address that a Gateway cannot have.
    UnsupportedAddress,
    /// An address that a Gateway asks for and that is not one of ours.
    AddressNotUsable,
    /// No listener allows the route.
    NotAllowedByListeners,
    /// No host of the route is served by a listener.
    NoMatchingListenerHostname,
    /// The parent, or the named part of it, does not exist.
    NoMatchingParent,

    /// A certificate that does not exist or cannot be used.
    InvalidCertificateRef,
    /// A Gateway with a listener whose references lead nowhere.
    ListenersNotResolved,
    /// A listener allows a kind of routes that does not exist for its protocol.
    InvalidRouteKinds,
    /// A reference into another namespace without a ReferenceGrant there.
    RefNotPermitted,
    /// A reference to a kind that cannot be used there.
    InvalidKind,
    /// A backend that does not exist.
    BackendNotFound,
    /// A reference to another object that does not exist, or lacks what is needed of it.
    RefNotFound,

    /// A reference to what the operator cannot read.
    RefUnreadable,

    /// A host that another namespace holds.
    HostHeld,
    /// A field that is accepted and not enforced by this release.
    FieldNotYetEnforced,
}

impl Reason {
    /// The word in conditions, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::NoConflicts => "NoConflicts",
            Self::Malformed => "Malformed",
            Self::Invalid => "Invalid",
            Self::AddressNotAllowed => "AddressNotAllowed",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::IncompatibleFilters => "IncompatibleFilters",
            Self::UnsupportedProtocol => "UnsupportedProtocol",
            Self::InvalidParameters => "InvalidParameters",
            Self::ListenersNotValid => "ListenersNotValid",
            Self::HostnameConflict => "HostnameConflict",
            Self::ProtocolConflict => "ProtocolConflict",
            Self::PortUnavailable => "PortUnavailable",
            Self::UnsupportedAddress => "UnsupportedAddress",
            Self::AddressNotUsable => "AddressNotUsable",
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::InvalidCertificateRef => "InvalidCertificateRef",
            Self::ListenersNotResolved => "ListenersNotResolved",
            Self::InvalidRouteKinds => "InvalidRouteKinds",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::InvalidKind => "InvalidKind",
            Self::BackendNotFound => "BackendNotFound",
            Self::RefNotFound => "RefNotFound",
            Self::RefUnreadable => "RefUnreadable",
            Self::HostHeld => "HostHeld",
            Self::FieldNotYetEnforced => "FieldNotYetEnforced",
        }
    }

    /// What a problem with this reason is about, unless it says otherwise.
    fn concern(self) -> Concern {
        match self {
            Self::InvalidCertificateRef
            | Self::ListenersNotResolved
            | Self::InvalidRouteKinds
            | Self::RefNotPermitted
            | Self::InvalidKind
            | Self::BackendNotFound
            | Self::RefNotFound
            | Self::RefUnreadable
            | Self::ResolvedRefs => Concern::References,
            Self::HostHeld | Self::FieldNotYetEnforced => Concern::Degradation,
            Self::HostnameConflict | Self::ProtocolConflict | Self::NoConflicts => Concern::Conflict,
            Self::AddressNotUsable => Concern::Programming,
            Self::Accepted
            | Self::Malformed
            | Self::Invalid
            | Self::AddressNotAllowed
            | Self::UnsupportedValue
            | Self::IncompatibleFilters
            | Self::UnsupportedProtocol
            | Self::PortUnavailable
            | Self::UnsupportedAddress
            | Self::InvalidParameters
            | Self::ListenersNotValid
            | Self::NotAllowedByListeners
            | Self::NoMatchingListenerHostname
            | Self::NoMatchingParent => Concern::Acceptance,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Which condition a problem belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Concern {
    /// `Accepted=False`.
    Acceptance,
    /// `Accepted` stays `True`, with the problem's reason: the rest of the object is enforced.
    Remark,
    /// `PartiallyInvalid=True`: some rules of a route are not enforced, the others are.
    PartialInvalidity,
    /// `ResolvedRefs=False`.
    References,
    /// `Conflicted=True` of a listener, which is not accepted then.
    Conflict,
    /// `Programmed=False`, whatever the proxies say.
    Programming,
    /// `Degraded=True`.
    Degradation,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The condition it belongs to.
    pub concern: Concern,
    /// The word for machines.
    pub reason: Reason,
    /// The field, `spec.origins[1].endpoints[0]` for instance. Empty: the object as a whole.
    pub field: String,
    /// What is wrong and what to do about it, for people.
    pub message: String,
}

impl Problem {
    /// A problem that belongs to the usual condition of its reason.
    pub fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { concern: reason.concern(), reason, field: field.into(), message: message.into() }
    }

    /// The same problem of another condition.
    #[must_use]
    pub fn with_concern(self, concern: Concern) -> Self {
        Self { concern, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { concern: _, reason: _, field, message } = self;
        if field.is_empty() { f.write_str(message) } else { write!(f, "{field}: {message}") }
    }
}

/// What is in force for an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Force {
    /// The object as it is now, as far as its problems allow.
    #[default]
    Current,
    /// The object as it was when last accepted, because it is invalid now.
    LastAccepted,
    /// Whatever the proxies have: the object is invalid and nobody knows what was last accepted, or it depends on what
    /// cannot be read.
    Held,
    /// Nothing.
    Nothing,
    /// The object is another controller's: headgate neither enforces it nor writes its status.
    Foreign,
    /// Whatever the proxies have, and nobody knows whether the object is another controller's: its status stays as it
    /// is.
    Unknown,
}

/// What translate says about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `metadata.generation` of the object that was judged, 0 where it has none.
    pub generation: i64,
    /// What is in force.
    pub force: Force,
    /// What is wrong, in the order of the fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Paths of fields that are accepted and not enforced by this release.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<String>,
    /// Gateway: one entry a listener, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerVerdict>,
    /// HTTPRoute: one entry a parent that is a Gateway of ours, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<ParentVerdict>,
    /// Gateway: where it is reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// Hosts that the object asks for, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostVerdict>,
}

/// What translate says about one listener of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListenerVerdict {
    /// Name of the listener.
    pub name: String,
    /// Kinds of routes that are both supported and allowed.
    pub supported_kinds: Vec<RouteGroupKind>,
    /// Accepted routes that are attached.
    pub attached_routes: u32,
    /// What is wrong with the listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// What translate says about a route at one parent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParentVerdict {
    /// The reference as the spec has it.
    pub parent: ParentReference,
    /// What is wrong at this parent; [`Verdict::problems`] has what is wrong with the route at every parent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// A host that an object asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostVerdict {
    /// The host.
    pub host: String,
    /// True: the object's namespace holds it, and the object serves it.
    pub held: bool,
}

impl Verdict {
    /// True when nothing is wrong that makes `Accepted` false.
    pub fn is_accepted(&self) -> bool {
        !self.all_problems().any(|problem| matches!(problem.concern, Concern::Acceptance | Concern::Conflict))
    }

    /// The conditions of the object as a whole, none where it is another controller's. Those of a route are a summary
    /// over its parents.
    pub fn conditions(&self) -> Vec<Condition> {
        let mut conditions = self.with_enforced(conditions_of(self.all_problems(), self.force));
        // A Gateway has no references of its own that could lead nowhere.
        let unresolved = conditions.iter_mut().find(|condition| {
            condition.condition_type == ConditionType::ResolvedRefs && condition.status == ConditionStatus::False
        });
        if let Some(unresolved) = unresolved.filter(|_| !self.listeners.is_empty()) {
            unresolved.reason = Reason::ListenersNotResolved;
        }
        conditions
    }

    /// What can be said while this object depends on what was never read: what is in force stays, and what was found
    /// about references may be wrong.
    #[must_use]
    pub(crate) fn unsure(mut self, unread: &BTreeSet<&Dependency>) -> Self {
        let names: Vec<String> = unread.iter().map(ToString::to_string).collect();
        let sentence = format!(
            "the operator cannot read {}, so proxies keep what they have; permit it to get, list and watch that",
            names.join(", ")
        );
        self.problems.retain(is_sure);
        self.problems.push(Problem::new(Reason::RefUnreadable, "", sentence));
        self.parents.iter_mut().for_each(|parent| parent.problems.retain(is_sure));
        self.listeners.iter_mut().for_each(|listener| listener.problems.retain(is_sure));
        self.force = match self.force {
            Force::Foreign | Force::Unknown => Force::Unknown,
            Force::Current | Force::LastAccepted | Force::Held | Force::Nothing => Force::Held,
        };
        self
    }

    /// Why the object is not programmed whatever the proxies say, as reason and sentences; nothing where that is theirs
    /// to say.
    pub fn unprogrammed(&self) -> Option<(Reason, String)> {
        gather(self.problems.iter().filter(|problem| problem.concern == Concern::Programming))
    }

    /// The conditions of a route at one of its parents.
    pub fn parent_conditions(&self, parent: &ParentVerdict) -> Vec<Condition> {
        let of_the_route = self.problems.iter().filter(|problem| problem.concern != Concern::Remark);
        self.with_enforced(conditions_of(of_the_route.chain(&parent.problems), self.force))
    }

    /// The conditions with the one that names the fields not yet enforced, where there are such fields.
    fn with_enforced(&self, mut conditions: Vec<Condition>) -> Vec<Condition> {
        conditions.extend(not_yet_enforced(&self.unenforced));
        conditions
    }

    /// The object's problems, those of a route's parents, and references of listeners. What else is wrong with a
    /// listener refuses that listener alone: the Gateway has a problem of its own that says so.
    fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        let of_parents = self.parents.iter().flat_map(|parent| &parent.problems);
        let of_listeners = self.listeners.iter().flat_map(|listener| &listener.problems);
        let references = of_listeners.filter(|problem| problem.concern == Concern::References);
        self.problems.iter().chain(of_parents).chain(references)
    }
}

/// Whether a problem is one whatever other objects there are.
fn is_sure(problem: &Problem) -> bool {
    let follows_from_parents = matches!(
        problem.reason,
        Reason::NoMatchingParent | Reason::NotAllowedByListeners | Reason::NoMatchingListenerHostname
    );
    problem.concern != Concern::References && !follows_from_parents
}

impl ListenerVerdict {
    /// The conditions of the listener.
    pub fn conditions(&self) -> Vec<Condition> {
        let mut conditions = conditions_of(self.problems.iter(), Force::Current);
        let conflict = gather(self.problems.iter().filter(|problem| problem.concern == Concern::Conflict));
        let (status, reason, message) = match conflict {
            Some((reason, message)) => (ConditionStatus::True, reason, message),
            None => (ConditionStatus::False, Reason::NoConflicts, String::new()),
        };
        conditions.push(Condition { condition_type: ConditionType::Conflicted, status, reason, message });
        conditions
    }

    /// True when the listener is served.
    pub fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| matches!(problem.concern, Concern::Acceptance | Concern::Conflict))
    }
}
