//! Files inside the binary: the JS client for every page, the demo's pages for `perigee demo`.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// A file, by the path it is served under.
struct Asset {
    path: &'static str,
    /// Changes with the content (RFC 9110 §8.8.3).
    tag: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What the demo's pages may do: only what comes from the gateway itself, forms and frames of the old transports included.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src *; base-uri 'none'; form-action 'self'; frame-src 'self'; frame-ancestors 'none'",
);

/// `/perigee.js` and the modules it imports from `/perigee/`.
pub(crate) fn client() -> Router {
    let mut router = Router::new();
    for asset in CLIENT {
        let path = match asset.path {
            "" => "/perigee.js".to_owned(),
            path => format!("/perigee/{path}"),
        };
        // Public code that any page may import; what it may reach is decided elsewhere.
        let open = |mut response: Response| {
            let anyone = HeaderValue::from_static("*");
            response
                .headers_mut()
                .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
            response
        };
        router = router.route(
            &path,
            get(move |headers: HeaderMap| async move { open(asset.answer(&headers)) }),
        );
    }
    router
}

/// The demo's pages: HTML at the root, everything else below `/demo/`; documents below `/docs/`.
pub(crate) fn demo_pages() -> Router {
    let mut router = Router::new();
    for asset in PAGES {
        let path = match asset.path {
            "index.html" => "/".to_owned(),
            page if page.ends_with(".html") => format!("/{page}"),
            other => format!("/demo/{other}"),
        };
        let guarded = |mut response: Response| {
            response
                .headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
            response
        };
        router = router.route(
            &path,
            get(move |headers: HeaderMap| async move { guarded(asset.answer(&headers)) }),
        );
    }
    for asset in DOCS {
        let path = format!("/docs/{}", asset.path);
        router = router.route(
            &path,
            get(move |headers: HeaderMap| async move { asset.answer(&headers) }),
        );
    }
    router
}

impl Asset {
    fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type()),
            (header::ETAG, self.tag),
            // Asked again each time, so that client and gateway never differ in version.
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        if asked
            .get(header::IF_NONE_MATCH)
            .is_some_and(|tag| tag == self.tag)
        {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.bytes).into_response()
    }

    fn content_type(&self) -> &'static str {
        match self
            .path
            .rsplit_once('.')
            .map_or("js", |(_, extension)| extension)
        {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "md" => "text/plain; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_served_has_a_type() {
        assert!(
            CLIENT.len() > 5 && PAGES.len() > 5,
            "{} and {} files",
            CLIENT.len(),
            PAGES.len()
        );
        for asset in CLIENT.iter().chain(PAGES).chain(DOCS) {
            assert_ne!(
                asset.content_type(),
                "application/octet-stream",
                "{}",
                asset.path
            );
            assert!(!asset.bytes.is_empty(), "{}", asset.path);
        }
    }
}
