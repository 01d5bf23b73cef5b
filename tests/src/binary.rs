//! The binary under test, and its command lines.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use crate::process::Process;

/// No command that is expected to end takes longer.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `headgate` with these arguments to its end.
pub async fn headgate<A: AsRef<OsStr>>(arguments: &[A]) -> Finished {
    let mut command = Command::new(path());
    command.args(arguments);
    run(command).await
}

/// Runs any command to its end.
pub async fn run(command: Command) -> Finished {
    let mut process = Process::spawn(command);
    let status = process.exit(COMMAND_LIMIT).await;
    Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}

/// The `headgate` binary: `HEADGATE_BINARY` where that is set, else the one of this build, built first if stale.
pub fn path() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("HEADGATE_BINARY") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Another binary of headgate, from the same folder: `headgate-operator`, `headgate-proxy`.
pub fn of(name: &str) -> PathBuf {
    path().with_file_name(name)
}

/// Cargo gives a package's tests the path of its own binaries only; another package's is built by asking Cargo.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Just as `make` builds them, so that nothing is built twice.
    command.args(["build", "--quiet", "--workspace", "--bins", "--tests"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = command.output().expect("failed to run cargo");
    assert!(output.status.success(), "headgate does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let binary = profile_folder().join("headgate");
    assert!(binary.is_file(), "{} is not there although cargo has built it", binary.display());
    binary
}

/// `target/<profile>`: this program lies there, or one folder below it when it is a test.
fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the system knows this program's path");
    let folder = program.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps lies in a profile").to_owned()
    } else {
        folder.to_owned()
    }
}
