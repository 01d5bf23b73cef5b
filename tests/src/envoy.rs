//! Envoy as a process, where `HEADGATE_ENVOY` says that there is one; `tests/envoy` installs it.

use std::{env, net::SocketAddr, path::Path, path::PathBuf, process::Command, time::Duration};

use crate::{client, eventually, folder::Folder, loopback, manifests::fill, process::Process};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A front proxy that asks a rate limit service for each request; the header `x-client` is the key.
const CONFIGURATION: &str = r#"
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: $host, port_value: $port}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route:
                  cluster: origin
                  rate_limits:
                  - actions:
                    - generic_key: {descriptor_key: limit, descriptor_value: "$limit"}
                    - request_headers: {header_name: x-client, descriptor_key: client}
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: default
              timeout: 1s
              failure_mode_deny: true
              rate_limit_service:
                transport_api_version: V3
                grpc_service:
                  envoy_grpc: {cluster_name: limits}
                  initial_metadata: [{key: authorization, value: "Bearer $token"}]
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: origin
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: $origin_host, port_value: $origin_port}}}}]}]
  - name: limits
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: limits
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: $limits_host, port_value: $limits_port}}}}]}]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: limits.test
        common_tls_context:
          validation_context: {trusted_ca: {filename: "$authority"}}
"#;

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// Where it answers.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
    _folder: Folder,
}

/// What an Envoy is to do.
#[derive(Debug)]
pub struct Task<'a> {
    /// Where requests go.
    pub origin: SocketAddr,
    /// Its rate limit service.
    pub limits: SocketAddr,
    /// Who signed the service's certificate, PEM.
    pub authority: &'a str,
    /// The token that it shows.
    pub token: &'a str,
    /// The RateLimit that it asks for, in namespace default.
    pub limit: &'a str,
}

/// The program, where there is one.
pub fn program() -> Option<PathBuf> {
    env::var_os("HEADGATE_ENVOY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl Envoy {
    /// Starts it and waits until it answers.
    pub async fn start(program: &Path, task: &Task<'_>) -> Self {
        let Task { origin, limits, authority, token, limit } = task;
        let (address, folder) = (loopback::socket(), Folder::new());
        folder.write("ca.pem", authority);
        let configuration = fill(
            CONFIGURATION,
            &[
                ("origin_host", &origin.ip()),
                ("origin_port", &origin.port()),
                ("limits_host", &limits.ip()),
                ("limits_port", &limits.port()),
                ("authority", &folder.path().join("ca.pem").display()),
                ("token", token),
                ("limit", limit),
                ("host", &address.ip()),
                ("port", &address.port()),
            ],
        );
        folder.write("envoy.yaml", &configuration);
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.path().join("envoy.yaml"));
        command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        let envoy = Self { address, process: Process::spawn(command), _folder: folder };
        eventually(START_LIMIT, "Envoy answers", async || {
            client::get("envoy", "/").try_to(address).await.map(drop).map_err(|failure| format!("{failure:?}"))
        })
        .await;
        envoy
    }
}
