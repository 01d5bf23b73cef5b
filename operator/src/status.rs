//! What every object's status says: verdicts of the translation joined with the reports of the proxies.
//!
//! ```text
//! Verdict (accepted? references? hosts?) --+
//! Standing (which proxies have it?) -------+--> conditions, figures --> status of one object
//! PoolHealth (which endpoints serve?) -----+          ^
//! LimitStanding (what passed?) ------------+          |
//!                                            previous status: a transition time changes with its status only
//! ```
//!
//! Everything here is a function of its arguments; [`Statuses`] is only the book of what was said last. Kinds of
//! the Gateway API have that API's shape, with `Programmed` and `Ready` beside its own conditions. An Ingress has no
//! place for conditions in its schema, and an IngressClass has no status at all: [`Status::shown`] has conditions of
//! both, for readers of ours; [`Status::stored`] has what an API server keeps.

mod condition;
mod gateway;
mod list;
mod pool;
mod proxies;
mod rate_limit;
#[cfg(test)]
mod tests;
mod told;
mod waiting_room;

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::gateway_api::{GatewayClassStatus, GatewayStatus, HttpRouteStatus, RouteParentStatus};
use headgate_crds::proxies::ProxyCounts;
use headgate_snapshot::{Key, PoolHealth, StateUrl, Trouble, changes};
use headgate_translate::{Force, GatewayAddress, Kind, ObjectKey, ObjectRef, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IngressLoadBalancerIngress, IngressLoadBalancerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::{Value, json};

pub use condition::{find, is_true};
pub use list::{StatusList, StatusQuestion};
pub use rate_limit::LimitStanding;
pub use waiting_room::RoomStanding;

use crate::hub::{Progress, Scope, Standing};
use condition::{Draft, programmed, ready, settle};
use proxies::counts;
use told::Told;

/// The status of one object, in the shape of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Of an OriginPool.
    OriginPool(Box<headgate_crds::OriginPoolStatus>),
    /// Of a RateLimit.
    RateLimit(Box<headgate_crds::RateLimitStatus>),
    /// Of a WaitingRoom.
    WaitingRoom(Box<headgate_crds::WaitingRoomStatus>),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of an HTTPRoute: the entries of ours. A writer leaves those of other controllers as they are.
    HttpRoute(HttpRouteStatus),
    /// Of a GatewayClass.
    GatewayClass(GatewayClassStatus),
    /// Of an Ingress.
    Ingress(IngressStatus),
    /// Of an IngressClass, which no API server keeps.
    IngressClass(Vec<Condition>),
}

/// Status of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    /// Where it is reached. This part alone is in the schema of an Ingress.
    pub load_balancer: IngressLoadBalancerStatus,
    /// As for kinds of ours.
    pub conditions: Vec<Condition>,
    /// How many proxies should enforce it, and how many do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,
}

impl Status {
    /// A status as the API server has it, absent where it is none of ours. Of a route's parents, those that we signed.
    pub fn read(kind: Kind, value: &Value, controller: &str) -> Option<Self> {
        let value = value.clone();
        Some(match kind {
            Kind::OriginPool => Self::OriginPool(Box::new(serde_json::from_value(value).ok()?)),
            Kind::RateLimit => Self::RateLimit(Box::new(serde_json::from_value(value).ok()?)),
            Kind::WaitingRoom => Self::WaitingRoom(Box::new(serde_json::from_value(value).ok()?)),
            Kind::Gateway => Self::Gateway(serde_json::from_value(value).ok()?),
            Kind::HttpRoute => {
                let HttpRouteStatus { mut parents } = serde_json::from_value(value).ok()?;
                parents.retain(|parent| parent.controller_name == controller);
                Self::HttpRoute(HttpRouteStatus { parents })
            }
            Kind::GatewayClass => Self::GatewayClass(serde_json::from_value(value).ok()?),
            // Theirs has no place for what we say.
            Kind::Ingress | Kind::IngressClass => return None,
        })
    }

