//! The binary `headgate-operator`.

use std::process::ExitCode;

use clap::Parser as _;
use headgate_operator::process;
use headgate_operator::settings::Settings;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, because two providers in one process make TLS panic. It fails only where one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,tower=off"));
    tracing_subscriber::fmt().with_env_filter(filter).json().with_writer(std::io::stderr).init();

    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("headgate-operator").enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(process::run(settings));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start threads")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
