//! What is written, and what waits for it.

use headgate_snapshot as wire;
use headgate_translate::Claim;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn claims(pairs: &[(&str, &str)]) -> Claims {
    let claim = |namespace: &str| Claim { namespace: namespace.to_owned(), since: Timestamp::UNIX_EPOCH };
    pairs.iter().map(|(host, namespace)| ((*host).to_owned(), claim(namespace))).collect()
}

/// The shards after writes, as the API server would have them.
fn apply(mut shards: Shards, writes: Vec<Write>) -> Shards {
    for Write { name, over, claims } in writes {
        assert_eq!(over, shards.get(&name).map(|shard| shard.version.clone()), "{name}");
        let version = over.map_or(1, |version| version.parse::<u64>().expect("a number") + 1).to_string();
        shards.insert(name, Shard { version, claims, is_broken: false });
    }
    shards
}

fn hosts() -> impl Strategy<Value = BTreeSet<u16>> {
    prop::collection::btree_set(0_u16..400, 0..120)
}

fn named(hosts: &BTreeSet<u16>) -> Claims {
    let claim = Claim { namespace: "shop".to_owned(), since: Timestamp::UNIX_EPOCH };
    hosts.iter().map(|host| (format!("{host}.example.com"), claim.clone())).collect()
}

proptest! {
    #[test]
    fn what_is_kept_after_the_writes_is_what_is_wanted(one in hosts(), other in hosts()) {
        let first = apply(Shards::new(), writes(&Shards::new(), &named(&one), true));
        prop_assert_eq!(kept(&first), named(&one));
        let second = apply(first.clone(), writes(&first, &named(&other), true));
        prop_assert_eq!(kept(&second), named(&other));
        prop_assert_eq!(writes(&second, &named(&other), true), vec![]);
        let union: BTreeSet<u16> = one.union(&other).copied().collect();
        prop_assert_eq!(kept(&apply(first.clone(), writes(&first, &named(&other), false))), named(&union));
    }
}

#[test]
fn one_new_host_writes_one_config_map() {
    let many = named(&(0..300).collect());
    let shards = apply(Shards::new(), writes(&Shards::new(), &many, true));
    let mut more = many;
    more.extend(claims(&[("new.example.com", "shop")]));
    let names: Vec<String> = writes(&shards, &more, true).into_iter().map(|write| write.name).collect();
    assert_eq!(names, [shard_of("new.example.com")]);
}

#[test]
fn a_config_map_that_cannot_be_read_is_written_over_at_its_version() {
    let wanted = claims(&[("shop.example.com", "shop")]);
    let name = shard_of("shop.example.com");
    for known in [Claims::new(), wanted.clone()] {
        let broken = Shard { version: "7".to_owned(), claims: known, is_broken: true };
        let shards = Shards::from([(name.clone(), broken)]);
        let repair = Write { name: name.clone(), over: Some("7".to_owned()), claims: wanted.clone() };
        assert_eq!(writes(&shards, &wanted, false), [repair]);
    }
}

#[test]
fn claims_are_read_as_they_are_written() {
    let wanted = claims(&[("shop.example.com", "shop"), ("*.example.com", "other")]);
    let text = serde_json::to_string(&wanted).expect("claims are JSON");
    let map = ConfigMap { data: Some(BTreeMap::from([(ENTRY.to_owned(), text)])), ..ConfigMap::default() };
    assert_eq!(read(&map), Ok(wanted));
    assert_eq!(read(&ConfigMap::default()), Ok(Claims::new()));
    let broken = ConfigMap { data: Some(BTreeMap::from([(ENTRY.to_owned(), "{".to_owned())])), ..ConfigMap::default() };
    assert!(read(&broken).is_err());
}

fn pool(name: &str, hosts: &[&str]) -> Arc<Resource> {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Arc::new(Resource {
        key: Some(Key::new("OriginPool", "shop", name)),
        body: Some(Body::OriginPool(wire::OriginPool { hosts, ..wire::OriginPool::default() })),
        ..Resource::default()
    })
}

#[test]
fn what_serves_a_host_is_held_until_its_claim_is_kept_in_the_same_name() {
    let wanted = claims(&[("a.example.com", "shop"), ("b.example.com", "shop"), ("c.example.com", "shop")]);
    let kept = claims(&[("a.example.com", "shop"), ("c.example.com", "other")]);
    let all = [
        pool("kept", &["a.example.com"]),
        pool("new", &["a.example.com", "b.example.com"]),
        pool("moved", &["c.example.com"]),
        pool("none", &[]),
    ];
    let (mut resources, mut holds) = (all.to_vec(), BTreeSet::new());
    withhold(&mut resources, &mut holds, &wanted, &kept);
    assert_eq!(resources, [all[0].clone(), all[3].clone()]);
    assert_eq!(holds, BTreeSet::from([Key::new("OriginPool", "shop", "new"), Key::new("OriginPool", "shop", "moved")]));
}
