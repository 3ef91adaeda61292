//! Reading requests, but only those that every reader understands alike: HTTP/1.1 with a path, one host, no
//! coding, and a body of a stated length that is there. All others are for hyper.

use std::mem::MaybeUninit;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, Uri, header},
};
use bytes::Bytes;

use super::again::Places;
use crate::http::MAX_BODY_BYTES;

/// Headers that a request may have; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// What bytes begin with.
pub(crate) enum Beginning {
    /// A whole request, of so many bytes.
    Request(Box<Plain>, usize),
    /// A head that is not whole.
    Head,
    /// A request of so many bytes in all.
    Body(usize),
    /// What is not for us.
    Other,
}

/// A request of the kind that is read here.
pub(crate) struct Plain {
    pub(crate) request: Request,
    pub(super) head_len: usize,
    /// Where the digits of Content-Length are in the head.
    pub(super) length_at: Option<(usize, usize)>,
    /// Where the value of Origin is.
    pub(super) origin_at: Option<(usize, usize)>,
    /// It asks for another protocol.
    pub(super) upgrades: bool,
    /// If it is one that may come again.
    pub(super) places: Option<Places>,
}

/// Reads the request that `bytes` begin with.
pub(crate) fn read(bytes: &[u8]) -> Beginning {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let head_len = match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) => return Beginning::Head,
        Err(_) => return Beginning::Other,
    };
    let Some(plain) = plain(bytes, head_len, &parsed) else {
        return Beginning::Other;
    };
    let (mut plain, body_len) = plain;
    let len = head_len + body_len;
    if bytes.len() < len {
        return Beginning::Body(len);
    }
    if body_len > 0 {
        *plain.request.body_mut() = Body::from(Bytes::copy_from_slice(&bytes[head_len..len]));
    }
    Beginning::Request(plain, len)
}

fn plain(
    bytes: &[u8],
    head_len: usize,
    parsed: &httparse::Request<'_, '_>,
) -> Option<(Box<Plain>, usize)> {
    let method = match parsed.method? {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "OPTIONS" => Method::OPTIONS,
        _ => return None,
    };
    let path = parsed.path.filter(|path| path.starts_with('/'))?;
    if parsed.version != Some(1) {
        return None;
    }
    let at = |value: &[u8]| {
        let begin = value.as_ptr() as usize - bytes.as_ptr() as usize;
        (begin, begin + value.len())
    };
    // One copy, of which all values are slices.
    let head = Bytes::copy_from_slice(&bytes[..head_len]);
    let slice = |value: &[u8]| {
        let (begin, end) = at(value);
        head.slice(begin..end)
    };
    let mut plain = Box::new(Plain {
        request: Request::new(Body::empty()),
        head_len,
        length_at: None,
        origin_at: None,
        upgrades: false,
        places: None,
    });
    let (mut body_len, mut hosts, mut upgrade) = (0, 0, None);
    let mut map = std::mem::take(plain.request.headers_mut());
    map.reserve(parsed.headers.len());
    for found in &*parsed.headers {
        let name = name(found.name)?;
        let value = HeaderValue::from_maybe_shared(slice(found.value)).ok()?;
        if name == header::CONTENT_LENGTH {
            let is_first = plain.length_at.replace(at(found.value)).is_none();
            body_len = length(found.value).filter(|_| is_first)?;
        } else if name == header::HOST {
            hosts += 1;
        } else if name == header::UPGRADE {
            upgrade.get_or_insert(found.value);
        } else if name == header::ORIGIN {
            plain.origin_at = Some(at(found.value));
        } else if name == header::CONNECTION {
            match found.value {
                value if value.eq_ignore_ascii_case(b"keep-alive") => {}
                // As browsers write it; Firefox adds the other.
                value
                    if value.eq_ignore_ascii_case(b"upgrade")
                        || value.eq_ignore_ascii_case(b"keep-alive, upgrade") =>
                {
                    plain.upgrades = true;
                }
                _ => return None,
            }
        } else if name == header::TRANSFER_ENCODING || name == header::EXPECT {
            return None;
        }
        map.append(name, value);
    }
    let has_body = plain.length_at.is_some();
    if hosts != 1 || (has_body && method != Method::POST) {
        return None;
    }
    // A request for anything else than a WebSocket is for who knows what to do with it.
    if upgrade.is_some() != plain.upgrades
        || upgrade.is_some_and(|value| !value.eq_ignore_ascii_case(b"websocket"))
        || (plain.upgrades && method != Method::GET)
    {
        return None;
    }
    *plain.request.method_mut() = method;
    *plain.request.uri_mut() = Uri::from_maybe_shared(slice(path.as_bytes())).ok()?;
    *plain.request.headers_mut() = map;
    Some((plain, body_len))
}

