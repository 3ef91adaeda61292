//! Server-sent events (HTML Standard §9.2): a reply that an EventSource reads, frames in base64.
//!
//! The id of an event is the position after it. A browser whose reply ends asks again by itself and
//! repeats the last id, which is exactly what the attachment needs to go on.

use std::time::Duration;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use perigee_session::{Code, Position};

use super::{
    stream,
    ticket::{self, Kind},
};
use crate::{
    http::{Asker, Refusal, read_body},
    shared::Shared,
};

/// After what a browser asks again when the reply was cut.
const RETRY: Duration = Duration::from_millis(500);
/// After what it does when the gateway ended the reply only to begin another one.
const RETRY_AT_ROTATION: Duration = Duration::from_millis(50);

/// `POST {sid}/sse`: HELLO for a ticket.
pub(crate) async fn attach(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
) -> Result<Response, Refusal> {
    let message = read_body(&shared, request).await?;
    let ticket = ticket::issue(&shared, &sid, &asker, message, Kind::Sse).await?;
    Ok(ticket::response(ticket))
}

/// `GET {sid}/sse?ticket=…`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let [ticket] = ticket::query(request.uri().query(), ["ticket"])?;
    let shown = ticket::show(
        &shared,
        &sid,
        request.headers(),
        ticket.unwrap_or_default(),
        Kind::Sse,
    )?;
    let position = last_position(request.headers())?;
    let (reply, body) = stream::reply(retry(RETRY));
    match shown
        .carry_on(position, super::Downlink::Sse(Box::new(Downlink { reply })))
        .await
    {
        Ok(()) => Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()),
        // What tells an EventSource to stop asking.
        Err(Code::Rotate) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(code) => Err(ticket::refusal(code)),
    }
}

/// The position that a browser repeats as the id of the last event it had.
pub(crate) fn last_position(headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let last_event = match headers.get("last-event-id") {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| ticket::refusal(Code::Protocol))?,
        ),
        None => None,
    };
    ticket::position(last_event)
}

/// The reply that carries an attachment.
pub(crate) struct Downlink {
    pub(super) reply: stream::Downlink,
}

impl Downlink {
    pub(super) fn send(&mut self, frames: &[u8], position: &Position) {
        self.reply.send(event(Some(position), frames).into_bytes());
    }

    pub(super) fn send_last(self, frames: &[u8]) {
        let last = if frames.is_empty() {
            String::new()
        } else {
            event(None, frames)
        };
        self.reply.send_last(last.into_bytes());
    }

    pub(super) fn rotate(self) {
        self.reply.send_last(retry(RETRY_AT_ROTATION).into());
    }
}

fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

fn event(position: Option<&Position>, frames: &[u8]) -> String {
    let id = position.map_or_else(String::new, |position| format!("id: {position}\n"));
    format!("{id}data: {}\n\n", STANDARD.encode(frames))
}
