//! Files inside the binary: the JS client for every page, and the pages of `perigee demo`, which a configured backend may have, too.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::policy::{Policy, ServiceName, ServiceSettings};

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

/// The page that each service has.
const SERVICE_PAGES: [(ServiceName, &str); 3] = [
    (ServiceName::Irc, "chat.html"),
    (ServiceName::Stomp, "stomp.html"),
    (ServiceName::Xmpp, "xmpp.html"),
];

/// All pages, and the documents they link to: what `perigee demo` serves.
pub(crate) fn demo_pages(policy: &Policy) -> Router {
    pages(|_| true, &offer(policy, true))
}

/// The pages of the backends that have one, and a front page that links to them; nothing if there is none.
pub(crate) fn pages_of(policy: &Policy) -> Router {
    let has = |service| {
        let mut backends = policy.backends.values();
        backends.any(|backend| backend.page && backend.offers(service))
    };
    if !policy.backends.values().any(|backend| backend.page) {
        return Router::new();
    }
    let is_there = |page: &str| {
        let of = SERVICE_PAGES.iter().find(|(_, path)| *path == page);
        page == "index.html" || of.is_some_and(|(service, _)| has(*service))
    };
    pages(is_there, &offer(policy, false))
}

/// What the pages are told of the gateway, as a module: which backends they are for, and whether this is the demo.
fn offer(policy: &Policy, demo: bool) -> String {
    let backends = policy.backends.values().filter(|backend| backend.page);
    let backends: Vec<_> = backends
        .filter_map(|backend| {
            let service = backend.service.as_ref()?;
            let domain = match service {
                ServiceSettings::Xmpp(settings) => Some(&*settings.domain),
                ServiceSettings::Irc(_) | ServiceSettings::Stomp(_) => None,
            };
            let service = service.name().to_string();
            Some(json!({ "name": &*backend.name, "service": service, "domain": domain }))
        })
        .collect();
    let offer = json!({ "demo": demo, "backends": backends });
    // JSON is JavaScript (ECMA-262, since its 10th edition).
    format!("export const offer = {offer};\n")
}

/// HTML at the root, as far as it is there, everything else below `/demo/`; documents below `/docs/`.
fn pages(is_there: impl Fn(&str) -> bool, offer: &str) -> Router {
    let mut router = Router::new();
    for asset in PAGES {
        let path = match asset.path {
            page if page.ends_with(".html") && !is_there(page) => continue,
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
    let offer = offer.to_owned();
    let told = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    router.route(
        "/demo/offered.js",
        get(move || async move { (told, offer) }),
    )
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

    fn policy(backends: &str) -> Policy {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{backends}\n[[allow]]\norigins = [\"https://a.example\"]\nto = [\"a\"]"
        );
        let config = crate::config::Config::parse("test", &text);
        config.unwrap().policy
    }

    #[test]
    fn the_pages_are_told_of_the_backends_that_have_one() {
        let policy = policy(
            "[backend.a]\naddress = \"a.example:1\"\nservice = \"xmpp\"\npage = true\nxmpp.domain = \"b.example\"\n\
             [backend.b]\naddress = \"a.example:2\"\nservice = \"irc\"",
        );
        assert_eq!(
            offer(&policy, false),
            "export const offer = {\"backends\":[{\"domain\":\"b.example\",\"name\":\"a\",\"service\":\"xmpp\"}],\"demo\":false};\n"
        );
    }
}
