//! Asks the admin address of a running headgate.

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

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Api {
    /// The admin address of `headgate standalone`
    #[arg(
        id = "api_url",
        long = "api",
        value_name = "URL",
        default_value = "http://127.0.0.1:9901",
        env = "HEADGATE_API"
    )]
    pub url: String,

    /// File with the token of its --admin-token-file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl Api {
    /// GETs a page as JSON.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let question = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let base = self.url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let uri: Uri =
            format!("{base}{path}{question}").parse().with_context(|| format!("--api {} is not a URL", self.url))?;
        if uri.scheme_str() != Some("http") {
            bail!("--api {}: standalone answers on http only; write http://HOST:PORT", self.url);
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
            .with_context(|| format!("cannot ask {}: is `headgate standalone` running there (--admin)?", self.url))?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(json);
        }
        let detail = json["detail"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        bail!("{} answered {status}: {}", self.url, detail.trim())
    }
}
