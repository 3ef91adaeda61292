//! The gateway's HTTP surface: routes, who asks, and how every reply looks.
//!
//! Invariants:
//! - nothing below `/perigee/v1/`, `/ws/`, `/irc/`, `/xmpp/` and `/stomp/` is answered before the Origin was checked;
//! - CORS headers are sent to origins that a rule names, and to nobody else (`cors`);
//! - an error is constant text plus a code: nothing a client sent comes back;
//! - who asks for another name than ours is answered with that and nothing else (`server_name`).

mod cors;
mod host_meta;
pub(crate) mod server_name;

use std::{future::ready, net::IpAddr, sync::Arc};

use axum::{
    Extension, Router,
    body::{Body, HttpBody, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{FutureExt, future::Either};
use perigee_session::Code;
use serde_json::json;
use tokio::time::timeout;
use tower_service::Service;

use self::cors::{Api, Page, gets, posts};
pub(crate) use self::cors::{DRESS_LINES, Dress};
use crate::{
    assets, dialect,
    http1::Handover,
    ops::access_log::{self, Client},
    policy::{Origin, Users, client_address, client_is_secure},
    shared::Shared,
    transport::{htmlfile, jsonp, poll, sse, stream, uplink, websocket},
};

/// Largest request body in bytes (protocol section 7).
pub(crate) const MAX_BODY_BYTES: usize = 128 * 1024;
/// What a client should wait before it tries again, in seconds, after `overloaded` and `going_away`.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The connection's other end, put on each request by who reads it.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// It speaks TLS to us.
    pub(crate) tls: bool,
    /// On a request of HTTP/1.1 for another protocol.
    pub(crate) handover: Option<Handover>,
}

/// Put on each request of a listener that speaks WebTransport on the UDP port of the same number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SamePort;

/// Who asks, after the Origin was found to be allowed.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) client: Client,
}

/// A refusal: a code and constant text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    code: Code,
    text: &'static str,
}

/// All that is answered.
#[derive(Clone)]
pub(crate) struct Routes {
    shared: Shared,
    router: Router,
}

impl Routes {
    /// `pages` are served beside ours.
    pub(crate) fn new(shared: Shared, pages: Router) -> Self {
        let router = api(&shared)
            .route("/.well-known/host-meta", get(host_meta::xml))
            .route("/.well-known/host-meta.json", get(host_meta::json))
            .with_state(shared.clone())
            .merge(assets::client())
            .merge(pages)
            .fallback(not_found);
        Self { shared, router }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Answers a request. The reply is sent when its [`Dress`] was taken off it and put on.
    pub(crate) fn answer(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Response> + Send + use<> {
        let answer = match server_name::rebuff(&self.shared, &request) {
            Some(rebuff) => Either::Left(ready(Ok(rebuff))),
            None => Either::Right(self.router.call(request)),
        };
        answer.map(|Ok(response)| response)
    }
}

/// What pages of allowed origins use: all handlers are [`Api`].
fn api(shared: &Shared) -> Router<Shared> {
    let mut api = Router::new()
        .route("/perigee/v1/{sid}/ws", any(Api(websocket::handle)))
        .route("/perigee/v1/{sid}/stream", posts(stream::handle))
        .route("/perigee/v1/{sid}/poll", posts(poll::handle))
        .route(
            "/perigee/v1/{sid}/sse",
            posts(sse::attach).get(Api(sse::handle)),
        )
        .route("/perigee/v1/{sid}/up", posts(uplink::handle))
        .route("/perigee/v1/origin", posts(origin_is_allowed))
        .route("/perigee/v1/webtransport", gets(webtransport_offer))
        .route("/ws/{backend}", any(Api(dialect::plain::handle)))
        .route("/irc/{backend}", any(Api(dialect::irc::handle)))
        .route("/xmpp/{backend}", any(Api(dialect::xmpp::handle)))
        .route("/stomp/{backend}", any(Api(dialect::stomp::handle)));
    if shared.config.legacy.htmlfile {
        let htmlfile = posts(htmlfile::attach).get(Api(htmlfile::handle));
        api = api.route("/perigee/v1/{sid}/htmlfile", htmlfile);
    }
    if shared.config.legacy.jsonp {
        let jsonp = posts(jsonp::attach).get(Api(jsonp::handle));
        api = api.route("/perigee/v1/{sid}/jsonp", jsonp);
    }
    api
}

/// `origin`: an allowed page gets here.
async fn origin_is_allowed(_asker: Asker) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `webtransport`: how to reach this gateway by WebTransport. No secret, so nobody is asked who they are.
async fn webtransport_offer(
    State(shared): State<Shared>,
    same_port: Option<Extension<SamePort>>,
) -> Response {
    let Some(offer) = &shared.webtransport else {
        return not_found().await;
    };
    let mut body = serde_json::Map::new();
    // Where the listener is the same, so is the port, also when a firewall gives it another number outside.
    if same_port.is_none() {
        body.insert("port".to_owned(), offer.port.into());
    }
    if let Some(host) = offer.host {
        body.insert("host".to_owned(), host_in_url(host).into());
    }
    if let Some(certificate) = &offer.certificate {
        body.insert("hashes".to_owned(), json!([certificate.hash()]));
    }
    let body = serde_json::Value::Object(body).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An address as a URL has it (RFC 3986 §3.2.2).
pub(crate) fn host_in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing is served at this address\n").into_response()
}

impl Asker {
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.client.origin.as_deref()
    }

    /// Checks the Origin of who asks from this address.
    ///
    /// # Errors
    ///
    /// No rule names it; the log says so.
    pub(crate) fn identify(
        shared: &Shared,
        (address, secure): (IpAddr, bool),
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        Self::of_page(
            shared,
            Page::of_request(shared, headers),
            (address, secure),
            headers,
        )
    }

    fn of_page(
        shared: &Shared,
        page: Page,
        (address, secure): (IpAddr, bool),
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let denied = |origin: Option<Arc<Origin>>, why: &dyn std::fmt::Display| {
            let client = Client {
                origin,
                address,
                secure,
                user: None,
            };
            access_log::refused(&client, "page", Code::Denied, why);
            Refusal::new(Code::Denied, "this page may not use this gateway")
        };
        let origin = page
            .origin
            .map_err(|malformed| denied(None, &format_args!("the Origin header {malformed}")))?;
        if !page.is_allowed {
            let why = match origin {
                None => "no Origin header, and no allow rule has the origin \"none\"",
                Some(_) => "no allow rule names this origin",
            };
            return Err(denied(origin, &why));
        }
        Ok(Self {
            client: Client {
                origin,
                address,
                secure,
                user: user(headers, &shared.config.policy.users),
            },
        })
    }
}

/// Who a request proves to come from: by `Authorization`, Basic with the user's name and token, or Bearer with the token.
/// What proves nothing is no mistake: a proxy in front may have asked for it.
fn user(headers: &HeaderMap, users: &Users) -> Option<Arc<str>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return users.by_token(rest.trim());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let (name, token) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    users.by_login(name, token)
}

