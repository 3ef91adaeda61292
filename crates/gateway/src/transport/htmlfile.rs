//! The never-ending page of 2009: an iframe whose scripts arrive one by one and hand frames to the
//! page around it. Off unless the configuration says otherwise.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use perigee_session::{Code, Position};

use super::{
    form::{self, Nonce},
    stream,
    ticket::{self, Kind},
};
use crate::{
    http::{Asker, Refusal},
    shared::Shared,
};

/// Bytes of frames after which the page begins anew, as it only grows: 1 MiB in base64.
pub(crate) const ROTATE_BYTES: u64 = 768 * 1024;
/// Some browsers and scanners wait for this much of a page before they show anything of it.
const PADDING_BYTES: usize = 1024;

/// `POST {sid}/htmlfile`: a form with HELLO, for a ticket.
pub(crate) async fn attach(
    state: State<Shared>,
    path: Path<String>,
    asker: Asker,
    request: Request,
) -> Response {
    attach_by_form(state, path, asker, request, Kind::Htmlfile).await
}

/// A form with HELLO, for a ticket.
pub(super) async fn attach_by_form(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    asker: Asker,
    request: Request,
    kind: Kind,
) -> Response {
    let outcome = async {
        let form = form::read(&shared, request).await?;
        ticket::issue(&shared, &sid, &asker, form.frames, kind).await
    };
    form::answer(&asker, outcome.await.map(String::into_bytes))
}

/// `GET {sid}/htmlfile?ticket=…[&at=…]`.
pub(crate) async fn handle(
    State(shared): State<Shared>,
    Path(sid): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let [ticket, at] = ticket::query(request.uri().query(), ["ticket", "at"])?;
    let ticket = ticket.unwrap_or_default();
    let shown = ticket::show(&shared, &sid, request.headers(), ticket, Kind::Htmlfile)?;
    let origin = shown.origin.clone();
    let origin = origin.ok_or(Refusal::new(Code::Denied, "frames are for pages"))?;
    let position = ticket::position(at)?;
    let nonce = Nonce::random()
        .map_err(|_| Refusal::new(Code::Internal, "the system has no random numbers"))?;
    // Each script leaves when it is done, so that what stays is text that nobody refers to. A page that is
    // cut has been read to its end as well, and in some browsers nothing else happens then.
    let opening = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Perigee</title>{script}\
         function p(frames,at){{document.currentScript.remove();parent.postMessage([frames,at],{origin})}}\
         document.addEventListener(\"DOMContentLoaded\",function(){{parent.postMessage([],{origin})}})</script>\n\
         <!--{padding}-->\n{script}p(\"\",\"\")</script>\n",
        script = nonce.script(),
        origin = form::quoted(&origin),
        padding = " ".repeat(PADDING_BYTES),
    );
    let headers = nonce.page_headers(&origin);
    let (reply, body) = stream::reply(opening.into());
    shown
        .carry_on(
            position,
            super::Downlink::Htmlfile(Box::new(Downlink { reply, nonce })),
        )
        .await
        .map_err(ticket::refusal)?;
    Ok((headers, body).into_response())
}

/// The reply that carries an attachment.
pub(crate) struct Downlink {
    pub(super) reply: stream::Downlink,
    nonce: Nonce,
}

impl Downlink {
    pub(super) fn send(&mut self, frames: &[u8], position: &Position) {
        let script = self.script(frames, &position.to_string());
        self.reply.send(script.into_bytes());
    }

    pub(super) fn send_last(self, frames: &[u8]) {
        let last = if frames.is_empty() {
            String::new()
        } else {
            self.script(frames, "")
        };
        self.reply.send_last(last.into_bytes());
    }

    fn script(&self, frames: &[u8], at: &str) -> String {
        let frames = STANDARD.encode(frames);
        format!("{}p(\"{frames}\",\"{at}\")</script>\n", self.nonce.script())
    }
}
