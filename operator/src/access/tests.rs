//! Who gets what with which token.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::*;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;
const EDGE: &str = "system:serviceaccount:edge:gateway";
const SHOP: &str = "system:serviceaccount:shop:default";

/// Answers the same status to every token, and counts.
struct Fake {
    status: Result<TokenReviewStatus, ReviewFailed>,
    asked: AtomicUsize,
}

impl Reviewer for Fake {
    fn token<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, ReviewFailed>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::future::ready(self.status.clone()).boxed()
    }

    fn permission<'a>(&'a self, _: &'a Caller, question: &'a Question) -> BoxFuture<'a, Result<bool, ReviewFailed>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(question.namespace == "shop")).boxed()
    }
}

fn access(status: Result<TokenReviewStatus, ReviewFailed>) -> (Access, Arc<Fake>) {
    let fake = Arc::new(Fake { status, asked: AtomicUsize::new(0) });
    let gateways = BTreeSet::from(["edge/gateway".parse().unwrap()]);
    (Access::new(Arc::clone(&fake) as Arc<dyn Reviewer>, gateways), fake)
}

/// A token that ends this many seconds after the epoch; negative: it has no end.
fn token(exp: i64) -> String {
    let claims = if exp < 0 { "{}".to_owned() } else { format!("{{\"exp\":{exp}}}") };
    format!("head.{}.signature", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

fn status(user: &str, audiences: &[&str], pod: Option<(&str, &str)>) -> TokenReviewStatus {
    let extra = pod.map(|(name, uid)| {
        BTreeMap::from([
            ("authentication.kubernetes.io/pod-name".to_owned(), vec![name.to_owned()]),
            ("authentication.kubernetes.io/pod-uid".to_owned(), vec![uid.to_owned()]),
        ])
    });
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(audiences.iter().map(|&audience| audience.to_owned()).collect()),
        user: Some(UserInfo { username: Some(user.to_owned()), extra, ..UserInfo::default() }),
        error: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant does, and there is no other way to make one")]
fn start() -> Instant {
    Instant::now()
}

async fn identity(status: TokenReviewStatus, exp: i64, role: Role) -> Result<ProxyIdentity, Denial> {
    let (access, _) = access(Ok(status));
    let caller = access.caller(Door::Stream, &token(exp), start(), WALL).await?;
    access.proxy(&caller, role)
}

#[tokio::test]
async fn a_gateway_is_an_account_of_the_gateway_identities_whatever_it_says() {
    let account: ServiceAccount = "edge/gateway".parse().unwrap();
    let good = identity(status(EDGE, &["headgate"], None), 60, Role::Gateway).await;
    assert_eq!(good, Ok(ProxyIdentity::Gateway { account }));
    let other = identity(status(SHOP, &["headgate"], Some(("shop-0", "u"))), 60, Role::Gateway).await;
    assert_eq!(other, Err(Denial::NoGateway { account: SHOP.to_owned() }));
    let person = identity(status("edge:gateway", &["headgate"], None), 60, Role::Gateway).await;
    assert_eq!(person, Err(Denial::NoGateway { account: "edge:gateway".to_owned() }));
}

#[tokio::test]
async fn a_sidecar_is_the_pod_that_its_token_is_bound_to() {
    let good = identity(status(SHOP, &["headgate"], Some(("shop-0", "u"))), 60, Role::Sidecar).await;
    let expected = ProxyIdentity::Sidecar { namespace: "shop".into(), pod: "shop-0".into(), uid: "u".into() };
    assert_eq!(good, Ok(expected));
    let unbound = identity(status(SHOP, &["headgate"], None), 60, Role::Sidecar).await;
    assert_eq!(unbound, Err(Denial::Unbound { account: SHOP.to_owned() }));
}

#[tokio::test]
async fn tokens_of_another_audience_without_an_end_ended_or_unknown_get_nothing() {
    for audiences in [&[][..], &["https://kubernetes.default.svc"]] {
        let denied = identity(status(EDGE, audiences, None), 60, Role::Gateway).await;
        assert_eq!(denied, Err(Denial::WrongAudience));
    }
    assert_eq!(identity(status(EDGE, &["headgate"], None), -1, Role::Gateway).await, Err(Denial::Endless));
    assert_eq!(identity(status(EDGE, &["headgate"], None), 0, Role::Gateway).await, Err(Denial::Ended));
    let unknown = TokenReviewStatus { authenticated: Some(false), ..status(EDGE, &["headgate"], None) };
    assert_eq!(identity(unknown, 60, Role::Gateway).await, Err(Denial::NotAuthenticated));
    let (access, fake) = access(Ok(status(EDGE, &["headgate"], None)));
    assert_eq!(access.caller(Door::Stream, "", start(), WALL).await, Err(Denial::NoToken));
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_accepted_token_is_reviewed_once_a_minute_and_not_believed_beyond_its_end() {
    let (access, fake) = access(Ok(status(EDGE, &["headgate"], None)));
    let (start, token) = (start(), token(50));
    for (seconds, asked) in [(0, 1), (59, 1), (60, 2)] {
        let now = start + Duration::from_secs(seconds);
        assert!(access.caller(Door::Stream, &token, now, WALL).await.is_ok());
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked, "after {seconds} s");
    }
    let late = WALL + Duration::from_secs(50);
    assert_eq!(access.caller(Door::Stream, &token, start + Duration::from_secs(61), late).await, Err(Denial::Ended));
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_is_a_temporary_denial_that_is_not_remembered() {
    let failed = ReviewFailed::Refused("it cannot be reached".to_owned());
    let (access, fake) = access(Err(failed.clone()));
    for asked in 1..3 {
        let denial = access.caller(Door::Stream, &token(60), start(), WALL).await.unwrap_err();
        assert_eq!(denial, Denial::Unanswered(failed.clone()));
        assert!(denial.is_temporary());
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_refused_token_is_reviewed_once_in_five_seconds() {
    let unknown = TokenReviewStatus { authenticated: Some(false), ..status(EDGE, &["headgate"], None) };
    let (access, fake) = access(Ok(unknown));
    let start = start();
    for (seconds, asked) in [(0, 1), (4, 1), (5, 2), (9, 2)] {
        let now = start + Duration::from_secs(seconds);
        assert_eq!(access.caller(Door::Api, &token(60), now, WALL).await, Err(Denial::NotAuthenticated));
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked, "after {seconds} s");
    }
    // Another token is another question.
    assert_eq!(access.caller(Door::Api, &token(61), start, WALL).await, Err(Denial::NotAuthenticated));
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3);
}

/// Answers no token that is for people.
struct Crowded;

impl Reviewer for Crowded {
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, ReviewFailed>> {
        if token.starts_with("crowd") {
            return std::future::pending().boxed();
        }
        std::future::ready(Ok(status(EDGE, &["headgate"], None))).boxed()
    }

    fn permission<'a>(&'a self, _: &'a Caller, _: &'a Question) -> BoxFuture<'a, Result<bool, ReviewFailed>> {
        std::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_one_door_keeps_nobody_waiting_at_the_other() {
    let access = Arc::new(Access::new(Arc::new(Crowded), BTreeSet::new()));
    for (crowded, free) in [(Door::Api, Door::Stream), (Door::Stream, Door::Api)] {
        let mut crowd = tokio::task::JoinSet::new();
        for number in 0..2 * MOST_AT_ONCE {
            let access = Arc::clone(&access);
            let ask = async move { access.caller(crowded, &format!("crowd-{number}"), start(), WALL).await };
            crowd.spawn(ask);
        }
        tokio::task::yield_now().await;
        // What is remembered would say nothing of the doors.
        let exp = if free == Door::Stream { 60 } else { 61 };
        let answer = access.caller(free, &token(exp), start(), WALL).now_or_never();
        assert!(answer.is_some_and(|answer| answer.is_ok()), "{free:?}");
        while let Some(answer) = crowd.join_next().await {
            assert_eq!(answer.unwrap(), Err(Denial::Unanswered(ReviewFailed::Timeout)));
        }
    }
}

#[tokio::test]
async fn a_permission_is_asked_for_once_a_minute_for_each_namespace() {
    let (access, fake) = access(Ok(status(SHOP, &["headgate"], None)));
    let now = start();
    let caller = access.caller(Door::Stream, &token(60), now, WALL).await.unwrap();
    let question = |namespace: &str| Question {
        verb: "get",
        group: "headgate.dev",
        resource: "originpools".to_owned(),
        namespace: namespace.to_owned(),
    };
    for _ in 0..2 {
        assert_eq!(access.allows(&caller, &question("shop"), now).await, Ok(true));
        assert_eq!(access.allows(&caller, &question("edge"), now).await, Ok(false));
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3);
}

#[test]
fn a_memory_stays_within_its_bound_and_forgets_what_ends_first() {
    let now = start();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut memory = Memory::new(2);
    memory.put(1, 'a', at(10), now);
    memory.put(2, 'b', at(20), now);
    memory.put(3, 'c', at(30), now);
    let found: Vec<_> = (1..4).map(|key| memory.get(&key, now)).collect();
    assert_eq!(found, [None, Some('b'), Some('c')]);
}
