//! A client's connection whose small writes go out together.
//!
//! Pingora writes the headers of an answer and its body one after the other and flushes when the answer is complete,
//! or when more of it may be long in coming. Its own listeners put a buffer in front of the socket for that; a stream
//! made from a socket, as ours are, has none, and each write would be a system call and a packet of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf};

/// What waits for the rest of an answer, in bytes: the headers, and a body that fits into the same packet.
const WAITING_BYTES: usize = 1_460;

/// A connection with a buffer for writes.
#[derive(Debug)]
pub(crate) struct Buffered(BufWriter<Stream>);

impl Buffered {
    /// Puts a buffer in front of a connection.
    pub(crate) fn new(stream: Stream) -> Self {
        Self(BufWriter::with_capacity(WAITING_BYTES, stream))
    }
}

impl Drop for Buffered {
    /// What an answer that ended early left behind, if the kernel takes it at once.
    fn drop(&mut self) {
        let _ = self.0.flush().now_or_never();
    }
}

impl AsyncRead for Buffered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Buffered {
    async fn shutdown(&mut self) {
        // An error means that the client has closed first.
        let _ = self.0.shutdown().await;
    }
}

#[async_trait]
impl Peek for Buffered {
    async fn try_peek(&mut self, into: &mut [u8]) -> io::Result<bool> {
        self.0.get_mut().try_peek(into).await
    }
}

impl Ssl for Buffered {}

impl UniqueID for Buffered {
    fn id(&self) -> UniqueIDType {
        self.0.get_ref().id()
    }
}

impl GetTimingDigest for Buffered {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.0.get_ref().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.0.get_ref().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.0.get_ref().get_write_pending_time()
    }
}

impl GetProxyDigest for Buffered {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.0.get_ref().get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.0.get_mut().set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Buffered {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.0.get_ref().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.0.get_mut().set_socket_digest(digest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Buffered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Buffered::new(Stream::from(server)), client)
    }

    #[tokio::test]
    async fn nothing_is_sent_before_a_flush_and_then_everything_at_once() {
        let (mut server, mut client) = pair().await;
        server.write_all(b"headers ").await.unwrap();
        server.write_all(b"body").await.unwrap();
        let mut received = [0; 64];
        assert!(client.try_read(&mut received).is_err());
        server.flush().await.unwrap();
        let length = client.read(&mut received).await.unwrap();
        assert_eq!(&received[..length], b"headers body");
    }

    #[tokio::test]
    async fn a_dropped_connection_sends_what_it_has() {
        let (mut server, mut client) = pair().await;
        server.write_all(b"the end").await.unwrap();
        drop(server);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "the end");
    }
}
