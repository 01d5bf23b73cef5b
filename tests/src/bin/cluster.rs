//! `make cluster`: a control plane on this machine to play with, until Ctrl-C.

use headgate_tests::cluster::{Cluster, assets, network::Network};

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("failed to start a runtime");
    // On this thread: the control plane ends with the thread that started it.
    runtime.block_on(async {
        let cluster = Cluster::start_on(Network::loopback()).await;
        cluster.install_crds().await;
        cluster.install_gateway_api().await;
        anstream::println!("Kubernetes with the definitions of headgate and of the Gateway API is ready:");
        anstream::println!();
        anstream::println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        anstream::println!("  export PATH={}:$PATH", assets::folder().display());
        anstream::println!();
        anstream::println!(
            "It has no nodes: Services and EndpointSlices are objects alone. Ctrl-C ends it, and all in it."
        );
        tokio::signal::ctrl_c().await.expect("failed to wait for Ctrl-C");
    });
}
