//! What each scope gets of one world, whole and step by step.

use headgate_snapshot::governs::By;
use headgate_snapshot::resource::Body;
use headgate_snapshot::rule::Action;
use headgate_snapshot::{
    Attachment, Backend, Backends, Certificate, Gateway, Governs, Listener, OriginPool, PolicyTarget, PolicyTargets,
    RateLimit, Route, Rule,
};

use super::*;

const GATEWAYS: [(&str, &str); 2] = [("edge", "public"), ("edge", "internal")];

fn of(kind: &str, namespace: &str, name: &str, body: Body) -> Resource {
    let key = Some(Key::new(kind, namespace, name));
    Resource { key, generation: 1, requires: Vec::new(), body: Some(body) }
}

fn gateway(kind: &str, namespace: &str, name: &str, certificate: Option<&str>) -> Resource {
    let certificates = certificate.map(|certificate| Key::new("Secret", namespace, certificate)).into_iter().collect();
    let listener = Listener { certificates, ..Listener::default() };
    of(kind, namespace, name, Body::Gateway(Gateway { listeners: vec![listener] }))
}

fn route(kind: &str, namespace: &str, name: &str, gateways: &[Key], pools: &[Key]) -> Resource {
    let attachments =
        gateways.iter().map(|gateway| Attachment { gateway: Some(gateway.clone()), ..Attachment::default() }).collect();
    let backends = pools.iter().map(|pool| Backend { pool: Some(pool.clone()), ..Backend::default() }).collect();
    let rule = Rule { action: Some(Action::Backends(Backends { backends })), ..Rule::default() };
    of(kind, namespace, name, Body::Route(Route { attachments, rules: vec![rule], created_at: 0 }))
}

fn pool(kind: &str, namespace: &str, name: &str, fallback: Option<Key>) -> Resource {
    of(kind, namespace, name, Body::OriginPool(OriginPool { fallback, ..OriginPool::default() }))
}

fn certificate(namespace: &str, name: &str) -> Resource {
    of("Secret", namespace, name, Body::Certificate(Certificate::default()))
}

/// A limit of what a namespace routes, of these objects, or (nothing) of the application.
pub(super) fn limit(namespace: &str, name: &str, governs: Option<&[Key]>) -> Resource {
    let by = |targets: &[Key]| match targets {
        [] => By::Namespace(namespace.to_owned()),
        targets => {
            let target = |key: &Key| PolicyTarget { object: Some(key.clone()), section: String::new() };
            By::Targets(PolicyTargets { targets: targets.iter().map(target).collect() })
        }
    };
    let governs = governs.map(|targets| Governs { hosts: Vec::new(), by: Some(by(targets)) });
    of("RateLimit", namespace, name, Body::RateLimit(RateLimit { governs, ..RateLimit::default() }))
}

fn public() -> Key {
    Key::new("Gateway", "edge", "public")
}

/// Two Gateways, one shop that both or one of them serve, and things that belong to neither.
fn cluster() -> Vec<Resource> {
    let internal = Key::new("Gateway", "edge", "internal");
    let chat = || Key::new("OriginPool", "shop", "chat");
    let spare = || Key::new("OriginPool", "shop", "spare");
    vec![
        gateway("Defaults", "", "listeners", None),
        gateway("Gateway", "edge", "public", Some("public-tls")),
        gateway("Gateway", "edge", "internal", Some("internal-tls")),
        certificate("edge", "public-tls"),
        certificate("edge", "internal-tls"),
        certificate("shop", "ingress-tls"),
        route("HTTPRoute", "shop", "chat", &[public()], &[chat()]),
        route("HTTPRoute", "admin", "panel", &[internal], &[Key::new("Service", "admin", "panel:80")]),
        route("Ingress", "shop", "old", &[Key::default_listeners()], &[Key::new("Service", "shop", "old:80")]),
        pool("OriginPool", "shop", "chat", Some(spare())),
        pool("OriginPool", "shop", "spare", Some(chat())),
        pool("OriginPool", "shop", "unused", None),
        pool("Service", "admin", "panel:80", None),
        pool("Service", "shop", "old:80", None),
        limit("edge", "all-of-public", Some(&[public()])),
        limit("shop", "exports", None),
        limit("shop", "of-chat", Some(&[Key::new("HTTPRoute", "shop", "gone"), chat()])),
        limit("shop", "of-pods", Some(&[Key::new("Service", "shop", "old")])),
        limit("shop", "of-the-shop", Some(&[])),
    ]
}

fn of_gateway(name: &str) -> Scope {
    Scope::Gateways(BTreeSet::from([("edge".to_owned(), name.to_owned())]))
}

#[track_caller]
fn check(scope: &Scope, expected: &[&str]) {
    let whole: Arc<ResourceSet> = Arc::new(cluster().into_iter().collect());
    let keys: Vec<String> = scope.select(&whole).entries().keys().map(ToString::to_string).collect();
    assert_eq!(keys, expected, "{scope:?}");
}

