//! The addresses of the API server and of headgate itself, which are never origins.
//!
//! They follow from what every replica sees alike: the EndpointSlices and Services of the API server, the operator and
//! the gateway, and flags. What differs from one replica to the next would make each publish something else.

use std::net::{IpAddr, SocketAddr};

use headgate_translate::{AddressPolicy, Inputs, ObjectKey};
use k8s_openapi::api::core::v1::ServiceSpec;

/// Label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where to look for them.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Namespace of the operator and the gateway.
    pub namespace: String,
    /// Ports that are ours beside those of the Services.
    pub ports: Vec<u16>,
    /// Addresses that are known without looking: the API server's as it is written in the configuration.
    pub fixed: Vec<SocketAddr>,
}

impl Own {
    /// Brings a policy in step with the world.
    pub fn deny(&self, inputs: &mut Inputs) {
        let found = self.addresses(inputs);
        let (AddressPolicy::Any { denied } | AddressPolicy::Public { allowed: _, denied }) =
            &mut inputs.options.addresses;
        if *denied != found {
            *denied = found;
        }
    }

    fn addresses(&self, inputs: &Inputs) -> Vec<SocketAddr> {
        let own = self.ports.as_slice();
        let services = [
            (ObjectKey::new("default", "kubernetes"), &[][..]),
            (ObjectKey::new(self.namespace.as_str(), "headgate-operator"), own),
            (ObjectKey::new(self.namespace.as_str(), "headgate-gateway"), own),
        ];
        let mut addresses = self.fixed.clone();
        for (service, ports) in &services {
            addresses.extend(of_slices(inputs, service, ports));
            let spec = inputs.services.get(service).and_then(|service| service.spec.as_ref());
            addresses.extend(spec.into_iter().flat_map(of_service));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

fn of_slices(inputs: &Inputs, service: &ObjectKey, ports: &[u16]) -> Vec<SocketAddr> {
    let first = ObjectKey::new(service.namespace.as_str(), "");
    let slices = inputs.endpoint_slices.range(first..).take_while(|(key, _)| key.namespace == service.namespace);
    let mut addresses = Vec::new();
    for (_, slice) in slices {
        let labels = slice.metadata.labels.as_ref();
        if labels.and_then(|labels| labels.get(SERVICE_NAME)) != Some(&service.name) {
            continue;
        }
        let told = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
        let ports: Vec<u16> = told.chain(ports.iter().copied()).collect();
        let found = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
        for address in found.filter_map(|address| address.parse::<IpAddr>().ok()) {
            addresses.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
        }
    }
    addresses
}

fn of_service(spec: &ServiceSpec) -> Vec<SocketAddr> {
    let addresses = spec.cluster_ips.iter().flatten().filter_map(|address| address.parse::<IpAddr>().ok());
    let ports = || spec.ports.iter().flatten().filter_map(|port| u16::try_from(port.port).ok());
    addresses.flat_map(|address| ports().map(move |port| SocketAddr::new(address, port))).collect()
}
