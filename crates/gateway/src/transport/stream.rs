//! The HTTP stream transport: a POST with HELLO, answered by frames without end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use perigee_session::Code;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use super::{Gone, attach};
use crate::{
    http::{Asker, Refusal, frames_response, read_body},
    shared::Shared,
};

/// Batches that wait for the connection to take them.
const QUEUED_BATCHES: usize = 2;

/// `POST {sid}/stream`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
) -> Result<Response, Refusal> {
    let message = read_body(&shared, request).await?;
    let attach = attach::find(&shared, &sid, &asker, message)?;
    let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
    let (alive, gone) = oneshot::channel();
    let downlink = Downlink {
        sender: PollSender::new(sender),
        has_room: false,
        gone,
    };
    attach
        .deliver(super::Downlink::Stream(downlink))
        .await
        .map_err(|(_, code)| Refusal::new(code, refusal_text(code)))?;
    Ok(frames_response(Body::from_stream(Frames {
        receiver,
        _alive: alive,
    })))
}

/// Fixed words for an attachment that its session could not take.
pub(super) fn refusal_text(code: Code) -> &'static str {
    match code {
        Code::Lost => "no such session",
        _ => "the session cannot take this attachment",
    }
}

/// The sending end of a stream's reply.
pub(crate) struct Downlink {
    sender: PollSender<Bytes>,
    /// A place in the queue is ours.
    has_room: bool,
    gone: oneshot::Receiver<()>,
}

impl Downlink {
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let room = ready!(self.sender.poll_reserve(cx)).map_err(|_| Gone);
        self.has_room = room.is_ok();
        Poll::Ready(room)
    }

    /// Sends into the room that was found.
    pub(super) fn send(&mut self, frames: Vec<u8>) {
        self.has_room = false;
        // If the connection is gone meanwhile, `poll_gone` says so.
        _ = self.sender.send_item(Bytes::from(frames));
    }

    /// Sends last frames if there is room at once; a client that is not reading learns them when
    /// it attaches again.
    pub(super) fn send_last(&mut self, frames: Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        if self.has_room {
            self.send(frames);
        } else if let Some(sender) = self.sender.get_ref() {
            _ = sender.try_send(Bytes::from(frames));
        }
    }

    /// Ready when the connection that carried the reply is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.poll_unpin(cx).map(|_| ())
    }
}

/// The reply's body; its end is the end of the attachment.
struct Frames {
    receiver: mpsc::Receiver<Bytes>,
    /// Dropped with the body, which tells the session.
    _alive: oneshot::Sender<()>,
}

impl Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|frames| frames.map(Ok))
    }
}
