//! The API for people and their tools: bearer tokens, and the permissions that the cluster gives their owners.
//!
//! ```text
//! request -> bearer token -> TokenReview -> Caller -> SubjectAccessReview for each kind and namespace -> answer
//! ```
//!
//! Errors are problem documents. A caller who may read only some namespaces sees the objects of those, and nothing
//! says what else there is. The proxies belong to no namespace: who may read all Gateways sees them.

pub mod openapi;
mod problem;
mod readable;
mod serve;

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

pub use problem::problem;
pub use serve::serve;

use crate::access::{Access, Denial, Door};
use crate::clock;
use crate::status::{StatusList, StatusQuestion};
use readable::Readable;

/// Tells the status of all objects as it is now; nothing while that is not known yet.
pub type StatusSource = Arc<dyn Fn() -> Option<StatusList> + Send + Sync>;

#[derive(Clone)]
struct Shown {
    access: Arc<Access>,
    status: StatusSource,
}

/// The routes of the operator's API, to be served over TLS: `serve(TlsListener, routes)`.
pub fn routes(access: Arc<Access>, status: StatusSource) -> Router {
    Router::new()
        .route(openapi::STATUS.path, get(tell_status))
        .route(openapi::OPENAPI.path, get(|| async { Json(openapi::document(&[openapi::STATUS, openapi::OPENAPI])) }))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such path; see /openapi.json") })
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "see /openapi.json") })
        .with_state(Shown { access, status })
}

async fn tell_status(State(shown): State<Shown>, Query(asked): Query<StatusQuestion>, headers: HeaderMap) -> Response {
    let Shown { access, status } = shown;
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = token.strip_prefix("Bearer ").unwrap_or_default();
    let caller = match access.caller(Door::Api, token, clock::instant(), clock::timestamp()).await {
        Ok(caller) => caller,
        Err(denial) => return denied(&denial),
    };
    // A list of thousands of objects takes a while, in which the runtime has other things to do.
    let list = match tokio::task::spawn_blocking(move || status()).await {
        Ok(Some(list)) => list.about(&asked),
        Ok(None) => return problem(StatusCode::SERVICE_UNAVAILABLE, "starting; ask again in a moment"),
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    match Readable::ask(&access, &caller, &list).await {
        Ok(readable) if readable.is_nothing() => problem(
            StatusCode::FORBIDDEN,
            &format!(
                "{} may not `get` any of the kinds that headgate governs; bind a role that allows it",
                caller.name
            ),
        ),
        Ok(readable) => Json(readable.part(list).into_json()).into_response(),
        Err(denial) => denied(&denial),
    }
}

fn denied(denial: &Denial) -> Response {
    match denial {
        Denial::NoToken | Denial::NotAuthenticated | Denial::WrongAudience | Denial::Endless | Denial::Ended => {
            let mut response = problem(StatusCode::UNAUTHORIZED, &denial.to_string());
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
        Denial::NoGateway { .. } | Denial::Unbound { .. } | Denial::NotAllowed { .. } | Denial::AnotherIdentity => {
            problem(StatusCode::FORBIDDEN, &denial.to_string())
        }
        Denial::Unanswered(_) => problem(StatusCode::SERVICE_UNAVAILABLE, &denial.to_string()),
    }
}
