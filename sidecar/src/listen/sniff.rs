//! Tells HTTP/2 with prior knowledge from HTTP/1 on a plain connection, without taking bytes from it.
//!
//! Pingora can do this too, but waits for 24 bytes without a limit, so that a short HTTP/1.0 request hangs and an
//! idle connection stays for ever.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The pause before looking again at a preface that arrives in pieces, which honest clients never send.
const PIECE_PAUSE: Duration = Duration::from_millis(5);

/// What a plain connection speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spoken {
    /// HTTP/1.0 or HTTP/1.1, or anything else: Pingora's parser answers that.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The client closed, or said nothing within the limit.
    Nothing,
}

/// Waits at most `limit` for enough bytes to decide.
pub(crate) async fn sniff(stream: &TcpStream, limit: Duration) -> Spoken {
    timeout(limit, look(stream)).await.unwrap_or(Spoken::Nothing)
}

async fn look(stream: &TcpStream) -> Spoken {
    let mut seen = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut seen).await {
            Ok(0) | Err(_) => return Spoken::Nothing,
            Ok(length) if seen[..length] != PREFACE[..length] => return Spoken::Http1,
            Ok(length) if length == PREFACE.len() => return Spoken::Http2,
            // The socket stays readable, so that waiting for readiness would spin.
            Ok(_) => sleep(PIECE_PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn check(pieces: &[&[u8]], expected: Spoken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let sniffing = tokio::spawn(async move { sniff(&server, Duration::from_millis(200)).await });
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(sniffing.await.unwrap(), expected, "{pieces:?}");
    }

    #[tokio::test]
    async fn the_preface_is_http_2() {
        check(&[PREFACE], Spoken::Http2).await;
    }

    #[tokio::test]
    async fn the_preface_in_pieces_is_http_2() {
        check(&[&PREFACE[..3], &PREFACE[3..10], &PREFACE[10..]], Spoken::Http2).await;
    }

    #[tokio::test]
    async fn a_request_shorter_than_the_preface_is_http_1() {
        check(&[b"GET / HTTP/1.0\r\n\r\n"], Spoken::Http1).await;
    }

    #[tokio::test]
    async fn a_method_that_begins_like_the_preface_is_http_1() {
        check(&[b"P", b"UT /"], Spoken::Http1).await;
    }

    #[tokio::test]
    async fn a_silent_client_is_given_up() {
        check(&[], Spoken::Nothing).await;
    }

    #[tokio::test]
    async fn half_a_preface_is_given_up() {
        check(&[&PREFACE[..12]], Spoken::Nothing).await;
    }
}
