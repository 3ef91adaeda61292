//! The session protocol over HTTP: responses down on one connection, POSTs up on another.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use perigee_session::{Code, Link, Uplink};

use super::{Io, ORIGIN, Wire, session::Streams};
use crate::{
    Result,
    http::{self, Part, Responses},
};

const DOWN: usize = 0;
const UP: usize = 1;
/// Most bytes of a POST: the gateway takes 128 KiB.
const BODY: usize = 100 * 1024;

/// How frames come down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Downlink {
    /// A response without end.
    Stream,
    /// A response at a time.
    Poll,
}

#[derive(Debug)]
pub(super) struct PostSession {
    host: String,
    kind: Downlink,
    streams: Streams,
    down: Responses,
    up: Responses,
    /// Frames that came down and are not whole.
    cut: Vec<u8>,
    /// The body of an answer to a POST.
    answer: Vec<u8>,
    /// A POST waits for its answer.
    posted: bool,
    /// The uplink is connected.
    up_is_connected: bool,
    /// Known once welcomed: the path of POSTs, and their headers.
    uplink: Option<(String, String)>,
}

impl PostSession {
    pub(super) fn new(host: &str, streams: usize, kind: Downlink) -> Self {
        Self {
            host: host.to_owned(),
            kind,
            streams: Streams::new(streams),
            down: Responses::default(),
            up: Responses::default(),
            cut: Vec::new(),
            answer: Vec::new(),
            posted: false,
            up_is_connected: false,
            uplink: None,
        }
    }

    fn attach(&mut self, io: &mut Io, now: Instant) {
        let (link, name) = match self.kind {
            Downlink::Stream => (Link::Open, "stream"),
            Downlink::Poll => (Link::Poll, "poll"),
        };
        let first = self.uplink.is_none();
        let uplink = if first {
            Uplink::Fresh
        } else {
            Uplink::Separate
        };
        let session = &mut self.streams.session;
        session.attach(link, uplink, now);
        let mut body = Vec::new();
        session.transmit_hello(&mut body, first, now);
        let sid = session.identity().map_or("new", |(sid, _)| sid);
        let path = format!("/perigee/v1/{sid}/{name}");
        let headers = format!("Origin: {ORIGIN}\r\nContent-Type: application/octet-stream\r\n");
        http::post(&mut io.out[DOWN], &self.host, &path, &headers, &body);
    }

    fn post(&mut self, io: &mut Io, now: Instant) {
        let session = &mut self.streams.session;
        if self.uplink.is_none()
            && let Some((sid, token)) = session.identity()
        {
            let token = URL_SAFE_NO_PAD.encode(token);
            self.uplink = Some((
                format!("/perigee/v1/{sid}/up"),
                format!(
                    "Origin: {ORIGIN}\r\nContent-Type: application/octet-stream\r\nAuthorization: Bearer {token}\r\n"
                ),
            ));
        }
        let Some((path, headers)) = &self.uplink else {
            return;
        };
        if self.posted || !self.up_is_connected || !session.can_transmit() {
            return;
        }
        let mut body = Vec::new();
        if session.poll_transmit(&mut body, BODY, now) {
            http::post(&mut io.out[UP], &self.host, path, headers, &body);
            self.posted = true;
        }
    }

    fn received_down(&mut self, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()> {
        let (streams, cut) = (&mut self.streams, &mut self.cut);
        let mut ended = false;
        self.down.read(bytes, |part| {
            match part {
                Part::Head(head) => refuse_unless(head, 200)?,
                Part::Body(bytes) => {
                    if cut.is_empty() {
                        let mut rest = bytes;
                        streams.session.handle_bytes(&mut rest, now);
                        cut.extend_from_slice(rest);
                    } else {
                        cut.extend_from_slice(bytes);
                        let mut rest = &cut[..];
                        streams.session.handle_bytes(&mut rest, now);
                        let used = cut.len() - rest.len();
                        cut.drain(..used);
                    }
                }
                Part::End => {
                    cut.clear();
                    ended = true;
                }
            }
            Ok(())
        })?;
        self.streams.take(io, now)?;
        // Who the client is has to be known before it attaches again.
        self.post(io, now);
        if ended {
            self.attach(io, now);
        }
        Ok(())
    }

    fn received_up(&mut self, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()> {
        let (streams, answer, posted) = (&mut self.streams, &mut self.answer, &mut self.posted);
        self.up.read(bytes, |part| {
            match part {
                Part::Head(head) => refuse_unless(head, 200)?,
                Part::Body(bytes) => answer.extend_from_slice(bytes),
                Part::End => {
                    streams.session.handle_reply(answer, now);
                    answer.clear();
                    *posted = false;
                }
            }
            Ok(())
        })?;
        self.streams.take(io, now)?;
        self.post(io, now);
        Ok(())
    }
}

impl Wire for PostSession {
    fn sockets(&self) -> usize {
        2
    }

    fn connected(&mut self, socket: usize, io: &mut Io, now: Instant) -> Result<()> {
        if socket == DOWN {
            self.attach(io, now);
        } else {
            self.up_is_connected = true;
            self.post(io, now);
        }
        Ok(())
    }

    fn received(&mut self, socket: usize, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()> {
        if socket == DOWN {
            self.received_down(bytes, io, now)
        } else {
            self.received_up(bytes, io, now)
        }
    }

    fn is_ready(&self) -> bool {
        self.streams.are_open()
    }

    fn send(&mut self, stream: usize, bytes: &[u8], io: &mut Io, now: Instant) -> usize {
        let taken = self.streams.write(stream, bytes);
        self.post(io, now);
        taken
    }

    fn deadline(&self) -> Option<Instant> {
        self.streams.session.poll_timeout()
    }

    fn timeout(&mut self, io: &mut Io, now: Instant) {
        self.streams.session.handle_timeout(now);
        self.post(io, now);
    }

    fn close(&mut self, io: &mut Io, now: Instant) {
        self.streams.session.end(Code::Closed, "", now);
        self.post(io, now);
    }
}

fn refuse_unless(head: &str, wanted: u16) -> Result<()> {
    let status = http::status(head);
    if status == wanted {
        Ok(())
    } else {
        Err(format!("the gateway answered {status}").into())
    }
}
