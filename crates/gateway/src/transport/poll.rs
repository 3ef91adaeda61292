//! The long-poll transport: a POST with HELLO, held until there is something to say. Each poll is
//! an attachment of its own.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use perigee_session::TOKEN_LEN;
use tokio::sync::oneshot;

use super::{attach, awaited::Awaited};
use crate::{
    http::{Asker, Refusal, read_body},
    http1::Known,
    registry::{Door, NEW},
    shared::Shared,
};

/// `POST {sid}/poll`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
) -> Result<Response, Refusal> {
    let message = read_body(&shared, request).await?;
    let attach = attach::find(&shared, &sid, &asker, message)?;
    let (door, token) = attach.known_session();
    let mut response = hold(attach).into_response();
    if sid != NEW {
        response.extensions_mut().insert(Known::Poll(door, token));
    }
    Ok(response)
}

/// Holds a poll of a known session, if HELLO in `message` has its token.
pub(crate) fn hold_again(
    door: Arc<Door>,
    message: Bytes,
    is_its_token: impl FnOnce(&[u8; TOKEN_LEN]) -> bool,
) -> Result<Awaited, Refusal> {
    Ok(hold(attach::known(door, message, is_its_token)?))
}

fn hold(attach: attach::Attach) -> Awaited {
    let (reply, frames) = oneshot::channel();
    let downlink = super::Downlink::Poll(Downlink::new(reply));
    let (door, command) = attach.into_command(downlink);
    Awaited::new(&door, command, frames)
}

/// The reply of a poll that is held.
pub(crate) struct Downlink {
    /// `None` once answered.
    reply: Option<oneshot::Sender<Vec<u8>>>,
}

impl Downlink {
    pub(super) const fn new(reply: oneshot::Sender<Vec<u8>>) -> Self {
        Self { reply: Some(reply) }
    }

    pub(super) fn send(&mut self, frames: Vec<u8>) {
        if let Some(reply) = self.reply.take() {
            // If the request is gone, its client repeats what the reply would have told.
            _ = reply.send(frames);
        }
    }

    /// Ready when the request is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply
            .as_mut()
            .map_or(Poll::Ready(()), |reply| reply.poll_closed(cx))
    }
}
