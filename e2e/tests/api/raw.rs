//! Sockets that do what no library would let them do.

use std::{net::SocketAddr, time::Duration};

use rookery_e2e::{PATIENCE, ws::Subprotocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A TCP connection.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub(crate) async fn connect(base: &str) -> Self {
        let authority = base.trim_start_matches("http://");
        let address: SocketAddr = tokio::net::lookup_host(authority)
            .await
            .expect("a name that resolves")
            .next()
            .expect("to an address");
        Self { stream: TcpStream::connect(address).await.expect("the node listens") }
    }

    /// A connection after a WebSocket upgrade.
    pub(crate) async fn upgraded(base: &str, subprotocol: Subprotocol) -> Self {
        let mut raw = Self::connect(base).await;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {}\r\n\r\n",
            subprotocol.name()
        );
        raw.write(request.as_bytes()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, raw.stream.read_u8()).await.expect("an answer").expect("a byte"));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        // RFC 6455, section 1.3: the answer to this very key.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        raw
    }

    /// Writes; that the other side has closed already is no error.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the node reads");
    }

    /// Writes a WebSocket frame with this first byte, masked by zeros.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        // The shortest form there is (RFC 6455, section 5.2).
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ 0..126), _) => frame.push(0x80 | short),
            (_, Ok(medium)) => {
                frame.push(0x80 | 126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.write(&frame).await;
    }

    /// Reads until the other side ends the connection; panics if it does not.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let reading = self.stream.read_to_end(&mut bytes);
        let _ = timeout(PATIENCE, reading).await.expect("the node ends the connection");
        bytes
    }

    /// Reads WebSocket frames until the other side ends the connection, and returns the code of its close frame.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let bytes = self.read_to_end().await;
        let mut rest = &bytes[..];
        while let [first, length, more @ ..] = rest {
            let (length, more) = match (length, more) {
                (126, [a, b, more @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), more),
                (127, more) => {
                    (usize::try_from(u64::from_be_bytes(more.get(..8)?.try_into().ok()?)).ok()?, &more[8..])
                }
                _ => (usize::from(*length), more),
            };
            let payload = more.get(..length)?;
            if first & 0x0F == 8 {
                return Some(u16::from_be_bytes(payload.get(..2)?.try_into().ok()?));
            }
            rest = &more[length..];
        }
        None
    }

    /// Waits while the other side says nothing or anything, for at most this long; says whether it ended the connection.
    pub(crate) async fn ends_within(&mut self, time: Duration) -> bool {
        timeout(time, self.read_to_end()).await.is_ok()
    }
}
