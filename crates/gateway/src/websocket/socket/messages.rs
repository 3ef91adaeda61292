//! Messages one by one, as the library has them, and its work: fragments, control frames and the close handshake.
//!
//! Invariant: the library exists only while it has a part of a message or the close handshake goes on.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use super::{BUFFER, READ_BYTES, WebSocket};
use crate::websocket::{
    frames::{self, Front},
    unsent::Unsent,
};

/// Bytes of a frame that the library takes at a time.
const LIBRARY_READ_BYTES: usize = 4 * 1024;

/// What the library reads and writes.
struct Feed<'a> {
    frame: &'a [u8],
    unsent: &'a mut Unsent,
}

impl WebSocket {
    /// The next message of those that are kept.
    fn take_kept(&mut self) -> Result<Option<Message>, Error> {
        while !self.is_deaf && self.may_have_whole() {
            self.wanted = 0;
            match self.front(&self.kept)? {
                Front::Message {
                    is_text,
                    head,
                    len,
                    mask,
                } => {
                    let mut frame = self.kept.split_to(head + len);
                    frame.advance(head);
                    frames::unmask(&mut frame, mask);
                    // A message does not hold on to those after it.
                    let payload = if self.kept.is_empty() {
                        self.kept = BytesMut::new();
                        frame.freeze()
                    } else {
                        Bytes::copy_from_slice(&frame)
                    };
                    self.count(!payload.is_empty())?;
                    return Ok(Some(if is_text {
                        Message::Text(Utf8Bytes::try_from(payload)?)
                    } else {
                        Message::Binary(payload)
                    }));
                }
                Front::Other { len, ends } => {
                    let frame = self.kept.split_to(len);
                    if let Some(message) = self.ask_library(&frame, ends)? {
                        return Ok(Some(message));
                    }
                }
                Front::Cut { wanted } => self.wanted = wanted,
            }
        }
        Ok(None)
    }

    /// Hands the library a frame, and says what message it makes.
    pub(super) fn ask_library(
        &mut self,
        frame: &[u8],
        ends: Option<bool>,
    ) -> Result<Option<Message>, Error> {
        let had_part = self.library.is_some();
        let max_message_bytes = self.max_message_bytes;
        let library = self
            .library
            .get_or_insert_with(|| new_library(max_message_bytes));
        let mut feed = Feed {
            frame,
            unsent: &mut self.unsent,
        };
        let message = match library.read(&mut feed) {
            Ok(message) => Some(message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(error),
        };
        // The answer to a PING or CLOSE. Nothing follows a CLOSE.
        match library.flush(&mut feed) {
            Err(Error::ConnectionClosed) => {
                self.is_deaf = true;
                self.is_closing = true;
            }
            flushed => flushed?,
        }
        let has_part = ends.map_or(had_part, |ends| !ends);
        if !has_part && !self.is_closing {
            self.library = None;
        }
        if let Some(message) = &message {
            self.count(says_something(message))?;
        }
        Ok(message)
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.answer(cx);
            match self.take_kept() {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Err(error) => {
                    self.is_deaf = true;
                    self.kept = BytesMut::new();
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if self.is_deaf {
                self.kept = BytesMut::new();
                let this = &mut *self;
                _ = ready!(this.unsent.poll_send(&mut this.carrier, cx));
                return Poll::Ready(None);
            }
            let read = BUFFER.with_borrow_mut(|buffer| {
                let len = ready!(self.poll_read(&mut buffer[..READ_BYTES], cx))?;
                self.kept.extend_from_slice(&buffer[..len]);
                Poll::Ready(Ok(()))
            });
            if let Err(error) = ready!(read) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        let polled = this.unsent.poll_room(&mut this.carrier, cx);
        polled.map_err(Error::Io)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let this = &mut *self;
        if let Message::Close(frame) = message {
            let max_message_bytes = this.max_message_bytes;
            let library = this
                .library
                .get_or_insert_with(|| new_library(max_message_bytes));
            this.is_closing = true;
            let mut feed = Feed {
                frame: &[],
                unsent: &mut this.unsent,
            };
            return match library.close(&mut feed, frame) {
                // The client closed first, and has its answer.
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
                closed => closed,
            };
        }
        if this.is_closing {
            return Err(ProtocolError::SendAfterClosing.into());
        }
        match message {
            Message::Binary(bytes) => this.unsent.append(frames::BINARY, &bytes),
            Message::Text(text) => this.unsent.append(frames::TEXT, text.as_bytes()),
            Message::Ping(bytes) => this.unsent.append(frames::PING, &bytes),
            Message::Pong(bytes) => this.unsent.append(frames::PONG, &bytes),
            Message::Close(_) | Message::Frame(_) => {
                return Err(ProtocolError::UnexpectedContinueFrame.into());
            }
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        let polled = this.unsent.poll_flush(&mut this.carrier, cx);
        polled.map_err(Error::Io)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(cx)
    }
}

fn says_something(message: &Message) -> bool {
    match message {
        Message::Binary(bytes) => !bytes.is_empty(),
        Message::Text(text) => !text.is_empty(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => false,
    }
}

/// Bounds on purpose: the library's defaults cost 133 KiB.
pub(super) fn new_library(max_message_bytes: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(LIBRARY_READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * max_message_bytes)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes));
    Box::new(WebSocketContext::new(Role::Server, Some(config)))
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.frame.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.frame.read(buffer)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.unsent.write(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
