//! A cluster as its user may see it: everything is read with the rights of the kubeconfig.
//!
//! `headgate status` shows what the operator has written into status. `headgate explain` reads what the operator reads
//! and runs the same translation and the same engine over it, so that it needs neither a proxy nor a way into one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use headgate_operator::watch::{Read, Source, Watches, resource};
use headgate_operator::world::{ObjectKind, Scope, World};
use headgate_translate::{
    ASSUMED_CLASS, AddressPolicy, AssumedClasses, MasterKey, ObjectKey, Options, Reference, Translation,
};
use kube::api::{DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::clock;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Rounds of reading what the translation looks for; a Secret leads to nothing further.
const REFERENCE_ROUNDS: usize = 3;

/// Which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Access {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, else ~/.kube/config, else the pod's own]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A cluster that can be asked.
pub struct Cluster {
    client: Client,
    namespace: String,
}

/// What could be read of the cluster.
pub struct Seen {
    /// Its objects.
    pub world: World,
    /// What could not be read, each a sentence.
    pub notes: Vec<String>,
}

impl Cluster {
    /// Connects. Nothing where neither the command line nor the surroundings name a cluster.
    pub async fn connect(access: &Access) -> anyhow::Result<Option<Self>> {
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let config = if let Some(file) = &access.kubeconfig {
            let kubeconfig =
                Kubeconfig::read_from(file).with_context(|| format!("cannot read --kubeconfig {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig is not complete")?
        } else if let Ok(kubeconfig) = Kubeconfig::read() {
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig is not complete")?
        } else if let Ok(config) = Config::incluster() {
            config
        } else {
            return Ok(None);
        };
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("cannot connect to the cluster")?;
        Ok(Some(Self { client, namespace }))
    }

    /// Every object that headgate governs, with its status, in the shape of `GET /v1/status`.
    pub async fn status(&self) -> anyhow::Result<Value> {
        let mut gaps = Gaps::default();
        let Options { gateway_controller, ingress_controller, .. } = Options::default();
        let mut found = Vec::new();
        for kind in ObjectKind::ALL.iter().copied().filter(|kind| kind.governed().is_some()) {
            found.push((kind, self.list(kind, &mut gaps).await?));
        }
        let mut ours = Ours { gateway_controller, ingress_controller, ..Ours::default() };
        ours.classes.extend(gaps.unseen_classes().map(|kind| (kind, ASSUMED_CLASS.to_owned())));
        let items = found.into_iter().flat_map(|(kind, objects)| objects.into_iter().map(move |object| (kind, object)));
        let items: Vec<Value> = items.filter_map(|(kind, object)| ours.item(kind, object)).collect();
        let notes = gaps.notes(&self.namespace);
        Ok(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items, "complaints": notes }))
    }

    /// Everything that decides about requests, as far as the user may read it.
    pub async fn see(&self) -> anyhow::Result<Seen> {
        let mut gaps = Gaps::default();
        let mut found = Vec::new();
        for kind in Watches::kinds() {
            found.push((kind, self.list(kind, &mut gaps).await?));
        }
        // Which addresses the operator allows is its own setting; what it refuses is told by status.
        let addresses = AddressPolicy::Any { denied: Vec::new() };
        let assumed_classes =
            if gaps.unseen_classes().next().is_some() { AssumedClasses::Headgate } else { AssumedClasses::None };
        let mut world = World::new(Options {
            addresses,
            assumed_classes,
            master_key: MasterKey::for_checks(),
            ..Options::default()
        });
        for (kind, objects) in found {
            for object in objects {
                take(&mut world, kind, object);
            }
        }
        let mut notes = gaps.notes(&self.namespace);
        let mut read = BTreeSet::new();
        for _ in 0..REFERENCE_ROUNDS {
            let Translation { references, .. } = world.translate(clock::timestamp());
            let new: Vec<Reference> = references.difference(&read).cloned().collect();
            if new.is_empty() {
                break;
            }
            for reference in new {
                self.refer(&reference, &mut world, &mut notes).await?;
                read.insert(reference);
            }
        }
        Ok(Seen { world, notes })
    }

    async fn refer(&self, reference: &Reference, world: &mut World, notes: &mut Vec<String>) -> anyhow::Result<()> {
        let kind = Source::One(reference.clone()).kind();
        let ObjectKey { namespace, name } = &reference.key;
        // Only Secrets and ConfigMaps are referred to, which have one version.
        match self.api(kind, 0, Some(namespace)).get_opt(name).await {
            Ok(Some(object)) => take(world, kind, object),
            Ok(None) => {}
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                notes.push(format!(
                    "{} {}: you may not read it; what needs it is shown as not resolved",
                    kind.as_str(),
                    reference.key
                ));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {} {}", kind.as_str(), reference.key));
            }
        }
        Ok(())
    }

    /// All objects of a kind; those of the kubeconfig's namespace where the user may not read the others. A kind that
    /// the cluster has in none of its versions has no objects.
    async fn list(&self, kind: ObjectKind, gaps: &mut Gaps) -> anyhow::Result<Vec<DynamicObject>> {
        let is_forbidden =
            |outcome: &kube::Result<_>| matches!(outcome, Err(kube::Error::Api(status)) if status.is_forbidden());
        let mut outcome = self.list_in(kind, None).await;
        if is_forbidden(&outcome) && kind.scope() == Scope::Namespaced {
            outcome = self.list_in(kind, Some(&self.namespace)).await;
            if !is_forbidden(&outcome) {
                gaps.narrowed.push(kind);
            }
        }
        match outcome {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                gaps.unseen.push(kind);
                Ok(Vec::new())
            }
            outcome => outcome.with_context(|| format!("cannot list {}", kind.as_str())),
        }
    }

    /// All objects in one of the kind's versions, the first that the cluster has.
    async fn list_in(&self, kind: ObjectKind, namespace: Option<&str>) -> kube::Result<Vec<DynamicObject>> {
        let mut outcome = Ok(Vec::new());
        for version in 0..kind.versions().len() {
            outcome = pages(&self.api(kind, version, namespace)).await;
            let is_missing = matches!(&outcome, Err(kube::Error::Api(status)) if status.is_not_found());
            if !is_missing {
                break;
            }
        }
        outcome
    }

    fn api(&self, kind: ObjectKind, version: usize, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = resource(kind, version);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

async fn pages(api: &Api<DynamicObject>) -> kube::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => parameters = ListParams::default().limit(PAGE).continue_token(&more),
            None => return Ok(objects),
        }
    }
}

