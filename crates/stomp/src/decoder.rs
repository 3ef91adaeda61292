//! Whole frames out of a byte stream.
//!
//! # Invariants
//!
//! - However the bytes are cut, the same messages and the same error come out in the same order.
//! - What is kept between two calls is one unfinished frame that is within its limits, and nothing at
//!   all between two frames. Room for a body is taken as it comes, not as it is promised.
//! - An error is final: behind it every call gives the same one and takes nothing.

use bytes::Bytes;

use crate::{Error, Frame, Limits, Message, Part, PartDecoder, Version};

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
    parts: PartDecoder,
    /// A frame that is not complete, and what came of its body.
    unfinished: Option<(Frame, Vec<u8>)>,
}

impl Decoder {
    /// A decoder at the start of a stream, for 1.0 until [`Decoder::set_version`].
    pub fn new(limits: Limits) -> Self {
        Self {
            parts: PartDecoder::new(limits),
            unfinished: None,
        }
    }

    /// From the next frame on, headers are read as `version` has them: call it when `CONNECTED` was seen or sent.
    pub fn set_version(&mut self, version: Version) {
        self.parts.set_version(version);
    }

    /// Bytes that are kept of an unfinished frame.
    pub fn buffered(&self) -> usize {
        let body = self.unfinished.as_ref().map_or(0, |(_, body)| body.len());
        self.parts.buffered() + body
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
        let decoded = self.advance(input);
        if decoded.is_err() {
            self.unfinished = None;
        }
        decoded
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while let Some(part) = self.parts.decode(input)? {
            match part {
                Part::HeartBeat => return Ok(Some(Message::HeartBeat)),
                Part::Head(frame) => self.unfinished = Some((frame, Vec::new())),
                Part::Body(bytes) => {
                    if let Some((_, body)) = &mut self.unfinished {
                        body.extend_from_slice(bytes);
                    }
                }
                Part::End => {
                    if let Some((mut frame, body)) = self.unfinished.take() {
                        frame.body = Bytes::from(body);
                        return Ok(Some(Message::Frame(frame)));
                    }
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
