//! A small STOMP broker: topics, queues, acknowledgements and transactions, all in memory.
//!
//! `hub` is the broker, without IO. This file is its driver: one task owns the hub, and a task per
//! client moves bytes between it and a socket (`connection`).
//!
//! A message to `/topic/NAME` goes to all who are subscribed at that moment; one to `/queue/NAME` waits for
//! one consumer, and for another one if the first was gone before it acknowledged.
//! What it is not: persistent, linked to others, or a place for wildcards, selectors and temporary queues; it says
//! so to clients that ask.
//!
//! # Invariants
//!
//! - The task that owns the hub never waits for a client.
//! - Everything held is bounded by [`Settings`]; a client that asks for more is told so by an `ERROR` frame.
//! - When [`serve`] returns, all tasks and sockets are gone.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Input};
use self::hub::{ClientId, Hub, Output};
use super::accept::Acceptor;

pub use self::settings::{Login, Settings};

mod connection;
pub(crate) mod hub;
mod settings;

/// Serves with the default [`Settings`] until `shutdown` fires, then tells all clients why and
/// returns when they are gone or after [`Settings::linger`].
///
/// Dropping the future cuts all clients at once.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    serve_with(listener, Settings::default(), shutdown).await;
}

/// [`serve`] with other access or limits.
pub async fn serve_with(listener: TcpListener, settings: Settings, shutdown: CancellationToken) {
    let mut acceptor = Acceptor::new(listener);
    let (inputs, mut from_clients) = mpsc::channel(INPUTS);
    let mut server = Server {
        hub: Hub::new(settings.clone(), now()),
        settings,
        peers: HashMap::new(),
        connections: JoinSet::new(),
        inputs,
    };
    loop {
        let timeout = server.hub.poll_timeout();
        tokio::select! {
            (stream, addr) = acceptor.accept() => server.welcome(stream, addr),
            Some(input) = from_clients.recv() => server.handle(input),
            () = at(timeout) => server.hub.handle_timeout(now()),
            Some(ended) = server.connections.join_next() => server.reap(ended),
            () = shutdown.cancelled() => break,
        }
        server.deliver();
    }
    // Nobody is listened to any more: without this, a connection could wait to be heard for ever.
    drop((acceptor, from_clients));
    server.hub.handle_shutdown(now());
    server.deliver();
    while let Some(ended) = server.connections.join_next().await {
        server.reap(ended);
    }
}

struct Server {
    hub: Hub,
    settings: Settings,
    /// How to reach the clients. Invariant: those of `hub`.
    peers: HashMap<ClientId, Peer>,
    connections: JoinSet<ClientId>,
    /// For new connections to be heard on.
    inputs: mpsc::Sender<Input>,
}

/// The driver's end of a connection.
struct Peer {
    /// Without a bound of its own: the hub counts what was not written yet.
    frames: mpsc::UnboundedSender<Bytes>,
    /// Fires when the last frame is in the queue.
    closing: CancellationToken,
}

impl Server {
    fn welcome(&mut self, stream: TcpStream, addr: SocketAddr) {
        let client = match self.hub.connect(now()) {
            Ok(client) => client,
            Err(refusal) => {
                tracing::debug!(%addr, "stomp client refused: broker is full");
                // The buffer of a new socket has room for a frame; should it not, FIN says enough.
                _ = stream.try_write(&refusal);
                return;
            }
        };
        let (frames, queue) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let connection = Connection {
            client,
            stream,
            inputs: self.inputs.clone(),
            queue,
            closing: closing.clone(),
            linger: self.settings.linger,
        };
        self.peers.insert(client, Peer { frames, closing });
        self.connections.spawn(connection.run());
        tracing::debug!(?client, %addr, "stomp client connected");
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Bytes(client, bytes) => self.hub.handle_bytes(now(), client, &bytes),
            Input::Written(client, len) => self.hub.handle_written(now(), client, len),
            Input::Ended(client) => self.hub.handle_disconnect(now(), client),
        }
    }

    /// Moves what the hub has to say to the queues of the clients.
    fn deliver(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    if let Some(peer) = self.peers.get(&to) {
                        // A connection that has ended tells so itself.
                        _ = peer.frames.send(bytes);
                    }
                }
                Output::Close { client } => {
                    if let Some(peer) = self.peers.remove(&client) {
                        peer.closing.cancel();
                        tracing::debug!(?client, "stomp client closed");
                    }
                }
            }
        }
    }

    fn reap(&mut self, ended: Result<ClientId, tokio::task::JoinError>) {
        match ended {
            Ok(client) => self.hub.handle_disconnect(now(), client),
            Err(error) => tracing::error!(%error, "stomp connection task failed"),
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

/// Chunks of all clients that wait for the hub: enough to keep it busy while tasks take turns.
const INPUTS: usize = 64;

#[cfg(test)]
mod tests;