fn take(world: &mut World, kind: ObjectKind, object: DynamicObject) {
    let Read { key, object, .. } = Read::new(kind, object);
    match object {
        Ok(object) => world.upsert(object),
        Err(problem) => world.refuse(kind, key, problem),
    };
}

/// What the user may not read.
#[derive(Default)]
struct Gaps {
    /// Kinds of which the kubeconfig's namespace is seen alone.
    narrowed: Vec<ObjectKind>,
    /// Kinds of which nothing is seen.
    unseen: Vec<ObjectKind>,
}

impl Gaps {
    /// Kinds of classes of which nothing is seen: those of the name that we ship are taken for ours.
    fn unseen_classes(&self) -> impl Iterator<Item = ObjectKind> {
        let is_class = |kind: &ObjectKind| matches!(kind, ObjectKind::GatewayClass | ObjectKind::IngressClass);
        self.unseen.iter().copied().filter(is_class)
    }

    /// A sentence for each sort.
    fn notes(&self, namespace: &str) -> Vec<String> {
        let classes: Vec<ObjectKind> = self.unseen_classes().collect();
        let others = self.unseen.iter().copied().filter(|kind| !classes.contains(kind)).collect();
        let notes = [
            (
                self.narrowed.clone(),
                format!("you may list those of namespace {namespace} only, so only those are seen"),
            ),
            (classes, format!("you may not list them; `{ASSUMED_CLASS}` is taken for the class of headgate")),
            (others, "you may not list them; what needs them is shown as if there were none".to_owned()),
        ];
        let notes = notes.into_iter().filter(|(kinds, _)| !kinds.is_empty());
        notes
            .map(|(kinds, note)| {
                format!("{}: {note}", kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "))
            })
            .collect()
    }
}

/// What tells our objects of the shared kinds from those of other controllers.
#[derive(Default)]
struct Ours {
    gateway_controller: String,
    ingress_controller: String,
    /// Classes of ours, of either kind.
    classes: BTreeSet<(ObjectKind, String)>,
    /// Gateways of ours.
    gateways: BTreeSet<(String, String)>,
}

impl Ours {
    /// An object as status shows it, where it is ours. Kinds come in their order: classes before what names them.
    fn item(&mut self, kind: ObjectKind, object: DynamicObject) -> Option<Value> {
        let mut item = serde_json::to_value(object).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&item["metadata"]["name"]);
        let namespace = text(&item["metadata"]["namespace"]);
        let ours = match kind {
            ObjectKind::GatewayClass => {
                self.class(kind, name, item["spec"]["controllerName"] == *self.gateway_controller)
            }
            ObjectKind::IngressClass => self.class(kind, name, item["spec"]["controller"] == *self.ingress_controller),
            ObjectKind::Gateway => {
                let class = text(&item["spec"]["gatewayClassName"]);
                let ours = self.classes.contains(&(ObjectKind::GatewayClass, class));
                if ours {
                    self.gateways.insert((namespace, name));
                }
                ours
            }
            ObjectKind::HttpRoute => {
                if let Some(parents) = item["status"]["parents"].as_array_mut() {
                    parents.retain(|parent| parent["controllerName"] == *self.gateway_controller);
                }
                self.has_parent(&item, &namespace)
            }
            ObjectKind::Ingress => {
                let class = text(&item["spec"]["ingressClassName"]);
                self.classes.contains(&(ObjectKind::IngressClass, class))
            }
            _ => true,
        };
        item["apiVersion"] = json!(kind.api_version());
        item["kind"] = json!(kind.as_str());
        ours.then_some(item)
    }

