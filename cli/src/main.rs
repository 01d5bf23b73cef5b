//! The binary `headgate`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use headgate::command;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, because two providers in one process make TLS panic. It fails only where one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,pingora=off,notify=off"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).init();

    let line = command::line(std::env::args_os());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Looks at files borrow a thread each time; one that is not needed soon again is given back.
        .thread_keep_alive(Duration::from_secs(1))
        .thread_name("headgate-control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(command::run(line));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start threads")),
    };
    outcome.unwrap_or_else(|error| command::fail(&error))
}
