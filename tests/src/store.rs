//! A Redis on loopback that several proxies share, which can die, freeze and come back with nothing.

use std::{net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{eventually, loopback, process::Process};

/// A server starts in a few milliseconds; the rest is for a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server that keeps nothing on disk.
#[derive(Debug)]
pub struct Store {
    /// Where it answers.
    pub address: SocketAddr,
    /// Its process; the last one after its death.
    pub process: Process,
    folder: TempDir,
}

impl Store {
    /// Starts a server on an address of its own.
    pub async fn start() -> Self {
        Self::start_at(loopback::socket()).await
    }

    /// Starts a server here.
    pub async fn start_at(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("failed to make a temporary folder");
        let store = Self { address, process: spawn(address, &folder), folder };
        store.answers().await;
        store
    }

    /// What `--state` is to be.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Starts it again where it was, with nothing in it.
    pub async fn start_again(&mut self) {
        self.process = spawn(self.address, &self.folder);
        self.answers().await;
    }

    /// What it answers to a command, as redis-cli prints it.
    pub fn command(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]).args(words);
        let output = command.output().expect("redis-cli is missing: tools/setup redis installs it");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// How many calls of scripts it has answered.
    pub fn calls(&self) -> u64 {
        let told = self.command(&["INFO", "commandstats"]);
        let of = |line: &str| -> Option<u64> {
            let rest = line.strip_prefix("cmdstat_evalsha:calls=").or(line.strip_prefix("cmdstat_eval:calls="))?;
            rest.split(',').next()?.parse().ok()
        };
        told.lines().filter_map(of).sum()
    }

    async fn answers(&self) {
        eventually(START_LIMIT, "the store answers", async || match self.command(&["PING"]) {
            pong if pong == "PONG" => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

fn spawn(address: SocketAddr, folder: &TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string(), "--save", ""]);
    command.args(["--appendonly", "no", "--protected-mode", "no", "--dir"]).arg(folder.path());
    Process::spawn(command)
}
