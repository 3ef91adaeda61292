//! Handlers of the API: which page asks, preflights, and how every reply looks.
//!
//! The origin is read once: a handler finds what was read of it on its request, and whoever sends the reply finds on it
//! how it is to be dressed. What all replies have alike can so be written as one block.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    handler::Handler,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};

use super::origin;
use crate::{
    policy::{Malformed, Origin},
    shared::Shared,
};

/// How long a browser may remember that an origin may ask, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What every reply of the API has.
const DRESS: [(HeaderName, HeaderValue); 5] = [
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

/// Longest text of an origin that is kept: more than a name has.
const MAX_KEPT_ORIGIN: usize = 300;

/// The same as HTTP/1.1 has it.
pub(crate) const DRESS_LINES: &[u8] = b"cache-control: no-store, no-transform\r\n\
    x-accel-buffering: no\r\n\
    x-content-type-options: nosniff\r\n\
    referrer-policy: no-referrer\r\n\
    vary: Origin\r\n";

/// A handler of the API: preflights do not reach it, and what it replies is to be dressed.
#[derive(Clone)]
pub(super) struct Api<H>(pub(super) H);

/// A reply of the API that is being made.
pub(super) struct Replying<F> {
    reply: Reply<F>,
    dress: Option<Dress>,
}

enum Reply<F> {
    Preflight { allowed: bool },
    Handler(F),
}

/// What the reply to a request of the API has beside its own headers; it goes with the response.
#[derive(Debug, Clone)]
pub(crate) struct Dress {
    /// The origin that may read the reply.
    pub(crate) origin: Option<HeaderValue>,
}

/// The page that a request says it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(super) origin: Result<Option<Arc<Origin>>, Malformed>,
    /// A rule names it.
    pub(super) is_allowed: bool,
}

/// A route that answers GET, and refuses other methods as one of the API.
pub(super) fn gets<T: 'static, H>(handler: H) -> MethodRouter<Shared>
where
    H: Handler<T, Shared, Future: Unpin>,
{
    get(Api(handler)).fallback(Api(StatusCode::METHOD_NOT_ALLOWED))
}

/// The same for POST.
pub(super) fn posts<T: 'static, H>(handler: H) -> MethodRouter<Shared>
where
    H: Handler<T, Shared, Future: Unpin>,
{
    post(Api(handler)).fallback(Api(StatusCode::METHOD_NOT_ALLOWED))
}

impl<T, H> Handler<T, Shared> for Api<H>
where
    H: Handler<T, Shared, Future: Unpin>,
    T: 'static,
{
    type Future = Replying<H::Future>;

    fn call(self, mut request: Request, shared: Shared) -> Self::Future {
        let value = only(request.headers(), &header::ORIGIN);
        let page = Page::of(&shared, value, request.headers());
        // Who sends no Origin needs no CORS, also where it is allowed.
        let allowed = page.is_allowed && value.is_some();
        let echo = value.filter(|_| allowed).cloned();
        let reply = if request.method() == Method::OPTIONS {
            Reply::Preflight { allowed }
        } else {
            request.extensions_mut().insert(page);
            Reply::Handler(self.0.call(request, shared))
        };
        Replying {
            reply,
            dress: Some(Dress { origin: echo }),
        }
    }
}

impl<F: Future<Output = Response> + Unpin> Future for Replying<F> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut response = match &mut self.reply {
            Reply::Preflight { allowed } => preflight(*allowed),
            Reply::Handler(answer) => ready!(Pin::new(answer).poll(cx)),
        };
        if let Some(dress) = self.dress.take() {
            response.extensions_mut().insert(dress);
        }
        Poll::Ready(response)
    }
}

fn preflight(allowed: bool) -> Response {
    if !allowed {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    response
}

impl Dress {
    /// Takes it off a response that it goes with.
    pub(crate) fn of(response: &mut Response) -> Option<Self> {
        response.extensions_mut().remove()
    }

    /// As headers, for who writes no block of them.
    pub(crate) fn put_on(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.reserve(DRESS.len() + 1);
        for (name, value) in DRESS {
            headers.insert(name, value);
        }
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

impl Page {
    pub(super) fn of_request(shared: &Shared, headers: &HeaderMap) -> Self {
        Self::of(shared, only(headers, &header::ORIGIN), headers)
    }

    /// `value` is the only Origin header, if there is just one.
    fn of(shared: &Shared, value: Option<&HeaderValue>, headers: &HeaderMap) -> Self {
        let origin = match value.and_then(origin_as_before) {
            Some(origin) => Ok(Some(origin)),
            None => read_origin(headers),
        };
        let is_allowed = origin
            .as_ref()
            .is_ok_and(|origin| shared.config.policy.origin_allowed(origin.as_deref()));
        Self { origin, is_allowed }
    }
}

thread_local! {
    /// The last origin of this thread, as it was sent and as it was read: pages of few origins ask again and again.
    static LAST: RefCell<Option<(HeaderValue, Arc<Origin>)>> = const { RefCell::new(None) };
}

/// The origin, if it reads as the last one did.
fn origin_as_before(value: &HeaderValue) -> Option<Arc<Origin>> {
    LAST.with_borrow(|last| {
        let (text, origin) = last.as_ref()?;
        (text == value).then(|| Arc::clone(origin))
    })
}

/// The value of a header that is there once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn read_origin(headers: &HeaderMap) -> Result<Option<Arc<Origin>>, Malformed> {
    let origin = origin(headers)?.map(Arc::new);
    if let (Some(origin), Some(value)) = (&origin, headers.get(header::ORIGIN))
        && value.len() <= MAX_KEPT_ORIGIN
        // A copy: the value is a part of a whole head.
        && let Ok(text) = HeaderValue::from_bytes(value.as_bytes())
    {
        LAST.set(Some((text, Arc::clone(origin))));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dress_is_the_same_in_lines() {
        let lines: String = DRESS
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
            .collect();
        assert_eq!(lines.as_bytes(), DRESS_LINES);
    }
}