    /// The conditions that summarise the object. Those of a route are its first parent's.
    pub fn conditions(&self) -> &[Condition] {
        match self {
            Self::OriginPool(status) => &status.conditions,
            Self::RateLimit(status) => &status.conditions,
            Self::WaitingRoom(status) => &status.conditions,
            Self::Gateway(status) => &status.conditions,
            Self::HttpRoute(status) => status.parents.first().map_or(&[], |parent| &parent.conditions),
            Self::GatewayClass(status) => &status.conditions,
            Self::Ingress(status) => &status.conditions,
            Self::IngressClass(conditions) => conditions,
        }
    }

    /// The status as `/v1/status` shows it: all that is known.
    pub fn shown(&self) -> Value {
        match self {
            Self::OriginPool(status) => json!(status),
            Self::RateLimit(status) => json!(status),
            Self::WaitingRoom(status) => json!(status),
            Self::Gateway(status) => json!(status),
            Self::HttpRoute(status) => json!(status),
            Self::GatewayClass(status) => json!(status),
            Self::Ingress(status) => json!(status),
            Self::IngressClass(conditions) => json!({ "conditions": conditions }),
        }
    }

    /// The status as an API server keeps it, nothing for a kind without one.
    pub fn stored(&self) -> Option<Value> {
        match self {
            Self::OriginPool(_)
            | Self::RateLimit(_)
            | Self::WaitingRoom(_)
            | Self::Gateway(_)
            | Self::HttpRoute(_)
            | Self::GatewayClass(_) => Some(self.shown()),
            Self::Ingress(IngressStatus { load_balancer, conditions: _, proxies: _ }) => {
                Some(json!({ "loadBalancer": load_balancer }))
            }
            Self::IngressClass(_) => None,
        }
    }
}

/// Everything that is known about one object.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What translate says.
    pub verdict: &'a Verdict,
    /// Where its resource stands with the proxies.
    pub standing: &'a Standing,
    /// Its health, one entry a proxy.
    pub health: &'a [&'a PoolHealth],
    /// How it fares, of a limit.
    pub limit: &'a LimitStanding,
    /// How it fares, of a room.
    pub room: &'a RoomStanding,
    /// What troubles the proxies that serve the object themselves, by their names. Told of Gateways.
    pub troubles: &'a [(&'a str, &'a Trouble)],
    /// What holds for all objects.
    pub installation: Installation<'a>,
}

/// What holds for all objects of an installation.
#[derive(Clone, Copy, Debug)]
pub struct Installation<'a> {
    /// `controllerName` that signs entries of a route's status.
    pub controller: &'a str,
    /// Where the proxies are reached from outside.
    pub addresses: &'a [GatewayAddress],
    /// Where the proxies keep shared state.
    pub state: &'a StateUrl,
}

/// The status of one object, or nothing where it is another controller's.
pub fn status(kind: Kind, observation: &Observation<'_>, previous: Option<&Status>, now: Timestamp) -> Option<Status> {
    let Observation { verdict, standing, health, limit, room, troubles: _, installation } = *observation;
    let Installation { controller, addresses, state: _ } = installation;
    match verdict.force {
        Force::Foreign => return None,
        Force::Unknown => return previous.cloned(),
        Force::Current | Force::LastAccepted | Force::Held | Force::Nothing => {}
    }
    let generation = verdict.generation;
    let before = previous.map_or(&[][..], Status::conditions);
    let drafts = || -> Vec<Draft> { verdict.conditions().into_iter().map(Draft::from).collect() };
    let complete = |mut drafts: Vec<Draft>| {
        drafts.push(programmed(verdict.force, standing));
        drafts.push(ready(&drafts));
        drafts
    };
    Some(match kind {
        Kind::OriginPool => Status::OriginPool(Box::new(pool::status(verdict, standing, health, before, now))),
        Kind::RateLimit => Status::RateLimit(Box::new(rate_limit::status(verdict, standing, limit, before, now))),
        Kind::WaitingRoom => Status::WaitingRoom(Box::new(waiting_room::status(verdict, standing, room, before, now))),
        Kind::Gateway => Status::Gateway(gateway::status(observation, previous, now)),
        // Nobody knows whose its parents are, so that what was said of them stays.
        Kind::HttpRoute if verdict.force == Force::Held && verdict.parents.is_empty() => {
            previous.cloned().unwrap_or(Status::HttpRoute(HttpRouteStatus { parents: Vec::new() }))
        }
        Kind::HttpRoute => {
            let parents = verdict.parents.iter().map(|parent| {
                let drafts = verdict.parent_conditions(parent).into_iter().map(Draft::from).collect();
                let drafts = gateway::in_words_of_the_api(complete(drafts));
                let before = match previous {
                    Some(Status::HttpRoute(status)) => status
                        .parents
                        .iter()
                        .find(|before| before.parent_ref == parent.parent)
                        .map_or(&[][..], |before| &before.conditions),
                    _ => &[],
                };
                RouteParentStatus {
                    parent_ref: parent.parent.clone(),
                    controller_name: controller.to_owned(),
                    conditions: settle(drafts, generation, before, now),
                }
            });
            Status::HttpRoute(HttpRouteStatus { parents: parents.collect() })
        }
        Kind::GatewayClass => Status::GatewayClass(GatewayClassStatus {
            conditions: settle(accepted_alone(drafts()), generation, before, now),
            supported_features: gateway::supported_features(),
        }),
        Kind::IngressClass => Status::IngressClass(settle(accepted_alone(drafts()), generation, before, now)),
        Kind::Ingress => Status::Ingress(IngressStatus {
            load_balancer: match verdict.force {
                Force::Nothing | Force::Foreign | Force::Unknown => IngressLoadBalancerStatus::default(),
                Force::Current | Force::LastAccepted | Force::Held => load_balancer(addresses),
            },
            conditions: settle(complete(drafts()), generation, before, now),
            proxies: Some(counts(standing)),
        }),
    })
}

