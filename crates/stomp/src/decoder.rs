//! Frames out of a byte stream.
//!
//! # Invariants
//!
//! - However the bytes are cut, the same messages and the same error come out in the same order.
//! - What is kept between two calls is one unfinished frame that is within its limits, and nothing at
//!   all between two frames. Room for a body is taken as it comes, not as it is promised.
//! - An error is final: behind it every call gives the same one and takes nothing.

use std::mem;

use bytes::Bytes;

use crate::{
    Command, Error, Frame, Header, Limits, Message, Version,
    encode::{content_length, escapes, is_trimmed},
};

/// Takes bytes as they come and gives one [`Message`] per frame and per heart-beat.
///
/// ```
/// use perigee_stomp::{Decoder, Limits, Message};
///
/// let mut decoder = Decoder::new(Limits::default());
/// let mut input = &b"MESSAGE\ndestination:/queue/a\nmessage-id:7\n\nhello\0\nMESS"[..];
/// let Some(Message::Frame(frame)) = decoder.decode(&mut input)? else { unreachable!() };
/// assert_eq!(frame.header("message-id"), Some("7"));
/// assert_eq!(frame.body, "hello");
/// assert_eq!(decoder.decode(&mut input)?, Some(Message::HeartBeat));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// # Ok::<(), perigee_stomp::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    version: Version,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before a frame; line ends here are heart-beats.
    Between {
        /// A CR came, which an LF has to follow.
        cr: bool,
    },
    /// In the command or the headers. Invariant: within the limit.
    Head(Vec<u8>),
    /// Behind the empty line.
    Body {
        /// The frame, still without its body.
        frame: Frame,
        /// What `content-length` says; without it the body ends at the first NUL.
        length: Option<usize>,
        /// Invariant: within the limit.
        body: Vec<u8>,
    },
    Failed(Error),
}

impl Decoder {
    /// A decoder at the start of a stream, for 1.0 until [`Decoder::set_version`].
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            version: Version::V1_0,
            state: State::Between { cr: false },
        }
    }

    /// From the next frame on, headers are read as `version` has them: call it when `CONNECTED` was seen or sent.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Bytes that are kept of an unfinished frame.
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Between { .. } | State::Failed(_) => 0,
            State::Head(head) => head.len(),
            State::Body { body, .. } => body.len(),
        }
    }

    /// Takes bytes off the front of `input` until they complete a message.
    ///
    /// `Ok(None)` means that all of `input` was taken and more is needed for the next message.
    /// What is left in `input` otherwise belongs to the next call.
    ///
    /// # Errors
    ///
    /// A limit that is passed, or something that is no frame. Every later call returns the same.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        self.advance(input).inspect_err(|&error| {
            self.state = State::Failed(error);
        })
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while let Some((&first, rest)) = input.split_first() {
            match &mut self.state {
                State::Between { cr } => match first {
                    b'\n' => {
                        *input = rest;
                        *cr = false;
                        return Ok(Some(Message::HeartBeat));
                    }
                    _ if *cr => return Err(Error::StrayCarriageReturn),
                    b'\r' => {
                        *input = rest;
                        *cr = true;
                    }
                    _ => self.state = State::Head(Vec::new()),
                },
                State::Head(head) => {
                    let limit = self.limits.head_bytes;
                    let end = head_end(head, input);
                    let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
                    // Judged byte by byte, so that it does not matter how the bytes were cut.
                    let room = limit.saturating_sub(head.len());
                    let seen = &taken[..taken.len().min(room)];
                    if seen.contains(&0) {
                        return Err(Error::NulInHead);
                    }
                    if taken.len() > room {
                        return Err(Error::HeadTooLong { limit });
                    }
                    head.extend_from_slice(taken);
                    *input = rest;
                    if end.is_some() {
                        let head = mem::take(head);
                        self.state = self.start_body(&head)?;
                    }
                }
                State::Body {
                    frame,
                    length,
                    body,
                } => {
                    let end = match length {
                        Some(length) => {
                            let missing = *length - body.len();
                            (input.len() > missing).then_some(missing)
                        }
                        None => input.iter().position(|&byte| byte == 0),
                    };
                    let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
                    let limit = self.limits.body_bytes;
                    if taken.len() > limit - body.len() {
                        return Err(Error::BodyTooLong { limit });
                    }
                    body.extend_from_slice(taken);
                    *input = rest;
                    if end.is_some() {
                        if rest.first() != Some(&0) {
                            return Err(Error::ContentLengthMismatch);
                        }
                        *input = &rest[1..];
                        let mut frame = mem::replace(frame, Frame::new(Command::Error));
                        frame.body = Bytes::from(mem::take(body));
                        self.state = State::Between { cr: false };
                        return Ok(Some(Message::Frame(frame)));
                    }
                }
                State::Failed(error) => return Err(*error),
            }
        }
        Ok(None)
    }

    fn start_body(&self, head: &[u8]) -> Result<State, Error> {
        let frame = parse_head(head, self.version, &self.limits)?;
        let length = content_length(&frame)?;
        let limit = self.limits.body_bytes;
        if length.is_some_and(|length| length > limit) {
            return Err(Error::BodyTooLong { limit });
        }
        Ok(State::Body {
            frame,
            length,
            body: Vec::new(),
        })
    }
}

/// How many bytes of `more` belong to the head that begins with `head`: up to and with the empty line.
fn head_end(head: &[u8], more: &[u8]) -> Option<usize> {
    // An empty line is an LF behind another one, with or without a CR between them.
    let mut before = match head {
        [.., b'\n', b'\r'] => (b'\n', b'\r'),
        [.., last] => (0, *last),
        [] => (0, 0),
    };
    for (at, &byte) in more.iter().enumerate() {
        if byte == b'\n' && (before.1 == b'\n' || before == (b'\n', b'\r')) {
            return Some(at + 1);
        }
        before = (before.1, byte);
    }
    None
}

/// Reads the command and the headers; `head` ends with the empty line.
fn parse_head(head: &[u8], version: Version, limits: &Limits) -> Result<Frame, Error> {
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let command = lines.next().unwrap_or_default();
    let command = Command::parse(command).ok_or(Error::UnknownCommand)?;
    let escapes = escapes(command, version);
    let trimmed = is_trimmed(command, version);
    let mut frame = Frame::new(command);
    for line in lines.take_while(|line| !line.is_empty()) {
        if frame.headers.len() == limits.headers {
            return Err(Error::TooManyHeaders {
                limit: limits.headers,
            });
        }
        let line = str::from_utf8(line).map_err(|_| Error::NotUtf8)?;
        if line.contains('\r') {
            return Err(Error::StrayCarriageReturn);
        }
        let (name, value) = line.split_once(':').ok_or(Error::InvalidHeader)?;
        let (name, value) = match trimmed {
            true => (name.trim_matches(' '), value.trim_matches(' ')),
            false => (name, value),
        };
        if name.is_empty() {
            return Err(Error::InvalidHeader);
        }
        frame.headers.push(Header {
            name: escapes.unescape(name)?.into_owned(),
            value: escapes.unescape(value)?.into_owned(),
        });
    }
    Ok(frame)
}

#[cfg(test)]
mod tests;
