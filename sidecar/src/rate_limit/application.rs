//! The application asks a limit by name: `POST /v1/ratelimits/{namespace}/{name}/limit` with `{"key": "tenant-7"}`.
//!
//! It is told whether it may go on, and does as it likes. Being refused is an answer, not an error.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use headgate_engine::{Call, Called, Told};
use headgate_snapshot::Key;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::limiter::Limiter;
use crate::clock::Clock;
use crate::state::Current;

/// Bytes of a question.
const MOST_BYTES: usize = 64 * 1024;

/// What applications ask of a proxy. It may be served before the proxy is there, and answers 503 until then.
#[derive(Clone, Default)]
pub struct Application(Arc<OnceLock<Asked>>);

/// What answers them.
pub(crate) struct Asked {
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) clock: Clock,
}

/// Why a limit cannot be asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unasked {
    /// There is no proxy yet.
    #[error("starting; ask again in a moment")]
    Starting,
    /// There is no such limit.
    #[error("there is no RateLimit {namespace}/{name} here")]
    Unknown {
        /// Where it would be.
        namespace: String,
        /// What it would be called.
        name: String,
    },
    /// The limit reads its key from requests.
    #[error(
        "RateLimit {namespace}/{name} takes its key from requests; ask a limit that has no key, applicationOnly for \
         instance"
    )]
    OwnKey {
        /// Where it is.
        namespace: String,
        /// What it is called.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    key: String,
}

/// Section 2 of the contract.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    success: bool,
    limit: u32,
    remaining: u32,
    reset_seconds: u64,
}

impl Application {
    /// Where it asks.
    pub const PATH: &str = "/v1/ratelimits/{namespace}/{name}/limit";

    /// The page.
    pub fn routes(&self) -> Router {
        Router::new().route(Self::PATH, post(limit)).layer(DefaultBodyLimit::max(MOST_BYTES)).with_state(self.clone())
    }

    /// Asks a limit for so many requests of a key. 0: what would come of one more, and nothing is counted.
    pub(crate) async fn ask(&self, namespace: &str, name: &str, key: &[&str], cost: u32) -> Result<Told, Unasked> {
        let Asked { current, limiter, clock } = self.0.get().ok_or(Unasked::Starting)?;
        let plan = Arc::clone(&current.load().plan);
        let place = || (namespace.to_owned(), name.to_owned());
        let Some(limit) = plan.limit(&Key::new("RateLimit", namespace, name)) else {
            let (namespace, name) = place();
            return Err(Unasked::Unknown { namespace, name });
        };
        if limit.has_key() {
            let (namespace, name) = place();
            return Err(Unasked::OwnKey { namespace, name });
        }
        Ok(match Call::begin(limit, key, cost, limiter.limits(), clock.epoch()) {
            Called::Told(told) => told,
            Called::Asks(call) => {
                let answer = limiter.ask(call.question()).await;
                call.answered(&answer, limiter.limits(), clock.epoch())
            }
        })
    }

    /// From now on this answers. Only the first one counts.
    pub(crate) fn is_answered_by(&self, asked: Asked) {
        let _ = self.0.set(asked);
    }
}

async fn limit(
    State(application): State<Application>,
    Path((namespace, name)): Path<(String, String)>,
    question: Result<Json<Question>, JsonRejection>,
) -> Response {
    let key = match question {
        Ok(Json(Question { key })) => key,
        Err(rejection) => {
            let sentence = format!("{}; send {{\"key\": \"…\"}} as application/json", rejection.body_text());
            return problem(rejection.status(), &sentence);
        }
    };
    match application.ask(&namespace, &name, &[&key], 1).await {
        Ok(told) => Json(Verdict::of(told)).into_response(),
        Err(unasked) => {
            let status = match unasked {
                Unasked::Starting => StatusCode::SERVICE_UNAVAILABLE,
                Unasked::Unknown { .. } => StatusCode::NOT_FOUND,
                Unasked::OwnKey { .. } => StatusCode::CONFLICT,
            };
            problem(status, &unasked.to_string())
        }
    }
}

impl Verdict {
    fn of(told: Told) -> Self {
        let Told { refused, limit, period: _, figures } = told;
        Self {
            success: refused.is_none(),
            limit,
            remaining: figures.remaining,
            reset_seconds: figures.reset_after.div_ceil(1_000),
        }
    }
}

/// An RFC 9457 problem document.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let document = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
}
