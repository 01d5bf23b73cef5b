//! The manifests of `examples/`, and the origins that they refer to.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use crate::{eventually, origin::Origin};

/// Another run may hold the ports of the examples for as long as one test takes.
const PORTS_LIMIT: Duration = Duration::from_mins(1);

/// Where the examples lie.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

/// The origins on the ports that the examples name.
pub struct Backends {
    /// The Service `chat-eu`: origin `eu` of the pool `chat`.
    pub eu: Origin,
    /// Origin `asia` of the pool `chat`.
    pub asia: [Origin; 2],
    /// The Service `storefront`.
    pub storefront: Origin,
    /// The pool `static-site`.
    pub static_site: Origin,
    /// The pool `storefront-next`.
    pub storefront_next: Origin,
}

impl Backends {
    /// Starts them all, as soon as nobody else has their ports.
    pub async fn start() -> Self {
        Self {
            eu: start("eu", 9000).await,
            asia: [start("asia-1", 9001).await, start("asia-2", 9002).await],
            storefront: start("storefront", 9003).await,
            static_site: start("static-site", 9004).await,
            storefront_next: start("storefront-next", 9005).await,
        }
    }
}

async fn start(name: &str, port: u16) -> Origin {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let what = format!("port {port} of the examples is free");
    eventually(PORTS_LIMIT, &what, async || TcpListener::bind(address).map(drop).map_err(|error| error.to_string()))
        .await;
    Origin::start_at(name, address)
}
