//! A small IRC server: enough for people to chat and for real clients to feel at home.
//!
//! `network` is the server, without IO. This file is its driver: one task owns the network and
//! a task per client moves lines between it and a socket (`connection`), over bounded channels.
//!
//! What it is not: linked to others, persistent, or moderated. There are no operators, no services
//! and no capabilities, and it says so to clients that ask.
//!
//! # Invariants
//!
//! - The task that owns the network never waits for a client. A client that does not read fills its
//!   queue and is closed with "SendQ exceeded".
//! - A client that sends too fast is not read from until it may send again (`pace`).
//! - When [`serve`] returns, all tasks and sockets are gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Input};
use self::network::{ClientId, Network, Output};
use self::pace::Pace;
use super::accept::Acceptor;

pub use self::settings::Settings;

mod client;
mod connection;
mod network;
mod pace;
mod settings;

/// Serves with the default [`Settings`] until `shutdown` fires, then says goodbye to all clients
/// and returns when they are gone or after [`Settings::linger`].
///
/// Dropping the future cuts all clients at once.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    serve_with(listener, Settings::default(), shutdown).await;
}

/// [`serve`] with other names or limits.
pub async fn serve_with(listener: TcpListener, settings: Settings, shutdown: CancellationToken) {
    let mut acceptor = Acceptor::new(listener);
    let (inputs, mut from_clients) = mpsc::channel(INPUTS);
    let mut server = Server {
        network: Network::new(settings.clone(), now(), SystemTime::now()),
        settings,
        peers: HashMap::new(),
        connections: JoinSet::new(),
        inputs,
    };
    loop {
        let timeout = server.network.poll_timeout();
        tokio::select! {
            (stream, addr) = acceptor.accept() => server.welcome(stream, addr),
            Some(input) = from_clients.recv() => server.handle(input),
            () = at(timeout) => server.network.handle_timeout(now()),
            Some(ended) = server.connections.join_next() => server.reap(ended),
            () = shutdown.cancelled() => break,
        }
        server.deliver();
    }
    // Nobody is listened to any more: without this, a connection could wait to be heard for ever.
    drop((acceptor, from_clients));
    server.network.handle_shutdown(now());
    server.deliver();
    while let Some(ended) = server.connections.join_next().await {
        server.reap(ended);
    }
}

struct Server {
    network: Network,
    settings: Settings,
    /// How to reach the clients. Invariant: those of `network`.
    peers: HashMap<ClientId, Peer>,
    connections: JoinSet<ClientId>,
    /// For new connections to be heard on.
    inputs: mpsc::Sender<Input>,
}

/// The driver's end of a connection.
struct Peer {
    lines: mpsc::Sender<Bytes>,
    /// Room in `lines` that is kept for the last one, which must get through when they are full.
    last: mpsc::OwnedPermit<Bytes>,
    /// Fires when the last line is in the queue.
    closing: CancellationToken,
}

impl Server {
    fn welcome(&mut self, stream: TcpStream, addr: SocketAddr) {
        let client = match self.network.connect(now(), addr.ip()) {
            Ok(client) => client,
            Err(refusal) => {
                tracing::debug!(%addr, "irc client refused: server is full");
                // The buffer of a new socket has room for a line; should it not, FIN says enough.
                let _ = stream.try_write(&refusal);
                return;
            }
        };
        let (lines, queue) = mpsc::channel(self.settings.sendq_lines + 1);
        let last = lines
            .clone()
            .try_reserve_owned()
            .expect("a new channel has room for a line");
        let closing = CancellationToken::new();
        let connection = Connection {
            client,
            stream,
            inputs: self.inputs.clone(),
            queue,
            closing: closing.clone(),
            pace: Pace::new(
                now(),
                self.settings.burst_lines,
                self.settings.line_interval,
            ),
            linger: self.settings.linger,
        };
        self.peers.insert(
            client,
            Peer {
                lines,
                last,
                closing,
            },
        );
        self.connections.spawn(connection.run());
        tracing::debug!(?client, %addr, "irc client connected");
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Message(client, message) => {
                self.network.handle_message(now(), client, &message);
            }
            Input::Invalid(client, error) => self.network.handle_invalid(now(), client, error),
            Input::Ended(client, reason) => {
                self.network
                    .handle_disconnect(now(), client, reason.as_bytes());
            }
        }
    }

    /// Moves what the network has to say to the queues of the clients.
    fn deliver(&mut self) {
        while let Some(output) = self.network.poll_output() {
            match output {
                Output::Line { to, line } => {
                    let Some(peer) = self.peers.get(&to) else {
                        continue;
                    };
                    match peer.lines.try_send(line) {
                        Ok(()) => {}
                        Err(mpsc::error::TrySendError::Full(_)) => {
                            self.network.handle_disconnect(now(), to, b"SendQ exceeded");
                        }
                        Err(mpsc::error::TrySendError::Closed(_)) => {
                            self.network
                                .handle_disconnect(now(), to, b"Connection reset");
                        }
                    }
                }
                Output::Close { client, line } => {
                    if let Some(peer) = self.peers.remove(&client) {
                        peer.last.send(line);
                        peer.closing.cancel();
                        tracing::debug!(?client, "irc client closed");
                    }
                }
            }
        }
    }

    fn reap(&mut self, ended: Result<ClientId, tokio::task::JoinError>) {
        match ended {
            Ok(client) => self
                .network
                .handle_disconnect(now(), client, b"Connection closed"),
            // Its client is found to be gone when there is next something to send to it.
            Err(error) => tracing::error!(%error, "irc connection task failed"),
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn at(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Lines of all clients that wait for the network: enough to keep it busy while tasks take turns.
const INPUTS: usize = 64;

#[cfg(test)]
mod tests;
