//! The ConfigMaps of claims on the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::timeout;

use super::{ENTRY, Shard, Write};
use crate::leadership::Pen;
use crate::watch::CLAIMS_LABEL;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Writes one ConfigMap against the version that it replaces, and returns it as it is kept now. It ends without a
/// further request as soon as this replica does not lead.
pub async fn write(api: &Api<ConfigMap>, write: &Write, manager: &str, pen: &Pen) -> anyhow::Result<Shard> {
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
        None => match asked(pen, api.create(&params, &map)).await? {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let stored = asked(pen, api.get(name)).await??;
                let has_label = stored.metadata.labels.is_some_and(|labels| labels.contains_key(CLAIMS_LABEL));
                anyhow::ensure!(!has_label, "it was created by another replica just now");
                // Nobody tells what has lost its label; the write gives it back.
                map.metadata.resource_version = stored.metadata.resource_version;
                asked(pen, api.replace(name, &params, &map)).await??
            }
            created => created?,
        },
        Some(_) => asked(pen, api.replace(name, &params, &map)).await??,
    };
    let version = written.metadata.resource_version.unwrap_or_default();
    Ok(Shard { version, claims: claims.clone(), is_broken: false })
}

/// The answer to one request, which is sent only where this replica leads at this moment.
async fn asked<T>(pen: &Pen, request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<kube::Result<T>> {
    let _permit = pen.take().await.context("this replica leads no more")?;
    timeout(LIMIT, request)
        .await
        .with_context(|| format!("the API server does not answer within {} s", LIMIT.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::sync::watch;
    use tower::service_fn;

    use super::*;
    use crate::clock;
    use crate::leadership::Leadership;

    #[tokio::test]
    async fn a_replica_that_leads_no_more_sends_no_further_request() {
        let until = Some(clock::instant() + Duration::from_hours(1));
        for still_leads in [true, false] {
            let leadership = Arc::new(watch::Sender::new(Leadership { term: 1, until, synced: true }));
            let pen = Pen::new(leadership.subscribe());
            let sent = Arc::new(Mutex::new(Vec::new()));
            let (ends, seen) = (Arc::clone(&leadership), Arc::clone(&sent));
            // It is there already, without its label, and the term ends with the answer that says so.
            let server = service_fn(move |request: Request<Body>| {
                seen.lock().push(request.method().clone());
                if !still_leads {
                    ends.send_modify(|known| known.until = None);
                }
                let (code, body) = match *request.method() {
                    Method::POST => (409, json!({ "kind": "Status", "code": 409, "reason": "AlreadyExists" })),
                    _ => (200, json!({ "metadata": { "name": "claims-0", "resourceVersion": "7" } })),
                };
                let answer = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                std::future::ready(answer)
            });
            let api = Api::namespaced(kube::Client::new(server, "headgate-system"), "headgate-system");
            let claims = Write { name: "claims-0".to_owned(), over: None, claims: BTreeMap::new() };
            let written = write(&api, &claims, "test", &pen).await;
            let told = written.map(|shard| shard.version).map_err(|error| error.to_string());
            let expected = if still_leads {
                (Ok("7".to_owned()), vec![Method::POST, Method::GET, Method::PUT])
            } else {
                (Err("this replica leads no more".to_owned()), vec![Method::POST])
            };
            assert_eq!((told, sent.lock().clone()), expected);
        }
    }
}
