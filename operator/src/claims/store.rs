//! The ConfigMaps of claims on the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::timeout;

use super::{ENTRY, Shard, Write};
use crate::watch::CLAIMS_LABEL;

/// How long one write may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Writes one ConfigMap against the version that it replaces, and returns it as it is kept now.
pub async fn write(api: &Api<ConfigMap>, write: &Write, manager: &str) -> anyhow::Result<Shard> {
    let Write { name, over, claims } = write;
    let text = serde_json::to_string(claims)?;
    let mut map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            resource_version: over.clone(),
            labels: Some(BTreeMap::from([(CLAIMS_LABEL.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ENTRY.to_owned(), text)])),
        ..ConfigMap::default()
    };
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let written = match over {
        None => match timeout(LIMIT, api.create(&params, &map)).await? {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let stored = timeout(LIMIT, api.get(name)).await??;
                let has_label = stored.metadata.labels.is_some_and(|labels| labels.contains_key(CLAIMS_LABEL));
                anyhow::ensure!(!has_label, "it was created by another replica just now");
                // Nobody tells what has lost its label; the write gives it back.
                map.metadata.resource_version = stored.metadata.resource_version;
                timeout(LIMIT, api.replace(name, &params, &map)).await??
            }
            created => created?,
        },
        Some(_) => timeout(LIMIT, api.replace(name, &params, &map)).await??,
    };
    let version = written.metadata.resource_version.unwrap_or_default();
    Ok(Shard { version, claims: claims.clone(), is_broken: false })
}
