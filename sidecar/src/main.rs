//! The binary `headgate-proxy`: a proxy that takes its configuration from the operator.

mod settings;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use headgate_proxy::{Drained, Proxy, Streams};
use settings::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, because two providers in one process make TLS panic. It fails only where one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,headgate_proxy=info,pingora=off"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).init();

    let settings = Settings::parse();
    // Requests have threads of their own; these serve the streams and the admin listener.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("headgate-control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(settings));
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

async fn run(settings: Settings) -> anyhow::Result<()> {
    // Before everything else, so that no signal ends the process without a drain.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (config, stream_config) = settings.read()?;
    let name = config.name.clone();
    let proxy = Proxy::start(config, axum::Router::new()).await;
    let proxy = Arc::new(proxy.context("cannot start the proxy: check --bind, --map-port, --admin and --access-log")?);
    let streams = Streams::start(Arc::clone(&proxy), stream_config)?;
    let admin = proxy.local_addresses().await.admin;
    tracing::info!(name, %admin, release = env!("CARGO_PKG_VERSION"), "started");

    tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => {}
    }
    tracing::info!("draining: no new connections, waiting for requests in flight");
    tokio::select! {
        () = drain(&proxy, streams) => {}
        () = either(&mut interrupt, &mut terminate) => {}
    }
    Ok(())
}

/// The operator learns of the drain as it begins, so that it expects nothing of this proxy any more.
async fn drain(proxy: &Proxy, streams: Streams) {
    let ((), drained) = tokio::join!(streams.say_goodbye(), proxy.drain());
    match drained {
        Drained::Idle => tracing::info!("drained"),
        Drained::GraceOver => tracing::warn!("requests were still in flight; ended them"),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
