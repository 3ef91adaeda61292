//! Requests of pages that have nothing but forms: a form is sent into a hidden iframe, and the page
//! that answers hands its parent what the reply of an ordinary request would have been.
//!
//! Invariants:
//! - only the origin that sent the form is told anything;
//! - the page runs one script, of our own, and holds nothing but a number and base64.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use perigee_session::{Code, TOKEN_LEN};

use crate::{
    http::{Asker, MAX_BODY_BYTES, Refusal, read_body_within},
    net,
    shared::Shared,
};

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";
/// A body in base64, a token, and the names of both.
const MAX_FORM_BYTES: usize = MAX_BODY_BYTES.div_ceil(3) * 4 + 128;
const NONCE_BYTES: usize = 16;
const WRONG: Refusal = Refusal::new(Code::Protocol, "the form is not what is due here");

/// What a form brought.
pub(crate) struct Form {
    /// Zeros where there is none, which is nobody's.
    pub(crate) token: [u8; TOKEN_LEN],
    pub(crate) frames: Bytes,
}

/// Whether a request comes from a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

/// Reads a form.
pub(super) async fn read(shared: &Shared, request: Request) -> Result<Form, Refusal> {
    if !is_form(request.headers()) {
        return Err(WRONG);
    }
    let body = read_body_within(shared, request, MAX_FORM_BYTES).await?;
    fields(&body)
}

/// Reads the fields `frames` and `token`, both base64url, so that a browser has nothing to escape.
pub(crate) fn fields(body: &[u8]) -> Result<Form, Refusal> {
    let (mut token, mut frames) = (None, None);
    for field in body.split(|byte| *byte == b'&') {
        let (name, value) = match field.iter().position(|byte| *byte == b'=') {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => return Err(WRONG),
        };
        let value = URL_SAFE_NO_PAD.decode(value).map_err(|_| WRONG)?;
        let repeated = match name {
            b"frames" => frames.replace(value).is_some(),
            b"token" => token
                .replace(value.try_into().map_err(|_| WRONG)?)
                .is_some(),
            _ => true,
        };
        if repeated {
            return Err(WRONG);
        }
    }
    let frames = frames
        .filter(|frames| frames.len() <= MAX_BODY_BYTES)
        .ok_or(WRONG)?;
    Ok(Form {
        token: token.unwrap_or_default(),
        frames: frames.into(),
    })
}

/// The page that answers a form: the status and the body of the ordinary reply, to the parent.
pub(super) fn answer(asker: &Asker, outcome: Result<Vec<u8>, Refusal>) -> Response {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (refusal.status(), refusal.json().into_bytes()),
    };
    // Browsers send Origin with every form that is posted, so only a program gets here without.
    let Some(origin) = asker.origin().map(ToString::to_string) else {
        return Refusal::new(Code::Denied, "forms are for pages").into_response();
    };
    let Ok(nonce) = Nonce::random() else {
        return Refusal::new(Code::Internal, "the system has no random numbers").into_response();
    };
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Perigee</title>{}parent.postMessage([{},\"{}\"],{})</script>\n",
        nonce.script(),
        status.as_u16(),
        STANDARD.encode(body),
        quoted(&origin),
    );
    (status, nonce.page_headers(&origin), Body::from(page)).into_response()
}

/// What our own scripts are known by in a page for a frame.
pub(super) struct Nonce(String);

impl Nonce {
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        net::random(&mut nonce)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(nonce)))
    }

    /// The tag that begins one of them.
    pub(super) fn script(&self) -> String {
        format!("<script nonce=\"{}\">", self.0)
    }

    /// Such a page runs these scripts, loads nothing, and is shown in pages of `origin` only.
    pub(super) fn page_headers(&self, origin: &str) -> [(HeaderName, String); 2] {
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (
                header::CONTENT_SECURITY_POLICY,
                format!(
                    "default-src 'none'; script-src 'nonce-{}'; base-uri 'none'; form-action 'none'; frame-ancestors {origin}",
                    self.0
                ),
            ),
        ]
    }
}

/// An origin as a string in a script. Its grammar has no quotes and no `<`.
pub(crate) fn quoted(origin: &str) -> String {
    format!("\"{origin}\"")
}
