//! Taking connections from a listener, whatever happens.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// A listener that survives failed accepts.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Not to be asked before: the time after a failure that the process needs to get descriptors back.
    not_before: Instant,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            not_before: Instant::now(),
        }
    }

    /// The next connection. Cancel safe: no connection and no pause is lost.
    pub(super) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            sleep_until(self.not_before).await;
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    // The servers write when they have something to say; waiting for more only adds delay.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    return (stream, addr);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; pausing");
                    self.not_before = Instant::now() + PAUSE;
                }
            }
        }
    }
}

/// Long enough not to spin while the process is out of descriptors, short enough not to be noticed.
const PAUSE: Duration = Duration::from_millis(100);
