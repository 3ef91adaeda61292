//! A client that writes what it likes, byte by byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{ORIGIN, wait::soon};

/// A bare connection to the gateway.
#[derive(Debug)]
pub struct Raw {
    /// The connection.
    pub stream: TcpStream,
}

impl Raw {
    /// Connects and says nothing.
    ///
    /// # Panics
    ///
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address)
                .await
                .expect("the gateway listens"),
        }
    }

    /// Writes bytes.
    ///
    /// # Panics
    ///
    /// When the gateway is gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the gateway takes it");
    }

    /// Writes as many bytes as the gateway takes before it closes.
    pub async fn write_what_is_taken(&mut self, bytes: impl AsRef<[u8]>) {
        _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads until the gateway closes, and returns what came.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // RST is an end like FIN here: what was sent to a closed socket provokes it.
        _ = soon(
            "the gateway to close the connection",
            self.stream.read_to_end(&mut all),
        )
        .await;
        all
    }

    /// Reads until `end` has come.
    ///
    /// # Panics
    ///
    /// When the gateway closes first.
    pub async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.windows(end.len()).any(|window| window == end) {
            let len = soon("the gateway's answer", self.stream.read_buf(&mut all))
                .await
                .expect("an answer");
            assert_ne!(len, 0, "closed after {:?}", String::from_utf8_lossy(&all));
        }
        all
    }
}

/// The head of a request for a WebSocket.
#[must_use]
pub fn upgrade(path: &str, subprotocol: &str) -> String {
    let protocol = match subprotocol {
        "" => String::new(),
        name => format!("Sec-WebSocket-Protocol: {name}\r\n"),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nOrigin: {ORIGIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
    )
}
