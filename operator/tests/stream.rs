//! The stream server over real TLS, with scripted proxies.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use headgate_operator::clock;
use headgate_operator::hub::{Attendance, Standing};
use headgate_operator::leadership::Leadership;
use headgate_snapshot::operator_message::Message as Said;
use headgate_snapshot::proxy_message::Message as Heard;
use headgate_snapshot::{Fleet, Goodbye, Hello, Key, ProxyRole, Report, ResourceSet, Token};
use serde_json::{Value, json};
use tonic::Code;

use support::{EDGE, Operator, Proxy, SHOP, certificate, end, gateway, gateway_token, pool, since, token};

fn key(name: &str) -> Key {
    Key::new("OriginPool", "shop", name)
}

fn programmed(expected: usize, programmed: usize) -> Standing {
    Standing { expected, programmed, ..Standing::default() }
}

#[tokio::test]
async fn a_gateway_gets_everything_then_what_changed_and_counts_as_programmed_when_it_says_so() {
    let operator = Operator::leading(3).await;
    operator.publish(&[pool("shop", "a", 1), pool("shop", "b", 1)]);
    let mut proxy = Proxy::gateway(&operator, "edge-1").await;
    proxy.until_standing(|standing| standing.leads && standing.term == 3 && standing.replica == "replica-1").await;
    proxy.follow(3, "").await;
    let first = proxy.apply().await;
    assert_eq!((first.complete, first.upserts.len()), (true, 2));
    operator.until_standing(&key("a"), &programmed(1, 1)).await;

    operator.publish(&[pool("shop", "a", 2), pool("shop", "b", 1)]);
    operator.until_standing(&key("a"), &programmed(1, 0)).await;
    let second = proxy.apply().await;
    assert_eq!((second.complete, second.upserts), (false, vec![pool("shop", "a", 2)]));
    operator.until_standing(&key("a"), &programmed(1, 1)).await;
}

#[tokio::test]
async fn a_proxy_is_told_how_many_there_are_before_its_first_batch_and_whenever_that_changes() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1)]);
    let mut first = Proxy::gateway(&operator, "edge-1").await;
    first.follow(1, "").await;
    first.apply().await;
    let fleet = |proxies, index| Fleet { proxies, index, shares: Vec::new() };
    assert_eq!(first.fleets, [fleet(1, 0)]);
    let mut second = Proxy::gateway(&operator, "edge-0").await;
    second.follow(1, "").await;
    second.apply().await;
    assert_eq!(second.fleets, [fleet(2, 0)]);
    first.until_fleet(2).await;
    assert_eq!(first.fleets, [fleet(1, 0), fleet(2, 1)]);
    second.say(Heard::Goodbye(Goodbye {})).await;
    first.until_fleet(1).await;
    // What it heard of another replica meanwhile may be another fleet.
    first.follow(1, "").await;
    first.apply().await;
    assert_eq!(first.fleets.len(), 4);
}

#[tokio::test]
async fn a_proxy_that_comes_back_is_sent_only_what_differs() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1), pool("shop", "b", 1)]);
    let version = operator.hub.progress().set.version();
    let mut same = Proxy::gateway(&operator, "same").await;
    same.follow(1, &version).await;
    let batch = same.apply().await;
    assert_eq!((batch.complete, batch.upserts, batch.version), (false, vec![], version));

    let mut old = Proxy::gateway(&operator, "old").await;
    let has: ResourceSet = [pool("shop", "a", 1), pool("shop", "gone", 1)].into_iter().collect();
    old.follow(1, &has.version()).await;
    let wanted = old.news().await;
    assert!(matches!(wanted, Ok(Said::InventoryWanted(_))), "{wanted:?}");
    old.say(Heard::Inventory(has.inventory())).await;
    let batch = old.apply().await;
    assert_eq!((batch.upserts, batch.removals), (vec![pool("shop", "b", 1)], vec![key("gone")]));
    operator.until_standing(&key("b"), &programmed(2, 2)).await;
}

#[tokio::test]
async fn a_replica_that_does_not_lead_gives_one_batch_to_a_proxy_that_has_nothing_and_none_to_others() {
    let operator = Operator::start().await;
    operator.publish(&[pool("shop", "a", 1)]);
    let mut empty = Proxy::gateway(&operator, "empty").await;
    empty.follow(0, "").await;
    empty.nothing_for_pings(2).await;
    operator.leadership.send_replace(Leadership { term: 4, until: None, synced: true });
    assert!(empty.apply().await.complete);
    operator.until_standing(&key("a"), &programmed(1, 1)).await;

    let mut full = Proxy::gateway(&operator, "full").await;
    full.follow(0, "something").await;
    operator.publish(&[pool("shop", "a", 2)]);
    full.nothing_for_pings(2).await;
    empty.nothing_for_pings(2).await;
}

