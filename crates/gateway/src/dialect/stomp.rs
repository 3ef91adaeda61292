//! STOMP over WebSocket: `/stomp/<backend>`, where messages to the client are whole frames, and a
//! client may cut its frames as it likes.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use perigee_stomp::Version;

use crate::{
    front_door::{self, Door, Framing},
    http::Asker,
    policy::ServiceName,
    shared::Shared,
    websocket::NotWebSocket,
};

static DOOR: Door = Door {
    service: ServiceName::Stomp,
    transport: "stomp-websocket",
    choose: subprotocol,
    takes_binary: true,
    framing: |_| Framing::Either,
    max_message_bytes: MAX_MESSAGE_BYTES,
};

/// Clients send a frame as one message, and 1 MiB of body has to fit with its head. What is larger than this
/// has to come in several messages.
const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// `GET /stomp/<backend>`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(target): Path<String>,
    asker: Asker,
    request: Request,
) -> Response {
    front_door::enter(&DOOR, shared, asker, target, request).await
}

/// The latest version that is offered. What is spoken in the end is between `CONNECT` and
/// `CONNECTED`, so a client that offers none is welcome, too.
pub(crate) fn subprotocol(offered: &[&str]) -> Result<Option<&'static str>, NotWebSocket> {
    let known = Version::ALL
        .into_iter()
        .map(Version::subprotocol)
        .find(|known| offered.contains(known));
    if known.is_none() && !offered.is_empty() {
        return Err(NotWebSocket::Protocol);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_version_is_chosen() {
        let cases: [(&[&str], Option<Option<&str>>); 5] = [
            (&[], Some(None)),
            (
                &["v10.stomp", "v11.stomp", "v12.stomp"],
                Some(Some("v12.stomp")),
            ),
            (&["v12.stomp", "v11.stomp"], Some(Some("v12.stomp"))),
            (&["x", "v10.stomp"], Some(Some("v10.stomp"))),
            (&["mqtt"], None),
        ];
        for (offered, want) in cases {
            assert_eq!(subprotocol(offered).ok(), want, "{offered:?}");
        }
    }
}