/// A class is accepted and that is all: no proxy applies it.
fn accepted_alone(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.retain(|draft| draft.condition_type == headgate_crds::conditions::ACCEPTED);
    drafts
}

/// Where an Ingress is reached. It does not follow the proxies: names in DNS are made of it, and a proxy that starts
/// anew must not take them away.
pub fn load_balancer(addresses: &[GatewayAddress]) -> IngressLoadBalancerStatus {
    let told = addresses.iter().take(gateway::MAX_ADDRESSES).map(|address| match address {
        GatewayAddress::Ip(ip) => IngressLoadBalancerIngress { ip: Some(ip.to_string()), ..Default::default() },
        GatewayAddress::Hostname(host) => {
            IngressLoadBalancerIngress { hostname: Some(host.clone()), ..Default::default() }
        }
    });
    let told: Vec<IngressLoadBalancerIngress> = told.collect();
    IngressLoadBalancerStatus { ingress: (!told.is_empty()).then_some(told) }
}

/// An object whose status changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object.
    pub object: ObjectRef,
    /// What was said before.
    pub before: Option<Status>,
}

/// The statuses of all objects as they were said last.
#[derive(Clone, Debug, Default)]
pub struct Statuses {
    said: BTreeMap<ObjectRef, Said>,
    /// What troubled the proxies, by what they serve and their names, when the statuses were said.
    troubles: Vec<(Scope, String, Trouble)>,
}

/// What was said of one object, and what it followed from.
#[derive(Clone, Debug, Default)]
struct Said {
    verdict: Arc<Verdict>,
    standing: Standing,
    health: Vec<PoolHealth>,
    limit: LimitStanding,
    room: RoomStanding,
    /// Nothing where the object is another controller's.
    status: Option<Status>,
}

/// Everything that the status of one object follows from.
#[derive(Debug)]
struct Observed<'p> {
    verdict: &'p Arc<Verdict>,
    standing: Standing,
    health: &'p [&'p PoolHealth],
    limit: LimitStanding,
    room: RoomStanding,
    /// Something that counts for all objects of the kind is not as it was.
    news: bool,
}

/// The troubles of the proxies that serve a Gateway.
fn troubles_of<'p>(gateway: &ObjectKey, all: &[(&Scope, &'p str, &'p Trouble)]) -> Vec<(&'p str, &'p Trouble)> {
    let key = Key::new(Kind::Gateway.as_str(), gateway.namespace.as_str(), gateway.name.as_str());
    all.iter().filter(|(scope, _, _)| scope.serves(&key)).map(|(_, proxy, trouble)| (*proxy, *trouble)).collect()
}