#[tokio::test]
async fn a_leader_stops_when_its_time_is_over_and_goes_on_when_it_leads_again_in_its_term() {
    let operator = Operator::leading(5).await;
    operator.publish(&[pool("shop", "a", 1)]);
    let mut proxy = Proxy::gateway(&operator, "edge-1").await;
    proxy.follow(5, "").await;
    proxy.apply().await;
    operator.until_standing(&key("a"), &programmed(1, 1)).await;

    operator.leadership.send_replace(Leadership { term: 5, until: Some(clock::instant()), synced: true });
    proxy.until_standing(|standing| !standing.leads).await;
    operator.publish(&[pool("shop", "a", 2)]);
    proxy.nothing_for_pings(2).await;
    operator.lead(6);
    proxy.until_standing(|standing| standing.term == 6).await;
    proxy.nothing_for_pings(2).await;
    let version = proxy.set.version();
    proxy.follow(6, &version).await;
    let wanted = proxy.news().await;
    assert!(matches!(wanted, Ok(Said::InventoryWanted(_))), "{wanted:?}");
    proxy.say(Heard::Inventory(proxy.set.inventory())).await;
    assert_eq!(proxy.apply().await.upserts, vec![pool("shop", "a", 2)]);
}

#[tokio::test]
async fn a_sidecar_is_the_pod_of_its_token_and_gets_its_namespace_only() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1), pool("bank", "vault", 1)]);
    let token = token(&json!({ "sub": SHOP, "aud": "headgate", "exp": end(60), "pod": "shop-0" }));
    let hello = Hello {
        name: "bank-0".to_owned(),
        role: ProxyRole::Sidecar.into(),
        gateways: vec!["bank/gateway".to_owned()],
        ..Hello::default()
    };
    let mut proxy = Proxy::connect(&operator, &token, hello).await.unwrap();
    proxy.follow(1, "").await;
    assert_eq!(proxy.apply().await.upserts, vec![pool("shop", "a", 1)]);
    operator.until_standing(&key("a"), &programmed(1, 1)).await;
    let progress = operator.hub.progress();
    assert_eq!(progress.standing(&Key::new("OriginPool", "bank", "vault")), Standing::default());
    let names: Vec<&str> = progress.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    assert_eq!(names, ["shop/shop-0"]);
}

#[tokio::test]
async fn whoever_proves_nothing_gets_nothing() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1)]);
    let sidecar = || Hello { role: ProxyRole::Sidecar.into(), ..Hello::default() };
    let check = async |claims: Option<Value>, hello: Hello, code: Code, sentence: &str| {
        let token = claims.as_ref().map(token).unwrap_or_default();
        let status = match Proxy::connect(&operator, &token, hello).await {
            Err(status) => status,
            Ok(mut proxy) => proxy.news().await.unwrap_err(),
        };
        assert!(status.code() == code && status.message().contains(sentence), "{claims:?}: {status:?}");
        assert!(token.is_empty() || !status.message().contains(&token));
    };
    let claims = |sub: &str, aud: &str, exp: i64| Some(json!({ "sub": sub, "aud": aud, "exp": end(exp) }));
    check(None, gateway("g"), Code::Unauthenticated, "a bearer token is needed").await;
    check(claims(EDGE, "kubernetes", 60), gateway("g"), Code::PermissionDenied, "audience").await;
    check(claims(EDGE, "headgate", -1), gateway("g"), Code::Unauthenticated, "the token has ended").await;
    check(claims(SHOP, "headgate", 60), gateway("g"), Code::PermissionDenied, "may not run a gateway").await;
    check(claims(SHOP, "headgate", 60), sidecar(), Code::PermissionDenied, "not bound to a pod").await;
    check(claims(EDGE, "headgate", 60), gateway("g\n"), Code::InvalidArgument, "name of a proxy").await;
    check(claims(EDGE, "headgate", 60), Hello::default(), Code::InvalidArgument, "no role").await;
    assert_eq!(operator.hub.progress().proxies.len(), 0);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_unless_the_same_proxy_renews_it() {
    let operator = Operator::leading(1).await;
    let short = || token(&json!({ "sub": EDGE, "aud": "headgate", "exp": end(2) }));
    let mut ends = Proxy::connect(&operator, &short(), gateway("ends")).await.unwrap();
    let mut renewed = Proxy::connect(&operator, &short(), gateway("renewed")).await.unwrap();
    renewed.say(Heard::Token(Token { token: gateway_token() })).await;
    let mut stolen = Proxy::connect(&operator, &gateway_token(), gateway("stolen")).await.unwrap();
    let other = token(&json!({ "sub": SHOP, "aud": "headgate", "exp": end(60), "pod": "shop-0" }));
    stolen.say(Heard::Token(Token { token: other })).await;

    let status = stolen.ended().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let status = ends.ended().await;
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "the token has ended"));
    renewed.nothing_for_pings(2).await;
}

