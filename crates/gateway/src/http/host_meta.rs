//! `/.well-known/host-meta`: where XMPP is spoken over HTTP (XEP-0156), for clients that are told only a domain.
//!
//! It is the same for everyone, tells nothing that is not in the pages anyway, and may be read by
//! every page, as the specification wants.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use perigee_xmpp::{Link, host_meta_json, host_meta_xml};

use crate::{
    policy::{Origin, Policy, ServiceSettings},
    shared::Shared,
};

/// `/.well-known/host-meta`.
pub(crate) async fn xml(State(shared): State<Shared>, request: Request) -> Response {
    answer(
        &shared,
        &request,
        "application/xrd+xml; charset=utf-8",
        host_meta_xml,
    )
}

/// `/.well-known/host-meta.json`.
pub(crate) async fn json(State(shared): State<Shared>, request: Request) -> Response {
    answer(&shared, &request, "application/json", host_meta_json)
}

fn answer(
    shared: &Shared,
    request: &Request,
    content_type: &'static str,
    write: fn(&[Link]) -> String,
) -> Response {
    let public = match &shared.config.public_url {
        Some(url) => Some(url.clone()),
        None => asked_at(request.uri(), request.headers()),
    };
    let links = match &public {
        Some(public) => links(&shared.config.policy, host(request).as_deref(), public),
        None => Vec::new(),
    };
    if links.is_empty() {
        return (StatusCode::NOT_FOUND, "nothing is served at this address\n").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, write(&links)).into_response()
}

/// The ways to the backends of the domain that is asked for; where the gateway has a name of its
/// own, to those of all domains.
fn links(policy: &Policy, asked: Option<&str>, public: &Origin) -> Vec<Link> {
    let http = public.to_string();
    let websocket = http.replacen("http", "ws", 1);
    let backends = || {
        policy
            .backends
            .values()
            .filter_map(|backend| match &backend.service {
                Some(ServiceSettings::Xmpp(settings)) => Some((&backend.name, &settings.domain)),
                _ => None,
            })
    };
    let is_asked = |domain: &str| asked.is_some_and(|asked| asked.eq_ignore_ascii_case(domain));
    let any_is_asked = backends().any(|(_, domain)| is_asked(domain));
    backends()
        .filter(|(_, domain)| !any_is_asked || is_asked(domain))
        .flat_map(|(name, _)| {
            [
                Link::WebSocket(format!("{websocket}/xmpp/{name}")),
                Link::Bosh(format!("{http}/xmpp/{name}")),
            ]
        })
        .collect()
}

/// The host of a request, without its port.
fn host(request: &Request) -> Option<String> {
    let authority = authority(request.uri(), request.headers())?;
    let end = authority.rfind(':').filter(|_| !authority.ends_with(']'));
    Some(authority[..end.unwrap_or(authority.len())].to_owned())
}

/// Where a request was sent to, as far as it says so. What is spoken in front of a proxy it does not say;
/// pages on the web need TLS anyway, so only this machine's own names are taken to have none.
pub(crate) fn asked_at(uri: &Uri, headers: &HeaderMap) -> Option<Origin> {
    let authority = authority(uri, headers)?.to_ascii_lowercase();
    let is_here = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        authority
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    let scheme = if is_here { "http" } else { "https" };
    format!("{scheme}://{authority}").parse().ok()
}

fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok(),
    }
}
