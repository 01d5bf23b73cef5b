//! Who calls: tokens of the cluster's accounts, what they prove, and what their owners may do.
//!
//! ```text
//! bearer token -> TokenReview (audience headgate) -> Caller -+-> ProxyIdentity: role gateway, or a sidecar's own pod
//!                                                            +-> SubjectAccessReview: may it read this kind there?
//! ```
//!
//! Nothing that a caller writes says who it is; the API server's review of the token does. An answer is remembered for
//! [`REMEMBERED_FOR`], a refusal for [`REFUSED_FOR`], never longer than the token lives, by a digest of the token.
//! Tokens are neither kept nor told. Each [`Door`] has reviews of its own, so that a crowd at one keeps nobody waiting
//! at the other.

mod caller;
mod memory;
mod reviewer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use caller::{Caller, ProxyIdentity, Role, ServiceAccount};
pub use reviewer::{ClusterReviewer, Question, ReviewFailed, Reviewer};

use memory::Memory;

/// The audience that a token must be made for.
pub const AUDIENCE: &str = "headgate";

/// How long the API server's word about a token or a permission is believed.
pub const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// How long a token that the API server refuses is refused without asking again. Short, because the next answer may be
/// another one: of a token that was created a moment ago, for instance.
pub const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Most answers that are remembered of each sort.
const MOST_REMEMBERED: usize = 4_096;

/// Most reviews that the API server is asked for at once for one door; further callers wait.
const MOST_AT_ONCE: usize = 16;

/// How long a caller waits for a review.
const REVIEW_LIMIT: Duration = Duration::from_secs(10);

/// Longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 16 * 1_024;

/// Why a caller gets nothing. Each is a sentence for the caller; none tells a token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denial {
    /// There is no token, or nothing that can be one.
    #[error("a bearer token is needed: send `authorization: Bearer TOKEN`")]
    NoToken,
    /// The API server does not know the token.
    #[error("the API server does not accept the token: it is expired, revoked or of another cluster")]
    NotAuthenticated,
    /// The token is good, for something else.
    #[error("the token is not for the audience `{AUDIENCE}`; make one with `--audience {AUDIENCE}`, or project one")]
    WrongAudience,
    /// The token does not say until when it holds.
    #[error("the token has no end (claim exp); use a token of the TokenRequest API or a projected one")]
    Endless,
    /// The token is over.
    #[error("the token has ended")]
    Ended,
    /// The account may not be a gateway.
    #[error("{account} may not run a gateway; start the operator with --gateway-identity for its account")]
    NoGateway {
        /// Who it is, as Kubernetes writes it.
        account: String,
    },
    /// A sidecar's token that belongs to no pod.
    #[error("the token of {account} is not bound to a pod; a sidecar needs the token projected into its own pod")]
    Unbound {
        /// Who it is, as Kubernetes writes it.
        account: String,
    },
    /// An account that may not ask for limits.
    #[error("{caller} may not get ratelimits in namespace {namespace}; bind a Role with that right to it")]
    NotAllowed {
        /// Who it is, as Kubernetes writes it.
        caller: String,
        /// The namespace of the limits.
        namespace: String,
    },
    /// A renewed token that is somebody else's.
    #[error("the new token belongs to another account or pod than the one that the stream began with")]
    AnotherIdentity,
    /// The API server could not be asked.
    #[error("the API server could not be asked about the token: {0}; try again")]
    Unanswered(ReviewFailed),
}

impl Denial {
    /// Whether asking again later may help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unanswered(_))
    }
}

/// Where a caller comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The stream, for proxies.
    Stream,
    /// The API, for people.
    Api,
}

/// Asks the API server about tokens and permissions, and remembers its answers for a while.
pub struct Access {
    reviewer: Arc<dyn Reviewer>,
    gateways: BTreeSet<ServiceAccount>,
    stream_permits: Semaphore,
    api_permits: Semaphore,
    callers: Mutex<Memory<[u8; 32], Caller>>,
    refused: Mutex<Memory<[u8; 32], Denial>>,
    permissions: Mutex<Memory<(String, Question), bool>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

impl Access {
    /// Access by a reviewer. `gateways` are the accounts of `--gateway-identity`.
    pub fn new(reviewer: Arc<dyn Reviewer>, gateways: BTreeSet<ServiceAccount>) -> Self {
        Self {
            reviewer,
            gateways,
            stream_permits: Semaphore::new(MOST_AT_ONCE),
            api_permits: Semaphore::new(MOST_AT_ONCE),
            callers: Mutex::new(Memory::new(MOST_REMEMBERED)),
            refused: Mutex::new(Memory::new(MOST_REMEMBERED)),
            permissions: Mutex::new(Memory::new(MOST_REMEMBERED)),
        }
    }

    /// The caller at a door that a token proves.
    pub async fn caller(&self, door: Door, token: &str, now: Instant, wall: Timestamp) -> Result<Caller, Denial> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(Denial::NoToken);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.callers.lock().get(&digest, now);
        let caller = if let Some(caller) = known {
            caller
        } else {
            let refused = self.refused.lock().get(&digest, now);
            if let Some(denial) = refused {
                return Err(denial);
            }
            let status = self.review(door, self.reviewer.token(token)).await?;
            let caller = caller::of_review(status, token).inspect_err(|denial| {
                if !denial.is_temporary() {
                    self.refused.lock().put(digest, denial.clone(), now + REFUSED_FOR, now);
                }
            })?;
            self.callers.lock().put(digest, caller.clone(), now + REMEMBERED_FOR, now);
            caller
        };
        if caller.ends <= wall { Err(Denial::Ended) } else { Ok(caller) }
    }

    /// Who a caller is as a proxy of a role.
    pub fn proxy(&self, caller: &Caller, role: Role) -> Result<ProxyIdentity, Denial> {
        let account = || caller.name.clone();
        match role {
            Role::Gateway => match &caller.account {
                Some(known) if self.gateways.contains(known) => Ok(ProxyIdentity::Gateway { account: known.clone() }),
                Some(_) | None => Err(Denial::NoGateway { account: account() }),
            },
            Role::Sidecar => match (&caller.account, &caller.pod) {
                (Some(known), Some((pod, uid))) => Ok(ProxyIdentity::Sidecar {
                    namespace: known.namespace.clone(),
                    pod: pod.clone(),
                    uid: uid.clone(),
                }),
                _ => Err(Denial::Unbound { account: account() }),
            },
        }
    }

    /// Whether a caller of the API may do what is asked for.
    pub async fn allows(&self, caller: &Caller, question: &Question, now: Instant) -> Result<bool, Denial> {
        let key = (caller.fingerprint(), question.clone());
        let known = self.permissions.lock().get(&key, now);
        if let Some(allowed) = known {
            return Ok(allowed);
        }
        let allowed = self.review(Door::Api, self.reviewer.permission(caller, question)).await?;
        self.permissions.lock().put(key, allowed, now + REMEMBERED_FOR, now);
        Ok(allowed)
    }

    async fn review<T>(&self, door: Door, asked: impl Future<Output = Result<T, ReviewFailed>>) -> Result<T, Denial> {
        let permits = match door {
            Door::Stream => &self.stream_permits,
            Door::Api => &self.api_permits,
        };
        let answer = timeout(REVIEW_LIMIT, async {
            // Nobody closes the semaphores.
            let _permit = permits.acquire().await;
            asked.await
        });
        answer.await.unwrap_or(Err(ReviewFailed::Timeout)).map_err(Denial::Unanswered)
    }
}
