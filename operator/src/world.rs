//! The world: all objects by kind, from whatever source, and what translation needs to remember between calls.
//!
//! A source says [`World::upsert`], [`World::remove`] and [`World::refuse`]; the objects are shared, so an edit costs
//! one map entry however many objects there are. [`World::translate`] feeds back what follows from a translation
//! and is input of the next: the specs last accepted, and the claims of hosts.

mod own;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use headgate_crds::gateway_api::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use headgate_crds::{GROUP, OriginPool, RateLimit, WaitingRoom};
use headgate_translate::{
    Claims, Dependency, Force, Inputs, Kind, LastAccepted, MasterKey, ObjectKey, ObjectRef, Objects, Options, Problem,
    Translation, Translator, Verdict,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize as _, Deserializer};

pub use own::Own;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They belong to the cluster.
    Cluster,
}

/// One table makes the enum of kinds, the enum of objects and their maps agree.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $type:ty, $field:ident, $name:literal, $group:expr, [$($version:literal),+], $scope:ident, $governed:expr;)+) => {
        /// The kinds that the world holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ObjectKind {
            $($(#[$doc])* $kind,)+
        }

        /// An object of any kind that the world holds.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($(#[$doc])* $kind(Arc<$type>),)+
        }

        impl ObjectKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind as manifests write it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// Its API group, empty for the core group.
            pub fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)+ }
            }

            /// The versions of it that are read.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$($version),+],)+ }
            }

            /// Whether its objects live in a namespace.
            pub fn scope(self) -> Scope {
                match self { $(Self::$kind => Scope::$scope,)+ }
            }

            /// The kind as translate names it, where its objects get a verdict.
            pub fn governed(self) -> Option<Kind> {
                match self { $(Self::$kind => $governed,)+ }
            }

            /// Reads an object of this kind.
            pub fn deserialize<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
                match self { $(Self::$kind => <$type>::deserialize(deserializer).map(Arc::new).map(Object::$kind),)+ }
            }
        }

        impl Object {
            /// Its kind.
            pub fn kind(&self) -> ObjectKind {
                match self { $(Self::$kind(_) => ObjectKind::$kind,)+ }
            }

            /// Its metadata.
            pub fn meta(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => object.meta(),)+ }
            }

            /// Its metadata, to change. The object is copied where others share it.
            pub fn meta_mut(&mut self) -> &mut ObjectMeta {
                match self { $(Self::$kind(object) => Arc::make_mut(object).meta_mut(),)+ }
            }
        }

        fn insert(inputs: &mut Inputs, key: ObjectKey, object: Object) {
            match object { $(Object::$kind(object) => { inputs.$field.insert(key, object); })+ }
        }

        fn withdraw(inputs: &mut Inputs, kind: ObjectKind, key: &ObjectKey) {
            match kind { $(ObjectKind::$kind => { inputs.$field.remove(key); })+ }
        }

        fn find(inputs: &Inputs, kind: ObjectKind, key: &ObjectKey) -> Option<Object> {
            match kind { $(ObjectKind::$kind => inputs.$field.get(key).cloned().map(Object::$kind),)+ }
        }
    };
}