/// Names as browsers and our client write them are known by sight.
fn name(name: &str) -> Option<HeaderName> {
    Some(match name {
        "Host" | "host" => header::HOST,
        "Accept" | "accept" => header::ACCEPT,
        "Cookie" | "cookie" => header::COOKIE,
        "Origin" | "origin" => header::ORIGIN,
        "Pragma" | "pragma" => header::PRAGMA,
        "Referer" | "referer" => header::REFERER,
        "Upgrade" | "upgrade" => header::UPGRADE,
        "Connection" | "connection" => header::CONNECTION,
        "User-Agent" | "user-agent" => header::USER_AGENT,
        "Content-Type" | "content-type" => header::CONTENT_TYPE,
        "Cache-Control" | "cache-control" => header::CACHE_CONTROL,
        "Authorization" | "authorization" => header::AUTHORIZATION,
        "Content-Length" | "content-length" => header::CONTENT_LENGTH,
        "Accept-Encoding" | "accept-encoding" => header::ACCEPT_ENCODING,
        "Accept-Language" | "accept-language" => header::ACCEPT_LANGUAGE,
        "Sec-WebSocket-Key" | "sec-websocket-key" => header::SEC_WEBSOCKET_KEY,
        "Sec-WebSocket-Version" | "sec-websocket-version" => header::SEC_WEBSOCKET_VERSION,
        "Sec-WebSocket-Protocol" | "sec-websocket-protocol" => header::SEC_WEBSOCKET_PROTOCOL,
        "Sec-WebSocket-Extensions" | "sec-websocket-extensions" => header::SEC_WEBSOCKET_EXTENSIONS,
        other => HeaderName::from_bytes(other.as_bytes()).ok()?,
    })
}

/// A length that we take, in digits and nothing else (RFC 9112 §6.3).
pub(super) fn length(digits: &[u8]) -> Option<usize> {
    let max_digits = MAX_BODY_BYTES.ilog10() as usize + 1;
    if digits.is_empty() || digits.len() > max_digits {
        return None;
    }
    let mut length = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        length = length * 10 + usize::from(digit - b'0');
    }
    (length <= MAX_BODY_BYTES).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST /perigee/v1/a/up HTTP/1.1\r\nHost: gateway\r\n";

    fn kind(text: &str) -> String {
        match read(text.as_bytes()) {
            Beginning::Request(plain, len) => {
                format!(
                    "{} {}, {len} bytes",
                    plain.request.method(),
                    plain.request.uri()
                )
            }
            Beginning::Head => "head".to_owned(),
            Beginning::Body(len) => format!("body, {len}"),
            Beginning::Other => "other".to_owned(),
        }
    }

    #[test]
    fn a_whole_request_is_read_and_what_follows_is_left() {
        let text = format!("{HEAD}Origin: https://a.example\r\nContent-Length: 5\r\n\r\nhelloPOST");
        let Beginning::Request(plain, len) = read(text.as_bytes()) else {
            panic!("it is whole");
        };
        assert_eq!(&text[len..], "POST");
        let (from, to) = plain.length_at.expect("there is one");
        assert_eq!(&text[from..to], "5");
        let (from, to) = plain.origin_at.expect("there is one");
        assert_eq!(&text[from..to], "https://a.example");
        assert_eq!(plain.head_len + 5, len);
        for cut in 0..len {
            let kind = kind(&text[..cut]);
            let want = if cut < plain.head_len {
                "head".to_owned()
            } else {
                format!("body, {len}")
            };
            assert_eq!(kind, want, "cut at {cut}");
        }
    }

    #[test]
    fn what_readers_might_understand_differently_is_not_read_here() {
        for headers in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 131073\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
            "Expect: 100-continue\r\n",
            "Connection: close\r\n",
            "Connection: content-length\r\n",
            "Host: gateway\r\n",
            "Upgrade: websocket\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            "Content-Length : 5\r\n",
            " folded: 1\r\n",
            "na me: 1\r\n",
            "bad: \u{1}\r\n",
        ] {
            assert_eq!(
                kind(&format!("{HEAD}{headers}\r\nhello")),
                "other",
                "{headers}"
            );
        }
        for text in [
            "POST /perigee/v1/a/up HTTP/1.1\r\n\r\n",
            "POST /perigee/v1/a/up HTTP/1.0\r\nHost: a\r\n\r\n",
            "POST http://gateway/perigee/v1/a/up HTTP/1.1\r\nHost: gateway\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: gateway\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(kind(text), "other", "{text}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for() {
        let text = "GET /ws/a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert!(matches!(read(text.as_bytes()), Beginning::Request(plain, _) if plain.upgrades));
    }
}
