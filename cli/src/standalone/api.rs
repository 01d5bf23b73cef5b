//! What standalone serves on its admin address beside the proxy's own pages.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headgate_engine::{Chance, Listening, Plan};
use headgate_operator::api::openapi::{self, Method, Path};
use headgate_operator::api::problem;
use headgate_operator::status::StatusQuestion;
use headgate_proxy::Application;

use super::control::Control;
use crate::explain::{self, Question};

/// What would happen to a request.
const EXPLAIN: Path = Path {
    path: "/v1/explain",
    method: Method::Get,
    summary: "What would happen to a request, step by step",
    parameters: &[
        ("url", true, "The URL of the request"),
        ("method", false, "GET by default"),
        ("headers", false, "Headers as `name: value`, one a line"),
    ],
    errors: &[400, 401, 503],
};

/// A limit that the application asks by name. The proxy serves it.
const LIMIT: Path = Path {
    path: Application::PATH,
    method: Method::Post(&[("key", "What is limited, a tenant for instance")]),
    summary: "Whether one more request of a key is within a limit; a refusal is an answer too",
    parameters: &[("namespace", true, "Namespace of the RateLimit"), ("name", true, "Name of the RateLimit")],
    errors: &[400, 401, 404, 409, 415, 422, 503],
};

/// What the pages show. The proxy starts after its pages are known, so its plan comes later.
#[derive(Clone)]
pub struct Shown {
    /// The control plane.
    pub control: Arc<OnceLock<Arc<Control>>>,
    /// Tells the plan in force.
    pub plan: Arc<OnceLock<PlanInForce>>,
    /// What the application asks.
    pub application: Application,
}

/// Tells the plan in force.
pub type PlanInForce = Box<dyn Fn() -> Arc<Plan> + Send + Sync>;

/// The pages. With a token they need it; without one the address is a loopback address.
pub fn routes(shown: Shown, token: Option<Arc<str>>) -> Router {
    let application = shown.application.routes();
    let routes = Router::new()
        .route(openapi::STATUS.path, get(status))
        .route(EXPLAIN.path, get(explain))
        .route(
            openapi::OPENAPI.path,
            get(|| async { Json(openapi::document(&[openapi::STATUS, EXPLAIN, LIMIT, openapi::OPENAPI])) }),
        )
        .with_state(shown)
        .merge(application);
    match token {
        Some(token) => routes.layer(middleware::from_fn_with_state(token, authorise)),
        None => routes,
    }
}

async fn status(State(shown): State<Shown>, Query(asked): Query<StatusQuestion>) -> Response {
    let Some(control) = shown.control.get().cloned() else { return starting() };
    match tokio::task::spawn_blocking(move || control.list().about(&asked).into_json()).await {
        Ok(list) => Json(list).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn explain(State(shown): State<Shown>, Query(question): Query<Question>) -> Response {
    let Some(plan) = shown.plan.get() else { return starting() };
    // Any number does: it stands for the chance of one request.
    let chance = Chance::new(RandomState::new().hash_one(&question.url));
    match explain::answer(&plan(), &question, Listening::Merged, chance) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn authorise(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if equal(given.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    problem(StatusCode::UNAUTHORIZED, "this page needs the token of --admin-token-file as a bearer token")
}

/// Equality that takes the same time wherever the difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

fn starting() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "starting; ask again in a moment")
}

#[cfg(test)]
mod tests {
    use super::equal;

    #[test]
    fn tokens_are_equal_only_when_every_byte_is() {
        for (one, other, expected) in [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false)] {
            assert_eq!(equal(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
        }
    }
}
