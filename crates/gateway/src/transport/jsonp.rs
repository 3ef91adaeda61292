//! Script tags (JSONP): each reply is a script that calls one function of the page with frames.
//! Off unless the configuration says otherwise.
//!
//! Such a script runs with the rights of the page, so what a request can put into it is the digits
//! of a number (CVE-2014-4671 and its like).

use std::task::{Context, Poll};

use axum::{
    extract::{Path, Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use perigee_session::{Code, Frame, Position};
use tokio::sync::oneshot;

use super::{
    htmlfile::attach_by_form,
    poll,
    ticket::{self, Kind},
};
use crate::{
    http::{Asker, Refusal},
    shared::Shared,
};

/// What the names of such functions begin with; the digits that were asked for follow.
const FUNCTION: &str = "perigee";
const MAX_DIGITS: usize = 9;

/// `POST {sid}/jsonp`: a form with HELLO, for a ticket.
pub(crate) async fn attach(
    state: State<Shared>,
    path: Path<String>,
    asker: Asker,
    request: Request,
) -> Response {
    attach_by_form(state, path, asker, request, Kind::Jsonp).await
}

/// `GET {sid}/jsonp?ticket=…&i=…[&at=…]`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let [ticket, index, at] = ticket::query(request.uri().query(), ["ticket", "i", "at"])?;
    let function = function(index)?;
    let ticket = ticket.unwrap_or_default();
    let shown = ticket::show(&shared, &sid, request.headers(), ticket, Kind::Jsonp)?;
    let position = ticket::position(at)?;
    let (reply, arguments) = oneshot::channel();
    let downlink = super::Downlink::Jsonp(Downlink {
        reply: poll::Downlink::new(reply),
    });
    shown
        .carry_on(position, downlink)
        .await
        .map_err(ticket::refusal)?;
    // The session answers within the hold, or is over.
    let arguments = arguments.await.map_err(|_| ticket::refusal(Code::Lost))?;
    let mut script = format!("/**/{function}(").into_bytes();
    script.extend(arguments);
    script.extend(b");");
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        // Should anything open it as a document or a plug-in, it is a file and does nothing.
        (header::CONTENT_DISPOSITION, "attachment; filename=f.txt"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    Ok((headers, script).into_response())
}

/// The function that the script calls.
pub(crate) fn function(index: Option<&str>) -> Result<String, Refusal> {
    index
        .filter(|index| (1..=MAX_DIGITS).contains(&index.len()))
        .filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|index| format!("{FUNCTION}{index}"))
        .ok_or(Refusal::new(Code::Protocol, "i is 1 to 9 digits"))
}

/// The reply that carries an attachment, for once.
pub(crate) struct Downlink {
    reply: poll::Downlink,
}

impl Downlink {
    pub(super) fn send(&mut self, frames: &[u8], position: &Position) {
        self.answer(frames, &position.to_string());
    }

    pub(super) fn send_last(&mut self, frames: &[u8]) {
        self.answer(frames, "");
    }

    /// There was nothing to say for too long.
    pub(super) fn rotate(mut self) {
        let mut nothing = Vec::new();
        // A frame, so that the client has a sign of life.
        Frame::Pad { len: 0 }.encode(&mut nothing);
        self.send_last(&nothing);
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply.poll_gone(cx)
    }

    fn answer(&mut self, frames: &[u8], at: &str) {
        let arguments = format!("\"{}\",\"{at}\"", STANDARD.encode(frames));
        self.reply.send(arguments.into_bytes());
    }
}
