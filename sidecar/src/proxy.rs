//! A whole proxy: started from a [`Config`], fed with batches, drained.
//!
//! ```text
//! apply(Batch) -> ResourceSet -> Plan::compile -> Current -- one swap --> requests, handshakes
//!                                                   |-> listeners, names, probes, the plan on disk
//!                                                   `-> Report
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use headgate_engine::{FrontendId, Listening, Protocol, Resolutions, TrustedProxies};
use headgate_snapshot::{Batch, Fleet, Report};
use pingora::apps::{HttpServerApp as _, HttpServerOptions};
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::access_log::AccessLogger;
use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, DrainTimes, Frontends};
use crate::control::{Control, MOST_ANSWERS, Shared, become_ready, bind_again, report_changes, write_answers};
use crate::gate::Gate;
use crate::listen::own::OwnListeners;
use crate::listen::{Acceptance, BindError, Connections, Listeners, bind};
use crate::metrics::Metrics;
use crate::origin::connect::OriginConnector;
use crate::origin::guard::Guards;
use crate::origin::peer::Peers;
use crate::origin::tls::ProbeTls;
use crate::probe::{Prober, Probing};
use crate::rate_limit::{Application, Asked, EnvoyError, Gatekeeper, Limiter, SharedStore, keep, serve_envoy};
use crate::resolve::Names;
use crate::state::{Current, Readiness};
use crate::store::{PlanFile, Store};
use crate::stream::Replicas;