    fn class(&mut self, kind: ObjectKind, name: String, ours: bool) -> bool {
        if ours {
            self.classes.insert((kind, name));
        }
        ours
    }

    fn has_parent(&self, route: &Value, namespace: &str) -> bool {
        route["spec"]["parentRefs"].as_array().into_iter().flatten().any(|parent| {
            let of = parent["namespace"].as_str().unwrap_or(namespace);
            let name = parent["name"].as_str().unwrap_or_default();
            parent["kind"].as_str().unwrap_or("Gateway") == "Gateway"
                && self.gateways.contains(&(of.to_owned(), name.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    /// Names of the Gateways of a cluster that has them in one version, where it has them.
    async fn gateways(version: Option<&'static str>) -> Vec<String> {
        let server = service_fn(move |request: Request<Body>| {
            let (code, body) = match version {
                Some(version)
                    if request.uri().path() == format!("/apis/gateway.networking.k8s.io/{version}/gateways") =>
                {
                    (
                        200,
                        json!({ "metadata": {}, "items": [{ "metadata": { "name": "public", "namespace": "shop" } }] }),
                    )
                }
                _ => (404, json!({ "kind": "Status", "code": 404, "reason": "NotFound" })),
            };
            std::future::ready(Response::builder().status(code).body(Body::from(body.to_string().into_bytes())))
        });
        let cluster = Cluster { client: Client::new(server, "default"), namespace: "default".to_owned() };
        let objects = cluster.list(ObjectKind::Gateway, &mut Gaps::default()).await.unwrap();
        objects.into_iter().filter_map(|object| object.metadata.name).collect()
    }

    #[tokio::test]
    async fn a_kind_is_listed_in_whichever_of_its_versions_the_cluster_has() {
        assert_eq!(gateways(Some("v1")).await, ["public"]);
        assert_eq!(gateways(Some("v1beta1")).await, ["public"]);
        assert!(gateways(None).await.is_empty());
    }
}
