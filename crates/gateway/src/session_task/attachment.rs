//! The downlink in use, and when it is to end.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use perigee_session::{Code, DetachReason, Frame, Link, Session};
use tokio_util::task::TaskTracker;

use crate::{
    config::Timeouts,
    transport::{Downlink, htmlfile},
};

/// Follows the WELCOME where a reply has no end: what holds the first bytes of a reply back, to guess
/// their type or to look for viruses, has enough of them then.
const PADDING: Frame<'static> = Frame::Pad { len: 2040 };

/// An attachment of the session this task owns.
pub(super) struct Attachment {
    pub(super) n: u32,
    pub(super) downlink: Downlink,
    /// When a held poll is answered, or a stream rotated.
    ends_at: Option<Instant>,
    /// The padding is yet to be sent.
    pads: bool,
    /// Bytes after which a stream is rotated.
    bytes_left: Option<u64>,
}

/// What became of an attempt to transmit.
pub(super) enum Outcome {
    /// What there is to say was sent, as far as there was room.
    Said,
    /// The transport is gone, or a poll was answered.
    Over,
    /// It is time to end it.
    Rotate(DetachReason),
}

impl Attachment {
    pub(super) fn new(n: u32, downlink: Downlink, timeouts: &Timeouts, now: Instant) -> Self {
        let (ends_at, bytes_left) = match &downlink {
            Downlink::WebSocket(_) | Downlink::WebTransport(_) => (None, None),
            Downlink::Stream(_) | Downlink::Sse(_) => (
                Some(now + timeouts.stream_rotate),
                Some(timeouts.stream_rotate_bytes),
            ),
            Downlink::Htmlfile(_) => (
                Some(now + timeouts.stream_rotate),
                Some(timeouts.stream_rotate_bytes.min(htmlfile::ROTATE_BYTES)),
            ),
            Downlink::Poll(_) | Downlink::Jsonp(_) => (Some(now + timeouts.hold), None),
        };
        let pads = matches!(
            downlink,
            Downlink::Stream(_) | Downlink::Sse(_) | Downlink::Htmlfile(_)
        );
        Self {
            n,
            pads,
            downlink,
            ends_at,
            bytes_left,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ends_at
    }

    pub(super) fn is_poll(&self) -> bool {
        self.downlink.link() == Link::Poll
    }

    /// Pulls frames from the session while the transport has room. `flushes` if there is a reason to push
    /// though there may be nothing new.
    pub(super) fn transmit(
        &mut self,
        session: &mut Session,
        mut flushes: bool,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Outcome {
        while session.can_transmit() {
            match self.downlink.poll_room(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Outcome::Over,
                Poll::Ready(Ok(())) => {}
            }
            let mut frames = self.downlink.begin();
            if !session.poll_transmit(&mut frames, self.downlink.batch_bytes(), now) {
                break;
            }
            if std::mem::take(&mut self.pads) {
                PADDING.encode(&mut frames);
            }
            if let Some(left) = &mut self.bytes_left {
                *left = left.saturating_sub(frames.len() as u64);
            }
            self.downlink.send(frames, cx, || session.position());
            flushes = true;
            if self.is_poll() {
                return Outcome::Over;
            }
            if self.bytes_left == Some(0) {
                return Outcome::Rotate(DetachReason::Rotate);
            }
        }
        if flushes && self.downlink.poll_flush(cx).is_err() {
            return Outcome::Over;
        }
        if self.ends_at.is_some_and(|at| at <= now) {
            return Outcome::Rotate(if self.is_poll() {
                DetachReason::Hold
            } else {
                DetachReason::Rotate
            });
        }
        Outcome::Said
    }

    /// Ends the transport in good order: what the session still has to say, then DETACH.
    pub(super) fn end(
        self,
        session: &mut Session,
        why: DetachReason,
        tasks: &TaskTracker,
        now: Instant,
    ) {
        if self.downlink.has_ticket() {
            // Nothing is detached: the next reply goes on with this attachment.
            self.downlink.rotate(tasks);
            return;
        }
        let mut frames = Vec::new();
        if self.is_poll() {
            // The WELCOME of a poll goes with whatever is said.
            session.poll_transmit(&mut frames, self.downlink.batch_bytes(), now);
        }
        Session::transmit_detach(self.n, why, &mut frames);
        self.downlink.finish(frames, Code::Rotate, tasks);
    }
}
