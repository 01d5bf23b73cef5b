//! What every object's status says: verdicts of the translation joined with the reports of the proxies.
//!
//! ```text
//! Verdict (accepted? references? hosts?) --+
//! Standing (which proxies have it?) -------+--> conditions, figures --> status of one object
//! PoolHealth (which endpoints serve?) -----+          ^
//!                                            previous status: a transition time changes with its status only
//! ```
//!
//! Everything here is a function of its arguments; [`Statuses`] is only the book of what was said last. Kinds of
//! the Gateway API have that API's shape, with `Programmed` and `Ready` beside its own conditions. An Ingress has no
//! place for conditions in its schema; they stand beside `loadBalancer` wherever a reader of ours is asked.

mod condition;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_crds::gateway_api::{
    GatewayClassStatus, GatewayStatus, HttpRouteStatus, ListenerStatus, RouteParentStatus,
};
use headgate_crds::origin_pool::ProxyCounts;
use headgate_snapshot::{Key, PoolHealth, Trouble, changes};
use headgate_translate::{Force, Kind, ObjectRef, Verdict};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

pub use condition::{find, is_true};

use crate::hub::{Progress, Standing};
use condition::{Draft, degraded_by_trouble, programmed, ready, settle};

/// The status of one object, in the shape of its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of an OriginPool.
    OriginPool(Box<headgate_crds::OriginPoolStatus>),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of an HTTPRoute.
    HttpRoute(HttpRouteStatus),
    /// Of a GatewayClass.
    GatewayClass(GatewayClassStatus),
    /// Of an Ingress or IngressClass.
    Ingress(IngressStatus),
}

/// Status of an Ingress or IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressStatus {
    /// As for kinds of ours.
    pub conditions: Vec<Condition>,
    /// How many proxies should enforce it, and how many do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,
}

