//! A child process whose output is kept, and that never outlives its test.

use std::{
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::eventually;

/// Lines of output that a failing test shows.
const LINES_SHOWN: usize = 60;

/// A running or ended child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: TempDir,
}

impl Process {
    /// Starts it.
    pub fn spawn(mut command: Command) -> Self {
        let output = tempfile::tempdir().expect("failed to make a temporary folder");
        let keep = |name| Stdio::from(File::create(output.path().join(name)).expect("failed to make an output file"));
        command.stdin(Stdio::null()).stdout(keep("stdout")).stderr(keep("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Self { child, output }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.kept("stdout")
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.kept("stderr")
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        let script = format!("kill -TERM {}", self.id());
        let status = Command::new("sh").args(["-c", &script]).status().expect("failed to run sh");
        assert!(status.success(), "failed to send SIGTERM to {}", self.id());
    }

    /// Ends it without asking.
    pub fn kill(&mut self) {
        self.child.kill().expect("failed to kill a child of ours");
        self.child.wait().expect("failed to wait for a child of ours");
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("failed to look at a child of ours")
    }

    /// Waits for its end.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, "the process ends", async || self.ended().ok_or_else(|| "it runs".to_owned())).await
    }

    fn kept(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                let lines: Vec<&str> = text.lines().collect();
                let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
                println!("--- {name} of process {}, last {} lines\n{}", self.id(), shown.len(), shown.join("\n"));
            }
        }
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
