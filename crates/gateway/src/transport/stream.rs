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
    let (downlink, body) = reply(Bytes::new());
    attach
        .deliver(super::Downlink::Stream(Box::new(downlink)))
        .await
        .map_err(|(_, code)| Refusal::new(code, refusal_text(code)))?;
    Ok(frames_response(body))
}

/// Both ends of a reply without end, which begins with `opening`.
pub(super) fn reply(opening: Bytes) -> (Downlink, Body) {
    let (downlink, frames) = channel(opening);
    (downlink, Body::from_stream(frames))
}

fn channel(opening: Bytes) -> (Downlink, Frames) {
    let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
    let (alive, gone) = oneshot::channel();
    let (last_sender, last) = oneshot::channel();
    let downlink = Downlink {
        sender: PollSender::new(sender),
        last: last_sender,
        gone,
    };
    let frames = Frames {
        opening: Some(opening).filter(|opening| !opening.is_empty()),
        receiver,
        last,
        _alive: alive,
    };
    (downlink, frames)
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
    /// Has room however full the queue is: a stream is rotated when it is busiest, and without
    /// DETACH its end would look like a cut.
    last: oneshot::Sender<Bytes>,
    gone: oneshot::Receiver<()>,
}

impl Downlink {
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.sender.poll_reserve(cx).map_err(|_| Gone)
    }

    pub(super) fn send(&mut self, frames: Vec<u8>) {
        // Room was reserved; if the connection is gone, `poll_gone` says so.
        _ = self.sender.send_item(Bytes::from(frames));
    }

    /// Sends last frames, after all that is queued.
    pub(super) fn send_last(self, frames: Vec<u8>) {
        // If the connection is gone, the client learns them when it attaches again.
        _ = self.last.send(Bytes::from(frames));
    }

    /// Ready when the connection that carried the reply is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.poll_unpin(cx).map(|_| ())
    }
}

/// The reply's body; its end is the end of the attachment.
struct Frames {
    opening: Option<Bytes>,
    receiver: mpsc::Receiver<Bytes>,
    last: oneshot::Receiver<Bytes>,
    /// Dropped with the body, which tells the session.
    _alive: oneshot::Sender<()>,
}

impl Stream for Frames {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        if let Some(frames) = ready!(self.receiver.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(frames)));
        }
        // The downlink is gone, so whether there are last frames is known; asked again, there are none.
        let last = self.last.try_recv().ok();
        Poll::Ready(last.filter(|frames| !frames.is_empty()).map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn last_frames_follow_a_full_queue() {
        let (mut downlink, frames) = channel(Bytes::from_static(b"opening"));
        let mut want = vec!["opening"];
        while let Some(Ok(())) = std::future::poll_fn(|cx| downlink.poll_room(cx)).now_or_never() {
            downlink.send(b"batch".to_vec());
            want.push("batch");
        }
        assert_eq!(want.len(), 1 + QUEUED_BATCHES);
        downlink.send_last(b"last".to_vec());
        want.push("last");
        let got: Vec<Bytes> = frames.filter_map(async |batch| batch.ok()).collect().await;
        assert_eq!(got, want);
    }
}
