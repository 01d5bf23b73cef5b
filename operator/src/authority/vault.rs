//! Where the authority is kept: one Secret and one ConfigMap of the operator's namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use thiserror::Error;
use tokio::time::timeout;

/// Key of the ConfigMap.
const CA: &str = "ca.crt";

/// How long one request may take: a leader that is to stop waits for those under way.
const LIMIT: Duration = Duration::from_secs(2);

/// A Secret as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptSecret {
    /// Its version, for writing.
    pub resource_version: String,
    /// What is in it.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// A ConfigMap as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptConfigMap {
    /// Its version, for writing.
    pub resource_version: String,
    /// Its `ca.crt`.
    pub ca: String,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done,
    /// Somebody else was faster: read again.
    Outrun,
}

/// The API server does not do what it is asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot {verb} {object}: {cause}")]
pub struct VaultFailed {
    /// `get`, `create` or `update`.
    pub verb: &'static str,
    /// Kind and name.
    pub object: String,
    /// What the API server says.
    pub cause: String,
}

/// An answer of a vault.
pub type Kept<'a, T> = BoxFuture<'a, Result<T, VaultFailed>>;

/// Reads and writes the objects. Writing is atomic: nothing is created twice, and nothing is replaced that changed
/// since it was read.
pub trait Vault: Send + Sync {
    /// Reads a Secret.
    fn secret<'a>(&'a self, name: &'a str) -> Kept<'a, Option<KeptSecret>>;
    /// Creates a Secret that is not there.
    fn create_secret<'a>(&'a self, name: &'a str, data: BTreeMap<String, Vec<u8>>) -> Kept<'a, Written>;
    /// Replaces a Secret that is at this version.
    fn replace_secret<'a>(
        &'a self,
        name: &'a str,
        version: &'a str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Kept<'a, Written>;
    /// Reads a ConfigMap.
    fn config_map<'a>(&'a self, name: &'a str) -> Kept<'a, Option<KeptConfigMap>>;
    /// Creates a ConfigMap that is not there.
    fn create_config_map<'a>(&'a self, name: &'a str, ca: &'a str) -> Kept<'a, Written>;
    /// Replaces a ConfigMap that is at this version.
    fn replace_config_map<'a>(&'a self, name: &'a str, version: &'a str, ca: &'a str) -> Kept<'a, Written>;
}

/// The vault of a cluster. Its account needs `get`, `create` and `update` on `secrets` and `configmaps` of the name
/// `headgate-ca` in the operator's namespace.
#[derive(Clone)]
pub struct ClusterVault {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

impl ClusterVault {
    /// A vault in a namespace.
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        let config_maps = Api::namespaced(client.clone(), namespace);
        Self { secrets: Api::namespaced(client, namespace), config_maps }
    }
}

impl Vault for ClusterVault {
    fn secret<'a>(&'a self, name: &'a str) -> Kept<'a, Option<KeptSecret>> {
        async move {
            let secret = asked(self.secrets.get_opt(name)).await.map_err(failed("get", "Secret", name))?;
            Ok(secret.map(|secret| KeptSecret {
                resource_version: secret.metadata.resource_version.unwrap_or_default(),
                data: secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(),
            }))
        }
        .boxed()
    }

    fn create_secret<'a>(&'a self, name: &'a str, data: BTreeMap<String, Vec<u8>>) -> Kept<'a, Written> {
        async move {
            let secret = secret(name, None, data);
            written(asked(self.secrets.create(&PostParams::default(), &secret)).await, "create", "Secret", name)
        }
        .boxed()
    }

    fn replace_secret<'a>(
        &'a self,
        name: &'a str,
        version: &'a str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Kept<'a, Written> {
        async move {
            let secret = secret(name, Some(version), data);
            written(asked(self.secrets.replace(name, &PostParams::default(), &secret)).await, "update", "Secret", name)
        }
        .boxed()
    }

    fn config_map<'a>(&'a self, name: &'a str) -> Kept<'a, Option<KeptConfigMap>> {
        async move {
            let map = asked(self.config_maps.get_opt(name)).await.map_err(failed("get", "ConfigMap", name))?;
            Ok(map.map(|map| KeptConfigMap {
                resource_version: map.metadata.resource_version.unwrap_or_default(),
                ca: map.data.and_then(|mut data| data.remove(CA)).unwrap_or_default(),
            }))
        }
        .boxed()
    }

