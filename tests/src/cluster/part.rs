//! One process of a control plane, which can go and come back.

use std::{path::PathBuf, process::ExitStatus, time::Duration};

use parking_lot::Mutex;

use crate::{eventually, process::Process};

/// A process that can be ended and started again with the same command line, on the same data.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Part {
    /// A part that is not started yet.
    pub(super) fn new(name: &'static str, program: PathBuf, arguments: Vec<String>) -> Self {
        Self { name, program, arguments, process: Mutex::new(None) }
    }

    /// More of its command line, from its next start on.
    pub(super) fn add_arguments(&mut self, more: impl IntoIterator<Item = String>) {
        self.arguments.extend(more);
    }

    /// Starts it, without waiting for anything.
    pub fn start(&self) {
        *self.process.lock() = Some(Process::tied(&self.program, &self.arguments));
    }

    /// Kills it, and gives back when it is dead.
    pub fn stop(&self) {
        if let Some(mut process) = self.process.lock().take() {
            process.kill();
        }
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        self.running(|process| process.terminate());
    }

    /// Waits until it has ended by itself, and says how.
    pub async fn exit(&self, limit: Duration) -> ExitStatus {
        let look = async || self.running(Process::ended).ok_or_else(|| "it runs".to_owned());
        eventually(limit, &format!("{} ends", self.name), look).await
    }

    /// Stops it where it is: connections stay open and nothing is answered, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.running(|process| process.freeze());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.running(|process| process.thaw());
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.running(|process| process.id())
    }

    /// What it logged since its last start.
    pub fn log(&self) -> String {
        self.running(|process| process.stderr())
    }

    /// Fails the test where it has ended by itself.
    pub(super) fn must_run(&self) {
        let ended = self.running(Process::ended);
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name);
    }

    fn running<T>(&self, look: impl FnOnce(&mut Process) -> T) -> T {
        look(self.process.lock().as_mut().unwrap_or_else(|| panic!("{} is stopped", self.name)))
    }
}