#[tokio::test]
async fn a_proxy_that_reads_nothing_holds_nobody_and_is_told_as_silent_within_six_seconds() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1)]);
    let mut frozen = Proxy::gateway(&operator, "frozen").await;
    frozen.follow(1, "").await;
    frozen.apply().await;
    let mut lively = Proxy::gateway(&operator, "lively").await;
    lively.follow(1, "").await;
    lively.apply().await;
    operator.until_standing(&key("a"), &programmed(2, 2)).await;

    let froze = clock::instant();
    let talks = tokio::spawn(async move {
        // More than the windows of HTTP/2 take, so that the frozen proxy's queue is full.
        for _ in 0..5 {
            assert_eq!(lively.apply().await.upserts.len(), 1);
        }
        loop {
            lively.message().await.unwrap();
        }
    });
    for generation in 2..7 {
        let mut large = pool("shop", "a", generation);
        large.requires = vec!["x".repeat(1_024 * 1_024)];
        let sequence = operator.publish(&[large]);
        operator
            .until(|progress| progress.proxies.iter().any(|proxy| proxy.name == "lively" && proxy.applied >= sequence))
            .await;
    }
    let silent = vec!["frozen".to_owned()];
    let expected = Standing { expected: 2, programmed: 1, silent, ..Standing::default() };
    operator.until_standing(&key("a"), &expected).await;
    assert!(since(froze) < 6.0, "{} s", since(froze));
    talks.abort();
    drop(frozen);
}

#[tokio::test]
async fn goodbyes_are_said_and_understood() {
    let operator = Operator::leading(1).await;
    operator.publish(&[pool("shop", "a", 1)]);
    let leaves = Proxy::gateway(&operator, "leaves").await;
    let crashes = Proxy::gateway(&operator, "crashes").await;
    let mut stays = Proxy::gateway(&operator, "stays").await;
    operator.until(|progress| progress.proxies.len() == 3).await;
    leaves.say(Heard::Goodbye(Goodbye {})).await;
    drop(crashes);
    let attendances = [("crashes", Attendance::Lost), ("stays", Attendance::Present)];
    operator
        .until(|progress| progress.proxies.iter().map(|proxy| (proxy.name.as_str(), proxy.attendance)).eq(attendances))
        .await;

    operator.stopping.send_replace(true);
    let last = stays.news().await;
    assert!(matches!(last, Ok(Said::Goodbye(_))), "{last:?}");
    assert_eq!(stays.news().await.unwrap_err().code(), Code::Ok);
}

#[tokio::test]
async fn a_proxy_that_follows_another_replica_counts_by_its_version() {
    let operator = Operator::start().await;
    operator.publish(&[pool("shop", "a", 1)]);
    let proxy = Proxy::gateway(&operator, "edge-1").await;
    let version = operator.hub.progress().set.version();
    proxy.say(Heard::Report(Report { version, ..Report::default() })).await;
    operator.until_standing(&key("a"), &programmed(1, 1)).await;
}

#[tokio::test]
async fn a_new_certificate_is_served_to_whoever_comes_next() {
    let mut operator = Operator::leading(1).await;
    let mut before = Proxy::gateway(&operator, "before").await;
    let (root, key) = certificate();
    operator.serving.send_replace(Some(key));
    let refused = Proxy::connect(&operator, &gateway_token(), gateway("late")).await.err();
    assert_eq!(refused.map(|status| status.code()), Some(Code::Unavailable));
    operator.root = root;
    let mut after = Proxy::gateway(&operator, "after").await;
    after.nothing_for_pings(1).await;
    before.nothing_for_pings(1).await;
}
