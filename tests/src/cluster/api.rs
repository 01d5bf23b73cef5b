//! A client of the API server, for what would be slow by kubectl: looks at objects, many edits, tokens.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::kinds::{self, Resource};
use crate::{
    client::{Answer, Ask, Connection, Failure, get},
    eventually,
};

/// How soon the API server serves a kind whose definition it has accepted.
const KIND_LIMIT: Duration = Duration::from_secs(10);
/// The field manager of what tests apply.
const MANAGER: &str = "headgate-tests";

/// Why the API server did not do what it was asked.
#[derive(Debug)]
pub enum Refusal {
    /// There was no answer.
    NoAnswer(Failure),
    /// It said no.
    Status {
        /// The status code.
        code: u16,
        /// The sentence.
        message: String,
    },
}

impl Refusal {
    /// The status code; `None` where there was no answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::NoAnswer(_) => None,
            Self::Status { code, .. } => Some(*code),
        }
    }
}

/// A client of the API server.
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: Option<String>,
    kept: Mutex<Option<Connection>>,
    resources: Mutex<Vec<Resource>>,
}

impl Api {
    /// A client with a certificate in its configuration, or with a token.
    pub(super) fn new(address: SocketAddr, tls: Arc<ClientConfig>, token: Option<String>) -> Self {
        Self { address, tls, token, kept: Mutex::new(None), resources: Mutex::new(Vec::new()) }
    }

    /// An object as it is now; an empty namespace for kinds that have none. `None` where there is no such object.
    pub async fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let path = format!("{}/{name}", self.path(kind, namespace).await);
        match self.send(Method::GET, &path, "", None).await {
            Ok(object) => Some(object),
            Err(refusal) if refusal.code() == Some(404) => None,
            Err(refusal) => panic!("failed to get {kind} {namespace}/{name}: {refusal:?}"),
        }
    }

    /// All objects of a kind in a namespace, or in all where it is empty.
    pub async fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let list = self.get(&self.path(kind, namespace).await).await;
        let mut list = list.unwrap_or_else(|refusal| panic!("failed to list {kind} in `{namespace}`: {refusal:?}"));
        match list["items"].take() {
            Value::Array(items) => items,
            _ => panic!("not a list: {list}"),
        }
    }

    /// Creates or changes an object: a server-side apply that takes all fields that it names.
    pub async fn apply(&self, object: &Value) -> Result<Value, Refusal> {
        self.apply_to(object, "").await
    }

    /// The same for its status.
    pub async fn apply_status(&self, object: &Value) -> Result<Value, Refusal> {
        self.apply_to(object, "/status").await
    }

    async fn apply_to(&self, object: &Value, subresource: &str) -> Result<Value, Refusal> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
        let namespace = metadata["namespace"].as_str().unwrap_or("default");
        let path = self.path(&kind, namespace).await;
        let path = format!("{path}/{}{subresource}?fieldManager={MANAGER}&force=true", text(&metadata["name"]));
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", Some(object)).await
    }

    /// Merges this into an object.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, change: &Value) -> Result<Value, Refusal> {
        let path = format!("{}/{name}?fieldManager={MANAGER}", self.path(kind, namespace).await);
        self.send(Method::PATCH, &path, "application/merge-patch+json", Some(change)).await
    }

    /// Deletes an object at once, a pod without its grace period: no kubelet would ever end that.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let path = format!("{}/{name}", self.path(kind, namespace).await);
        self.send(Method::DELETE, &path, "application/json", Some(&json!({ "gracePeriodSeconds": 0 }))).await
    }

    /// Creates what the path names: an object in a collection, or a subresource.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.send(Method::POST, path, "application/json", Some(object)).await
    }

    /// GETs a path.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.send(Method::GET, path, "", None).await
    }

    /// Asks anything.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let mut ask = get(&self.address.to_string(), path).method(method).header("accept", "application/json");
        if let Some(body) = body {
            ask = ask.header("content-type", content_type).body(body.to_string());
        }
        let answer = self.exchange(ask).await.map_err(Refusal::NoAnswer)?;
        let body = || serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::String(answer.text()));
        match answer.status {
            200..300 => Ok(body()),
            code => {
                let message = body()["message"].as_str().map_or_else(|| answer.text(), ToOwned::to_owned);
                Err(Refusal::Status { code, message })
            }
        }
    }

    /// The collection of a kind, such as `/api/v1/namespaces/default/pods`.
    pub async fn path(&self, kind: &str, namespace: &str) -> String {
        let known = || self.resources.lock().iter().find(|resource| resource.is(kind)).map(|it| it.path(namespace));
        if let Some(path) = known() {
            return path;
        }
        eventually(KIND_LIMIT, &format!("the API server serves {kind}"), async || {
            let served = self.resources().await.map_err(|failure| format!("{failure:?}"))?;
            *self.resources.lock() = served;
            known().ok_or_else(|| "it does not".to_owned())
        })
        .await
    }

    async fn resources(&self) -> Result<Vec<Resource>, Failure> {
        let mut resources = Vec::new();
        for path in ["/api", "/apis"] {
            let ask = get(&self.address.to_string(), path).header("accept", kinds::DISCOVERY);
            resources.extend(kinds::read(&self.exchange(ask).await?.json()));
        }
        Ok(resources)
    }

    /// Sends on the connection of the last time, if nobody else uses it and the server has not closed it.
    async fn exchange(&self, mut ask: Ask) -> Result<Answer, Failure> {
        if let Some(token) = &self.token {
            ask = ask.header("authorization", &format!("Bearer {token}"));
        }
        let mut kept = self.kept.lock().take();
        if let Some(connection) = &mut kept
            && !connection.is_open().await
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::tls(self.address, &self.address.ip().to_string(), self.tls.clone()).await?,
        };
        let answer = connection.send(&ask).await?;
        *self.kept.lock() = Some(connection);
        Ok(answer)
    }
}
