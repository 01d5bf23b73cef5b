//! From a socket to requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use headgate_engine::{FrontendId, Protocol};
use pingora::apps::{HttpServerApp as _, ServerApp as _};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Ssl as _, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::ClientLimits;
use crate::gate::Gate;
use crate::listen::certificates::CertificateResolver;
use crate::listen::connection::Connection;
use crate::listen::sniff::{Spoken, sniff};
use crate::metrics::Metrics;
use crate::state::{Current, Readiness};

/// The pause after the system had nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// `ENOMEM`, `ENFILE`, `EMFILE` and `ENOBUFS`: asking again at once would only be refused again. Other errors are
/// those of the one connection that was to be accepted.
const SHORTAGES: [i32; 4] = [12, 23, 24, 105];

/// How long a new connection may stay silent once the proxy drains.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What every accepted connection needs.
pub(crate) struct Acceptance {
    pub(crate) proxy: Arc<HttpProxy<Gate>>,
    pub(crate) current: Arc<ArcSwap<Current>>,
    pub(crate) workers: Handle,
    pub(crate) limits: ClientLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) draining: ShutdownWatch,
    pub(crate) readiness: watch::Receiver<Readiness>,
}

/// Counts connections, so that a drain can wait for the last one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    closed: Notify,
}

impl Connections {
    fn enter(self: &Arc<Self>) -> OpenConnection {
        self.open.fetch_add(1, Ordering::AcqRel);
        OpenConnection(Arc::clone(self))
    }

    /// Waits until no connection is open.
    pub(crate) async fn none_left(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            closed.await;
        }
    }
}

/// A connection that counts as open as long as this lives.
struct OpenConnection(Arc<Connections>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_waiters();
        }
    }
}

/// A listener that accepts. Dropping it closes the listener and no connection.
#[derive(Debug)]
pub(crate) struct Accepting {
    closing: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Closes the listener. What the kernel has queued by then is accepted before.
    pub(crate) fn close(self) -> impl Future<Output = ()> {
        let Self { closing, task } = self;
        drop(closing);
        async move {
            // An error means that the threads that serve requests are gone, and the listener with them.
            let _ = task.await;
        }
    }
}

impl Acceptance {
    /// Starts accepting.
    pub(crate) fn start(
        self: &Arc<Self>,
        listener: std::net::TcpListener,
        frontend: FrontendId,
    ) -> io::Result<Accepting> {
        let _inside = self.workers.enter();
        let listener = TcpListener::from_std(listener)?;
        let tls = match frontend.protocol {
            Protocol::Http => None,
            Protocol::Https => Some(Arc::new(self.tls(frontend).map_err(io::Error::other)?)),
        };
        let acceptance = Arc::clone(self);
        let (closing, is_closing) = oneshot::channel();
        let task = self.workers.spawn(acceptance.accept(listener, frontend, tls, is_closing));
        Ok(Accepting { closing, task })
    }