#[test]
fn a_proxy_of_one_gateway_gets_what_can_be_reached_from_it_and_nothing_else() {
    check(
        &of_gateway("public"),
        &[
            "Gateway/edge/public",
            "HTTPRoute/shop/chat",
            "OriginPool/shop/chat",
            "OriginPool/shop/spare",
            "RateLimit/edge/all-of-public",
            "RateLimit/shop/exports",
            "RateLimit/shop/of-chat",
            "RateLimit/shop/of-the-shop",
            "Secret/edge/public-tls",
        ],
    );
    check(
        &of_gateway("internal"),
        &["Gateway/edge/internal", "HTTPRoute/admin/panel", "Secret/edge/internal-tls", "Service/admin/panel:80"],
    );
    check(&of_gateway("missing"), &[]);
}

#[test]
fn a_sidecar_gets_its_namespace_without_gateways_and_certificates() {
    let scope = |namespace: &str| Scope::Namespace(namespace.to_owned());
    check(&scope("edge"), &[]);
    check(&scope(""), &[]);
    check(
        &scope("shop"),
        &[
            "HTTPRoute/shop/chat",
            "Ingress/shop/old",
            "OriginPool/shop/chat",
            "OriginPool/shop/spare",
            "OriginPool/shop/unused",
            "RateLimit/shop/exports",
            "RateLimit/shop/of-pods",
            "Service/shop/old:80",
        ],
    );
}

#[test]
fn everything_is_shared_and_not_copied() {
    let whole: Arc<ResourceSet> = Arc::new(cluster().into_iter().collect());
    assert!(Arc::ptr_eq(&Scope::All.select(&whole), &whole));
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        prop::sample::subsequence(GATEWAYS.to_vec(), 0..=2).prop_map(|gateways| {
            let owned = |(namespace, name): (&str, &str)| (namespace.to_owned(), name.to_owned());
            Scope::Gateways(gateways.into_iter().map(owned).collect())
        }),
        prop::sample::select(vec!["edge", "shop", "admin"])
            .prop_map(|namespace| Scope::Namespace(namespace.to_owned())),
    ]
}

proptest! {
    #[test]
    fn whatever_was_published_before_a_proxy_ends_with_the_part_that_its_scope_selects(
        scope in any_scope(),
        worlds in prop::collection::vec(prop::sample::subsequence(cluster(), 0..=19), 1..6),
        polls in prop::collection::vec(any::<bool>(), 6),
    ) {
        let hub = Arc::new(Hub::default());
        let connection = hub.connect("proxy", scope.clone(), start());
        let mut subscription = connection.subscribe(None);
        let mut set = ResourceSet::default();
        for (position, world) in worlds.iter().enumerate() {
            hub.publish(world.iter().cloned().map(Arc::new), BTreeSet::new());
            if polls[position] && let Some(batch) = subscription.take() {
                set = set.after(&batch);
            }
        }
        let mut version = String::new();
        let mut sequence = 0;
        if let Some(batch) = subscription.take() {
            set = set.after(&batch);
            (version, sequence) = (batch.version.clone(), batch.sequence);
        }
        let whole: Arc<ResourceSet> = Arc::new(worlds[worlds.len() - 1].iter().cloned().collect());
        prop_assert_eq!(&set, &*scope.select(&whole));

        // What concerns the proxy is programmed once it says so, and what does not concern it waits for nobody.
        if sequence > 0 {
            connection.report(Report { version, sequence, ..Report::default() });
            let progress = hub.progress();
            for key in whole.entries().keys() {
                let concerned = usize::from(set.get(key).is_some() || scope.concerns(key));
                let expected = Standing { expected: concerned, programmed: concerned, ..Standing::default() };
                prop_assert_eq!(progress.standing(key), expected, "{}", key);
            }
        }
    }
}

#[test]
fn whatever_the_scope_a_proxy_keeps_all_that_its_routes_need_while_routes_cannot_be_read() {
    for scope in [Scope::All, of_gateway("public"), Scope::Namespace("shop".to_owned())] {
        let whole: Arc<ResourceSet> = Arc::new(cluster().into_iter().collect());
        let before = ResourceSet::clone(&scope.select(&whole));
        let hub = Arc::new(Hub::default());
        let rest = cluster().into_iter().filter(|resource| {
            let kind = &resource.key.as_ref().expect("a key").kind;
            // Nobody refers to a Service's pool while no route is known.
            !["HTTPRoute", "Service"].contains(&kind.as_str())
        });
        let kinds = BTreeSet::from(["HTTPRoute".to_owned()]);
        let doubt = Doubt { kinds, referred: Referred::Everywhere, ..Doubt::default() };
        hub.publish_in_doubt(rest.map(Arc::new), BTreeSet::new(), doubt);
        let connection = hub.connect("proxy", scope.clone(), start());
        let mut subscription = connection.subscribe(Some(before.clone()));
        let mut set = before.clone();
        if let Some(batch) = subscription.take() {
            set = set.after(&batch);
        }
        assert_eq!(set, before, "{scope:?}");
        // Once they can be read, what is gone is withdrawn.
        hub.publish([], BTreeSet::new());
        if let Some(batch) = subscription.take() {
            set = set.after(&batch);
        }
        assert_eq!(set, ResourceSet::default(), "{scope:?}");
    }
}
