//! The WebSocket transport: binary messages both ways, each a whole number of frames.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use perigee_session::Code;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{Gone, Input, attach};
use crate::{
    http::Asker,
    shared::Shared,
    websocket::{HEAD_ROOM, Handshake, Heard, NotWebSocket, Pieces, WebSocket},
};

/// The subprotocol of our own client.
pub(crate) const SUBPROTOCOL: &str = "perigee.v1";

thread_local! {
    /// One buffer per thread for the frames that are sent next.
    static FRAMES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Time for the last frames and the close handshake of a WebSocket that ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET {sid}/ws`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    mut request: Request,
) -> Response {
    match Handshake::read(&mut request, subprotocol) {
        Err(refusal) => refusal.into_response(),
        Ok(handshake) => {
            let (response, websocket) = handshake.accept();
            shared.tasks.clone().spawn(async move {
                if let Some(websocket) = websocket.await {
                    attach(&shared, &sid, asker, websocket).await;
                }
            });
            response
        }
    }
}

/// Ours, which has to be offered.
pub(crate) fn subprotocol(offered: &[&str]) -> Result<Option<&'static str>, NotWebSocket> {
    if offered.contains(&SUBPROTOCOL) {
        Ok(Some(SUBPROTOCOL))
    } else {
        Err(NotWebSocket::Protocol)
    }
}

/// Waits for HELLO and gives the WebSocket to its session.
async fn attach(shared: &Shared, sid: &str, asker: Asker, mut websocket: WebSocket) {
    let hello = tokio::select! {
        biased;
        hello = timeout(shared.config.timeouts.hello, websocket.next()) => hello,
        // Whoever has not said HELLO by now comes too late for any session.
        () = shared.ending.cancelled() => {
            let late = Box::new(Downlink { websocket });
            return late.finish(Vec::new(), Code::GoingAway).await;
        }
    };
    let code = match hello {
        Ok(Some(Ok(Message::Binary(message)))) => {
            let downlink = |websocket| super::Downlink::WebSocket(Box::new(Downlink { websocket }));
            match attach::find(shared, sid, &asker, message) {
                Ok(attach) => match attach.deliver(downlink(websocket)).await {
                    Ok(()) => return,
                    Err((refused, code)) => {
                        refused.finish(Vec::new(), code, &shared.tasks);
                        return;
                    }
                },
                Err(refusal) => refusal.code(),
            }
        }
        Ok(Some(Ok(_) | Err(Error::Capacity(_) | Error::AttackAttempt))) => Code::Protocol,
        Ok(Some(Err(_)) | None) => return,
        Err(_) => Code::Idle,
    };
    Box::new(Downlink { websocket })
        .finish(Vec::new(), code)
        .await;
}

/// The WebSocket of an attachment.
pub(crate) struct Downlink {
    websocket: WebSocket,
}

impl Downlink {
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Pin::new(&mut self.websocket)
            .poll_ready(cx)
            .map_err(|_| Gone)
    }

    /// A buffer of the thread, with room for the head of a message.
    pub(super) fn begin() -> Vec<u8> {
        let mut frames = FRAMES.take();
        // What stood there before does not matter: the head is written over it.
        if frames.len() < HEAD_ROOM {
            frames.resize(HEAD_ROOM, 0);
        }
        frames.truncate(HEAD_ROOM);
        frames
    }

    pub(super) fn send(&mut self, mut frames: Vec<u8>, cx: &mut Context<'_>) {
        self.websocket.send_in_place(&mut frames, cx);
        FRAMES.set(frames);
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        match Pin::new(&mut self.websocket).poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(Gone),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8], bool),
    ) -> Poll<Input> {
        let mut input = Input::Frames;
        let heard = self
            .websocket
            .poll_hear(Pieces::Messages, cx, |heard, is_last| {
                match (heard, &input) {
                    (Heard::Bytes(message), Input::Frames) => take(message, is_last),
                    (Heard::Closed, Input::Frames) => input = Input::Gone,
                    (Heard::Text(_), Input::Frames) => input = Input::Violation,
                    (_, Input::Violation | Input::Gone) => {}
                }
                true
            });
        Poll::Ready(match (ready!(heard), input) {
            (Ok(()), input) | (Err(_), input @ Input::Violation) => input,
            (Err(Error::Capacity(_) | Error::AttackAttempt), _) => Input::Violation,
            (Err(_), _) => Input::Gone,
        })
    }

    /// Sends last frames, says why, and waits a little for the other side to have it.
    pub(super) async fn finish(mut self: Box<Self>, frames: Vec<u8>, code: Code) {
        let goodbye = async {
            if !frames.is_empty() {
                self.websocket
                    .send(Message::Binary(Bytes::from(frames)))
                    .await?;
            }
            let close = CloseFrame {
                code: CloseCode::from(code.close_code()),
                reason: code.name().into(),
            };
            self.websocket.close(Some(close)).await?;
            while let Some(Ok(_)) = self.websocket.next().await {}
            Ok::<_, Error>(())
        };
        // A peer that is gone or silent gets no better ending.
        _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}
