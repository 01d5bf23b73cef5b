//! The operator's own certificate authority, and the certificate that each replica serves.
//!
//! ```text
//! Secret headgate-ca: ca.crt ca.key  [next.crt next.key]  [previous.crt]
//!        |                                   `--- ConfigMap headgate-ca: ca.crt = all certificates of the Secret
//!        `--- each replica signs a serving certificate for itself, and renews it before its end
//! ```
//!
//! Whichever replica comes first creates the Secret; creating is atomic, so all agree. From then on only the leader
//! writes. A new authority is published one [`OVERLAP`] before anything is signed by it, and the old one stays
//! published until everything that it signed has ended: a proxy that reads the ConfigMap now and then always trusts
//! what it is shown.

mod book;
mod certificate;
mod names;
#[cfg(test)]
mod tests;
mod vault;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

pub use certificate::LEAF_LIFETIME;
pub use names::{local_addresses, serving_names};
pub use vault::{ClusterVault, Kept, KeptConfigMap, KeptSecret, Vault, VaultFailed, Written};

use crate::clock;
use crate::leadership::Pen;
use book::Book;
use certificate::Leaf;

/// Name of the Secret and of the ConfigMap.
pub const NAME: &str = "headgate-ca";

/// How long a new authority is published before anything is signed by it.
pub const OVERLAP: Duration = Duration::from_hours(24);

/// Between two looks at the Secret.
const ROUND: Duration = Duration::from_mins(1);
/// Between two tries after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Tries within one round against other writers.
const TRIES: usize = 5;

/// Why there is no certificate, or no new one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthorityError {
    /// The Secret cannot be used as it is.
    #[error("Secret {NAME}: {0}; repair it, or delete it to have a new authority made")]
    Invalid(String),
    /// The API server does not do what it is asked for.
    #[error("{0}")]
    Vault(#[from] VaultFailed),
    /// Others write all the time.
    #[error("Secret {NAME} or ConfigMap {NAME} is written by others all the time")]
    Contended,
    /// The TLS library refuses.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}

/// Keeps the authority, and gives `serving` a certificate for `names` that is always good. Never ends.
pub async fn run(
    vault: Arc<dyn Vault>,
    names: BTreeSet<String>,
    pen: Pen,
    serving: watch::Sender<Option<Arc<CertifiedKey>>>,
) {
    let mut leaf: Option<Leaf> = None;
    loop {
        let permit = pen.take().await;
        let leads = || permit.is_some() && pen.leadership().leads(clock::instant());
        let served = serve(&*vault, &names, leads, &mut leaf, clock::timestamp()).await;
        drop(permit);
        let pause = match served {
            Ok(None) => ROUND,
            Ok(Some(key)) => {
                serving.send_replace(Some(key));
                tracing::info!("serving a new certificate");
                ROUND
            }
            Err(error) => {
                tracing::warn!(reason = "Authority", "{error}");
                TRY_AGAIN
            }
        };
        sleep(pause).await;
    }
}

/// One round: the authority as it should be now, and a new serving certificate where one is due.
async fn serve(
    vault: &dyn Vault,
    names: &BTreeSet<String>,
    leads: impl Fn() -> bool,
    leaf: &mut Option<Leaf>,
    now: Timestamp,
) -> Result<Option<Arc<CertifiedKey>>, AuthorityError> {
    let book = keep_book(vault, &leads, now).await?;
    // The leaf first: a ConfigMap that cannot be written keeps nobody from being served who trusts us already.
    let due = leaf.as_ref().is_none_or(|leaf| leaf.is_due(&book.current, now));
    let fresh = if due { Some(book.current.sign(names, now)?) } else { None };
    let key = fresh.as_ref().map(|fresh| Arc::clone(&fresh.key));
    if fresh.is_some() {
        *leaf = fresh;
    }
    publish(vault, &book, &leads).await?;
    Ok(key)
}

/// The authority as the Secret has it, after the step that is due; created where there is none.
async fn keep_book(vault: &dyn Vault, leads: impl Fn() -> bool, now: Timestamp) -> Result<Book, AuthorityError> {
    for _ in 0..TRIES {
        let Some(secret) = vault.secret(NAME).await? else {
            let book = Book::begin(now)?;
            if vault.create_secret(NAME, book.data()).await? == Written::Done {
                return Ok(book);
            }
            continue;
        };
        let book = Book::read(&secret.data)?;
        let Some(next) = book.step(now)?.filter(|_| leads()) else { return Ok(book) };
        if vault.replace_secret(NAME, &secret.resource_version, next.data()).await? == Written::Done {
            return Ok(next);
        }
    }
    Err(AuthorityError::Contended)
}

/// Brings the ConfigMap up to date. Anybody may create it; only the leader changes it.
async fn publish(vault: &dyn Vault, book: &Book, leads: impl Fn() -> bool) -> Result<(), AuthorityError> {
    let bundle = book.bundle();
    for _ in 0..TRIES {
        let written = match vault.config_map(NAME).await? {
            None => vault.create_config_map(NAME, &bundle).await?,
            Some(there) if there.ca == bundle || !leads() => return Ok(()),
            Some(there) => vault.replace_config_map(NAME, &there.resource_version, &bundle).await?,
        };
        if written == Written::Done {
            return Ok(());
        }
    }
    Err(AuthorityError::Contended)
}
