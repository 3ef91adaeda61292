//! `/xmpp/<backend>`: XMPP over WebSocket (RFC 7395), and BOSH for who sends a POST.

use axum::{
    extract::{FromRequestParts, Path, Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use perigee_xmpp::framing::SUBPROTOCOL;

use super::bosh;
use crate::{
    front_door::{self, Door, Framing},
    http::Asker,
    policy::{MAX_STANZA_BYTES, ServiceName},
    shared::Shared,
    websocket::NotWebSocket,
};

static DOOR: Door = Door {
    service: ServiceName::Xmpp,
    transport: "xmpp-websocket",
    choose: subprotocol,
    takes_binary: false,
    framing: |_| Framing::Text,
    max_message_bytes: MAX_STANZA_BYTES,
};

/// What a person reads who opens the address in a browser.
const FOR_PEOPLE: &str = "This address is for XMPP clients.\n\n\
    Give it to yours as the URL of XMPP over WebSocket (with wss: instead of https:) or of BOSH.\n";

/// `/xmpp/<backend>`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(target): Path<String>,
    request: Request,
) -> Response {
    let is_page =
        request.method() == Method::GET && !request.headers().contains_key(header::UPGRADE);
    if is_page {
        // A navigation names no origin, and this tells nothing of anybody.
        return FOR_PEOPLE.into_response();
    }
    let is_bosh = request.method() == Method::POST;
    if !is_bosh && request.method() != Method::GET && request.method() != Method::CONNECT {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "GET, POST")],
        )
            .into_response();
    }
    let (mut parts, body) = request.into_parts();
    let asker = match Asker::from_request_parts(&mut parts, &shared).await {
        Ok(asker) => asker,
        Err(refusal) => return refusal.into_response(),
    };
    let request = Request::from_parts(parts, body);
    if is_bosh {
        bosh::handle(shared, asker, target, request).await
    } else {
        front_door::enter(&DOOR, shared, asker, target, request).await
    }
}

/// Only this one (RFC 7395 §3.1).
pub(crate) fn subprotocol(offered: &[&str]) -> Result<Option<&'static str>, NotWebSocket> {
    if offered.contains(&SUBPROTOCOL) {
        Ok(Some(SUBPROTOCOL))
    } else {
        Err(NotWebSocket::Protocol)
    }
}
