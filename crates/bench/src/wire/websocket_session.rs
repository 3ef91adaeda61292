//! The session protocol over a WebSocket.

use std::time::Instant;

use perigee_session::{Code, Link, Uplink};

use super::{Io, MASK, Wire, session::Streams, tunnel::Channel};
use crate::{Result, websocket};

/// Most bytes of a message: the gateway takes 64 KiB.
const MESSAGE: usize = 48 * 1024;

#[derive(Debug)]
pub(super) struct WebSocketSession {
    channel: Channel,
    streams: Streams,
    /// A message of which more is to come.
    message: Vec<u8>,
    frames: Vec<u8>,
}

impl WebSocketSession {
    pub(super) fn new(host: &str, streams: usize) -> Self {
        Self {
            channel: Channel::new(host, "/perigee/v1/new/ws", "perigee.v1"),
            streams: Streams::new(streams),
            message: Vec::new(),
            frames: Vec::new(),
        }
    }

    fn transmit(&mut self, io: &mut Io, now: Instant) {
        while self.streams.session.can_transmit() {
            self.frames.clear();
            let session = &mut self.streams.session;
            if !session.poll_transmit(&mut self.frames, MESSAGE, now) {
                break;
            }
            websocket::put_masked(&mut io.out[0], websocket::BINARY, &self.frames, MASK);
        }
    }
}

impl Wire for WebSocketSession {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.channel.connected(&mut io.out[0]);
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()> {
        let was_open = self.channel.is_open();
        let (streams, message) = (&mut self.streams, &mut self.message);
        self.channel.received(bytes, &mut io.out[0], |piece| {
            if piece.last && message.is_empty() {
                streams.session.handle_message(piece.bytes, now);
            } else {
                message.extend_from_slice(piece.bytes);
                if piece.last {
                    streams.session.handle_message(message, now);
                    message.clear();
                }
            }
            Ok(())
        })?;
        if !was_open && self.channel.is_open() {
            self.streams.session.attach(Link::Open, Uplink::Fresh, now);
        }
        if self.streams.take(io, now)? {
            return Err("the gateway detached the WebSocket".into());
        }
        self.transmit(io, now);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.streams.are_open()
    }

    fn send(&mut self, stream: usize, bytes: &[u8], io: &mut Io, now: Instant) -> usize {
        let taken = self.streams.write(stream, bytes);
        self.transmit(io, now);
        taken
    }

    fn deadline(&self) -> Option<Instant> {
        self.streams.session.poll_timeout()
    }

    fn timeout(&mut self, io: &mut Io, now: Instant) {
        self.streams.session.handle_timeout(now);
        self.transmit(io, now);
    }

    fn close(&mut self, io: &mut Io, now: Instant) {
        self.streams.session.end(Code::Closed, "", now);
        self.transmit(io, now);
    }
}
