//! A WebSocket after its handshake: messages in, messages out.
//!
//! Messages in one frame, which are nearly all there are, take a short way: the frames of one read
//! lie in a buffer of the thread, are unmasked there and handed on from there, and what is sent is
//! read behind room for its head and written with it. Everything else is tungstenite's work, which
//! is handed whole frames and exists only while there is such work.
//!
//! Invariants:
//! - an idle WebSocket owns no buffer: what it keeps is a frame that is not whole, messages that were
//!   not asked for yet, and what its client has not taken;
//! - once the library has a part of a message, or the close handshake began, every frame is its.

mod messages;

use std::{
    cell::RefCell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{Sink, SinkExt, StreamExt};
use perigee_session::Code;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{CloseFrame, WebSocketContext, frame::coding::CloseCode},
};
use tracing::debug;

use super::{
    carrier::Carrier,
    frames::{self, Front, HEAD_ROOM},
    idle_talk::IdleTalk,
    unsent::Unsent,
};

/// A WebSocket whose handshake is done.
///
/// A client that sends too many frames without bytes of a message ends it with [`Error::AttackAttempt`].
pub(crate) struct WebSocket {
    carrier: Carrier,
    max_message_bytes: usize,
    /// What was read and not taken.
    kept: BytesMut,
    /// So many bytes have to be kept for the frame at the front to be whole, or its head.
    wanted: usize,
    unsent: Unsent,
    /// Nothing more is read.
    is_deaf: bool,
    /// One side said that it closes, or is gone: no more messages are sent.
    is_closing: bool,
    /// While there is work for the library.
    library: Option<Box<WebSocketContext>>,
    idle_talk: IdleTalk,
}

/// What a client was heard to say.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// Bytes of a binary message, or of several.
    Bytes(&'a [u8]),
    Text(&'a str),
    /// It says no more.
    Closed,
}

/// How much is handed on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Each message by itself.
    Messages,
    /// The bytes of as many binary messages as there are.
    Joined,
}

/// Bytes read at a time from a client.
const READ_BYTES: usize = 64 * 1024;
/// Room before them for the beginning of a frame that was read before.
const KEPT_ROOM: usize = super::MAX_MESSAGE_BYTES + frames::MAX_HEAD;
/// Bytes read at a time from who speaks to a client: as many as a head of 4 bytes can tell.
const SEND_BYTES: usize = u16::MAX as usize;

/// Time for the close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest control frame of a client: 125 bytes, head and mask (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: usize = 125 + 6;

thread_local! {
    /// One buffer per thread: no connection owns memory for bytes that are not there.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; KEPT_ROOM + READ_BYTES]);
}

impl WebSocket {
    /// `read` is what came of it with the request.
    pub(super) fn new(carrier: Carrier, read: &[u8], max_message_bytes: usize) -> Self {
        Self {
            carrier,
            max_message_bytes,
            kept: BytesMut::from(read),
            wanted: 0,
            unsent: Unsent::default(),
            is_deaf: false,
            is_closing: false,
            library: None,
            idle_talk: IdleTalk::new(),
        }
    }

    /// Says goodbye to a client that is not ours, and waits for its answer, but not for long.
    pub(crate) async fn end(&mut self, code: Code, reason: &'static str) {
        // A clean end is 1000 for any client; others are told more (protocol section 6).
        let number = if code == Code::Closed {
            CloseCode::Normal
        } else {
            CloseCode::from(code.close_code())
        };
        let reason = if reason.is_empty() {
            code.name()
        } else {
            reason
        };
        self.end_as(number, reason).await;
    }

    /// The same for what RFC 6455 has a close code of its own.
    pub(crate) async fn end_as(&mut self, number: CloseCode, reason: &'static str) {
        let goodbye = async {
            let frame = CloseFrame {
                code: number,
                reason: reason.into(),
            };
            self.close(Some(frame)).await?;
            while let Some(Ok(_)) = self.next().await {}
            Ok::<_, Error>(())
        };
        _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// Begins the close handshake.
    pub(crate) async fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        self.send(Message::Close(frame)).await
    }

