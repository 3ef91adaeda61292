//! The gateway's HTTP surface: routes, who asks, and how every reply looks.
//!
//! Invariants:
//! - nothing below `/perigee/v1/`, `/ws/`, `/irc/`, `/xmpp/` and `/stomp/` is answered before the Origin was checked;
//! - CORS headers are sent to origins that a rule names, and to nobody else;
//! - an error is constant text plus a code: nothing a client sent comes back;
//! - who asks for another name than ours is answered with that and nothing else (`server_name`).

mod host_meta;
pub(crate) mod server_name;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Extension, Router,
    body::{Body, HttpBody, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use perigee_session::Code;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    assets, dialect,
    ops::access_log::{self, Client},
    policy::{Origin, Users, client_address, client_is_secure},
    shared::Shared,
    transport::{htmlfile, jsonp, poll, sse, stream, uplink, websocket},
};

/// Largest request body in bytes (protocol section 7).
pub(crate) const MAX_BODY_BYTES: usize = 128 * 1024;
/// How long a browser may remember that an origin may ask, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// What a client should wait before it tries again, in seconds, after `overloaded` and `going_away`.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What every reply of the API has.
pub(crate) const DRESS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    ),
    (
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::VARY, HeaderValue::from_static("Origin")),
];

/// The address of the connection's other end, put on each request by the listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// It speaks TLS to us.
    pub(crate) tls: bool,
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

/// All routes; `pages` are served beside ours.
pub(crate) fn router(shared: Shared, pages: Router) -> Router {
    let mut api = Router::new()
        .route("/perigee/v1/{sid}/ws", any(websocket::handle))
        .route("/perigee/v1/{sid}/stream", post(stream::handle))
        .route("/perigee/v1/{sid}/poll", post(poll::handle))
        .route("/perigee/v1/{sid}/sse", post(sse::attach).get(sse::handle))
        .route("/perigee/v1/{sid}/up", post(uplink::handle))
        .route("/perigee/v1/origin", post(origin_is_allowed))
        .route("/perigee/v1/webtransport", get(webtransport_offer))
        .route("/ws/{backend}", any(dialect::plain::handle))
        .route("/irc/{backend}", any(dialect::irc::handle))
        .route("/xmpp/{backend}", any(dialect::xmpp::handle))
        .route("/stomp/{backend}", any(dialect::stomp::handle));
    if shared.config.legacy.htmlfile {
        let htmlfile = post(htmlfile::attach).get(htmlfile::handle);
        api = api.route("/perigee/v1/{sid}/htmlfile", htmlfile);
    }
    if shared.config.legacy.jsonp {
        let jsonp = post(jsonp::attach).get(jsonp::handle);
        api = api.route("/perigee/v1/{sid}/jsonp", jsonp);
    }
    let well_known = Router::new()
        .route("/.well-known/host-meta", get(host_meta::xml))
        .route("/.well-known/host-meta.json", get(host_meta::json));
    let api = api
        .route_layer(from_fn_with_state(shared.clone(), cors))
        .merge(well_known)
        .with_state(shared.clone());
    api.merge(assets::client())
        .merge(pages)
        .fallback(not_found)
        .layer(from_fn_with_state(shared, server_name::check))
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
        // As in a URL.
        let host = match host {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        body.insert("host".to_owned(), host.into());
    }
    if let Some(certificate) = &offer.certificate {
        body.insert("hashes".to_owned(), json!([certificate.hash()]));
    }
    let body = serde_json::Value::Object(body).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing is served at this address\n").into_response()
}

/// Answers preflights and dresses every reply of the API.
async fn cors(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let origin = origin(request.headers()).ok().flatten();
    let allowed = origin
        .as_ref()
        .is_some_and(|origin| shared.config.policy.origin_allowed(Some(origin)));
    let echo = request
        .headers()
        .get(header::ORIGIN)
        .cloned()
        .filter(|_| allowed);
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        let status = if allowed {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::FORBIDDEN
        };
        status.into_response()
    } else {
        next.run(request).await
    };
    dress(&mut response, echo);
    if preflight && allowed {
        let headers = response.headers_mut();
        let allow = HeaderValue::from_static("authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    }
    response
}

/// Dresses a reply of the API to a page of this origin, if it is an allowed one.
pub(crate) fn dress(response: &mut Response, origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.reserve(DRESS.len() + 1);
    for (name, value) in DRESS {
        headers.insert(name, value);
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
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
        let origin = origin(headers)
            .map_err(|malformed| denied(None, &format_args!("the Origin header {malformed}")))?
            .map(Arc::new);
        if !shared.config.policy.origin_allowed(origin.as_deref()) {
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
        let Some(peer) = parts.extensions.get::<Peer>().copied() else {
            return Err(Refusal::new(
                Code::Internal,
                "the connection has no address",
            ));
        };
        let Client {
            address, secure, ..
        } = client(shared, peer, &parts.headers);
        Self::identify(shared, (address, secure), &parts.headers)
    }
}

/// Who is behind a connection, if proxies that are trusted say so.
fn client(shared: &Shared, peer: Peer, headers: &HeaderMap) -> Client {
    let header = shared.config.forwarded_header;
    let values = headers.get_all(header.name()).iter();
    let address = client_address(
        peer.address.ip(),
        header,
        values.map(HeaderValue::as_bytes),
        &shared.config.trusted_proxies,
    );
    let values = headers.get_all(header.protocol_name()).iter();
    let secure = client_is_secure(
        (peer.address.ip(), peer.tls),
        header,
        values.map(HeaderValue::as_bytes),
        &shared.config.trusted_proxies,
    );
    Client {
        origin: None,
        address,
        secure,
        user: None,
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
