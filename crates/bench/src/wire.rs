//! How a client carries the bytes of streams: state machines without sockets.
//!
//! A wire is given what its sockets brought, and appends what they are to send; it says which bytes
//! of which stream came of it. What the bytes are it does not know.

mod bosh;
mod lines;
mod nchan;
mod plain;
mod post_session;
mod session;
mod sockjs;
mod stomp;
mod tunnel;
mod websocket_session;
mod wisp;
mod xmpp;

use std::{net::SocketAddr, time::Instant};

use crate::Result;

/// The page that clients come from.
pub(crate) const ORIGIN: &str = "http://bench.example";
/// The backend's name in the gateway's configuration.
pub(crate) const BACKEND: &str = "bench";
/// The name of the same backend where it speaks IRC.
pub(crate) const IRC_BACKEND: &str = "irc";
/// Its names where it speaks STOMP and XMPP.
pub(crate) const STOMP_BACKEND: &str = "stomp";
pub(crate) const XMPP_BACKEND: &str = "xmpp";
/// The domain of those who speak XMPP.
pub(crate) const XMPP_DOMAIN: &str = "bench.example";
/// Most sockets of a wire.
pub(crate) const MAX_SOCKETS: usize = 2;

/// What a wire did.
#[derive(Debug, Default)]
pub(crate) struct Io {
    /// To be sent, for each socket.
    pub(crate) out: [Vec<u8>; MAX_SOCKETS],
    /// What came of streams, one run after the other in `bytes`.
    pub(crate) runs: Vec<(usize, usize)>,
    pub(crate) bytes: Vec<u8>,
}

impl Io {
    /// Bytes of a stream came.
    fn came(&mut self, stream: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.runs.push((stream, bytes.len()));
            self.bytes.extend_from_slice(bytes);
        }
    }
}

/// One client.
pub(crate) trait Wire {
    /// How many TCP connections it uses.
    fn sockets(&self) -> usize {
        1
    }

    /// A socket is connected.
    fn connected(&mut self, socket: usize, io: &mut Io, now: Instant) -> Result<()>;

    /// A socket brought bytes.
    fn received(&mut self, socket: usize, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()>;

    /// Whether streams can be used.
    fn is_ready(&self) -> bool;

    /// Sends bytes of a stream as one message, where there are messages, and says how many it took.
    fn send(&mut self, stream: usize, bytes: &[u8], io: &mut Io, now: Instant) -> usize;

    /// When to call [`Wire::timeout`].
    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _io: &mut Io, _now: Instant) {}

    /// Appends last words.
    fn close(&mut self, _io: &mut Io, _now: Instant) {}
}

/// The ways of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The bytes themselves.
    Tcp,
    /// A WebSocket at this path with this subprotocol.
    WebSocket(&'static str, &'static str),
    /// The session protocol over a WebSocket.
    Session,
    /// The session protocol over an endless response and POSTs.
    SessionStream,
    /// The session protocol over held responses and POSTs.
    SessionPoll,
    /// A line of IRC in a text message of a WebSocket.
    Irc,
    /// A frame of STOMP in a text message of a WebSocket.
    Stomp,
    /// A stanza of XMPP in a request of BOSH at this path.
    Bosh(&'static str),
    /// A stanza of XMPP over TCP.
    Xmpp,
    SockJsStreaming,
    SockJsPolling,
    /// Publish by POST and subscribe by long-poll, without a backend.
    Nchan,
    Wisp,
}

impl Kind {
    /// A client, the `number`th, of a server at `to` that relays to `backend`, with `streams` streams.
    pub(crate) fn wire(
        self,
        number: u64,
        to: SocketAddr,
        backend: SocketAddr,
        streams: usize,
    ) -> Box<dyn Wire> {
        let host = &to.to_string();
        match self {
            Self::Tcp => Box::new(plain::Plain::default()),
            Self::WebSocket(path, subprotocol) => {
                Box::new(tunnel::Tunnel::new(host, path, subprotocol))
            }
            Self::Session => Box::new(websocket_session::WebSocketSession::new(host, streams)),
            Self::SessionStream => Box::new(post_session::PostSession::new(
                host,
                streams,
                post_session::Downlink::Stream,
            )),
            Self::SessionPoll => Box::new(post_session::PostSession::new(
                host,
                streams,
                post_session::Downlink::Poll,
            )),
            Self::Irc => Box::new(lines::Lines::new(host, &format!("/irc/{IRC_BACKEND}"))),
            Self::Stomp => Box::new(stomp::Stomp::new(host, &format!("/stomp/{STOMP_BACKEND}"))),
            Self::Bosh(path) => Box::new(bosh::Bosh::new(host, path, number)),
            Self::Xmpp => Box::new(xmpp::Xmpp::default()),
            Self::SockJsStreaming => Box::new(sockjs::SockJs::new(host, number, true)),
            Self::SockJsPolling => Box::new(sockjs::SockJs::new(host, number, false)),
            Self::Nchan => Box::new(nchan::Nchan::new(host, number)),
            Self::Wisp => Box::new(wisp::Wisp::new(host, backend)),
        }
    }

    /// Whether it carries any bytes to a backend and back, rather than messages that somebody understands.
    pub(crate) fn carries_bytes(self) -> bool {
        !matches!(
            self,
            Self::Nchan | Self::Irc | Self::Stomp | Self::Bosh(_) | Self::Xmpp
        )
    }
}

/// A mask for a client's frames: any will do, but zero would be faster than a browser's.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
