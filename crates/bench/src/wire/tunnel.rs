//! A WebSocket whose messages are the stream's bytes.

use std::time::Instant;

use super::{Io, MASK, ORIGIN, Wire};
use crate::{
    Result, http,
    websocket::{self, Piece, Reader},
};

/// A client's WebSocket: the handshake, then frames.
#[derive(Debug)]
pub(super) struct Channel {
    request: String,
    /// Bytes of the response's head; none once it was read.
    head: Option<Vec<u8>>,
    reader: Reader,
}

impl Channel {
    pub(super) fn new(host: &str, path: &str, subprotocol: &str) -> Self {
        Self {
            request: websocket::request(host, path, subprotocol, ORIGIN),
            head: Some(Vec::new()),
            reader: Reader::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.head.is_none()
    }

    pub(super) fn connected(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(std::mem::take(&mut self.request).as_bytes());
    }

    /// Hands on pieces of messages; `out` gets the answers to pings.
    pub(super) fn received<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(Piece<'a>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = bytes;
        if let Some(head) = &mut self.head {
            let before = head.len();
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(());
            };
            let text = String::from_utf8_lossy(&head[..end]);
            if !websocket::is_accepted(&text) {
                return Err(format!("the handshake got {}", http::status(&text)).into());
            }
            rest = &bytes[end + 4 - before..];
            self.head = None;
        }
        self.reader.read(rest, |piece| match piece.opcode {
            websocket::PING => {
                if piece.last {
                    websocket::put_masked(out, websocket::PONG, b"", MASK);
                }
                Ok(())
            }
            websocket::PONG => Ok(()),
            websocket::CLOSE => {
                let (code, why) = piece.bytes.split_at_checked(2).unwrap_or_default();
                let code = code
                    .iter()
                    .fold(0, |code, byte| code << 8 | u32::from(*byte));
                let why = String::from_utf8_lossy(why);
                Err(format!("the server closed the WebSocket with {code} {why}").into())
            }
            _ => each(piece),
        })
    }
}

#[derive(Debug)]
pub(super) struct Tunnel {
    channel: Channel,
}

impl Tunnel {
    pub(super) fn new(host: &str, path: &str, subprotocol: &str) -> Self {
        Self {
            channel: Channel::new(host, path, subprotocol),
        }
    }
}

impl Wire for Tunnel {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.channel.connected(&mut io.out[0]);
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        let mut pongs = std::mem::take(&mut io.out[0]);
        let read = self.channel.received(bytes, &mut pongs, |piece| {
            io.came(0, piece.bytes);
            Ok(())
        });
        io.out[0] = pongs;
        read
    }

    fn is_ready(&self) -> bool {
        self.channel.is_open()
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        websocket::put_masked(&mut io.out[0], websocket::BINARY, bytes, MASK);
        bytes.len()
    }

    fn close(&mut self, io: &mut Io, _now: Instant) {
        if self.channel.is_open() {
            let normal = 1000_u16.to_be_bytes();
            websocket::put_masked(&mut io.out[0], websocket::CLOSE, &normal, MASK);
        }
    }
}
