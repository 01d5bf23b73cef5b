//! Who may ask for the limits of a namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_snapshot::ReviewAnswer;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::clock::Clock;
use crate::stream::Replicas;

/// How long the operator's word is believed, and how long a denial is.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
const DENIED_FOR: Duration = Duration::from_secs(5);
/// Answers of the operator that are remembered. One caller has one token and few namespaces.
const MOST_REMEMBERED: usize = 4_096;
/// Longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 16 * 1_024;

/// Who may ask for limits, and of which namespaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum EnvoyAccess {
    /// Whoever may `get ratelimits` in the namespace, as the operator says.
    #[default]
    Operator,
    /// Whoever has the token of a file, which is read again for each call.
    TokenFile(PathBuf),
    /// Whoever reaches the address, which must be a loopback address then.
    Anyone,
}

/// Lets callers in.
pub(crate) struct Gatekeeper {
    access: EnvoyAccess,
    replicas: Arc<Replicas>,
    clock: Clock,
    remembered: Mutex<BTreeMap<Asked, Remembered>>,
}

/// A digest of a token, and a namespace.
type Asked = ([u8; 32], String);

struct Remembered {
    denial: String,
    until: Instant,
}

impl Gatekeeper {
    pub(crate) fn new(access: EnvoyAccess, replicas: Arc<Replicas>, clock: Clock) -> Self {
        Self { access, replicas, clock, remembered: Mutex::default() }
    }

    /// Whether a caller may ask for the limits of a namespace.
    pub(super) async fn admit(&self, token: Option<&str>, namespace: &str) -> Result<(), Status> {
        let needed = || Status::unauthenticated("a bearer token is needed: send `authorization: Bearer TOKEN`");
        let token = token.filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN);
        match &self.access {
            EnvoyAccess::Anyone => Ok(()),
            EnvoyAccess::TokenFile(path) => compare(path, token.ok_or_else(needed)?).await,
            EnvoyAccess::Operator => self.review(token.ok_or_else(needed)?, namespace).await,
        }
    }

    async fn review(&self, token: &str, namespace: &str) -> Result<(), Status> {
        let asked = (Sha256::digest(token).into(), namespace.to_owned());
        let now = self.clock.now();
        let known = self.remembered.lock().get(&asked).filter(|known| known.until > now).map(|it| it.denial.clone());
        let denial = if let Some(denial) = known {
            denial
        } else {
            let answer = self.replicas.review(token, namespace).await;
            let ReviewAnswer { denial } = answer.map_err(|failure| {
                Status::unavailable(format!("nobody could be asked about the token: {failure}; try again"))
            })?;
            remember(&mut self.remembered.lock(), asked, &denial, self.clock.now());
            denial
        };
        if denial.is_empty() { Ok(()) } else { Err(Status::permission_denied(denial)) }
    }
}

fn remember(known: &mut BTreeMap<Asked, Remembered>, asked: Asked, denial: &str, now: Instant) {
    if known.len() >= MOST_REMEMBERED {
        known.retain(|_, remembered| remembered.until > now);
    }
    if known.len() >= MOST_REMEMBERED {
        // Whoever comes with so many tokens pays for them alike.
        known.clear();
    }
    let holds = if denial.is_empty() { REMEMBERED_FOR } else { DENIED_FOR };
    known.insert(asked, Remembered { denial: denial.to_owned(), until: now + holds });
}

/// Compares digests, which take the same time whatever differs.
async fn compare(path: &Path, token: &str) -> Result<(), Status> {
    let expected = tokio::fs::read_to_string(path).await.map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "the token of the rate limit service cannot be read");
        Status::unavailable("the token cannot be checked now; try again")
    })?;
    let expected = expected.trim();
    let is_same = !expected.is_empty() && Sha256::digest(expected) == Sha256::digest(token);
    if is_same { Ok(()) } else { Err(Status::unauthenticated("the token is not the one of --rls-token-file")) }
}