kinds! {
    /// headgate's OriginPool.
    OriginPool: OriginPool, origin_pools, "OriginPool", GROUP, ["v1alpha1"], Namespaced, Some(Kind::OriginPool);
    /// headgate's RateLimit.
    RateLimit: RateLimit, rate_limits, "RateLimit", GROUP, ["v1alpha1"], Namespaced, Some(Kind::RateLimit);
    /// headgate's WaitingRoom.
    WaitingRoom: WaitingRoom, waiting_rooms, "WaitingRoom", GROUP, ["v1alpha1"], Namespaced, Some(Kind::WaitingRoom);
    /// Gateway API GatewayClass.
    GatewayClass: GatewayClass, gateway_classes, "GatewayClass", "gateway.networking.k8s.io", ["v1", "v1beta1"], Cluster, Some(Kind::GatewayClass);
    /// Gateway API Gateway.
    Gateway: Gateway, gateways, "Gateway", "gateway.networking.k8s.io", ["v1", "v1beta1"], Namespaced, Some(Kind::Gateway);
    /// Gateway API HTTPRoute.
    HttpRoute: HttpRoute, http_routes, "HTTPRoute", "gateway.networking.k8s.io", ["v1", "v1beta1"], Namespaced, Some(Kind::HttpRoute);
    /// Gateway API ReferenceGrant.
    ReferenceGrant: ReferenceGrant, reference_grants, "ReferenceGrant", "gateway.networking.k8s.io", ["v1", "v1beta1"], Namespaced, None;
    /// IngressClass.
    IngressClass: IngressClass, ingress_classes, "IngressClass", "networking.k8s.io", ["v1"], Cluster, Some(Kind::IngressClass);
    /// Ingress.
    Ingress: Ingress, ingresses, "Ingress", "networking.k8s.io", ["v1"], Namespaced, Some(Kind::Ingress);
    /// Service.
    Service: Service, services, "Service", "", ["v1"], Namespaced, None;
    /// EndpointSlice.
    EndpointSlice: EndpointSlice, endpoint_slices, "EndpointSlice", "discovery.k8s.io", ["v1"], Namespaced, None;
    /// Secret.
    Secret: Secret, secrets, "Secret", "", ["v1"], Namespaced, None;
    /// ConfigMap.
    ConfigMap: ConfigMap, config_maps, "ConfigMap", "", ["v1"], Namespaced, None;
    /// Namespace.
    Namespace: Namespace, namespaces, "Namespace", "", ["v1"], Cluster, None;
}

impl ObjectKind {
    /// How the API server addresses it.
    pub fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group(), self.versions()[0], self.as_str()))
    }

    /// The `apiVersion` that headgate writes for it.
    pub fn api_version(self) -> String {
        let version = self.versions()[0];
        if self.group().is_empty() { version.to_owned() } else { format!("{}/{version}", self.group()) }
    }
}

impl From<Kind> for ObjectKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::GatewayClass => Self::GatewayClass,
            Kind::Gateway => Self::Gateway,
            Kind::HttpRoute => Self::HttpRoute,
            Kind::IngressClass => Self::IngressClass,
            Kind::Ingress => Self::Ingress,
            Kind::OriginPool => Self::OriginPool,
            Kind::RateLimit => Self::RateLimit,
            Kind::WaitingRoom => Self::WaitingRoom,
        }
    }
}

impl Object {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        let ObjectMeta { namespace, name, .. } = self.meta();
        ObjectKey::new(namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default())
    }
}

/// All objects, and what is remembered between translations.
#[derive(Debug, Default)]
pub struct World {
    inputs: Inputs,
    /// Where the addresses are found that are never origins, absent: they are those of the options.
    own: Option<Own>,
    translator: Translator,
}

impl World {
    /// An empty world.
    pub fn new(options: Options) -> Self {
        Self { inputs: Inputs { options, ..Inputs::default() }, own: None, translator: Translator::default() }
    }

    /// An empty world that finds the addresses that are never origins in itself.
    pub fn of_cluster(options: Options, own: Own) -> Self {
        Self { own: Some(own), ..Self::new(options) }
    }

    /// Adds an object, or replaces it by its next state. False where translation sees nothing new.
    pub fn upsert(&mut self, object: Object) -> bool {
        let (kind, key) = (object.kind(), object.key());
        let was_refused = self.forgive(kind, &key);
        if !was_refused && find(&self.inputs, kind, &key).as_ref() == Some(&object) {
            return false;
        }
        insert(&mut self.inputs, key, object);
        true
    }

    /// An object exists no more.
    pub fn remove(&mut self, kind: ObjectKind, key: &ObjectKey) {
        self.forgive(kind, key);
        withdraw(&mut self.inputs, kind, key);
    }

