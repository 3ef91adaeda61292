//! What a client of a WebSocket has not taken yet.
//!
//! Invariant: it owns no memory when everything was taken.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::{
    carrier::Carrier,
    frames::{self, HEAD_ROOM},
};

/// Messages that are handed over one by one wait for each other up to this.
const BATCH_BYTES: usize = 16 * 1024;
/// No PONG waits behind more than this: a later one says the same.
const MAX_BEFORE_PONG: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Unsent {
    bytes: BytesMut,
    /// The client took less than it was offered.
    is_blocked: bool,
    /// The carrier may hold bytes back until it is told not to.
    is_unflushed: bool,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Puts a frame behind what waits.
    pub(super) fn append(&mut self, opcode: u8, payload: &[u8]) {
        let mut head = [0; HEAD_ROOM];
        let at = frames::put_head(&mut head, opcode, payload.len());
        self.bytes.reserve(HEAD_ROOM - at + payload.len());
        self.bytes.extend_from_slice(&head[at..]);
        self.bytes.extend_from_slice(payload);
    }

    /// Offers a frame to the client, and keeps what it does not take.
    pub(super) fn offer(&mut self, carrier: &mut Carrier, frame: &[u8], cx: &mut Context<'_>) {
        let mut taken = 0;
        if self.bytes.is_empty()
            // An error shows again when the rest is sent.
            && let Poll::Ready(Ok(len)) = Pin::new(carrier).poll_write(cx, frame)
        {
            taken = len;
            self.is_unflushed = true;
        }
        if taken < frame.len() {
            self.is_blocked = true;
            self.bytes.extend_from_slice(&frame[taken..]);
        }
    }

    /// Ready when there is room for another message.
    pub(super) fn poll_room(
        &mut self,
        carrier: &mut Carrier,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_blocked && self.bytes.len() < BATCH_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(carrier, cx)
    }

    /// Ready when the client has taken everything, as far as the carrier is asked.
    pub(super) fn poll_send(
        &mut self,
        carrier: &mut Carrier,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let Poll::Ready(taken) = Pin::new(&mut *carrier).poll_write(cx, &self.bytes)? else {
                self.is_blocked = true;
                return Poll::Pending;
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(taken);
            self.is_unflushed = true;
        }
        self.is_blocked = false;
        if self.bytes.capacity() > 0 {
            self.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the carrier holds nothing back either.
    pub(super) fn poll_flush(
        &mut self,
        carrier: &mut Carrier,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.bytes.is_empty() {
            ready!(self.poll_send(carrier, cx))?;
        }
        if self.is_unflushed {
            ready!(Pin::new(carrier).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes one frame of the library at a time, whole.
impl Write for Unsent {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        let is_pong = frame.first() == Some(&(frames::FIN | frames::PONG));
        if !(is_pong && self.bytes.len() > MAX_BEFORE_PONG) {
            self.bytes.extend_from_slice(frame);
        }
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