    /// Reads once at most, and hands on all messages that are whole then. `hear` is told whether it has all
    /// that was read now, and says whether it takes more: with [`Pieces::Messages`] what it does not take
    /// is kept for the next call.
    ///
    /// # Errors
    ///
    /// The client broke a rule, or the connection is gone. What came before was handed on.
    pub(crate) fn poll_hear(
        &mut self,
        pieces: Pieces,
        cx: &mut Context<'_>,
        mut hear: impl FnMut(Heard<'_>, bool) -> bool,
    ) -> Poll<Result<(), Error>> {
        self.answer(cx);
        if self.is_deaf {
            return Poll::Ready(Err(Error::ConnectionClosed));
        }
        if self.may_have_whole() {
            let mut bytes = mem::take(&mut self.kept);
            return Poll::Ready(self.hear_all(&mut bytes, pieces, &mut hear));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let end = KEPT_ROOM + ready!(self.poll_read(&mut buffer[KEPT_ROOM..], cx))?;
            let start = KEPT_ROOM.checked_sub(self.kept.len());
            match start {
                Some(start) if end - start >= self.wanted => {
                    if !self.kept.is_empty() {
                        buffer[start..KEPT_ROOM].copy_from_slice(&self.kept);
                        self.kept = BytesMut::new();
                    }
                    Poll::Ready(self.hear_all(&mut buffer[start..end], pieces, &mut hear))
                }
                _ => {
                    self.kept.extend_from_slice(&buffer[KEPT_ROOM..end]);
                    Poll::Ready(Ok(()))
                }
            }
        })
    }

