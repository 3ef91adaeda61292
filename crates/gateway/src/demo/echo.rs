//! A server that sends back what it gets (RFC 862).
//!
//! Half-close is carried: when a client has sent FIN it gets the rest of its bytes, and then FIN.
//! A client that does not read is not read from: its bytes wait where they are.
//!
//! # Invariants
//!
//! - A connection holds at most one buffer of `BUFFER_BYTES`, and there are at most
//!   `MAX_CONNECTIONS`; more wait in the backlog of the listener.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::accept::Acceptor;

/// Serves until `shutdown` fires, then cuts the connections that are left and returns.
///
/// Dropping the future does the same at once.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    let mut acceptor = Acceptor::new(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, addr) = acceptor.accept(), if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(async move {
                    match echo(stream).await {
                        Ok(bytes) => tracing::debug!(%addr, bytes, "echo ended"),
                        Err(error) => tracing::debug!(%addr, %error, "echo broke off"),
                    }
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "echo task failed");
                }
            }
            () = shutdown.cancelled() => break,
        }
    }
    connections.shutdown().await;
}

/// Echoes until the client's FIN and answers it; the bytes echoed.
async fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            stream.shutdown().await?;
            return Ok(total);
        }
        stream.write_all(&buffer[..read]).await?;
        total += read as u64;
    }
}

/// As much as the gateway moves at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// 16 MiB of buffers at the most.
const MAX_CONNECTIONS: usize = 1024;

#[cfg(test)]
mod tests;
