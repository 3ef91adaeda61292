//! Frames out of a byte stream in parts, for those who pass bodies on and do not keep them.
//!
//! # Invariants
//!
//! - What is kept between two calls is one unfinished head that is within its limits.
//! - A body is handed out as it comes: its parts together are the body, and none of them is empty.
//! - An error is final: behind it every call gives the same one and takes nothing.

use crate::{
    Command, Error, Frame, Header, Limits, Version,
    encode::{content_length, escapes, is_trimmed},
};

/// What comes next in a stream of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A line end between two frames.
    HeartBeat,
    /// A frame begins; its body is still empty.
    Head(Frame),
    /// The next bytes of its body.
    Body(&'a [u8]),
    /// The frame is complete.
    End,
}

/// Takes bytes as they come and gives the [`Part`]s of frames.
///
/// ```
/// use perigee_stomp::{Limits, Part, PartDecoder};
///
/// let mut decoder = PartDecoder::new(Limits::default());
/// let mut input = &b"MESSAGE\ndestination:/queue/a\n\nhello\0"[..];
/// assert!(matches!(decoder.decode(&mut input)?, Some(Part::Head(_))));
/// assert_eq!(decoder.decode(&mut input)?, Some(Part::Body(b"hello")));
/// assert_eq!(decoder.decode(&mut input)?, Some(Part::End));
/// assert_eq!(decoder.decode(&mut input)?, None);
/// # Ok::<(), perigee_stomp::Error>(())
/// ```
#[derive(Debug)]
pub struct PartDecoder {
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
        /// What `content-length` says; without it the body ends at the first NUL.
        length: Option<usize>,
        /// Bytes that were handed out. Invariant: within the limit.
        taken: usize,
    },
    Failed(Error),
}

impl PartDecoder {
    /// A decoder at the start of a stream, for 1.0 until [`PartDecoder::set_version`].
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

    /// Bytes that are kept of an unfinished head.
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Head(head) => head.len(),
            State::Between { .. } | State::Body { .. } | State::Failed(_) => 0,
        }
    }

    /// Whether no frame has begun that is not complete.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Between { cr: false })
    }

    /// Takes bytes off the front of `input` until there is a part.
    ///
    /// `Ok(None)` means that all of `input` was taken and more is needed.
    /// What is left in `input` otherwise belongs to the next call.
    ///
    /// # Errors
    ///
    /// A limit that is passed, or something that is no frame. Every later call returns the same.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Error> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        self.advance(input).inspect_err(|&error| {
            self.state = State::Failed(error);
        })
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, Error> {
        while let Some((&first, rest)) = input.split_first() {
            match &mut self.state {
                State::Between { cr } => match first {
                    b'\n' => {
                        *input = rest;
                        *cr = false;
                        return Ok(Some(Part::HeartBeat));
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
                        let frame = parse_head(head, self.version, &self.limits)?;
                        let length = content_length(&frame)?;
                        let limit = self.limits.body_bytes;
                        if length.is_some_and(|length| length > limit) {
                            return Err(Error::BodyTooLong { limit });
                        }
                        self.state = State::Body { length, taken: 0 };
                        return Ok(Some(Part::Head(frame)));
                    }
                }
                State::Body { length, taken } => {
                    let end = match length {
                        Some(length) => {
                            let missing = *length - *taken;
                            (input.len() > missing).then_some(missing)
                        }
                        None => input.iter().position(|&byte| byte == 0),
                    };
                    if end == Some(0) {
                        if first != 0 {
                            return Err(Error::ContentLengthMismatch);
                        }
                        *input = rest;
                        self.state = State::Between { cr: false };
                        return Ok(Some(Part::End));
                    }
                    let (body, rest) = input.split_at(end.unwrap_or(input.len()));
                    let limit = self.limits.body_bytes;
                    if body.len() > limit - *taken {
                        return Err(Error::BodyTooLong { limit });
                    }
                    *taken += body.len();
                    *input = rest;
                    return Ok(Some(Part::Body(body)));
                }
                State::Failed(error) => return Err(*error),
            }
        }
        Ok(None)
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
