//! Frames that come up by a request of their own, for transports whose downlink cannot carry them.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use perigee_session::TOKEN_LEN;
use tokio::sync::oneshot;

use super::{
    awaited::{Awaited, LOST},
    form,
};
use crate::{
    http::{Asker, Refusal, read_body},
    http1::Known,
    registry::Door,
    session_task::{Command, Up},
    shared::Shared,
};

/// `POST {sid}/up`: answered by an ACK for each stream the body names.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
) -> Result<Response, Refusal> {
    if shared.config.legacy.forms() && form::is_form(request.headers()) {
        let outcome = async {
            let form = form::read(&shared, request).await?;
            let door = find(&shared, &sid, &form.token, &asker)?;
            apply(&door, form.frames).await
        };
        return Ok(form::answer(&asker, outcome.await));
    }
    let token = bearer(request.headers()).ok_or(LOST)?;
    let door = find(&shared, &sid, &token, &asker)?;
    let body = read_body(&shared, request).await?;
    let mut response = apply(&door, body).into_response();
    response.extensions_mut().insert(Known::Uplink(door));
    Ok(response)
}

fn find(
    shared: &Shared,
    sid: &str,
    token: &[u8; TOKEN_LEN],
    asker: &Asker,
) -> Result<Arc<Door>, Refusal> {
    shared.registry.find(sid, token, asker.origin()).ok_or(LOST)
}

/// Has the session apply frames, and answer.
pub(crate) fn apply(door: &Arc<Door>, body: Bytes) -> Awaited {
    let (reply, frames) = oneshot::channel();
    Awaited::new(door, Command::Up(Box::new(Up { body, reply })), frames)
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<[u8; TOKEN_LEN]> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token.trim()).ok()?.try_into().ok()
}
