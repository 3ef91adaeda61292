//! STOMP over WebSocket: a text message is a frame.
//!
//! The broker answers each SEND by a MESSAGE with its body to the only subscription there is.

use std::time::Instant;

use super::{Io, MASK, Wire, tunnel::Channel};
use crate::{Result, stomp, websocket};

const DESTINATION: &str = "/topic/bench";

#[derive(Debug)]
pub(super) struct Stomp {
    channel: Channel,
    /// What came of a message that is not whole.
    frame: Vec<u8>,
    /// The broker said CONNECTED.
    subscribed: bool,
}

impl Stomp {
    pub(super) fn new(host: &str, path: &str) -> Self {
        Self {
            channel: Channel::new(host, path, "v12.stomp"),
            frame: Vec::new(),
            subscribed: false,
        }
    }
}

impl Wire for Stomp {
    fn connected(&mut self, _socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.channel.connected(&mut io.out[0]);
        Ok(())
    }

    fn received(&mut self, _: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        let was_open = self.channel.is_open();
        let mut out = std::mem::take(&mut io.out[0]);
        let (frame, subscribed) = (&mut self.frame, &mut self.subscribed);
        let was_subscribed = *subscribed;
        let read = self.channel.received(bytes, &mut out, |piece| {
            frame.extend_from_slice(piece.bytes);
            if piece.last {
                understand(frame, subscribed, io)?;
                frame.clear();
            }
            Ok(())
        });
        io.out[0] = out;
        read?;
        if !was_open && self.channel.is_open() {
            say(
                io,
                &stomp::frame("CONNECT", "accept-version:1.2\nhost:bench\n", b""),
            );
        }
        if !was_subscribed && self.subscribed {
            let headers = format!("id:0\ndestination:{DESTINATION}\n");
            say(io, &stomp::frame("SUBSCRIBE", &headers, b""));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.subscribed
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        let headers = format!(
            "destination:{DESTINATION}\ncontent-length:{}\n",
            bytes.len()
        );
        say(io, &stomp::frame("SEND", &headers, bytes));
        bytes.len()
    }
}

fn say(io: &mut Io, frame: &[u8]) {
    websocket::put_masked(&mut io.out[0], websocket::TEXT, frame, MASK);
}

/// A message of the gateway: a whole frame, or a heart-beat.
fn understand(message: &[u8], subscribed: &mut bool, io: &mut Io) -> Result<()> {
    let Some((frame, len)) = stomp::read(message)? else {
        return match message {
            b"\n" => Ok(()),
            _ => Err("a message is not a whole frame".into()),
        };
    };
    if len != message.len() {
        return Err("a message is more than a frame".into());
    }
    match frame.command {
        "CONNECTED" => *subscribed = true,
        "MESSAGE" => {
            if frame.header("destination") != Some(DESTINATION)
                || frame.header("subscription") != Some("0")
            {
                return Err("a message is for somebody else".into());
            }
            io.came(0, frame.body);
        }
        other => return Err(format!("{other} came: {}", frame.headers).into()),
    }
    Ok(())
}
