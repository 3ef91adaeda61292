//! IRC over WebSocket: a text message is a line without its end.
//!
//! The backend echoes lines, so that what is carried comes back as it went.

use std::time::Instant;

use super::{Io, MASK, Wire, tunnel::Channel};
use crate::{Result, websocket};

/// What goes in front of the bytes of a message to make a line of it.
const COMMAND: &[u8] = b"PRIVMSG #bench :";

#[derive(Debug)]
pub(super) struct Lines {
    channel: Channel,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(host: &str, path: &str) -> Self {
        Self {
            channel: Channel::new(host, path, "text.ircv3.net"),
            line: Vec::new(),
        }
    }
}

impl Wire for Lines {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.channel.connected(&mut io.out[0]);
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        let mut pongs = std::mem::take(&mut io.out[0]);
        let line = &mut self.line;
        let read = self.channel.received(bytes, &mut pongs, |piece| {
            line.extend_from_slice(piece.bytes);
            if piece.last {
                let text = line.strip_prefix(COMMAND).ok_or_else(|| {
                    format!("another line came: {}", String::from_utf8_lossy(line))
                })?;
                io.came(0, text);
                line.clear();
            }
            Ok(())
        });
        io.out[0] = pongs;
        read
    }

    fn is_ready(&self) -> bool {
        self.channel.is_open()
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        let line = [COMMAND, bytes].concat();
        websocket::put_masked(&mut io.out[0], websocket::TEXT, &line, MASK);
        bytes.len()
    }
}
