//! IRC over WebSocket: `/irc/<backend>`, where a message is one line without its end
//! (IRCv3 `websocket`).

use axum::{
    extract::{Path, Request, State},
    response::Response,
};

use crate::{
    front_door::{self, Door, Framing},
    http::Asker,
    policy::ServiceName,
    shared::Shared,
    websocket::{MAX_MESSAGE_BYTES, NotWebSocket},
};

const TEXT: &str = "text.ircv3.net";
const BINARY: &str = "binary.ircv3.net";

static DOOR: Door = Door {
    service: ServiceName::Irc,
    transport: "irc-websocket",
    choose: subprotocol,
    takes_binary: true,
    framing,
    max_message_bytes: MAX_MESSAGE_BYTES,
};

/// `GET /irc/<backend>`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(target): Path<String>,
    asker: Asker,
    request: Request,
) -> Response {
    front_door::enter(&DOOR, shared, asker, target, request).await
}

/// The client's favourite of the two. One that offers none is spoken to in text, as gamja expects
/// and the specification lets servers choose.
pub(crate) fn subprotocol(offered: &[&str]) -> Result<Option<&'static str>, NotWebSocket> {
    let known = offered
        .iter()
        .find_map(|name| [TEXT, BINARY].into_iter().find(|known| known == name));
    if known.is_none() && !offered.is_empty() {
        return Err(NotWebSocket::Protocol);
    }
    Ok(known)
}

fn framing(subprotocol: Option<&'static str>) -> Framing {
    match subprotocol {
        Some(BINARY) => Framing::Binary,
        _ => Framing::Text,
    }
}
