//! Lines out of a byte stream.
//!
//! A line ends with CR LF or with LF alone, which enough peers send that every server takes it.
//! CR alone ends nothing: a line that has one elsewhere is refused, because two programs that
//! disagree about it can be made to see different messages (ergo #610).
//! Empty lines are passed over (RFC 1459 §2.3).
//!
//! # Invariants
//!
//! - However the bytes are cut, the same messages and errors come out in the same order.
//! - What is kept between two calls is one unfinished line that is within its limits, and nothing at all between two lines.
//! - A line that is too long is never truncated: it gives one error as soon as it is known to be
//!   too long, and its bytes up to the next LF are thrown away.
//! - The decoder goes on behind any error. Whether the connection does is for its owner to say.

use std::mem;

use bytes::Bytes;

use crate::{Error, Limits, Message};

/// Takes bytes as they come and gives one [`Message`] per line.
///
/// ```
/// use perigee_irc::{Decoder, Limits};
///
/// let mut decoder = Decoder::new(Limits::FROM_SERVER);
/// let mut input = &b"PING :a\r\nPING :b"[..];
/// while let Some(message) = decoder.decode(&mut input)? {
///     assert_eq!(message.command, "PING");
/// }
/// assert!(input.is_empty());
/// # Ok::<(), perigee_irc::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Inside a line, or before its first byte.
    Line(Line),
    /// Behind the error for a line that was too long, before its LF.
    Skipping,
}

/// The start of a line.
#[derive(Debug, Default)]
struct Line {
    /// Invariant: within the limits.
    bytes: Vec<u8>,
    /// Where the tags end, once that is known; 0 if there are none.
    tags_end: Option<usize>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Line(Line::default()),
        }
    }

    /// Takes bytes off the front of `input` until they complete a message.
    ///
    /// `Ok(None)` means that all of `input` was taken and more is needed for the next message.
    /// What is left in `input` otherwise belongs to the next call.
    ///
    /// # Errors
    ///
    /// One for each line that is too long ([`Error::TagsTooLong`], [`Error::LineTooLong`])
    /// or that is no message (those of [`Message::parse`]). Calling again goes on behind that line.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while !input.is_empty() {
            let end = input.iter().position(|&byte| byte == b'\n');
            let (bytes, rest) = input.split_at(end.unwrap_or(input.len()));
            *input = rest.get(1..).unwrap_or_default();

            let State::Line(line) = &mut self.state else {
                if end.is_some() {
                    self.state = State::Line(Line::default());
                }
                continue;
            };
            if let Err(error) = line.extend(bytes, &self.limits) {
                self.state = match end {
                    Some(_) => State::Line(Line::default()),
                    None => State::Skipping,
                };
                return Err(error);
            }
            if end.is_none() {
                continue;
            }
            let mut line = mem::take(line).bytes;
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                return Message::parse(Bytes::from(line)).map(Some);
            }
        }
        Ok(None)
    }
}

impl Line {
    /// Appends `more`, unless no line within the limits can start like that.
    ///
    /// What was refused is refused with anything behind it too, and with the same error:
    /// it does not matter how the bytes were cut.
    fn extend(&mut self, more: &[u8], limits: &Limits) -> Result<(), Error> {
        if self.tags_end.is_none() {
            self.tags_end = match self.bytes.first().or(more.first()) {
                Some(b'@') => {
                    let space = more.iter().position(|&byte| byte == b' ');
                    space.map(|at| self.bytes.len() + at + 1)
                }
                Some(_) => Some(0),
                None => None,
            };
        }
        let length = self.bytes.len() + more.len();
        // The space that is still missing can be the next byte at the earliest.
        let tags = self.tags_end.unwrap_or(length + 1);
        if length > 0 && tags > limits.tags_bytes {
            return Err(Error::TagsTooLong {
                limit: limits.tags_bytes,
            });
        }
        // One CR more may turn out to be the first half of the line end.
        let cr = more.last().or(self.bytes.last()) == Some(&b'\r');
        if length.saturating_sub(tags) > limits.content_bytes() + usize::from(cr) {
            return Err(Error::LineTooLong {
                limit: limits.line_bytes,
            });
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