/// Pingora's own bound on attempts. The engine ends them long before: by endpoints, origins and fallbacks.
const MOST_ATTEMPTS: usize = 1_000;
/// Unused connections to origins that each thread may keep.
const UNUSED_CONNECTIONS: usize = 512;

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(#[source] io::Error),
    /// The threads that serve requests cannot be started.
    #[error("cannot start the threads that serve requests: {0}")]
    Threads(#[source] io::Error),
    /// Envoy's rate limit service cannot be served.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Where a proxy listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalAddresses {
    /// The admin listener.
    pub admin: SocketAddr,
    /// Listeners by the port and protocol that the plan gives them. Merged HTTP listeners have port 80, merged HTTPS
    /// ones 443.
    pub frontends: BTreeMap<FrontendId, SocketAddr>,
}

impl LocalAddresses {
    /// The first listener of HTTP.
    pub fn http(&self) -> Option<SocketAddr> {
        self.first(Protocol::Http)
    }

    /// The first listener of HTTPS.
    pub fn https(&self) -> Option<SocketAddr> {
        self.first(Protocol::Https)
    }

    fn first(&self, wanted: Protocol) -> Option<SocketAddr> {
        self.frontends.iter().find(|(frontend, _)| frontend.protocol == wanted).map(|(_, address)| *address)
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every request was answered.
    Idle,
    /// The grace period was over before that.
    GraceOver,
}

/// A running proxy. Dropping it stops it at once; [`Proxy::drain`] stops it without losing requests.
pub struct Proxy {
    shared: Arc<Shared>,
    admin: SocketAddr,
    replicas: Arc<Replicas>,
    clock: Clock,
    dns_servers: Vec<SocketAddr>,
    drain_times: DrainTimes,
    draining: watch::Sender<bool>,
    http: Arc<HttpProxy<Gate>>,
    connections: Arc<Connections>,
    access_log: Option<AccessLogger>,
    /// Tasks beside the requests. They end with the proxy.
    _tasks: JoinSet<()>,
    workers: Workers,
}

/// The threads that serve requests.
struct Workers {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Workers {
    fn start(threads: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("headgate-worker")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A runtime may not be dropped where blocking is forbidden.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What nearly everything else is made from.
struct Parts {
    clock: Clock,
    metrics: Arc<Metrics>,
    current: Arc<ArcSwap<Current>>,
    limiter: Arc<Limiter>,
    /// Told when something is to be reported.
    changed: Arc<Notify>,
    guards: Arc<Guards>,
    own_listeners: Arc<OwnListeners>,
    threads: usize,
}

impl Parts {
    fn new(config: &Config) -> Result<Self, StartError> {
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        let (clock, metrics, changed) = (Clock::start(), Arc::new(Metrics::new()?), Arc::new(Notify::new()));
        let store = SharedStore::new(&config.state);
        let (place, told) = (config.state.url.to_string(), Arc::clone(&changed));
        Ok(Self {
            clock,
            limiter: Arc::new(Limiter::new(&config.group, store, place, clock, Arc::clone(&metrics), told)),
            metrics,
            changed,
            current: Arc::default(),
            guards: Arc::default(),
            own_listeners: Arc::default(),
            threads,
        })
    }

    /// Pingora with our gate in it.
    fn pingora(&self, config: &Config, access_log: Option<AccessLogger>) -> Arc<HttpProxy<Gate>> {
        let gate = Gate {
            current: Arc::clone(&self.current),
            clock: self.clock,
            peers: Peers::new(OriginConnector::new(Arc::clone(&self.guards), Arc::clone(&self.own_listeners))),
            metrics: Arc::clone(&self.metrics),
            limiter: Arc::clone(&self.limiter),
            access_log,
            trusted_proxies: TrustedProxies(config.trusted_proxies.clone()),
            limits: config.limits,
            frontends: config.frontends.clone(),
        };
        let configuration = ServerConf {
            threads: self.threads,
            max_retries: MOST_ATTEMPTS,
            upstream_keepalive_pool_size: UNUSED_CONNECTIONS,
            ..ServerConf::default()
        };
        let mut proxy = http_proxy(&Arc::new(configuration), gate);
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        // Allowed there, so that it is our gate that refuses it.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(config.limits.keep_alive);
        proxy.server_options = Some(options);
        Arc::new(proxy)
    }

    /// What answers the application.
    fn asked(&self) -> Asked {
        Asked { current: Arc::clone(&self.current), limiter: Arc::clone(&self.limiter), clock: self.clock }
    }

    /// What applies batches, with the tasks beside it.
    fn shared(
        &self,
        config: &Config,
        listeners: Listeners,
        readiness: watch::Sender<Readiness>,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Shared> {
        let (trouble, store_trouble) = watch::channel(None);
        let store = config
            .data_dir
            .as_deref()
            .map(|data_dir| Store::start(PlanFile::new(data_dir, config.keeps_keys), trouble));
        let (answers, answered) = mpsc::channel(MOST_ANSWERS);
        let probing = Probing {
            clock: self.clock,
            current: Arc::clone(&self.current),
            tls: ProbeTls::default(),
            metrics: Arc::clone(&self.metrics),
            changed: Arc::clone(&self.changed),
        };
        let shared = Arc::new(Shared {
            name: config.name.clone(),
            listening: match config.frontends {
                Frontends::Merged { .. } => Listening::Merged,
                Frontends::ByPort { .. } => Listening::ByPort,
            },
            current: Arc::clone(&self.current),
            metrics: Arc::clone(&self.metrics),
            limiter: Arc::clone(&self.limiter),
            reports: watch::Sender::new(Report { proxy: config.name.clone(), ..Report::default() }),
            readiness,
            looks: watch::Sender::new(()),
            store_trouble,
            control: Mutex::new(Control {
                resources: Arc::default(),
                resolutions: Resolutions::default(),
                listeners,
                names: Names::new(&config.dns_servers, answers),
                prober: Prober::new(Arc::new(probing)),
                store,
                kept: BTreeSet::new(),
                load_trouble: None,
            }),
        });
        tasks.spawn(write_answers(Arc::clone(&shared), answered));
        tasks.spawn(report_changes(Arc::clone(&shared), Arc::clone(&self.changed)));
        tasks.spawn(bind_again(Arc::clone(&shared)));
        tasks.spawn(become_ready(Arc::clone(&shared)));
        shared
    }
}

impl Proxy {
    /// Binds what is bound from the start, serves the last plan where one is kept, and answers on the admin listener,
    /// on which `routes` are served beside the proxy's own.
    pub async fn start(config: Config, routes: Router) -> Result<Self, StartError> {
        // Another part of the process may have chosen already; it can only have chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parts = Parts::new(&config)?;
        let workers = Workers::start(parts.threads).map_err(StartError::Threads)?;
        let (draining, is_draining) = watch::channel(false);
        let (readiness, is_ready) = watch::channel(Readiness::WaitingForPlan);
        let access_log = AccessLogger::start(&config.access_log, parts.metrics.access_log_dropped.clone())
            .map_err(StartError::AccessLog)?;
        let http = parts.pingora(&config, access_log.clone());
        let connections = Arc::new(Connections::default());
        let acceptance = Acceptance {
            proxy: Arc::clone(&http),
            current: Arc::clone(&parts.current),
            workers: workers.handle.clone(),
            limits: config.limits,
            metrics: Arc::clone(&parts.metrics),
            connections: Arc::clone(&connections),
            draining: is_draining,
            readiness: is_ready.clone(),
        };
        let admin_listener = bind_own(config.admin)?;
        let admin = admin_listener.local_addr().map_err(|source| BindError { address: config.admin, source })?;
        let own = Arc::clone(&parts.own_listeners);
        let mut listeners = Listeners::new(config.frontends.clone(), admin.port(), Arc::new(acceptance), own);
        listeners.open_fixed()?;

        workers.handle.spawn(Arc::clone(&parts.guards).run(parts.clock));
        let mut tasks = JoinSet::new();
        // What is counted before the others are met is lost, so that they are met first where that is quick.
        parts.limiter.join().await;
        tasks.spawn(keep(Arc::clone(&parts.limiter)));
        if let Some(address) = config.application {
            let listener = bind_own(address)?;
            let application = Application::default();
            application.is_answered_by(parts.asked());
            tasks.spawn(serve(listener, application.routes(), "application"));
        }
        let replicas = Arc::new(Replicas::default());
        let application = Application::default();
        application.is_answered_by(parts.asked());
        let gatekeeper = Gatekeeper::new(config.envoy_access.clone(), Arc::clone(&replicas), parts.clock);
        if let Some(served) = serve_envoy(&config.envoy, application, gatekeeper)? {
            workers.handle.spawn(served);
        }
        let shared = parts.shared(&config, listeners, readiness, &mut tasks);
        let shown = admin::Shown {
            current: parts.current,
            metrics: parts.metrics,
            limiter: parts.limiter,
            reports: shared.reports.subscribe(),
            readiness: is_ready,
            workers: workers.handle.clone(),
        };
        tasks.spawn(serve(admin_listener, admin::routes(shown).merge(routes), "admin"));
        if let Some(data_dir) = &config.data_dir {
            shared.load(&PlanFile::new(data_dir, config.keeps_keys)).await;
        }
        Ok(Self {
            shared,
            admin,
            replicas,
            clock: parts.clock,
            dns_servers: config.dns_servers,
            drain_times: config.drain,
            draining,
            http,
            connections,
            access_log,
            _tasks: tasks,
            workers,
        })
    }

    /// Puts a batch in force, and tells what came of it.
    pub async fn apply(&self, batch: Batch) -> Report {
        self.shared.apply(std::slice::from_ref(&batch)).await
    }

    /// Puts several batches in force, one after the other, with one plan for all of them.
    pub async fn apply_all(&self, batches: Vec<Batch>) -> Report {
        self.shared.apply(&batches).await
    }

    /// The newest report, and each after it: after batches, and when health or troubles change.
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.shared.reports.subscribe()
    }

    /// From now on this proxy answers these questions.
    pub fn answer(&self, application: &Application) {
        let Shared { current, limiter, .. } = &*self.shared;
        application.is_answered_by(Asked {
            current: Arc::clone(current),
            limiter: Arc::clone(limiter),
            clock: self.clock,
        });
    }

    /// What the operator says of the proxies that live.
    pub(crate) fn set_fleet(&self, fleet: Fleet) {
        self.shared.limiter.set_fleet(fleet);
    }

    /// What is in force now, for those who explain it.
    pub fn plan(&self) -> Arc<headgate_engine::Plan> {
        Arc::clone(&self.shared.current.load().plan)
    }

    /// Where the proxy listens now.
    pub async fn local_addresses(&self) -> LocalAddresses {
        let frontends = self.shared.control.lock().await.listeners.addresses();
        LocalAddresses { admin: self.admin, frontends }
    }

    /// Stops without losing requests: first readiness goes, after a delay the listeners, then connections as their
    /// requests are answered. Returns when none is left or the grace period is over, with the access log and the last
    /// plan written.
    pub async fn drain(&self) -> Drained {
        self.shared.readiness.send_replace(Readiness::Draining);
        sleep(self.drain_times.delay).await;
        self.shared.control.lock().await.listeners.close().await;
        self.draining.send_replace(true);
        // Lets connections go that wait for their next request.
        self.http.http_cleanup().await;
        let drained = match timeout(self.drain_times.grace, self.connections.none_left()).await {
            Ok(()) => Drained::Idle,
            Err(_) => Drained::GraceOver,
        };
        self.shared.limiter.finish().await;
        if let Some(access_log) = &self.access_log {
            access_log.flush().await;
        }
        let store = self.shared.control.lock().await.store.take();
        if let Some(store) = store {
            store.finish().await;
        }
        drained
    }

    /// Whether there is a plan: the one kept on disk, or what batches have made.
    pub(crate) fn serves_a_plan(&self) -> bool {
        !self.shared.current.load().plan.version().is_empty()
    }

    /// The name in its reports.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// The clock that everything of this proxy goes by.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The replicas of the operator that are connected.
    pub(crate) fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    /// Name servers, empty: the system's.
    pub(crate) fn dns_servers(&self) -> &[SocketAddr] {
        &self.dns_servers
    }

    /// Tasks that serve connections and origins now, for tests that look for leaks.
    pub fn tasks(&self) -> usize {
        self.workers.handle.metrics().num_alive_tasks()
    }
}

/// Serves pages of the process itself.
async fn serve(listener: tokio::net::TcpListener, routes: Router, what: &'static str) {
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, what, "a listener has stopped");
    }
}

fn bind_own(address: SocketAddr) -> Result<tokio::net::TcpListener, BindError> {
    bind(address).and_then(tokio::net::TcpListener::from_std).map_err(|source| BindError { address, source })
}
