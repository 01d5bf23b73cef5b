//! Who may ask for the limits of a namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_snapshot::ReviewAnswer;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::clock::Clock;
use crate::stream::Replicas;

/// How long the operator's word is believed, and how long a denial is.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
const DENIED_FOR: Duration = Duration::from_secs(5);
/// How long a token is taken to be what its file had.
const FILE_HOLDS: Duration = Duration::from_secs(1);
/// Questions to the operator at once.
const MOST_AT_ONCE: usize = 4;
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
    /// Whoever has the token of a file, which is read again every second.
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
    /// The digest of the token of the file, and when it was read.
    of_file: Mutex<Option<(Digest, Instant)>>,
    reviews: Semaphore,
}

/// A digest of a token.
type Digest = [u8; 32];
/// A digest of a token, and a namespace.
type Asked = (Digest, String);

struct Remembered {
    denial: String,
    until: Instant,
}

impl Gatekeeper {
    pub(crate) fn new(access: EnvoyAccess, replicas: Arc<Replicas>, clock: Clock) -> Self {
        let (remembered, of_file) = (Mutex::default(), Mutex::default());
        Self { access, replicas, clock, remembered, of_file, reviews: Semaphore::new(MOST_AT_ONCE) }
    }

    /// Whether a caller may ask for the limits of a namespace.
    pub(super) async fn admit(&self, token: Option<&str>, namespace: &str) -> Result<(), Status> {
        let needed = || Status::unauthenticated("a bearer token is needed: send `authorization: Bearer TOKEN`");
        let token = token.filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN);
        match &self.access {
            EnvoyAccess::Anyone => Ok(()),
            EnvoyAccess::TokenFile(path) => self.compare(path, token.ok_or_else(needed)?).await,
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
            // Whoever knocks with many tokens waits, and keeps nobody else from the operator.
            let _permit = self.reviews.acquire().await;
            let answer = self.replicas.review(token, namespace).await;
            let ReviewAnswer { denial } = answer.map_err(|failure| {
                Status::unavailable(format!("nobody could be asked about the token: {failure}; try again"))
            })?;
            remember(&mut self.remembered.lock(), asked, &denial, self.clock.now());
            denial
        };
        if denial.is_empty() { Ok(()) } else { Err(Status::permission_denied(denial)) }
    }

    /// Compares digests, which take the same time whatever differs.
    async fn compare(&self, path: &Path, token: &str) -> Result<(), Status> {
        let now = self.clock.now();
        let known = self.of_file.lock().filter(|(_, read)| now.saturating_duration_since(*read) < FILE_HOLDS);
        let expected = if let Some((expected, _)) = known {
            expected
        } else {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                tracing::warn!(path = %path.display(), %error, "the token of the rate limit service cannot be read");
                Status::unavailable("the token cannot be checked now; try again")
            })?;
            if text.trim().is_empty() {
                return Err(Status::unavailable("--rls-token-file is empty; put a token into it"));
            }
            let expected = Sha256::digest(text.trim()).into();
            *self.of_file.lock() = Some((expected, now));
            expected
        };
        let given: Digest = Sha256::digest(token).into();
        if given == expected {
            Ok(())
        } else {
            Err(Status::unauthenticated("the token is not the one of --rls-token-file"))
        }
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
