//! One replica of the operator: the listeners, what faces the API server, and an end in order.
//!
//! ```text
//! API server -- cluster --> hub -- stream --> proxies
//!                             `--- api, admin --> people
//! ```

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::access::{Access, ClusterReviewer, ServiceAccount};
use crate::authority::{self, ClusterVault, local_addresses, serving_names};
use crate::cluster::{self, Cluster};
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::settings::Settings;
use crate::stream::{self, StreamMetrics, Streams};
use crate::tls::{HTTP_1, HTTP_2, TlsListener, server_config};
use crate::{admin, api, master};

/// How long the goodbyes and the end of the lease may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a replica until a signal ends it.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let stream_listener = listen(settings.stream, "--stream").await?;
    let api_listener = listen(settings.api, "--api").await?;
    let admin_listener = listen(settings.admin, "--admin").await?;
    let config =
        cluster::config(&settings).await.context("cannot find out how to reach the API server; give --kubeconfig")?;
    let client = kube::Client::try_from(config.clone()).context("cannot make a client of the API server")?;

    let (hub, registry) = (Arc::new(Hub::default()), Registry::new());
    let leadership = watch::Sender::new(Leadership::default());
    let stop = watch::Sender::new(false);

    let (serving, served) = watch::channel(None);
    let names = serving_names(&settings.namespace, &[settings.stream, settings.api], local_addresses());
    let vault = Arc::new(ClusterVault::new(client.clone(), &settings.namespace));

    let own = cluster::own(&config, &settings);
    let Cluster { control, pen, election } =
        cluster::start(&client, &settings, own, &hub, &leadership, &registry, stop.subscribe())
            .context("cannot register metrics")?;
    let (keys, keyed) = (Arc::clone(&vault), Arc::clone(&control));
    tokio::spawn(async move { keyed.set_master_key(master::key(&*keys).await) });
    tokio::spawn(authority::run(vault, names, pen, serving));
    let told = Arc::clone(&control);
    serve(admin_listener, admin::routes(Arc::clone(&hub), registry.clone(), Arc::new(move || told.troubles())));

    let gateways: BTreeSet<ServiceAccount> = settings.gateway_identity.iter().cloned().collect();
    let access = Arc::new(Access::new(Arc::new(ClusterReviewer::new(client.clone())), gateways));
    let streams = Streams {
        hub: Arc::clone(&hub),
        access: Arc::clone(&access),
        leadership: leadership.subscribe(),
        replica: settings.replica().into(),
        stopping: stop.subscribe(),
        metrics: StreamMetrics::register(&registry).context("cannot register metrics")?,
    };
    let stream_listener = TlsListener::start(stream_listener, server_config(served.clone(), HTTP_2)?)?;
    let conversations = tokio::spawn(stream::serve(stream_listener, streams));
    let api_listener = TlsListener::start(api_listener, server_config(served, HTTP_1)?)?;
    let shown = Arc::clone(&control);
    let routes = api::routes(access, Arc::new(move || shown.list()));
    tokio::spawn(api::serve(api_listener, routes));

    info!(replica = settings.replica(), stream = %settings.stream, api = %settings.api, admin = %settings.admin, "started");
    until_told_to_stop().await?;
    info!("stops: proxies are told goodbye, and the lease is let go");
    stop.send_replace(true);
    if timeout(FAREWELL, async { tokio::join!(election, conversations) }).await.is_err() {
        warn!("did not end in time; ends now");
    }
    Ok(())
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {flag} {address}; use a free address"))
}

fn serve(listener: TcpListener, routes: axum::Router) {
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            error!(%error, "the admin listener ended");
        }
    });
}

async fn until_told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