    /// Sends a client what `read` puts into a buffer, as one message, and says how long it was: none
    /// is sent if there was nothing. Call it only when [`Sink::poll_ready`] allows it.
    pub(crate) fn poll_send_read(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let Some((head, bytes)) = buffer.split_first_chunk_mut::<HEAD_ROOM>() else {
                return Poll::Ready(Ok(0));
            };
            let len = ready!(read(&mut bytes[..SEND_BYTES]))?;
            if len > 0 {
                let at = frames::put_head(head, frames::BINARY, len);
                let frame = &buffer[at..HEAD_ROOM + len];
                self.unsent.offer(&mut self.carrier, frame, cx);
            }
            Poll::Ready(Ok(len))
        })
    }

    /// Sends a client a binary message that stands in `bytes` behind room for its head. Call it only
    /// when [`Sink::poll_ready`] allows it.
    pub(crate) fn send_in_place(&mut self, bytes: &mut [u8], cx: &mut Context<'_>) {
        // After its CLOSE nobody listens.
        if let Some((head, message)) = bytes.split_first_chunk_mut::<HEAD_ROOM>()
            && !self.is_closing
        {
            let at = frames::put_head(head, frames::BINARY, message.len());
            self.unsent.offer(&mut self.carrier, &bytes[at..], cx);
        }
    }

    /// Whether the client took less than it was offered; it is asked again when it wakes.
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent.is_blocked()
    }

    /// Sends what waits, such as the answer to a PING. That it cannot be sent, reading finds out too.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if !self.unsent.is_empty() {
            _ = Pin::new(self).poll_flush(cx);
        }
    }

    /// Bytes of the client, at least one.
    fn poll_read(&mut self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let mut room = ReadBuf::new(buffer);
        let error = match ready!(Pin::new(&mut self.carrier).poll_read(cx, &mut room)) {
            Ok(()) if !room.filled().is_empty() => {
                return Poll::Ready(Ok(room.filled().len()));
            }
            Ok(()) => ProtocolError::ResetWithoutClosingHandshake.into(),
            Err(error) if Carrier::is_flooded(&error) => flooded(),
            Err(error) => error.into(),
        };
        self.is_deaf = true;
        self.is_closing |= !matches!(error, Error::AttackAttempt);
        Poll::Ready(Err(error))
    }

    /// Whether what is kept is worth another look.
    fn may_have_whole(&self) -> bool {
        !self.kept.is_empty() && self.kept.len() >= self.wanted
    }

    /// Hands on all messages that are whole, and keeps the rest.
    fn hear_all(
        &mut self,
        bytes: &mut [u8],
        pieces: Pieces,
        hear: &mut impl FnMut(Heard<'_>, bool) -> bool,
    ) -> Result<(), Error> {
        let mut at = 0;
        let mut joined = 0..0;
        let mut takes_more = true;
        self.wanted = 0;
        let result = loop {
            if self.is_deaf || !takes_more {
                break Ok(());
            }
            let (is_text, payload) = match self.front(&bytes[at..]) {
                Ok(Front::Message {
                    is_text,
                    head,
                    len,
                    mask,
                }) => {
                    let payload = at + head..at + head + len;
                    frames::unmask(&mut bytes[payload.clone()], mask);
                    at = payload.end;
                    (is_text, payload)
                }
                Ok(Front::Other { len, ends }) => {
                    if !joined.is_empty() {
                        hear(Heard::Bytes(&bytes[mem::take(&mut joined)]), false);
                    }
                    let frame = &bytes[at..at + len];
                    at += len;
                    let is_last = at == bytes.len();
                    takes_more = match self.ask_library(frame, ends) {
                        Ok(Some(Message::Binary(bytes))) => hear(Heard::Bytes(&bytes), is_last),
                        Ok(Some(Message::Text(text))) => hear(Heard::Text(&text), is_last),
                        Ok(Some(Message::Close(_))) => hear(Heard::Closed, is_last),
                        Ok(
                            None | Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)),
                        ) => true,
                        Err(error) => break Err(error),
                    };
                    continue;
                }
                Ok(Front::Cut { wanted }) => {
                    self.wanted = wanted;
                    break Ok(());
                }
                Err(error) => break Err(error),
            };
            if let Err(error) = self.count(!payload.is_empty()) {
                break Err(error);
            }
            let is_last = at == bytes.len();
            if is_text {
                if !joined.is_empty() {
                    hear(Heard::Bytes(&bytes[mem::take(&mut joined)]), false);
                }
                match str::from_utf8(&bytes[payload]) {
                    Ok(text) => takes_more = hear(Heard::Text(text), is_last),
                    Err(error) => break Err(error.into()),
                }
            } else if pieces == Pieces::Messages {
                takes_more = hear(Heard::Bytes(&bytes[payload]), is_last);
            } else if joined.is_empty() {
                joined = payload;
            } else {
                let end = joined.end + payload.len();
                bytes.copy_within(payload, joined.end);
                joined.end = end;
            }
        };
        if !joined.is_empty() {
            hear(Heard::Bytes(&bytes[joined]), at == bytes.len());
        }
        self.is_deaf |= result.is_err();
        if at < bytes.len() && !self.is_deaf {
            self.kept = BytesMut::from(&bytes[at..]);
        }
        result
    }

    /// What stands at the front of `bytes`, and who is to look at it.
    fn front(&self, bytes: &[u8]) -> Result<Front, Error> {
        let front = frames::front(bytes, self.max_message_bytes)?;
        Ok(match front {
            Front::Message { head, len, .. } if self.library.is_some() => Front::Other {
                len: head + len,
                ends: Some(true),
            },
            front => front,
        })
    }

    /// Counts a message or a control frame.
    fn count(&mut self, says_something: bool) -> Result<(), Error> {
        if says_something {
            self.carrier.finished();
            return Ok(());
        }
        self.carrier.control(MAX_CONTROL_BYTES);
        if self.idle_talk.take() {
            Ok(())
        } else {
            Err(flooded())
        }
    }
}

fn flooded() -> Error {
    debug!("websocket ended: too many frames that say nothing");
    Error::AttackAttempt
}

#[cfg(test)]
mod tests;
