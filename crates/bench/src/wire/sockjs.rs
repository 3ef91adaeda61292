//! SockJS: xhr-streaming and xhr-polling, with xhr_send for what goes up.

use std::time::Instant;

use super::{Io, ORIGIN, Wire};
use crate::{
    Result,
    http::{self, Part, Responses},
};

const DOWN: usize = 0;
const UP: usize = 1;
/// Bytes that wait for the request in flight.
const QUEUE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct SockJs {
    host: String,
    path: String,
    /// The name of what comes down.
    down_name: &'static str,
    open: bool,
    down: Responses,
    up: Responses,
    /// A frame that is not whole; each ends with a line's end.
    frame: Vec<u8>,
    /// Messages that wait for the request in flight, in JSON.
    queue: Vec<u8>,
    sent: bool,
    up_is_connected: bool,
}

impl SockJs {
    pub(super) fn new(host: &str, number: u64, streaming: bool) -> Self {
        Self {
            host: host.to_owned(),
            path: format!("/tunnel/{:03}/{number:08}", number % 1000),
            down_name: if streaming { "xhr_streaming" } else { "xhr" },
            open: false,
            down: Responses::default(),
            up: Responses::default(),
            frame: Vec::new(),
            queue: Vec::new(),
            sent: false,
            up_is_connected: false,
        }
    }

    fn ask(&self, io: &mut Io) {
        let path = format!("{}/{}", self.path, self.down_name);
        let headers = format!("Origin: {ORIGIN}\r\n");
        http::post(&mut io.out[DOWN], &self.host, &path, &headers, b"");
    }

    fn post(&mut self, io: &mut Io) {
        if self.sent || !self.open || !self.up_is_connected || self.queue.is_empty() {
            return;
        }
        let mut body = std::mem::take(&mut self.queue);
        body.push(b']');
        let headers = format!("Origin: {ORIGIN}\r\nContent-Type: text/plain\r\n");
        let path = format!("{}/xhr_send", self.path);
        http::post(&mut io.out[UP], &self.host, &path, &headers, &body);
        self.sent = true;
    }
}

/// What a frame says: `o`, `h`, `a["text",…]` or `c[code,"why"]`.
fn read_frame(frame: &[u8], open: &mut bool, io: &mut Io) -> Result<()> {
    match frame {
        [b'o'] => *open = true,
        // The beginning of a response to streaming is 2,048 of these.
        [b'h', ..] => {}
        [b'a', b'[', b'"', texts @ .., b'"', b']'] => {
            let mut rest = texts;
            while let Some(end) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                if !rest[end..].starts_with(b"\",\"") {
                    return Err("a message of SockJS has characters that nobody sent".into());
                }
                io.came(0, &rest[..end]);
                rest = &rest[end + 3..];
            }
            io.came(0, rest);
        }
        _ => {
            let text = String::from_utf8_lossy(frame);
            return Err(format!("an unexpected frame of SockJS: {text}").into());
        }
    }
    Ok(())
}

impl Wire for SockJs {
    fn sockets(&self) -> usize {
        2
    }

    fn connected(&mut self, socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        if socket == DOWN {
            self.ask(io);
        } else {
            self.up_is_connected = true;
            self.post(io);
        }
        Ok(())
    }

    fn received(&mut self, socket: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> Result<()> {
        if socket == UP {
            let sent = &mut self.sent;
            self.up.read(bytes, |part| {
                match part {
                    Part::Head(head) if http::status(head) != 204 => {
                        return Err(format!("xhr_send got {}", http::status(head)).into());
                    }
                    Part::End => *sent = false,
                    Part::Head(_) | Part::Body(_) => {}
                }
                Ok(())
            })?;
            self.post(io);
            return Ok(());
        }
        let (frame, open) = (&mut self.frame, &mut self.open);
        let mut ended = false;
        self.down.read(bytes, |part| {
            match part {
                Part::Head(head) if http::status(head) != 200 => {
                    return Err(format!("SockJS answered {}", http::status(head)).into());
                }
                Part::Head(_) => {}
                Part::Body(mut bytes) => {
                    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                        frame.extend_from_slice(&bytes[..end]);
                        read_frame(frame, open, io)?;
                        frame.clear();
                        bytes = &bytes[end + 1..];
                    }
                    frame.extend_from_slice(bytes);
                }
                Part::End => ended = true,
            }
            Ok(())
        })?;
        if ended {
            self.ask(io);
        }
        self.post(io);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.open
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        if self.queue.len() > QUEUE {
            return 0;
        }
        let start: &[u8] = if self.queue.is_empty() {
            b"[\""
        } else {
            b",\""
        };
        self.queue.extend_from_slice(start);
        self.queue.extend_from_slice(bytes);
        self.queue.push(b'"');
        self.post(io);
        bytes.len()
    }
}
