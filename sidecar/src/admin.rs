//! The admin listener: whether the process lives, whether it is ready, what it counts, what it enforces.
//!
//! It has a runtime of its own, apart from the one that serves requests, so that it answers when that one is busy.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headgate_snapshot::Resource;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use headgate_snapshot::Report;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::rate_limit::Limiter;
use crate::state::{Current, Readiness};

/// What the pages show.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) reports: watch::Receiver<Report>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    /// The runtime that serves requests.
    pub(crate) workers: Handle,
}

/// The routes of the proxy itself, beside which a process may put its own.
pub(crate) fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/config", get(config))
        .with_state(shown)
}

async fn ready(State(shown): State<Shown>) -> Response {
    let readiness = *shown.readiness.borrow();
    match readiness {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::WaitingForPlan => (StatusCode::SERVICE_UNAVAILABLE, "no plan yet\n").into_response(),
        Readiness::WaitingForProbes => {
            (StatusCode::SERVICE_UNAVAILABLE, "first probes are under way\n").into_response()
        }
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let report = shown.reports.borrow().clone();
    let tasks = shown.workers.metrics().num_alive_tasks() + Handle::current().metrics().num_alive_tasks();
    let plan = Arc::clone(&shown.current.load().plan);
    let text = shown.metrics.text(&report, &plan, shown.limiter.limits(), tasks);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What is enforced. Resources that are refused are listed with the reason; of those the last good state is in force.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Enforced {
    version: String,
    resources: Vec<Resource>,
    refusals: Vec<headgate_snapshot::Refusal>,
}

async fn config(State(shown): State<Shown>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return (StatusCode::FORBIDDEN, "only from this machine\n").into_response();
    }
    let current = shown.current.load_full();
    let resources = current.plan.resources().entries().values().map(|entry| entry.resource.without_secrets()).collect();
    let refusals = shown.reports.borrow().refusals.clone();
    Json(Enforced { version: current.plan.version().to_owned(), resources, refusals }).into_response()
}
