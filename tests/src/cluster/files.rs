//! The temporary folder of a control plane: authority, certificates, keys, kubeconfigs, data.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::network::Network;
use crate::certificates::{Authority, Leaf};

/// Members of this group may do everything.
const ADMINS: &str = "system:masters";
/// Names of the API server as clients in a cluster know it; the last is the first address of its Services.
const API_SERVER_NAMES: [&str; 5] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "10.96.0.1"];

/// Who a kubeconfig speaks for.
pub(super) enum Credentials<'a> {
    Certificate(&'a Leaf),
    Token(&'a str),
}

/// What the parts are given as files.
pub(super) struct Files {
    folder: TempDir,
    api: SocketAddr,
    pub(super) trusted: Authority,
    pub(super) admin: Leaf,
    pub(super) authority: PathBuf,
    pub(super) api_server_certificate: PathBuf,
    pub(super) api_server_key: PathBuf,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_key_der: Vec<u8>,
    pub(super) service_account_public_key: PathBuf,
    pub(super) controller_manager: PathBuf,
    pub(super) admin_kubeconfig: PathBuf,
}

impl Files {
    /// Makes them all.
    pub(super) fn new(network: &Network) -> Self {
        let folder = tempfile::tempdir().expect("failed to make a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let trusted = Authority::new("kubernetes");
        let address = network.api.ip().to_string();
        let server = trusted.issue(&[&API_SERVER_NAMES[..], &[address.as_str()]].concat());
        let service_accounts = KeyPair::generate().expect("failed to make a key");
        let files = Self {
            api: network.api,
            admin: trusted.issue_user("admin", Some(ADMINS)),
            authority: path("ca.crt"),
            api_server_certificate: path("api-server.crt"),
            api_server_key: path("api-server.key"),
            service_account_key: path("service-accounts.key"),
            service_account_key_der: service_accounts.serialize_der(),
            service_account_public_key: path("service-accounts.pub"),
            controller_manager: path("controller-manager.kubeconfig"),
            admin_kubeconfig: path("admin.kubeconfig"),
            trusted,
            folder,
        };
        write(&files.authority, &files.trusted.pem());
        write(&files.api_server_certificate, &server.chain_pem);
        write(&files.api_server_key, &server.key_pem);
        write(&files.service_account_key, &service_accounts.serialize_pem());
        write(&files.service_account_public_key, &service_accounts.public_key_pem());
        let manager = files.trusted.issue_user("system:kube-controller-manager", None);
        for (path, leaf) in [(&files.controller_manager, &manager), (&files.admin_kubeconfig, &files.admin)] {
            write(path, &files.kubeconfig(&Credentials::Certificate(leaf)).to_string());
        }
        files
    }

    /// The path of a file or folder of this name in the temporary folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of this name and gives its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write(&path, text);
        path
    }

    /// A kubeconfig; JSON, which is YAML.
    pub(super) fn kubeconfig(&self, credentials: &Credentials<'_>) -> Value {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let user = match credentials {
            Credentials::Certificate(leaf) => json!({
                "client-certificate-data": STANDARD.encode(&leaf.chain_pem),
                "client-key-data": STANDARD.encode(&leaf.key_pem),
            }),
            Credentials::Token(token) => json!({ "token": token }),
        };
        let cluster = json!({
            "server": format!("https://{}", self.api),
            "certificate-authority-data": STANDARD.encode(self.trusted.pem()),
        });
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        })
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
}
