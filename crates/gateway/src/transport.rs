//! How frames reach a client and come from it. A transport moves frames; it knows no streams and
//! no backends.
//!
//! Each transport has a file with the handlers of its requests and its [`Downlink`], which the
//! session task polls. Uplink requests that belong to no downlink are in `uplink`; what the session
//! answers requests with is `awaited`; `ticket` and `form` are for pages that cannot send frames with the request that is to bring some.

pub(crate) mod attach;
pub(crate) mod awaited;
pub(crate) mod form;
pub(crate) mod htmlfile;
pub(crate) mod jsonp;
pub(crate) mod poll;
pub(crate) mod sse;
pub(crate) mod stream;
pub(crate) mod ticket;
pub(crate) mod uplink;
pub(crate) mod websocket;
pub(crate) mod webtransport;

use std::task::{Context, Poll};

use perigee_session::{Code, Link, Position};
use tokio_util::task::TaskTracker;

use self::ticket::Kind;

/// The sending end of an attachment, and for a WebSocket and WebTransport the receiving end too.
///
/// Small, since each session has room for one; what is larger is in a box.
pub(crate) enum Downlink {
    WebSocket(Box<websocket::Downlink>),
    WebTransport(Box<webtransport::Downlink>),
    Stream(Box<stream::Downlink>),
    Poll(poll::Downlink),
    Sse(Box<sse::Downlink>),
    Htmlfile(Box<htmlfile::Downlink>),
    Jsonp(jsonp::Downlink),
}

/// What a downlink brought.
pub(crate) enum Input {
    /// Frames, which were handed over.
    Frames,
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
/// A script in base64 stays below 128 KiB, too.
const SCRIPT_BATCH_BYTES: usize = 95 * 1024;

impl Downlink {
    /// The name in logs and in the client.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::WebTransport(_) => "webtransport",
            Self::Stream(_) => "stream",
            Self::Poll(_) => "poll",
            Self::Sse(_) => Kind::Sse.name(),
            Self::Htmlfile(_) => Kind::Htmlfile.name(),
            Self::Jsonp(_) => Kind::Jsonp.name(),
        }
    }

    pub(crate) fn link(&self) -> Link {
        match self {
            Self::WebSocket(_) | Self::WebTransport(_) | Self::Stream(_) => Link::Open,
            Self::Poll(_) => Link::Poll,
            Self::Sse(_) => Kind::Sse.link(),
            Self::Htmlfile(_) => Kind::Htmlfile.link(),
            Self::Jsonp(_) => Kind::Jsonp.link(),
        }
    }

    /// Whether the attachment goes on with another reply when this one ends.
    pub(crate) fn has_ticket(&self) -> bool {
        match self {
            Self::WebSocket(_) | Self::WebTransport(_) | Self::Stream(_) | Self::Poll(_) => false,
            Self::Sse(_) | Self::Htmlfile(_) | Self::Jsonp(_) => true,
        }
    }

    pub(crate) fn batch_bytes(&self) -> usize {
        match self {
            Self::WebSocket(_)
            | Self::WebTransport(_)
            | Self::Stream(_)
            | Self::Sse(_)
            | Self::Htmlfile(_) => BATCH_BYTES,
            Self::Poll(_) => POLL_BATCH_BYTES,
            Self::Jsonp(_) => SCRIPT_BATCH_BYTES,
        }
    }

    /// Whether [`Downlink::send`] may be called; `Err` if the transport is gone.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self {
            Self::WebSocket(downlink) => downlink.poll_room(cx),
            Self::WebTransport(downlink) => downlink.poll_room(cx),
            Self::Stream(downlink) => downlink.poll_room(cx),
            Self::Sse(downlink) => downlink.reply.poll_room(cx),
            Self::Htmlfile(downlink) => downlink.reply.poll_room(cx),
            Self::Poll(_) | Self::Jsonp(_) => Poll::Ready(Ok(())),
        }
    }

    /// Where to put the frames that are handed over next, behind what stands in it already.
    pub(crate) fn begin(&self) -> Vec<u8> {
        match self {
            Self::WebSocket(_) => websocket::Downlink::begin(),
            Self::WebTransport(_)
            | Self::Stream(_)
            | Self::Poll(_)
            | Self::Sse(_)
            | Self::Htmlfile(_)
            | Self::Jsonp(_) => Vec::new(),
        }
    }

    /// Hands over frames that were put where [`Downlink::begin`] says, and where a later reply may go
    /// on from, `position` after them. A poll is over after that.
    pub(crate) fn send(
        &mut self,
        frames: Vec<u8>,
        cx: &mut Context<'_>,
        position: impl FnOnce() -> Position,
    ) {
        match self {
            Self::WebSocket(downlink) => downlink.send(frames, cx),
            Self::WebTransport(downlink) => downlink.send(frames),
            Self::Stream(downlink) => downlink.send(frames),
            Self::Poll(downlink) => downlink.send(frames),
            Self::Sse(downlink) => downlink.send(&frames, &position()),
            Self::Htmlfile(downlink) => downlink.send(&frames, &position()),
            Self::Jsonp(downlink) => downlink.send(&frames, &position()),
        }
    }

    /// Pushes out what was handed over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        match self {
            Self::WebSocket(downlink) => downlink.poll_flush(cx),
            Self::WebTransport(downlink) => downlink.poll_flush(cx),
            Self::Stream(_) | Self::Poll(_) | Self::Sse(_) | Self::Htmlfile(_) | Self::Jsonp(_) => {
                Ok(())
            }
        }
    }

    /// What comes in; `take` gets each whole number of frames, and whether it is known that
    /// nothing has come behind it. Replies of requests only ever bring their end.
    pub(crate) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(&[u8], bool),
    ) -> Poll<Input> {
        let gone = match self {
            Self::WebSocket(downlink) => return downlink.poll_input(cx, take),
            Self::WebTransport(downlink) => return downlink.poll_input(cx, take),
            Self::Stream(downlink) => downlink.poll_gone(cx),
            Self::Poll(downlink) => downlink.poll_gone(cx),
            Self::Sse(downlink) => downlink.reply.poll_gone(cx),
            Self::Htmlfile(downlink) => downlink.reply.poll_gone(cx),
            Self::Jsonp(downlink) => downlink.poll_gone(cx),
        };
        gone.map(|()| Input::Gone)
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
            Self::Sse(downlink) => downlink.send_last(&frames),
            Self::Htmlfile(downlink) => downlink.send_last(&frames),
            Self::Jsonp(mut downlink) => downlink.send_last(&frames),
        }
    }

    /// Ends a reply after which the same attachment goes on with another one, if there can be one.
    pub(crate) fn rotate(self, tasks: &TaskTracker) {
        match self {
            Self::WebSocket(_)
            | Self::WebTransport(_)
            | Self::Stream(_)
            | Self::Poll(_)
            | Self::Htmlfile(_) => {
                self.finish(Vec::new(), Code::Rotate, tasks);
            }
            Self::Sse(downlink) => downlink.rotate(),
            Self::Jsonp(downlink) => downlink.rotate(),
        }
    }
}

/// The transport can carry nothing more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;
