//! The one secret of an installation, from which proxies get a key for each object: Secret headgate-master.
//!
//! Whichever replica comes first creates it; creating is atomic, so all agree. Nobody changes it. Until it is known the
//! objects that need keys are left as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_translate::MasterKey;
use tokio::time::sleep;

use crate::authority::{Vault, VaultFailed, Written};

/// Name of the Secret.
pub const NAME: &str = "headgate-master";
/// Key of the Secret.
const KEY: &str = "master.key";
/// Bytes of a key that is made, and the fewest of one that is there.
const LENGTH: usize = 32;
/// Before another try.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// The key, as soon as it can be read or made.
pub async fn key(vault: &dyn Vault) -> MasterKey {
    loop {
        match read_or_make(vault).await {
            Ok(Some(key)) => return key,
            Ok(None) => {
                tracing::warn!(
                    reason = "MasterKey",
                    "Secret {NAME} has no {KEY} of {LENGTH} bytes or more; delete it to have a new one made"
                );
            }
            Err(error) => tracing::warn!(reason = "MasterKey", "{error}; waiting rooms wait for it"),
        }
        sleep(TRY_AGAIN).await;
    }
}

/// The key that is there, else a new one. Nothing where what is there is no key.
async fn read_or_make(vault: &dyn Vault) -> Result<Option<MasterKey>, VaultFailed> {
    if vault.secret(NAME).await?.is_none() {
        let made: [u8; LENGTH] = rand::random();
        let data = BTreeMap::from([(KEY.to_owned(), made.to_vec())]);
        if vault.create_secret(NAME, data).await? == Written::Done {
            return Ok(Some(MasterKey(made.to_vec())));
        }
    }
    let there = vault.secret(NAME).await?;
    let key = there.and_then(|mut secret| secret.data.remove(KEY));
    Ok(key.filter(|key| key.len() >= LENGTH).map(MasterKey))
}
