//! The admin listener: whether the process lives, whether it is ready, what it counts, what it publishes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headgate_snapshot::Resource;
use prometheus::{Registry, TextEncoder};
use serde::Serialize;

use crate::api::problem;
use crate::hub::Hub;

/// Tells what cannot be read of the cluster, one sentence each.
pub type Troubles = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

#[derive(Clone)]
struct Shown {
    hub: Arc<Hub>,
    registry: Registry,
    troubles: Troubles,
}

/// What is published.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    version: String,
    sequence: u64,
    resources: Vec<Resource>,
}

/// The routes of `--admin`, to be served with the addresses of the peers:
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn routes(hub: Arc<Hub>, registry: Registry, troubles: Troubles) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/config", get(config))
        .with_state(Shown { hub, registry, troubles })
}

/// Ready once the first translation of a complete world is published, from then on always. What cannot be read is told
/// either way.
async fn ready(State(shown): State<Shown>) -> Response {
    let troubles: String = (shown.troubles)().into_iter().flat_map(|trouble| [trouble, "\n".to_owned()]).collect();
    if *shown.hub.publications().borrow() > 0 {
        format!("ready\n{troubles}").into_response()
    } else {
        let sentence = "the cluster's objects are not all read yet\n";
        (StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}{troubles}")).into_response()
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match TextEncoder::new().encode_to_string(&shown.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn config(State(shown): State<Shown>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return problem(StatusCode::FORBIDDEN, "only from this machine");
    }
    let progress = shown.hub.progress();
    let resources = progress.set.entries().values().map(|entry| entry.resource.without_secrets()).collect();
    Json(Published { version: progress.set.version(), sequence: progress.sequence, resources }).into_response()
}