impl FromRequestParts<Shared> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        let Some(peer) = parts.extensions.get::<Peer>() else {
            return Err(Refusal::new(
                Code::Internal,
                "the connection has no address",
            ));
        };
        let Client {
            address, secure, ..
        } = client(shared, peer, &parts.headers);
        let page = parts.extensions.remove();
        let page = page.unwrap_or_else(|| Page::of_request(shared, &parts.headers));
        Self::of_page(shared, page, (address, secure), &parts.headers)
    }
}

/// Who is behind a connection, if proxies that are trusted say so.
fn client(shared: &Shared, peer: &Peer, headers: &HeaderMap) -> Client {
    let unproxied = Client {
        origin: None,
        address: peer.address.to_canonical(),
        secure: peer.tls,
        user: None,
    };
    if !shared.is_trusted_proxy(unproxied.address) {
        return unproxied;
    }
    let header = shared.config.forwarded_header;
    let values = headers.get_all(header.name()).iter();
    let address = client_address(
        peer.address,
        header,
        values.map(HeaderValue::as_bytes),
        &shared.config.trusted_proxies,
    );
    let values = headers.get_all(header.protocol_name()).iter();
    let secure = client_is_secure(
        (peer.address, peer.tls),
        header,
        values.map(HeaderValue::as_bytes),
        &shared.config.trusted_proxies,
    );
    Client {
        address,
        secure,
        ..unproxied
    }
}

/// The origin that a request says it comes from.
pub(crate) fn origin(headers: &HeaderMap) -> Result<Option<Origin>, crate::policy::Malformed> {
    Origin::from_headers(
        headers
            .get_all(header::ORIGIN)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

impl Refusal {
    pub(crate) const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text }
    }

    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn json(&self) -> String {
        json!({"code": self.code.name(), "message": self.text}).to_string()
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status(), json, self.json()).into_response();
        if matches!(self.code, Code::Overloaded | Code::GoingAway) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// A reply that carries frames.
pub(crate) fn frames_response(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

/// The whole body of a request, within its deadline and bound.
pub(crate) async fn read_body(shared: &Shared, request: Request) -> Result<Bytes, Refusal> {
    read_body_within(shared, request, MAX_BODY_BYTES).await
}

/// The same within another bound, for bodies that carry base64.
pub(crate) async fn read_body_within(
    shared: &Shared,
    request: Request,
    most: usize,
) -> Result<Bytes, Refusal> {
    let body = request.into_body();
    // hyper takes the body of an HTTP/2 request for whole when its connection dies of silence.
    let whole = body.size_hint().exact();
    let body = to_bytes(body, most);
    match timeout(shared.config.timeouts.body, body).await {
        Ok(Ok(body)) if whole.is_none_or(|len| len == body.len() as u64) => Ok(body),
        Ok(_) => Err(Refusal::new(
            Code::Protocol,
            "the body is cut or larger than 128 KiB",
        )),
        Err(_) => Err(Refusal::new(Code::Idle, "the body did not arrive in time")),
    }
}