    /// The present state of an object cannot be read. Its last readable state stays, as an API server that refuses
    /// an edit keeps it; kinds with a verdict tell the problem in their status. False where that is known.
    pub fn refuse(&mut self, kind: ObjectKind, key: ObjectKey, problem: Problem) -> bool {
        let Some(kind) = kind.governed() else { return false };
        let object = ObjectRef::new(kind, key);
        if self.inputs.malformed.get(&object) == Some(&problem) {
            return false;
        }
        self.inputs.malformed.insert(object, problem);
        true
    }

    /// Replaces what the next translation knows of who holds which host.
    pub fn set_claims(&mut self, claims: Claims) {
        if *self.inputs.claims != claims {
            self.inputs.claims = Arc::new(claims);
        }
    }

    /// Replaces what the next translation takes as never read.
    pub fn set_unread(&mut self, unread: BTreeSet<Dependency>) {
        self.inputs.unread = unread;
    }

    /// One object as it is in force.
    pub fn get(&self, kind: ObjectKind, key: &ObjectKey) -> Option<Object> {
        find(&self.inputs, kind, key)
    }

    /// Everything that translate may know.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What the keys of tickets are derived from.
    pub fn set_master_key(&mut self, key: MasterKey) {
        self.inputs.options.master_key = key;
    }

    /// Translates the world as it is, and keeps what the next translation needs of the result.
    pub fn translate(&mut self, now: Timestamp) -> Translation {
        self.inputs.now = now;
        if let Some(own) = &self.own {
            own.deny(&mut self.inputs);
        }
        let translation = self.translator.translate(&self.inputs);
        self.inputs.claims = Arc::clone(&translation.claims);
        self.remember(&translation);
        translation
    }

    /// Keeps each accepted object as the one to fall back on, and forgets those of objects that are gone.
    fn remember(&mut self, translation: &Translation) {
        let Inputs { origin_pools, rate_limits, waiting_rooms, last_accepted, malformed, .. } = &mut self.inputs;
        let LastAccepted { origin_pools: accepted_pools, rate_limits: accepted_limits, waiting_rooms: accepted_rooms } =
            last_accepted;
        let is_malformed = |object: &ObjectRef| malformed.contains_key(object);
        let is_judged = |verdict: &Arc<Verdict>| verdict.is_accepted() && verdict.force != Force::Held;
        let is_accepted = |object: &ObjectRef| translation.verdicts.get(object).is_some_and(is_judged);
        remember(Kind::OriginPool, origin_pools, accepted_pools, is_malformed, is_accepted);
        remember(Kind::RateLimit, rate_limits, accepted_limits, is_malformed, is_accepted);
        remember(Kind::WaitingRoom, waiting_rooms, accepted_rooms, is_malformed, is_accepted);
    }

    /// True where the object was refused before.
    fn forgive(&mut self, kind: ObjectKind, key: &ObjectKey) -> bool {
        let Some(kind) = kind.governed() else { return false };
        self.inputs.malformed.remove(&ObjectRef::new(kind, key.clone())).is_some()
    }
}

/// Keeps the accepted objects of one kind, and forgets those that are gone.
fn remember<K>(
    kind: Kind,
    objects: &Objects<K>,
    accepted: &mut Objects<K>,
    is_malformed: impl Fn(&ObjectRef) -> bool,
    is_accepted: impl Fn(&ObjectRef) -> bool,
) {
    accepted.retain(|key, _| objects.contains_key(key) || is_malformed(&ObjectRef::new(kind, key.clone())));
    for (key, object) in objects {
        let is_known = accepted.get(key).is_some_and(|known| Arc::ptr_eq(known, object));
        if !is_known && is_accepted(&ObjectRef::new(kind, key.clone())) {
            accepted.insert(key.clone(), Arc::clone(object));
        }
    }
}
