//! How many proxies there are, as each of them is told.

use headgate_snapshot::{Fleet, Share};

use super::scopes::limit;
use super::*;

fn connect(hub: &Arc<Hub>, name: &str, scope: Scope) -> Connection {
    let connection = hub.connect(name, scope, start());
    hub.look(start(), Timestamp::UNIX_EPOCH);
    connection
}

fn of_gateway(name: &str) -> Scope {
    Scope::Gateways(BTreeSet::from([("edge".to_owned(), name.to_owned())]))
}

fn fleet(proxies: u32, index: u32, shares: &[(&str, &str, u32, u32)]) -> Fleet {
    let share = |(namespace, name, proxies, index): &(&str, &str, u32, u32)| Share {
        key: Some(Key::new("RateLimit", *namespace, *name)),
        proxies: *proxies,
        index: *index,
    };
    Fleet { proxies, index, shares: shares.iter().map(share).collect() }
}

fn publish(hub: &Hub, resources: Vec<Resource>) {
    hub.publish(resources.into_iter().map(Arc::new), BTreeSet::new());
}

#[test]
fn a_proxy_alone_is_all_there_is_and_others_count_in_the_order_of_their_names() {
    let hub = Arc::new(Hub::default());
    let second = connect(&hub, "edge-2", Scope::All);
    assert_eq!(second.fleet(), fleet(1, 0, &[]));
    let first = connect(&hub, "edge-1", Scope::All);
    let third = connect(&hub, "edge-3", Scope::All);
    let told = [&first, &second, &third].map(Connection::fleet);
    assert_eq!(told, [fleet(3, 0, &[]), fleet(3, 1, &[]), fleet(3, 2, &[])]);
}

#[test]
fn a_goodbye_counts_at_once_and_a_loss_after_a_minute() {
    let hub = Arc::new(Hub::default());
    let mut changes = hub.fleets();
    let (stays, drains, is_lost) =
        (connect(&hub, "a", Scope::All), connect(&hub, "b", Scope::All), connect(&hub, "c", Scope::All));
    let lost_at = start();
    drains.goodbye();
    assert_eq!(stays.fleet(), fleet(2, 0, &[]));
    is_lost.hear(lost_at);
    drop(is_lost);
    let look = |after: Duration| {
        stays.hear(lost_at + after);
        hub.look(lost_at + after, Timestamp::UNIX_EPOCH);
        stays.fleet()
    };
    changes.mark_unchanged();
    assert_eq!(look(Duration::from_secs(59)), fleet(2, 0, &[]));
    assert_eq!(look(Duration::from_secs(61)), fleet(1, 0, &[]));
    assert!(changes.has_changed().expect("the hub lives"), "whoever waits looks again");
}

#[test]
fn a_limit_that_fewer_proxies_hold_is_told_beside() {
    let hub = Arc::new(Hub::default());
    let public = Key::new("Gateway", "edge", "public");
    let gateway = Resource { key: Some(public.clone()), body: Some(gateway()), ..Resource::default() };
    publish(&hub, vec![gateway, limit("edge", "everywhere", Some(&[])), limit("edge", "public", Some(&[public]))]);
    let all = connect(&hub, "all", Scope::All);
    let internal = connect(&hub, "internal", of_gateway("internal"));
    let served = connect(&hub, "public", of_gateway("public"));
    // Nobody routes anything in the namespace, so that only the proxy that gets everything has its limit.
    assert_eq!(all.fleet(), fleet(3, 0, &[("edge", "everywhere", 1, 0), ("edge", "public", 2, 0)]));
    assert_eq!(internal.fleet(), fleet(3, 1, &[]));
    assert_eq!(served.fleet(), fleet(3, 2, &[("edge", "public", 2, 1)]));
}

#[test]
fn sidecars_are_a_fleet_of_their_own_and_count_for_what_they_hold_with_the_gateways() {
    let hub = Arc::new(Hub::default());
    let sidecar = |name: &str, namespace: &str| connect(&hub, name, Scope::Namespace(namespace.to_owned()));
    let gateway = connect(&hub, "edge", Scope::All);
    let (one, two, _other) = (sidecar("shop-1", "shop"), sidecar("shop-2", "shop"), sidecar("bank-1", "bank"));
    let mut changes = hub.fleets();
    changes.mark_unchanged();
    publish(&hub, vec![limit("shop", "exports", None), limit("shop", "of-routes", Some(&[]))]);
    assert!(changes.has_changed().expect("the hub lives"), "who holds what is another");
    assert_eq!(gateway.fleet(), fleet(1, 0, &[("shop", "exports", 3, 0)]));
    assert_eq!(one.fleet(), fleet(2, 0, &[("shop", "exports", 3, 1)]));
    assert_eq!(two.fleet(), fleet(2, 1, &[("shop", "exports", 3, 2)]));
}

fn gateway() -> headgate_snapshot::resource::Body {
    headgate_snapshot::resource::Body::Gateway(headgate_snapshot::Gateway::default())
}
