//! The manifests of `examples/`, and the origins that they refer to.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::folder::Folder;
use crate::origin::Origin;

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
    /// Starts them all on the ports that a copy of the examples names. Where somebody else has one of them, the origin
    /// gets another one, and so does the copy.
    pub fn start(copy: &Folder) -> Self {
        Self {
            eu: start("eu", 9000, copy),
            asia: [start("asia-1", 9001, copy), start("asia-2", 9002, copy)],
            storefront: start("storefront", 9003, copy),
            static_site: start("static-site", 9004, copy),
            storefront_next: start("storefront-next", 9005, copy),
        }
    }
}

fn start(name: &str, port: u16, copy: &Folder) -> Origin {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(wanted).is_ok() {
        return Origin::start_at(name, wanted);
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let other = free.expect("a free port on loopback");
    for file in copy.names() {
        copy.write(&file, &copy.read(&file).replace(&port.to_string(), &other.port().to_string()));
    }
    Origin::start_at(name, other)
}
