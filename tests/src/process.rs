//! A child process whose output is kept, and that never outlives its test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::eventually;

/// Lines of output that a failing test shows.
const LINES_SHOWN: usize = 60;

/// A running or ended child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: TempDir,
}

impl Process {
    /// Starts it.
    pub fn spawn(command: Command) -> Self {
        let name = file_name(command.get_program());
        Self::spawn_named(name, command)
    }

    /// Starts it so that the system ends it when the calling thread ends, also when this process is killed and drops
    /// nothing. Never from a thread that goes before the test does.
    pub fn tied<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Self {
        // setpriv becomes the program: what runs has the id of what was spawned.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        Self::spawn_named(file_name(program.as_os_str()), command)
    }

    fn spawn_named(name: String, mut command: Command) -> Self {
        let output = tempfile::tempdir().expect("failed to make a temporary folder");
        let keep = |name| Stdio::from(File::create(output.path().join(name)).expect("failed to make an output file"));
        command.stdin(Stdio::null()).stdout(keep("stdout")).stderr(keep("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Self { name, child, output }
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
        self.signal(Signal::SIGTERM);
    }

    /// Stops it where it is, so that it holds what it has and does nothing, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
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

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.id()).expect("a process id is small"));
        signal::kill(id, signal).unwrap_or_else(|error| panic!("failed to send {signal} to {}: {error}", self.name));
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
                let (program, count) = (&self.name, shown.len());
                println!("--- {name} of {program} ({}), last {count} lines\n{}", self.id(), shown.join("\n"));
            }
        }
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file_name(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}
