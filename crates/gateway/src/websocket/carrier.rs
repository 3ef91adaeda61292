//! What carries a WebSocket: a connection of its own, or a stream of an HTTP/2 connection.
//!
//! It also bounds what a client may send without saying anything: empty fragments cost bytes on the
//! wire but none in the message, so the message's bound does not see them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listener::{ClientSocket, Held};

/// Bytes on the wire for one message of the largest size: twice that, as honest clients cut messages
/// into frames of hundreds of bytes at least, with at most 14 bytes of head each.
const WIRE_FACTOR: usize = 2;

/// The bytes below the frames of a WebSocket.
#[derive(Debug)]
pub(crate) struct Carrier {
    wire: Wire,
    /// Bytes read since a message was whole.
    unfinished: usize,
    max_wire_bytes: usize,
}

#[derive(Debug)]
enum Wire {
    Socket(ClientSocket),
    /// The connection is in use for as long as this lives, which its idle timeout respects.
    Stream(
        TokioIo<Upgraded>,
        #[expect(dead_code, reason = "held")] Held,
    ),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

/// A message took too many bytes on the wire.
#[derive(Debug, thiserror::Error)]
#[error("a message in too many pieces")]
struct TooManyPieces;

impl Carrier {
    pub(super) fn socket(socket: ClientSocket, max_message_bytes: usize) -> Self {
        Self {
            wire: Wire::Socket(socket),
            unfinished: 0,
            max_wire_bytes: WIRE_FACTOR * max_message_bytes,
        }
    }

    pub(super) fn stream(stream: Upgraded, held: Held, max_message_bytes: usize) -> Self {
        Self {
            wire: Wire::Stream(TokioIo::new(stream), held),
            unfinished: 0,
            max_wire_bytes: WIRE_FACTOR * max_message_bytes,
        }
    }

    #[cfg(test)]
    pub(super) fn memory(stream: tokio::io::DuplexStream, max_message_bytes: usize) -> Self {
        Self {
            wire: Wire::Memory(stream),
            unfinished: 0,
            max_wire_bytes: WIRE_FACTOR * max_message_bytes,
        }
    }

    /// A message is whole.
    pub(super) fn finished(&mut self) {
        self.unfinished = 0;
    }

    /// A frame of so many bytes at most stood for itself, between messages or within one.
    pub(super) fn control(&mut self, len: usize) {
        self.unfinished = self.unfinished.saturating_sub(len);
    }

    /// Whether an error of reading is that bound's.
    pub(super) fn is_flooded(error: &io::Error) -> bool {
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<TooManyPieces>())
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unfinished > self.max_wire_bytes {
            return Poll::Ready(Err(io::Error::other(TooManyPieces)));
        }
        let before = buffer.filled().len();
        let polled = match &mut self.wire {
            Wire::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Wire::Stream(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(test)]
            Wire::Memory(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        ready!(polled)?;
        self.unfinished += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
            Wire::Stream(stream, _) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(test)]
            Wire::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        runs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, runs),
            Wire::Stream(stream, _) => Pin::new(stream).poll_write_vectored(cx, runs),
            #[cfg(test)]
            Wire::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, runs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Socket(socket) => socket.is_write_vectored(),
            Wire::Stream(stream, _) => stream.is_write_vectored(),
            #[cfg(test)]
            Wire::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Wire::Stream(stream, _) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Wire::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Wire::Stream(stream, _) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Wire::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