    fn tls(&self, frontend: FrontendId) -> Result<Acceptor, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let resolver = CertificateResolver::new(frontend, Arc::clone(&self.current));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Acceptor::from_server_config(Arc::new(config)))
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        frontend: FrontendId,
        tls: Option<Arc<Acceptor>>,
        mut closing: oneshot::Receiver<()>,
    ) {
        // Until then the kernel keeps the connections: without a plan every request would be answered 404.
        let mut readiness = self.readiness.clone();
        let planned = async { readiness.wait_for(|now| *now != Readiness::WaitingForPlan).await.is_ok() };
        tokio::select! {
            _ = &mut closing => return,
            planned = planned => if !planned { return },
        }
        loop {
            let accepted = tokio::select! {
                _ = &mut closing => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.begin(socket, peer, frontend, tls.clone()),
                Err(error) if error.raw_os_error().is_some_and(|number| SHORTAGES.contains(&number)) => {
                    tracing::warn!(%error, port = frontend.port, "connections cannot be accepted now");
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => tracing::debug!(%error, port = frontend.port, "a connection cannot be accepted"),
            }
        }
        // To their clients these connections are open already. The kernel is asked directly, because the runtime may
        // not have heard of the last ones yet.
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((socket, peer)) = listener.accept() {
            if socket.set_nonblocking(true).is_ok()
                && let Ok(socket) = TcpStream::from_std(socket)
            {
                self.begin(socket, peer, frontend, tls.clone());
            }
        }
    }

    /// Serves a connection in a task of its own.
    fn begin(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, frontend: FrontendId, tls: Option<Arc<Acceptor>>) {
        // Counted before the task runs for the first time, so that a drain cannot miss it.
        let open = self.connections.enter();
        let acceptance = Arc::clone(self);
        tokio::spawn(async move {
            acceptance.serve(socket, peer, frontend, tls.as_deref()).await;
            drop(open);
        });
    }

    async fn serve(&self, socket: TcpStream, peer: SocketAddr, frontend: FrontendId, tls: Option<&Acceptor>) {
        let gauge = match frontend.protocol {
            Protocol::Http => &self.metrics.connections_http,
            Protocol::Https => &self.metrics.connections_https,
        };
        gauge.inc();
        // Answers are written whole, so that waiting for more to send only adds delay.
        if socket.set_nodelay(true).is_ok() {
            match tls {
                None => self.serve_plain(socket, peer, frontend).await,
                Some(tls) => self.serve_tls(socket, peer, frontend, tls).await,
            }
        }
        gauge.dec();
    }

    async fn serve_plain(&self, socket: TcpStream, peer: SocketAddr, frontend: FrontendId) {
        let spoken = tokio::select! {
            spoken = sniff(&socket, self.limits.first_byte) => spoken,
            // What was sent before the listener closed may still be on its way.
            () = self.draining() => sniff(&socket, LAST_WORDS).await,
        };
        let Ok(stream) = Connection::new(frontend, peer).attach(socket) else { return };
        match spoken {
            Spoken::Nothing => {}
            Spoken::Http1 => self.serve_http1(Box::new(stream)).await,
            Spoken::Http2 => self.serve_http2(Box::new(stream)).await,
        }
    }

    /// Waits until the proxy drains.
    async fn draining(&self) {
        // An error means that the proxy is gone, which is more than draining.
        let _ = self.draining.clone().wait_for(|draining| *draining).await;
    }

    async fn serve_tls(&self, socket: TcpStream, peer: SocketAddr, frontend: FrontendId, tls: &Acceptor) {
        let connection = Connection::new(frontend, peer);
        let Ok(stream) = connection.attach(socket) else { return };
        let Ok(Ok(stream)) = timeout(self.limits.handshake, tls.tls_handshake(stream)).await else {
            self.metrics.handshakes_failed.inc();
            return;
        };
        if let Some(name) = stream.get_ssl().and_then(|session| session.server_name()) {
            let _ = connection.server_name.set(name.to_ascii_lowercase());
        }
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            self.serve_http2(Box::new(stream)).await;
        } else {
            self.serve_http1(Box::new(stream)).await;
        }
    }

    async fn serve_http2(&self, stream: Stream) {
        // Pingora reads the preface again, which is there as a whole by now.
        self.proxy.process_new(stream, &self.draining).await;
    }

    /// One request after the other. Pingora's own loop would look for HTTP/2 first, and wait for it without a limit.
    async fn serve_http1(&self, stream: Stream) {
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive((!*self.draining.borrow()).then_some(self.limits.keep_alive.as_secs()));
        let mut next = Some(session);
        while let Some(session) = next {
            let reusable = self.proxy.process_new_http(session, &self.draining).await;
            next = reusable.map(|reusable| {
                let (stream, settings) = reusable.consume();
                let mut session = ServerSession::new_http1(stream);
                if let Some(settings) = settings {
                    settings.apply_to_session(&mut session);
                }
                session
            });
        }
    }
}
