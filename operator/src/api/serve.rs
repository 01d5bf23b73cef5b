//! Connections of the API: HTTP/1.1, each in a task of its own.

use std::io;
use std::time::Duration;

use axum::Router;
use futures::{Stream, StreamExt as _};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long the head of a request may take, the wait for the next one on its connection among it.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Answers on connections until there are no more of them.
pub async fn serve<C>(connections: impl Stream<Item = io::Result<C>>, routes: Router)
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let mut connections = std::pin::pin!(connections);
    while let Some(connection) = connections.next().await {
        let Ok(connection) = connection else { continue };
        let service = TowerToHyperService::new(routes.clone());
        let served = http.serve_connection(TokioIo::new(connection), service);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection of the API broke");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test is measured")]
    async fn a_connection_whose_head_does_not_come_is_closed_after_ten_seconds() {
        let routes = Router::new().fallback(|| async { "answered" });
        for (sent, answered) in [("", false), ("GET / HTTP/1.1\r\nhost: a", false), ("GET / HTTP/1.1\r\n\r\n", true)] {
            let (mut client, server) = duplex(1_024);
            let began = Instant::now();
            tokio::spawn(serve(stream::iter([Ok(server)]), routes.clone()));
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!((answer.ends_with("answered"), began.elapsed().as_secs()), (answered, 10), "{sent:?}: {answer}");
        }
    }
}
