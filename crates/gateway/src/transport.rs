//! How frames reach a client and come from it. A transport moves frames; it knows no streams and
//! no backends.
//!
//! Each file but two has the handler of its requests and its [`Downlink`], which the session
//! task polls. Uplink requests that belong to no downlink are in `uplink`.

pub(crate) mod attach;
pub(crate) mod poll;
pub(crate) mod stream;
pub(crate) mod uplink;
pub(crate) mod websocket;
pub(crate) mod webtransport;

use std::task::{Context, Poll};

use bytes::Bytes;
use perigee_session::{Code, Link};
use tokio_util::task::TaskTracker;

/// The sending end of an attachment, and for a WebSocket and WebTransport the receiving end too.
pub(crate) enum Downlink {
    WebSocket(Box<websocket::Downlink>),
    WebTransport(Box<webtransport::Downlink>),
    Stream(stream::Downlink),
    Poll(poll::Downlink),
}

/// What a downlink brought.
pub(crate) enum Input {
    /// A whole number of frames.
    Frames(Bytes),
    /// Something that is no message of ours.
    Violation,
    /// The transport is gone.
    Gone,
}

/// Most bytes of frames handed to a transport at a time: a WebSocket message stays below the 64 KiB
/// that the protocol allows.
const BATCH_BYTES: usize = 48 * 1024;
/// A poll's reply may be larger: each costs a round trip.
const POLL_BATCH_BYTES: usize = 128 * 1024;

impl Downlink {
    /// The name in logs and in the client.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::WebTransport(_) => "webtransport",
            Self::Stream(_) => "stream",
            Self::Poll(_) => "poll",
        }
    }

    pub(crate) fn link(&self) -> Link {
        match self {
            Self::WebSocket(_) | Self::WebTransport(_) | Self::Stream(_) => Link::Open,
            Self::Poll(_) => Link::Poll,
        }
    }

    pub(crate) fn batch_bytes(&self) -> usize {
        match self {
            Self::WebSocket(_) | Self::WebTransport(_) | Self::Stream(_) => BATCH_BYTES,
            Self::Poll(_) => POLL_BATCH_BYTES,
        }
    }

    /// Whether [`Downlink::send`] may be called; `Err` if the transport is gone.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self {
            Self::WebSocket(downlink) => downlink.poll_room(cx),
            Self::WebTransport(downlink) => downlink.poll_room(cx),
            Self::Stream(downlink) => downlink.poll_room(cx),
            Self::Poll(_) => Poll::Ready(Ok(())),
        }
    }

    /// Hands over frames. A poll is over after that.
    pub(crate) fn send(&mut self, frames: Vec<u8>) {
        match self {
            Self::WebSocket(downlink) => downlink.send(frames),
            Self::WebTransport(downlink) => downlink.send(frames),
            Self::Stream(downlink) => downlink.send(frames),
            Self::Poll(downlink) => downlink.send(frames),
        }
    }

    /// Pushes out what was handed over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        match self {
            Self::WebSocket(downlink) => downlink.poll_flush(cx),
            Self::WebTransport(downlink) => downlink.poll_flush(cx),
            Self::Stream(_) | Self::Poll(_) => Ok(()),
        }
    }

    /// What comes in; a stream and a poll only ever bring their end.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        match self {
            Self::WebSocket(downlink) => downlink.poll_input(cx),
            Self::WebTransport(downlink) => downlink.poll_input(cx),
            Self::Stream(downlink) => downlink.poll_gone(cx).map(|()| Input::Gone),
            Self::Poll(downlink) => downlink.poll_gone(cx).map(|()| Input::Gone),
        }
    }

    /// Sends last frames and ends the transport, in the background where that takes time.
    pub(crate) fn finish(self, frames: Vec<u8>, code: Code, tasks: &TaskTracker) {
        match self {
            Self::WebSocket(downlink) => {
                tasks.spawn(downlink.finish(frames, code));
            }
            Self::WebTransport(downlink) => {
                tasks.spawn(downlink.finish(frames, code));
            }
            Self::Stream(downlink) => downlink.send_last(frames),
            Self::Poll(mut downlink) => downlink.send(frames),
        }
    }
}

/// The transport can carry nothing more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;
