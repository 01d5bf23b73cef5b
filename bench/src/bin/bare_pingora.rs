//! The smallest Pingora proxy: what the framework itself costs, and so the base of headgate's own bar.
//!
//! It has headgate's TLS library and allocator, one worker thread, and one origin; it decides nothing, adds no header,
//! counts nothing. Usage: `bare_pingora LISTEN ORIGIN`, both `ADDRESS:PORT`.

use std::net::SocketAddr;

use anyhow::Context;
use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections to the origin that are kept when idle, as many as each peer keeps.
const KEPT_CONNECTIONS: usize = 256;

struct Bare {
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    #[expect(clippy::disallowed_methods, reason = "it is given an address, so there is no name to resolve")]
    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().context("usage: bare_pingora LISTEN ORIGIN")?;
    let origin = arguments.next().context("usage: bare_pingora LISTEN ORIGIN")?.parse().context("ORIGIN")?;
    let configuration = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { origin });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
