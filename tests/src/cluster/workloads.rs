//! Services with endpoints, pods without a node.
//!
//! No kubelet runs. A pod is an object on a node that is an object too; its status is written as a kubelet would, and
//! whatever listens on its address (an [`Origin`](crate::origin::Origin), a process) is its container. The controller
//! manager makes EndpointSlices of such pods, and tokens are bound to them, as in a cluster with nodes.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Cluster;
use crate::eventually;

/// The one node.
const NODE: &str = "node-1";

/// A pod to be made.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Where.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who it is to the API server; must exist, as `default` does in each namespace soon after its making.
    pub service_account: &'a str,
    /// What selectors choose it by.
    pub labels: &'a [(&'a str, &'a str)],
    /// Where it listens.
    pub address: IpAddr,
    /// The container port of name `http`.
    pub port: u16,
}

impl Cluster {
    /// Makes a namespace and waits for its service account `default`.
    pub async fn namespace(&self, name: &str) {
        self.put(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })).await;
        eventually(super::START_LIMIT, "the namespace has a service account", async || {
            self.api.find("ServiceAccount", name, "default").await.map(drop).ok_or_else(|| "none".to_owned())
        })
        .await;
    }

    /// Makes a service account.
    pub async fn service_account(&self, namespace: &str, name: &str) {
        self.put(&json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": namespace },
        }))
        .await;
    }

    /// Makes a Service without a selector: port `http` leads to `target_port` of these addresses.
    pub async fn service(&self, namespace: &str, name: &str, port: u16, target_port: u16, addresses: &[IpAddr]) {
        let ports = json!([{ "name": "http", "port": port, "targetPort": target_port, "protocol": "TCP" }]);
        self.put(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
            "spec": { "ports": ports },
        }))
        .await;
        self.endpoints(namespace, name, target_port, addresses).await;
    }

    /// Changes the endpoints of such a Service.
    pub async fn endpoints(&self, namespace: &str, service: &str, target_port: u16, addresses: &[IpAddr]) {
        let endpoint = |address: &IpAddr| json!({ "addresses": [address], "conditions": { "ready": true } });
        let labels = json!({ "kubernetes.io/service-name": service });
        self.put(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": format!("{service}-1"), "namespace": namespace, "labels": labels },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": target_port, "protocol": "TCP" }],
            "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        }))
        .await;
    }

    /// Makes a Service whose endpoints are the pods with these labels: `port` leads to their container port `http`.
    pub async fn service_of_pods(&self, namespace: &str, name: &str, port: u16, labels: &[(&str, &str)]) {
        self.put(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": map(labels), "ports": [{ "name": "http", "port": port, "targetPort": "http" }] },
        }))
        .await;
    }

    /// The addresses that the EndpointSlices of a Service hold as ready, sorted.
    pub async fn ready_addresses(&self, namespace: &str, service: &str) -> Vec<String> {
        let slices = self.api.list("EndpointSlice", namespace).await;
        let of_service =
            slices.iter().filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service);
        let endpoints = of_service.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let addresses = ready.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
        let mut addresses: Vec<String> = addresses.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        addresses.sort();
        addresses
    }

    /// Makes a pod and says that it is ready.
    pub async fn pod(&self, pod: Pod<'_>) {
        self.put(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } })).await;
        self.put(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": pod.name, "namespace": pod.namespace, "labels": map(pod.labels) },
            "spec": {
                "nodeName": NODE,
                "serviceAccountName": pod.service_account,
                "automountServiceAccountToken": false,
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{
                    "name": "app", "image": "app", "ports": [{ "name": "http", "containerPort": pod.port }],
                }],
            },
        }))
        .await;
        self.pod_is_ready(pod.namespace, pod.name, pod.address, true).await;
    }

    /// Writes a pod's status as its kubelet would.
    pub async fn pod_is_ready(&self, namespace: &str, name: &str, address: IpAddr, ready: bool) {
        let condition = |of: &str| json!({ "type": of, "status": if ready { "True" } else { "False" } });
        let status = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
            "status": {
                "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
                "conditions": [condition("Ready"), condition("ContainersReady")],
            },
        });
        let applied = self.api.apply_status(&status).await;
        applied.unwrap_or_else(|refusal| panic!("failed to write the status of {namespace}/{name}: {refusal:?}"));
    }

    /// Creates or changes an object; a refusal fails the test.
    pub async fn put(&self, object: &Value) -> Value {
        self.api.apply(object).await.unwrap_or_else(|refusal| panic!("{refusal:?}: {object}"))
    }
}

fn map(labels: &[(&str, &str)]) -> Value {
    labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}
