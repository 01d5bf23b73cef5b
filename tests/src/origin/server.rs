//! The accept loop, and what is spoken on a connection.

use std::sync::{Arc, atomic::Ordering};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{State, answer};

/// Serves until the task is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                state.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(speak(stream, state.clone(), tls.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn speak(stream: TcpStream, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    // Without this an answer of two writes waits for the reader's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak_http(stream, state).await,
        Some(config) => {
            // A client that does not trust the certificate is one of the cases under test.
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                speak_http(stream, state).await;
            }
        }
    }
}

async fn speak_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| answer::answer(request, state.clone()));
    // Broken connections are among the cases under test.
    let _ = Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}