impl Status {
    /// The conditions that summarise the object. Those of a route are its first parent's.
    pub fn conditions(&self) -> &[Condition] {
        match self {
            Self::OriginPool(status) => &status.conditions,
            Self::Gateway(status) => &status.conditions,
            Self::HttpRoute(status) => status.parents.first().map_or(&[], |parent| &parent.conditions),
            Self::GatewayClass(status) => &status.conditions,
            Self::Ingress(status) => &status.conditions,
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
    /// What troubles the proxies themselves, by their names.
    pub troubles: &'a [(&'a str, &'a Trouble)],
    /// `controllerName` that signs entries of a route's status.
    pub controller: &'a str,
}

/// The status of one object, or nothing where it is another controller's.
pub fn status(kind: Kind, observation: &Observation<'_>, previous: Option<&Status>, now: Timestamp) -> Option<Status> {
    let Observation { verdict, standing, health, troubles, controller } = *observation;
    if verdict.force == Force::Foreign {
        return None;
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
        Kind::Gateway => {
            let mut drafts = drafts();
            drafts.extend(degraded_by_trouble(troubles));
            let conditions = settle(complete(drafts), generation, before, now);
            Status::Gateway(GatewayStatus {
                addresses: Vec::new(),
                conditions,
                listeners: listeners(observation, previous, now),
            })
        }
        Kind::HttpRoute => {
            let parents = verdict.parents.iter().map(|parent| {
                let drafts = verdict.parent_conditions(parent).into_iter().map(Draft::from).collect();
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
                    conditions: settle(complete(drafts), generation, before, now),
                }
            });
            Status::HttpRoute(HttpRouteStatus { parents: parents.collect() })
        }
        Kind::GatewayClass => Status::GatewayClass(GatewayClassStatus {
            conditions: settle(accepted_alone(drafts()), generation, before, now),
            supported_features: Vec::new(),
        }),
        Kind::IngressClass => Status::Ingress(IngressStatus {
            conditions: settle(accepted_alone(drafts()), generation, before, now),
            proxies: None,
        }),
        Kind::Ingress => Status::Ingress(IngressStatus {
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

fn listeners(observation: &Observation<'_>, previous: Option<&Status>, now: Timestamp) -> Vec<ListenerStatus> {
    let Observation { verdict, standing, health: _, troubles: _, controller: _ } = *observation;
    let before = match previous {
        Some(Status::Gateway(status)) => status.listeners.as_slice(),
        _ => &[],
    };
    let listeners = verdict.listeners.iter().map(|listener| {
        let mut drafts: Vec<Draft> = listener.conditions().into_iter().map(Draft::from).collect();
        let force = if listener.is_accepted() { verdict.force } else { Force::Nothing };
        drafts.push(programmed(force, standing));
        let before = before.iter().find(|before| before.name == listener.name);
        ListenerStatus {
            name: listener.name.clone(),
            supported_kinds: listener.supported_kinds.clone(),
            attached_routes: i32::try_from(listener.attached_routes).unwrap_or(i32::MAX),
            conditions: settle(drafts, verdict.generation, before.map_or(&[], |before| &before.conditions), now),
        }
    });
    listeners.collect()
}

fn counts(standing: &Standing) -> ProxyCounts {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ProxyCounts { expected: count(standing.expected), programmed: count(standing.programmed) }
}

/// The statuses of all objects as they were said last.
#[derive(Clone, Debug, Default)]
pub struct Statuses {
    said: BTreeMap<ObjectRef, Said>,
    /// What troubled the proxies, by their names, when the statuses were said.
    troubles: Vec<(String, Trouble)>,
}

/// What was said of one object, and what it followed from.
#[derive(Clone, Debug)]
struct Said {
    verdict: Arc<Verdict>,
    standing: Standing,
    health: Vec<PoolHealth>,
    /// Nothing where the object is another controller's.
    status: Option<Status>,
}

/// Everything that the status of one object follows from.
#[derive(Debug)]
struct Observed<'p> {
    verdict: &'p Arc<Verdict>,
    standing: Standing,
    health: &'p [&'p PoolHealth],
    /// Something that counts for all objects of the kind is not as it was.
    news: bool,
}

impl Said {
    /// Whether the same would be said again.
    fn holds(&self, observed: &Observed<'_>) -> bool {
        let Observed { verdict, standing, health, news } = observed;
        !news
            && (Arc::ptr_eq(&self.verdict, verdict) || self.verdict == **verdict)
            && self.standing == *standing
            && self.health.iter().eq(health.iter().copied())
    }
}

impl Statuses {
    /// Brings the book up to date and returns the objects whose status changed. Statuses are made only of objects of
    /// which something is not as it was; all others are walked over.
    pub fn update(
        &mut self,
        verdicts: &BTreeMap<ObjectRef, Arc<Verdict>>,
        progress: &Progress,
        controller: &str,
        now: Timestamp,
    ) -> Vec<ObjectRef> {
        let mut health: BTreeMap<(&str, &str), Vec<&PoolHealth>> = BTreeMap::new();
        let mut troubles = Vec::new();
        for proxy in &progress.proxies {
            for pool in &proxy.report.pools {
                if let Some(Key { kind, namespace, name }) = &pool.key
                    && kind == Kind::OriginPool.as_str()
                {
                    health.entry((namespace, name)).or_default().push(pool);
                }
            }
            troubles.extend(proxy.report.troubles.iter().map(|trouble| (proxy.name.as_str(), trouble)));
        }
        let other_troubles =
            !self.troubles.iter().map(|(proxy, trouble)| (proxy.as_str(), trouble)).eq(troubles.iter().copied());
        let mut standings = progress.standings();
        let mut observe = |object, verdict| {
            let ObjectRef { kind, key }: &ObjectRef = object;
            let health = match kind {
                Kind::OriginPool => health.get(&(key.namespace.as_str(), key.name.as_str())),
                Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::IngressClass | Kind::Ingress => None,
            };
            let observed = Observed {
                verdict,
                standing: standings.of(object),
                health: health.map_or(&[], Vec::as_slice),
                news: *kind == Kind::Gateway && other_troubles,
            };
            (object, observed)
        };
        let observed = verdicts.iter().map(|(object, verdict)| observe(object, verdict));
        let differ = changes(&self.said, observed, |said, observed| said.holds(observed));
        let differ: Vec<(ObjectRef, Option<Observed<'_>>)> =
            differ.into_iter().map(|(object, observed)| (object.clone(), observed)).collect();
        self.troubles =
            troubles.iter().map(|(proxy, trouble)| ((*proxy).to_owned(), Trouble::clone(trouble))).collect();

        let mut changed = Vec::new();
        for (object, observed) in differ {
            let Some(Observed { verdict, standing, health, news: _ }) = observed else {
                self.said.remove(&object);
                continue;
            };
            let observation = Observation { verdict, standing: &standing, health, troubles: &troubles, controller };
            let previous = self.get(&object);
            let status = status(object.kind, &observation, previous, now);
            if previous != status.as_ref() {
                changed.push(object.clone());
            }
            let health = health.iter().copied().cloned().collect();
            self.said.insert(object, Said { verdict: Arc::clone(verdict), standing, health, status });
        }
        changed
    }

    /// The status of one object.
    pub fn get(&self, object: &ObjectRef) -> Option<&Status> {
        self.said.get(object)?.status.as_ref()
    }
}
