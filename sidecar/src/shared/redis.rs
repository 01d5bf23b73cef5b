//! A server of Valkey or Redis, and the scripts that it is asked to run.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::future::try_join_all;
use headgate_engine::{EpochMillis, StoreError};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value};
use tokio::sync::Notify;

use super::connect::{Address, Link};

/// A script. Servers that know it already are told its hash alone.
pub(super) struct Operation {
    code: &'static str,
    hash: String,
}

impl Operation {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, hash: Script::new(code).get_hash().to_owned() }
    }

    fn command(&self, known: bool, keys: &[String], arguments: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd(if known { "EVALSHA" } else { "EVAL" });
        if known {
            command.arg(&self.hash);
        } else {
            command.arg(self.code);
        }
        command.arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

/// The store. It is connected when somebody asks for that, and again after a connection broke.
pub(crate) struct RedisStore {
    address: Address,
    link: ArcSwapOption<Link>,
    /// Why there is no connection.
    why: ArcSwap<StoreError>,
    broken: Notify,
    /// The clock that scripts go by, absent: the server's own.
    clock: Option<Box<dyn Fn() -> EpochMillis + Send + Sync>>,
}

/// One call of a script.
pub(super) struct Called {
    pub(super) operation: &'static Operation,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl RedisStore {
    /// A store without a connection.
    pub(crate) fn new(address: Address) -> Self {
        let why = ArcSwap::from_pointee(StoreError::Unavailable("there is no connection yet".to_owned()));
        Self { address, link: ArcSwapOption::empty(), why, broken: Notify::new(), clock: None }
    }

    /// A store whose scripts go by a clock that a test turns.
    #[cfg(test)]
    pub(crate) fn with_clock(address: Address, clock: impl Fn() -> EpochMillis + Send + Sync + 'static) -> Self {
        Self { clock: Some(Box::new(clock)), ..Self::new(address) }
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.load().is_some()
    }

    /// Makes a connection, in place of the one that there is. Behind it may be a server that has lost everything.
    pub(crate) async fn connect(&self) -> Result<(), StoreError> {
        match self.address.connect().await {
            Ok(link) => {
                self.link.store(Some(Arc::new(link)));
                Ok(())
            }
            Err(error) => {
                let error = StoreError::Unavailable(error.to_string());
                self.why.store(Arc::new(error.clone()));
                Err(error)
            }
        }
    }

    /// Waits until a connection breaks.
    pub(crate) async fn is_broken(&self) {
        self.broken.notified().await;
    }

    /// Calls scripts, each alone, all in one trip, and again with their text those that the server does not know.
    pub(super) async fn call(&self, calls: &[Called]) -> Result<Vec<Value>, StoreError> {
        let Some(link) = self.link.load_full() else {
            return Err(self.why.load().as_ref().clone());
        };
        let error = match call(&link, calls).await {
            Ok(values) => return Ok(values),
            Err(error) => error,
        };
        if error.is_timeout() {
            // Whether the connection lives is not known; a slow server needs no new one.
            return Err(StoreError::TimedOut);
        }
        let told = match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreError::Protocol(error.to_string()),
            _ => StoreError::Unavailable(error.to_string()),
        };
        if needs_another_link(&error) {
            self.why.store(Arc::new(told.clone()));
            let current = self.link.compare_and_swap(&Some(Arc::clone(&link)), None);
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &link)) {
                self.broken.notify_one();
            }
        }
        Err(told)
    }

    /// The first argument of every script: the moment to go by, 0: the server's own.
    pub(super) fn now(&self) -> Vec<u8> {
        number(self.clock.as_ref().map_or(0, |clock| clock().0))
    }
}

/// Whether an error says that the connection, or the server behind it, is of no use any more.
fn needs_another_link(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

async fn call(link: &Link, calls: &[Called]) -> RedisResult<Vec<Value>> {
    let known: Vec<Cmd> = calls.iter().map(|call| call.operation.command(true, &call.keys, &call.arguments)).collect();
    let mut answers = send(link, &known).await?;
    let is_unknown = |answer: &RedisResult<Value>| {
        answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    };
    let unknown: Vec<usize> = (0..answers.len()).filter(|index| is_unknown(&answers[*index])).collect();
    if !unknown.is_empty() {
        let again = unknown.iter().filter_map(|index| calls.get(*index));
        let again: Vec<Cmd> = again.map(|call| call.operation.command(false, &call.keys, &call.arguments)).collect();
        for (index, answer) in unknown.into_iter().zip(send(link, &again).await?) {
            answers[index] = answer;
        }
    }
    answers.into_iter().collect()
}

async fn send(link: &Link, commands: &[Cmd]) -> RedisResult<Vec<RedisResult<Value>>> {
    match link {
        Link::Server(connection) => {
            let mut connection = connection.clone();
            if let [command] = commands {
                return Ok(vec![flat(command.query_async(&mut connection).await)?]);
            }
            let mut pipeline = redis::Pipeline::with_capacity(commands.len());
            pipeline.ignore_errors();
            for command in commands {
                pipeline.add_command(command.clone());
            }
            pipeline.query_async(&mut connection).await
        }
        // A pipeline has one slot there; the connections put calls that come together into one write.
        Link::Cluster(connection) => {
            let calls = commands.iter().map(|command| {
                let mut connection = connection.clone();
                async move { flat(command.query_async(&mut connection).await) }
            });
            try_join_all(calls).await
        }
    }
}

/// What the server says of one call is that call's own; what breaks the connection is everyone's.
fn flat(answer: RedisResult<Value>) -> RedisResult<RedisResult<Value>> {
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}

pub(super) fn number(number: impl Into<u64>) -> Vec<u8> {
    number.into().to_string().into_bytes()
}

pub(super) fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into_bytes()
}

pub(super) fn from_hexadecimal(value: &Value) -> Option<[u8; 16]> {
    let Value::BulkString(text) = value else { return None };
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 32)?;
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

pub(super) fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// An integer, or the digits of one: what has more than 53 bits is written out by a script.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

pub(super) fn moment(milliseconds: i64) -> Option<EpochMillis> {
    u64::try_from(milliseconds).ok().map(EpochMillis)
}

pub(super) fn unreadable(answer: Option<&Value>) -> StoreError {
    StoreError::Protocol(format!("{answer:?}"))
}
