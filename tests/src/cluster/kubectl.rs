//! What a user does: kubectl, kubeconfigs, definitions.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::{Cluster, assets, files::Credentials};
use crate::{binary, eventually};

/// How soon a definition that the API server has accepted is served.
const ESTABLISHED_LIMIT: Duration = Duration::from_secs(20);
/// Names of manifests in the temporary folder.
static MANIFESTS: AtomicUsize = AtomicUsize::new(0);

impl Cluster {
    /// The kubeconfig of one who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.files.admin_kubeconfig
    }

    /// A new kubeconfig of this name for whoever has the token.
    pub fn kubeconfig_for(&self, name: &str, token: &str) -> PathBuf {
        let config = self.files.kubeconfig(&Credentials::Token(token));
        self.files.write(&format!("{name}.kubeconfig"), &config.to_string())
    }

    /// The certificate of the cluster's authority, as `ca.crt` in pods.
    pub fn authority(&self) -> &Path {
        &self.files.authority
    }

    /// The path of a file or folder of this name in the temporary folder, which goes away with the cluster.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// Writes a file of this name in the temporary folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.files.write(name, text)
    }

    /// Runs kubectl with all rights, and gives its output, or its complaint.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String, String> {
        self.kubectl_as(self.kubeconfig(), arguments).await
    }

    /// Runs kubectl with this kubeconfig.
    pub async fn kubectl_as<A: AsRef<OsStr>>(&self, kubeconfig: &Path, arguments: &[A]) -> Result<String, String> {
        let mut command = Command::new(assets::folder().join("kubectl"));
        command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(self.path("kubectl")).args(arguments);
        let finished = binary::run(command).await;
        if finished.code == Some(0) { Ok(finished.stdout) } else { Err(finished.stderr) }
    }

    /// `kubectl apply` of a manifest; a refusal fails the test.
    pub async fn apply(&self, manifest: &str) -> String {
        self.try_apply(manifest).await.unwrap_or_else(|complaint| panic!("{complaint}{manifest}"))
    }

    /// `kubectl apply` of a manifest.
    pub async fn try_apply(&self, manifest: &str) -> Result<String, String> {
        self.with_manifest(&["apply"], manifest).await
    }

    /// `kubectl apply --server-side` of a manifest.
    pub async fn apply_server_side(&self, manifest: &str) -> Result<String, String> {
        self.with_manifest(&["apply", "--server-side"], manifest).await
    }

    /// `kubectl delete` of what is in a manifest.
    pub async fn delete(&self, manifest: &str) -> Result<String, String> {
        self.with_manifest(&["delete"], manifest).await
    }

    async fn with_manifest(&self, verb: &[&str], manifest: &str) -> Result<String, String> {
        let name = format!("manifest-{}.yaml", MANIFESTS.fetch_add(1, Ordering::Relaxed));
        let path = self.files.write(&name, manifest);
        let mut arguments: Vec<&OsStr> = verb.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("-f"), path.as_os_str()]);
        self.kubectl(&arguments).await
    }

    /// Applies headgate's definitions (`crds/yaml`) and waits until they are served.
    pub async fn install_crds(&self) {
        self.install(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml"))).await;
    }

    /// Applies the Gateway API's definitions (standard channel) and waits until they are served.
    pub async fn install_gateway_api(&self) {
        self.install(&assets::folder().join("gateway-api")).await;
    }

    async fn install(&self, folder: &Path) {
        let arguments = ["apply", "--server-side", "-f"].map(OsStr::new);
        let applied = self.kubectl(&[&arguments[..], &[folder.as_os_str()]].concat()).await;
        applied.unwrap_or_else(|complaint| panic!("failed to apply {}:\n{complaint}", folder.display()));
        eventually(ESTABLISHED_LIMIT, "the API server serves all definitions", async || {
            let waiting: Vec<Value> = self.definitions().await.into_iter().filter(|it| !is_established(it)).collect();
            if waiting.is_empty() { Ok(()) } else { Err(format!("{:?}", names(&waiting))) }
        })
        .await;
    }

    /// The names of all definitions that are served.
    pub async fn served_definitions(&self) -> Vec<String> {
        let definitions: Vec<Value> = self.definitions().await.into_iter().filter(is_established).collect();
        names(&definitions)
    }

    async fn definitions(&self) -> Vec<Value> {
        self.api.list("CustomResourceDefinition", "").await
    }
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|it| it["type"] == "Established" && it["status"] == "True"))
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}
