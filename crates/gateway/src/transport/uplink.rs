//! Frames that come up by a request of their own, for transports whose downlink cannot carry them.

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use perigee_session::{Code, TOKEN_LEN};
use tokio::sync::oneshot;

use crate::{
    http::{Asker, Refusal, frames_response, read_body},
    session_task::Command,
    shared::Shared,
};

/// `POST {sid}/up`: answered by an ACK for each stream the body names.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
) -> Result<Response, Refusal> {
    let lost = || Refusal::new(Code::Lost, "no such session");
    let token = bearer(request.headers()).ok_or_else(lost)?;
    let commands = shared
        .registry
        .find(&sid, &token, asker.origin())
        .ok_or_else(lost)?;
    let body = read_body(&shared, request).await?;
    let (reply, frames) = oneshot::channel();
    commands
        .send(Command::Up { body, reply })
        .await
        .map_err(|_| lost())?;
    let frames = frames.await.map_err(|_| lost())?;
    Ok(frames_response(Body::from(frames)))
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<[u8; TOKEN_LEN]> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token.trim()).ok()?.try_into().ok()
}