impl Said {
    /// Whether the same would be said again.
    fn holds(&self, observed: &Observed<'_>) -> bool {
        let Observed { verdict, standing, health, limit, room, news } = observed;
        !news
            && (Arc::ptr_eq(&self.verdict, verdict) || self.verdict == **verdict)
            && self.standing == *standing
            && self.limit == *limit
            && self.room == *room
            && self.health.iter().eq(health.iter().copied())
    }
}

impl Statuses {
    /// Writes down what was said before this book began. What the book has stays.
    pub fn seed(&mut self, object: ObjectRef, status: Status) {
        // Nothing is known of what it followed from, so that it is made anew at the next look.
        self.said.entry(object).or_insert(Said { status: Some(status), ..Said::default() });
    }

    /// Brings the book up to date and returns the objects whose status changed. Statuses are made only of objects of
    /// which something is not as it was; all others are walked over.
    pub fn update(
        &mut self,
        verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>,
        progress: &Progress,
        installation: Installation<'_>,
        now: Timestamp,
    ) -> Vec<Change> {
        let told = Told::by(progress);
        let troubles = self.troubles.iter().map(|(scope, proxy, trouble)| (scope, proxy.as_str(), trouble));
        let other_troubles = !troubles.eq(told.troubles.iter().copied());
        let observe = |object, verdict| {
            let ObjectRef { kind, key }: &ObjectRef = object;
            let wire_key = Key::new(kind.as_str(), key.namespace.as_str(), key.name.as_str());
            let standing = progress.standing(&wire_key);
            let (mut health, mut limit, mut room) = (&[][..], LimitStanding::default(), RoomStanding::default());
            match kind {
                Kind::OriginPool => health = told.health(key),
                Kind::RateLimit => {
                    limit = LimitStanding::new(&wire_key, progress, &standing, told.limits(key), installation.state);
                }
                Kind::WaitingRoom => room = RoomStanding::new(&standing, told.rooms(key)),
                Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::IngressClass | Kind::Ingress => {}
            }
            let news = *kind == Kind::Gateway && other_troubles;
            (object, Observed { verdict, standing, health, limit, room, news })
        };
        let observed = verdicts.iter().map(|(object, verdict)| observe(object, verdict));
        let differ = changes(&self.said, observed, |said, observed| said.holds(observed));
        let differ: Vec<(ObjectRef, Option<Observed<'_>>)> =
            differ.into_iter().map(|(object, observed)| (object.clone(), observed)).collect();
        let keep = |(scope, proxy, trouble): &(&Scope, &str, &Trouble)| {
            ((*scope).clone(), (*proxy).to_owned(), (*trouble).clone())
        };
        self.troubles = told.troubles.iter().map(keep).collect();

        let mut changed = Vec::new();
        for (object, observed) in differ {
            let Some(Observed { verdict, standing, health, limit, room, news: _ }) = observed else {
                self.said.remove(&object);
                continue;
            };
            let troubles = match object.kind {
                Kind::Gateway => troubles_of(&object.key, &told.troubles),
                Kind::GatewayClass
                | Kind::HttpRoute
                | Kind::IngressClass
                | Kind::Ingress
                | Kind::OriginPool
                | Kind::RateLimit
                | Kind::WaitingRoom => Vec::new(),
            };
            let observation = Observation {
                verdict,
                standing: &standing,
                health,
                limit: &limit,
                room: &room,
                troubles: &troubles,
                installation,
            };
            let before = self.said.get(&object).and_then(|said| said.status.clone());
            let status = status(object.kind, &observation, before.as_ref(), now);
            if before != status {
                changed.push(Change { object: object.clone(), before });
            }
            let health = health.iter().copied().cloned().collect();
            self.said.insert(object, Said { verdict: Arc::clone(verdict), standing, health, limit, room, status });
        }
        changed
    }

    /// Whether something was said of an object, or that nothing is to be said.
    pub fn knows(&self, object: &ObjectRef) -> bool {
        self.said.contains_key(object)
    }

    /// The status of one object.
    pub fn get(&self, object: &ObjectRef) -> Option<&Status> {
        self.said.get(object)?.status.as_ref()
    }
}
