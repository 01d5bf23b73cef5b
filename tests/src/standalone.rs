//! `headgate standalone` as a process.

use std::{ffi::OsString, net::SocketAddr, path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    binary,
    client::{self, Answer},
    eventually,
    folder::Folder,
    loopback,
    process::Process,
};

/// The contract gives readiness 2 s for the first probes; the rest is for a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Any edit is enforced long before.
pub const EDIT_LIMIT: Duration = Duration::from_secs(10);

/// A standalone to be started.
#[derive(Debug)]
pub struct Builder {
    arguments: Vec<OsString>,
    program: Option<Vec<OsString>>,
}

/// A running standalone.
#[derive(Debug)]
pub struct Standalone {
    /// Where HTTP listeners answer.
    pub http: SocketAddr,
    /// Where HTTPS listeners answer.
    pub https: SocketAddr,
    /// Where its admin interface answers.
    pub admin: SocketAddr,
    /// Its process.
    pub process: Process,
}

/// A condition of an object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False`, `Partial` or `Unknown`.
    pub status: String,
    /// A word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The generation that it is about.
    pub observed_generation: i64,
}

impl Builder {
    /// One more file or folder of manifests.
    #[must_use]
    pub fn and(self, path: &Path) -> Self {
        self.argument("-f").argument(path)
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Run by this program, which gets the command line behind its own arguments.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> Self {
        self.program = Some(program.iter().map(OsString::from).collect());
        self
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Standalone {
        let (http, https, admin) = (loopback::socket(), loopback::socket(), loopback::socket());
        let mut line: Vec<OsString> = self.program.clone().unwrap_or_default();
        line.push(binary::path().into());
        line.push("standalone".into());
        for (flag, address) in [("--listen", http), ("--tls-listen", https), ("--admin", admin)] {
            line.extend([flag.into(), address.to_string().into()]);
        }
        line.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        Standalone { http, https, admin, process: Process::spawn(command) }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Standalone {
        let mut standalone = self.spawn();
        standalone.ready().await;
        standalone
    }
}

impl Standalone {
    /// One that reads this folder.
    pub fn reading(folder: &Folder) -> Builder {
        Self::reading_path(folder.path())
    }

    /// One that reads this file or folder.
    pub fn reading_path(path: &Path) -> Builder {
        Builder { arguments: Vec::new(), program: None }.and(path)
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        eventually(READY_LIMIT, "standalone is ready", async || {
            assert!(self.process.ended().is_none(), "standalone ended at its start:\n{}", self.process.stderr());
            match client::get("admin", "/readyz").try_to(self.admin).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(failure) => Err(format!("{failure:?}")),
            }
        })
        .await;
    }

    /// GETs a path of its HTTP listeners.
    pub async fn get(&self, host: &str, path: &str) -> Answer {
        client::get(host, path).to(self.http).await
    }

    /// GETs a path of its admin interface.
    pub async fn admin(&self, path: &str) -> Answer {
        client::get(&self.admin.to_string(), path).to(self.admin).await
    }

    /// Waits until a GET is answered with this status by this origin (empty: by headgate itself).
    pub async fn answers(&self, host: &str, path: &str, status: u16, origin: &str) -> Answer {
        self.answers_within(EDIT_LIMIT, host, path, status, origin).await
    }

    /// The same with another limit.
    pub async fn answers_within(&self, limit: Duration, host: &str, path: &str, status: u16, origin: &str) -> Answer {
        let what = format!("{host}{path} is answered {status} by `{origin}`");
        eventually(limit, &what, async || match client::get(host, path).try_to(self.http).await {
            Ok(answer) if answer.status == status && answer.origin() == origin => Ok(answer),
            Ok(answer) => Err(format!("{} by `{}` {}", answer.status, answer.origin(), answer.reason())),
            Err(failure) => Err(format!("{failure:?}")),
        })
        .await
    }

    /// Waits until one of these origins answers a GET of `/`, and gives its name.
    pub async fn answers_by_any(&self, limit: Duration, host: &str, origins: &[&str]) -> String {
        let what = format!("{host}/ is answered by one of {origins:?}");
        eventually(limit, &what, async || match client::get(host, "/").try_to(self.http).await {
            Ok(answer) if answer.status == 200 && origins.contains(&answer.origin()) => Ok(answer.origin().to_owned()),
            Ok(answer) => Err(format!("{} by `{}` {}", answer.status, answer.origin(), answer.reason())),
            Err(failure) => Err(format!("{failure:?}")),
        })
        .await
    }

    /// An object as `/v1/status` shows it now.
    pub async fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let list = self.admin("/v1/status").await.json();
        let items = list["items"].as_array().unwrap_or_else(|| panic!("/v1/status is not a List: {list}"));
        items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name).cloned()
    }

    /// A condition of an object now.
    pub async fn condition(&self, kind: &str, name: &str, of: &str) -> Option<Condition> {
        condition_of(&self.object(kind, name).await?["status"]["conditions"], of)
    }

    /// Waits until a condition of an object has this status and reason (empty: any), and a message with all of `words`.
    pub async fn tells(&self, kind: &str, name: &str, expected: (&str, &str, &str), words: &[&str]) -> Condition {
        self.told(kind, name, expected, words, |object| object["status"]["conditions"].clone()).await
    }

    /// The same for an HTTPRoute, whose conditions are told for each parent: the first one's.
    pub async fn route_condition(&self, name: &str, expected: (&str, &str, &str), words: &[&str]) -> Condition {
        self.told("HTTPRoute", name, expected, words, |object| object["status"]["parents"][0]["conditions"].clone())
            .await
    }

    async fn told(
        &self,
        kind: &str,
        name: &str,
        (of, status, reason): (&str, &str, &str),
        words: &[&str],
        conditions: impl Fn(&Value) -> Value,
    ) -> Condition {
        let what = format!("{kind} {name} tells {of}={status} {reason} {words:?}");
        eventually(EDIT_LIMIT, &what, async || {
            let object = self.object(kind, name).await.ok_or("no such object")?;
            let condition =
                condition_of(&conditions(&object), of).ok_or_else(|| format!("no such condition: {object:#}"))?;
            let told = condition.status == status
                && (reason.is_empty() || condition.reason == reason)
                && words.iter().all(|word| condition.message.contains(word));
            if told { Ok(condition) } else { Err(format!("{condition:?}")) }
        })
        .await
    }

    /// What is enforced, with its version.
    pub async fn config(&self) -> Value {
        self.admin("/v1/config").await.json()
    }

    /// Waits until a metric is at least so much; an answer is counted after it was sent.
    pub async fn counts(&self, name: &str, labels: &[&str], least: f64) {
        eventually(EDIT_LIMIT, &format!("{name} {labels:?} is {least} or more"), async || {
            let value = self.metric(name, labels).await;
            if value >= least { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }

    /// The sum of a metric over its labels that contain all of `labels` (`reason="NoRoute"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").await.text();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()).sum()
    }
}

fn condition_of(conditions: &Value, of: &str) -> Option<Condition> {
    let condition = conditions.as_array()?.iter().find(|condition| condition["type"] == of)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Some(Condition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
        observed_generation: condition["observedGeneration"].as_i64().unwrap_or_default(),
    })
}