    fn create_config_map<'a>(&'a self, name: &'a str, ca: &'a str) -> Kept<'a, Written> {
        async move {
            let map = config_map(name, None, ca);
            written(asked(self.config_maps.create(&PostParams::default(), &map)).await, "create", "ConfigMap", name)
        }
        .boxed()
    }

    fn replace_config_map<'a>(&'a self, name: &'a str, version: &'a str, ca: &'a str) -> Kept<'a, Written> {
        async move {
            let map = config_map(name, Some(version), ca);
            written(
                asked(self.config_maps.replace(name, &PostParams::default(), &map)).await,
                "update",
                "ConfigMap",
                name,
            )
        }
        .boxed()
    }
}

fn secret(name: &str, version: Option<&str>, data: BTreeMap<String, Vec<u8>>) -> Secret {
    let data = data.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
    Secret { metadata: metadata(name, version), data: Some(data), ..Secret::default() }
}

fn config_map(name: &str, version: Option<&str>, ca: &str) -> ConfigMap {
    let data = BTreeMap::from([(CA.to_owned(), ca.to_owned())]);
    ConfigMap { metadata: metadata(name, version), data: Some(data), ..ConfigMap::default() }
}

fn metadata(name: &str, version: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        resource_version: version.map(str::to_owned),
        labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "headgate".to_owned())])),
        ..ObjectMeta::default()
    }
}

/// Why there is no answer.
enum Unanswered {
    /// What the client or the server says.
    Error(kube::Error),
    /// Nothing within [`LIMIT`].
    Silence,
}

/// The answer to one request.
async fn asked<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Unanswered> {
    match timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(Unanswered::Error),
        Err(_) => Err(Unanswered::Silence),
    }
}

/// A conflict, and an object that is there already or is gone, mean that somebody was faster.
fn written<T>(
    answer: Result<T, Unanswered>,
    verb: &'static str,
    kind: &'static str,
    name: &str,
) -> Result<Written, VaultFailed> {
    match answer {
        Ok(_) => Ok(Written::Done),
        Err(Unanswered::Error(kube::Error::Api(status))) if status.code == 409 => Ok(Written::Outrun),
        Err(Unanswered::Error(kube::Error::Api(status))) if status.code == 404 && verb == "update" => {
            Ok(Written::Outrun)
        }
        Err(error) => Err(failed(verb, kind, name)(error)),
    }
}

/// The API server's answer never repeats what is in a Secret.
fn failed(verb: &'static str, kind: &'static str, name: &str) -> impl FnOnce(Unanswered) -> VaultFailed {
    let object = format!("{kind} {name}");
    move |unanswered| VaultFailed {
        verb,
        object,
        cause: match unanswered {
            Unanswered::Error(kube::Error::Api(status)) => status.message.clone(),
            Unanswered::Error(_) => "the API server cannot be reached".to_owned(),
            Unanswered::Silence => format!("the API server does not answer within {} s", LIMIT.as_secs()),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test is measured")]
    async fn an_api_server_that_does_not_answer_costs_two_seconds_a_request() {
        let silent = service_fn(|_: Request<Body>| std::future::pending::<kube::Result<Response<Body>>>());
        let vault = ClusterVault::new(kube::Client::new(silent, "headgate-system"), "headgate-system");
        let read = |answer: Result<bool, VaultFailed>| answer.map(|_| Written::Done);
        let requests: [Kept<'_, Written>; 6] = [
            async { read(vault.secret("a").await.map(|it| it.is_some())) }.boxed(),
            vault.create_secret("a", BTreeMap::new()),
            vault.replace_secret("a", "1", BTreeMap::new()),
            async { read(vault.config_map("a").await.map(|it| it.is_some())) }.boxed(),
            vault.create_config_map("a", "pem"),
            vault.replace_config_map("a", "1", "pem"),
        ];
        for request in requests {
            let began = Instant::now();
            let failed = request.await.unwrap_err();
            let sentence =
                format!("cannot {} {}: the API server does not answer within 2 s", failed.verb, failed.object);
            assert_eq!((failed.to_string(), began.elapsed()), (sentence, LIMIT));
        }
    }
}
