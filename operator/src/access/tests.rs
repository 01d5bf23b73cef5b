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
    let caller = access.caller(&token(exp), start(), WALL).await?;
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
    assert_eq!(access.caller("", start(), WALL).await, Err(Denial::NoToken));
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_accepted_token_is_reviewed_once_a_minute_and_not_believed_beyond_its_end() {
    let (access, fake) = access(Ok(status(EDGE, &["headgate"], None)));
    let (start, token) = (start(), token(50));
    for (seconds, asked) in [(0, 1), (59, 1), (60, 2)] {
        let now = start + Duration::from_secs(seconds);
        assert!(access.caller(&token, now, WALL).await.is_ok());
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked, "after {seconds} s");
    }
    let late = WALL + Duration::from_secs(50);
    assert_eq!(access.caller(&token, start + Duration::from_secs(61), late).await, Err(Denial::Ended));
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_is_a_temporary_denial_that_is_not_remembered() {
    let failed = ReviewFailed::Refused("it cannot be reached".to_owned());
    let (access, fake) = access(Err(failed.clone()));
    for asked in 1..3 {
        let denial = access.caller(&token(60), start(), WALL).await.unwrap_err();
        assert_eq!(denial, Denial::Unanswered(failed.clone()));
        assert!(denial.is_temporary());
        assert_eq!(fake.asked.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_permission_is_asked_for_once_a_minute_for_each_namespace() {
    let (access, fake) = access(Ok(status(SHOP, &["headgate"], None)));
    let now = start();
    let caller = access.caller(&token(60), now, WALL).await.unwrap();
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
