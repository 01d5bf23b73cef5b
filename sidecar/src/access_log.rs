//! The access log: one JSON object a line, written beside the requests.
//!
//! A request puts its record into a bounded queue; a full queue drops the record and counts it, so that a slow disk
//! never slows a request.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::AccessLog;

/// Records that may wait for the writer.
const QUEUE_RECORDS: usize = 8_192;
/// Records that are written with one call.
const BATCH_RECORDS: usize = 256;
/// How long the end of a proxy waits for the writer.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// One request.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    /// When it began, RFC 3339 in UTC.
    pub(crate) time: String,
    pub(crate) client: IpAddr,
    pub(crate) method: String,
    pub(crate) host: String,
    /// As it was routed: normalised, without the query, which may hold secrets.
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Why the proxy itself answered, absent where an origin did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// The limit that the request crossed: the one that refused it, or the first that only watches or marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    /// How it crossed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Attempts at origins.
    pub(crate) attempts: u32,
    pub(crate) duration_ms: f64,
    /// Of the answer's body.
    pub(crate) bytes: usize,
    pub(crate) request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
}

/// What the writer is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are records, and a box for each would cost more")]
enum Entry {
    Record(Record),
    /// Everything before this is wanted in the file; answered when it is there.
    Flush(oneshot::Sender<()>),
}

/// Where requests put their records.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogger {
    queue: mpsc::Sender<Entry>,
    dropped: prometheus::IntCounter,
}

impl AccessLogger {
    /// Opens the log and starts its writer, or nothing where the log is off.
    pub(crate) fn start(log: &AccessLog, dropped: prometheus::IntCounter) -> io::Result<Option<Self>> {
        let output: Box<dyn Write + Send> = match log {
            AccessLog::Off => return Ok(None),
            AccessLog::Stdout => Box::new(io::stdout()),
            AccessLog::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (queue, entries) = mpsc::channel(QUEUE_RECORDS);
        // Files and terminals block; the thread ends with the last sender.
        thread::Builder::new().name("headgate-access-log".to_owned()).spawn(|| write(entries, output))?;
        Ok(Some(Self { queue, dropped }))
    }

    /// Queues a record, or drops and counts it.
    pub(crate) fn log(&self, record: Record) {
        if self.queue.try_send(Entry::Record(record)).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until all records so far are written, at most for a while.
    pub(crate) async fn flush(&self) {
        let (written, is_written) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Entry::Flush(written)).await.is_ok() {
                // An error means that the writer has gone, and nothing can be waited for.
                let _ = is_written.await;
            }
        };
        if timeout(FLUSH_LIMIT, flushed).await.is_err() {
            tracing::warn!("the access log was not written to its end in time");
        }
    }
}

fn write(mut entries: mpsc::Receiver<Entry>, mut output: Box<dyn Write + Send>) {
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    let mut lines = Vec::new();
    let mut flushes = Vec::new();
    while entries.blocking_recv_many(&mut batch, BATCH_RECORDS) > 0 {
        lines.clear();
        for entry in batch.drain(..) {
            match entry {
                Entry::Record(record) => {
                    if serde_json::to_writer(&mut lines, &record).is_ok() {
                        lines.push(b'\n');
                    }
                }
                Entry::Flush(written) => flushes.push(written),
            }
        }
        if let Err(error) = output.write_all(&lines).and_then(|()| output.flush()) {
            tracing::warn!(%error, "the access log cannot be written");
        }
        for written in flushes.drain(..) {
            // An error means that nobody waits any more.
            let _ = written.send(());
        }
    }
}

/// A time since the Unix epoch as RFC 3339 in UTC, with milliseconds.
pub(crate) fn rfc3339(since_epoch: std::time::Duration) -> String {
    let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(std::time::Duration::from_millis(1_700_000_000_005)), "2023-11-14T22:13:20.005Z");
    }
}
