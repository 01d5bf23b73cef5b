//! Asks the admin address of a running `headgate standalone`, or finds the cluster to ask in its place.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::AUTHORIZATION;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cluster::{Access, Cluster};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Api {
    /// Ask the admin address of `headgate standalone` in place of a cluster [default without a kubeconfig:
    /// http://127.0.0.1:9901]
    #[arg(id = "api_url", long = "api", value_name = "URL", env = "HEADGATE_API")]
    pub url: Option<String>,

    /// File with the token of its --admin-token-file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Where standalone answers unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:9901";

impl Api {
    /// The cluster to ask, or nothing where it is a standalone process.
    pub async fn cluster(&self, access: &Access) -> anyhow::Result<Option<Cluster>> {
        if self.url.is_some() {
            return Ok(None);
        }
        Cluster::connect(access).await
    }

    /// GETs a page of standalone as JSON.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = self.url.as_deref().unwrap_or(DEFAULT_URL);
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let question = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let base = url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let uri: Uri =
            format!("{base}{path}{question}").parse().with_context(|| format!("--api {url} is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            bail!("--api {url}: standalone answers on http only; write http://HOST:PORT");
        }
        let mut request = Request::get(uri);
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read --token-file {}", file.display()))?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let asked = async {
            let answer = client.request(request.body(Empty::new())?).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(LIMIT, asked)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|answered| answered)
            .with_context(|| {
                format!(
                    "cannot ask {url}: is `headgate standalone` running there (--admin)? A cluster needs a kubeconfig"
                )
            })?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(json);
        }
        let detail = json["detail"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        bail!("{url} answered {status}: {}", detail.trim())
    }
}
