//! The command lines of the parts. Pure.

use std::fmt::Display;

use super::{ISSUER, files::Files, network::Network};

/// Addresses of Services. Nothing routes them: there is no kube-proxy, and headgate goes to endpoints.
const SERVICES: &str = "10.96.0.0/16";
/// Nodes and pods of tests have no kubelet: these controllers would take them for lost.
const CONTROLLERS: &str = "*,-node-lifecycle-controller,-taint-eviction-controller";

/// A command line from flags with values.
fn line(flags: &[(&str, &dyn Display)]) -> Vec<String> {
    flags.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

pub(super) fn etcd(network: &Network, files: &Files) -> Vec<String> {
    let (clients, peers) = (format!("http://{}", network.etcd), format!("http://{}", network.etcd_peers));
    line(&[
        ("data-dir", &files.path("etcd").display()),
        ("listen-client-urls", &clients),
        ("advertise-client-urls", &clients),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", &peers),
        ("initial-cluster", &format!("default={peers}")),
        // The data is gone with the test anyway.
        ("unsafe-no-fsync", &true),
        ("log-level", &"warn"),
    ])
}

pub(super) fn api_server(network: &Network, files: &Files) -> Vec<String> {
    // A real API server puts itself behind the Service `kubernetes`.
    let reconciler = if network.can_be_an_endpoint() { "lease" } else { "none" };
    line(&[
        ("etcd-servers", &format!("http://{}", network.etcd)),
        ("bind-address", &network.api.ip()),
        ("advertise-address", &network.api.ip()),
        ("secure-port", &network.api.port()),
        ("endpoint-reconciler-type", &reconciler),
        ("service-cluster-ip-range", &SERVICES),
        ("tls-cert-file", &files.api_server_certificate.display()),
        ("tls-private-key-file", &files.api_server_key.display()),
        ("client-ca-file", &files.authority.display()),
        ("authorization-mode", &"Node,RBAC"),
        ("enable-admission-plugins", &"NodeRestriction"),
        ("service-account-issuer", &ISSUER),
        ("service-account-key-file", &files.service_account_public_key.display()),
        ("service-account-signing-key-file", &files.service_account_key.display()),
        ("allow-privileged", &true),
        ("profiling", &false),
    ])
}

pub(super) fn controller_manager(network: &Network, files: &Files) -> Vec<String> {
    line(&[
        ("kubeconfig", &files.controller_manager.display()),
        ("bind-address", &network.controller_manager.ip()),
        ("secure-port", &network.controller_manager.port()),
        ("cert-dir", &files.path("controller-manager").display()),
        ("controllers", &CONTROLLERS),
        ("use-service-account-credentials", &true),
        ("leader-elect", &false),
        ("service-account-private-key-file", &files.service_account_key.display()),
        ("root-ca-file", &files.authority.display()),
        ("kube-api-qps", &200),
        ("kube-api-burst", &400),
        ("profiling", &false),
    ])
}
