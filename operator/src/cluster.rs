//! The side of the operator that faces the API server, as one set of tasks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use headgate_translate::ObjectRef;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::debug;

use crate::clock;
use crate::control::Control;
use crate::control::run::{Parts, run};
use crate::election::lease;
use crate::events::{self, Happening};
use crate::hub::Hub;
use crate::leadership::{Leadership, Pen};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::watch::Watches;
use crate::world::{ObjectKind, Own};
use crate::write::{self, Desk, Site, Writer};

/// Events that may wait to be told.
const HAPPENINGS: usize = 1024;

/// How long it may take until a connection to the API server stands.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// How to reach the API server.
pub async fn config(settings: &Settings) -> anyhow::Result<Config> {
    let mut config = match &settings.kubeconfig {
        Some(file) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    Ok(config)
}

/// What is never an origin as the configuration has it: the API server where it is written as an address, and our
/// ports. The rest follows from the world.
pub fn own(config: &Config, settings: &Settings) -> Own {
    let host = config.cluster_url.host().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    let port = config.cluster_url.port_u16().unwrap_or(443);
    Own {
        namespace: settings.namespace.clone(),
        ports: [settings.stream, settings.api, settings.admin].map(|address| address.port()).to_vec(),
        fixed: host.map(|host| SocketAddr::new(host, port)).into_iter().collect(),
    }
}

/// What the rest of the process needs of it.
#[derive(Debug)]
pub struct Cluster {
    /// Everything that is known.
    pub control: Arc<Control>,
    /// The right to write, for whatever else writes as the leader.
    pub pen: Pen,
    /// Ends once the lease is let go, after `stop`.
    pub election: JoinHandle<()>,
}

/// Starts everything that faces the API server. The election ends where `stop` says so; the rest ends with the runtime.
pub fn start(
    client: &Client,
    settings: &Settings,
    own: Own,
    hub: &Arc<Hub>,
    leadership: &watch::Sender<Leadership>,
    registry: &Registry,
    stop: watch::Receiver<bool>,
) -> prometheus::Result<Cluster> {
    let (metrics, pen) = (Metrics::new(registry)?, Pen::new(leadership.subscribe()));
    let replica = settings.replica();
    let namespace = settings.namespace.clone();
    let options = settings.options();
    let control = Arc::new(Control::new(
        Arc::clone(hub),
        options,
        own,
        settings.state.clone(),
        metrics.clone(),
        clock::instant(),
    ));
    let (watches, news) = Watches::start(client.clone(), &namespace, metrics.clone());
    let desk = Arc::new(Desk::default());
    let site = Site { controller: control.controller().to_owned(), addresses: settings.gateway_address.clone() };
    let writer =
        Writer::new(client.clone(), Arc::clone(&control), Arc::clone(&desk), site, pen.clone(), metrics.clone());
    tokio::spawn(writer.run());
    let (happenings, told) = mpsc::channel(HAPPENINGS);
    tokio::spawn(tell(client.clone(), replica.clone(), Arc::clone(&control), pen.clone(), told));
    tokio::spawn(run(Parts {
        control: Arc::clone(&control),
        hub: Arc::clone(hub),
        watches,
        news,
        leadership: leadership.clone(),
        pen: pen.clone(),
        desk,
        happenings,
        client: client.clone(),
        namespace: namespace.clone(),
        metrics,
    }));
    // Unique to this process: a restarted one never continues what the one before held.
    let identity = format!("{replica}_{:016x}", rand::random::<u64>());
    let (client, leadership, held) = (client.clone(), leadership.clone(), pen.clone());
    let election =
        tokio::spawn(async move { lease::run(client, &namespace, identity, &leadership, &held, stop).await });
    Ok(Cluster { control, pen, election })
}

/// Tells events, while this replica leads.
async fn tell(
    client: Client,
    replica: String,
    control: Arc<Control>,
    pen: Pen,
    mut happenings: mpsc::Receiver<(ObjectRef, Happening)>,
) {
    let reporter = Reporter { controller: "headgate.dev/operator".to_owned(), instance: Some(replica) };
    let recorder = Recorder::new(client, reporter);
    while let Some((object, happening)) = happenings.recv().await {
        let Some(now) = control.object(&object) else { continue };
        let reference = events::reference(ObjectKind::from(object.kind), &now);
        let Some(_permit) = pen.take().await else { continue };
        match timeout(write::LIMIT, recorder.publish(&events::event(happening), &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%object, %error, "cannot tell an event"),
            Err(_) => debug!(%object, "cannot tell an event: the API server does not answer"),
        }
    }
}
