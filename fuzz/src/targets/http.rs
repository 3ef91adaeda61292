//! A request of any bytes, as far as it is read before any session: who asks, tokens, tickets,
//! positions, forms, HELLO and handshakes. What is read can be written and read again, and nothing
//! of it gets out of where our replies quote it.
//!
//! The input is a request as HTTP/1.1 writes one, with ends of lines of either kind.

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use perigee_gateway::{
    fuzzing::{self, Http1},
    policy::Origin,
};
use perigee_session::{Frame, HEADER_LEN, Position};

/// A ticket that somebody has.
const TICKET: [u8; 16] = *b"a good ticket...";

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(input: &[u8]) {
    http1(input);
    let Some((mut request, body)) = read(input) else {
        return;
    };
    origin(request.headers());
    authorization(request.headers());
    last_event_id(request.headers());
    query(request.uri().query());
    path(request.uri().path());
    hello(&body);
    form(request.headers(), &body);
    webtransport_frames(&body);
    let ours = fuzzing::websocket(&mut request);
    handshake(&request, &ours, &["perigee.v1"]);
    let plain = fuzzing::plain_websocket(&mut request);
    handshake(&request, &plain, &["binary"]);
    let xmpp = fuzzing::xmpp_websocket(&mut request);
    handshake(&request, &xmpp, &["xmpp"]);
}

/// As much of HTTP/1.1 as it takes: a line that is no header is passed over.
fn read(input: &[u8]) -> Option<(Request, Bytes)> {
    let mut rest = input;
    let mut line = || {
        let end = rest.iter().position(|&byte| byte == b'\n');
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    };
    let mut first = line().split(|&byte| byte == b' ');
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    *request.version_mut() = match first.next() {
        Some(b"HTTP/1.1") => Version::HTTP_11,
        Some(b"HTTP/2") => Version::HTTP_2,
        _ => Version::HTTP_10,
    };
    loop {
        let line = line();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some((request, Bytes::copy_from_slice(rest)))
}

/// What we read of a connection ourselves is what every other reader would take it for.
fn http1(input: &[u8]) {
    let Http1::Request(request, len) = fuzzing::http1(input) else {
        return;
    };
    let headers = request.headers();
    assert_eq!(headers.get_all(header::HOST).iter().count(), 1, "two hosts");
    assert!(!headers.contains_key(header::TRANSFER_ENCODING), "a coding");
    assert!(request.uri().path().starts_with('/'));
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let body_len = lengths.next().map_or(0, |length| {
        let length = length.to_str().expect("digits");
        length.parse().expect("a number")
    });
    assert_eq!(lengths.next(), None, "two lengths");

    // It neither begins earlier nor depends on what follows it.
    for whole in [&input[..len], input] {
        assert!(matches!(fuzzing::http1(whole), Http1::Request(_, same) if same == len));
    }
    for cut in [len - body_len, len / 2, len - 1] {
        let part = fuzzing::http1(&input[..cut]);
        assert!(cut == len || matches!(part, Http1::More), "{cut}: {part:?}");
    }

    // Written anew, it says the same.
    let mut written = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in headers {
        written.extend_from_slice(name.as_str().as_bytes());
        written.extend_from_slice(b": ");
        written.extend_from_slice(value.as_bytes());
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"\r\n");
    written.extend_from_slice(&input[len - body_len..len]);
    let Http1::Request(again, whole) = fuzzing::http1(&written) else {
        panic!("another reading of {:?}", String::from_utf8_lossy(&written));
    };
    assert_eq!(whole, written.len());
    assert_eq!(again.method(), request.method());
    assert_eq!(again.uri(), request.uri());
    assert_eq!(again.headers(), headers);
}

fn origin(headers: &HeaderMap) {
    let values = headers.get_all(header::ORIGIN).iter().count();
    match fuzzing::origin(headers) {
        Ok(None) => assert_eq!(values, 0, "a page hid its origin"),
        Err(status) => assert!(values > 0, "{status}: there is none"),
        Ok(Some(origin)) => {
            assert_eq!(values, 1, "two pages at once");
            let written = origin.to_string();
            assert_eq!(written.parse::<Origin>().ok(), Some(origin.clone()));
            // It goes into scripts and into a Content-Security-Policy.
            let harmless = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]+".contains(c);
            assert!(written.chars().all(harmless), "{written:?}");
            assert_eq!(fuzzing::quoted(&origin), format!("\"{written}\""));
        }
    }
}

fn authorization(headers: &HeaderMap) {
    if let Some(token) = fuzzing::bearer(headers) {
        let text = URL_SAFE_NO_PAD.encode(token);
        let said = headers[header::AUTHORIZATION].as_bytes();
        assert!(said.ends_with(text.as_bytes()), "another token: {said:?}");
        let value = HeaderValue::try_from(format!("Bearer {text}")).expect("plain letters");
        let again = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        assert_eq!(fuzzing::bearer(&again), Some(token));
    }
}

fn last_event_id(headers: &HeaderMap) {
    match fuzzing::last_position(headers) {
        Ok(Some(position)) => same_position(position),
        Ok(None) => {}
        Err(status) => assert_eq!(status, StatusCode::BAD_REQUEST),
    }
}

fn same_position(position: Position) {
    let written = position.to_string();
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    assert!(written.bytes().all(plain), "{written:?}");
    assert_eq!(fuzzing::position(Some(&written)), Ok(Some(position)));
}

fn query(query: Option<&str>) {
    let keys = ["ticket", "i", "at"];
    let Ok(values) = fuzzing::query(query, keys) else {
        return;
    };
    let pairs = keys.iter().zip(values);
    let written: Vec<String> = pairs
        .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
        .collect();
    let again = written.join("&");
    assert_eq!(fuzzing::query(Some(&again), keys), Ok(values));
    let [ticket, index, at] = values;
    if let Some(ticket) = ticket {
        let right = ticket == URL_SAFE_NO_PAD.encode(TICKET);
        assert_eq!(fuzzing::opens(TICKET, ticket), right, "{ticket:?}");
    }
    if let Ok(function) = fuzzing::jsonp_function(index) {
        // A script that runs with the rights of the page begins with this.
        let digits = function.strip_prefix("perigee").unwrap_or_default();
        let few = (1..=9).contains(&digits.len());
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        assert!(few && plain, "{function:?}");
    }
    if let Ok(Some(position)) = fuzzing::position(at) {
        same_position(position);
    }
}

fn path(path: &str) {
    if let Some(sid) = fuzzing::webtransport_sid(path) {
        assert_eq!(format!("/perigee/v1/{sid}/wt"), path);
        assert!(!sid.is_empty() && !sid.contains('/'), "{sid:?}");
    }
}

fn hello(body: &Bytes) {
    match fuzzing::hello(body.clone()) {
        Ok((hello, after)) => {
            assert!(body.ends_with(&after), "something else follows");
            let mut encoded = Vec::new();
            Frame::Hello(hello.clone()).encode(&mut encoded);
            assert_eq!(encoded.len() + after.len(), body.len());
            let again = fuzzing::hello(encoded.into());
            assert_eq!(again, Ok((hello, Bytes::new())));
        }
        Err(status) => assert!(status.is_client_error(), "{status}"),
    }
}

fn form(headers: &HeaderMap, body: &[u8]) {
    if !fuzzing::is_form(headers) {
        return;
    }
    match fuzzing::form(body) {
        Ok((token, frames)) => {
            let (encoded, key) = (
                URL_SAFE_NO_PAD.encode(&frames),
                URL_SAFE_NO_PAD.encode(token),
            );
            let again = fuzzing::form(format!("token={key}&frames={encoded}").as_bytes());
            assert_eq!(again, Ok((token, frames)));
        }
        Err(status) => assert_eq!(status, StatusCode::BAD_REQUEST),
    }
}

/// Frames come out the same wherever the network cut them, and as early as they are whole.
fn webtransport_frames(body: &[u8]) {
    let [whole] = &fuzzing::whole_frames(std::iter::once(body))[..] else {
        panic!("not one answer to one piece");
    };
    let rest = body.strip_prefix(&whole[..]).expect("what came in");
    if let Some(&[_, _, high, low]) = rest.first_chunk() {
        let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        assert!(rest.len() < len, "a frame is kept back");
    }
    for size in [1, 3, 7] {
        let mut came = 0;
        let pieces = body.chunks(size);
        let mut out = Vec::new();
        for (piece, frames) in pieces.clone().zip(fuzzing::whole_frames(pieces)) {
            came += piece.len();
            out.extend(frames);
            assert!(out.len() <= came, "more than came");
        }
        assert_eq!(out, *whole, "in pieces of {size}");
    }
}

fn handshake(request: &Request, response: &Response<Body>, spoken: &[&str]) {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let refused = [StatusCode::BAD_REQUEST, StatusCode::UPGRADE_REQUIRED];
        assert!(refused.contains(&response.status()));
        assert!(!headers.contains_key(header::SEC_WEBSOCKET_ACCEPT));
        return;
    }
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.version(), Version::HTTP_11);
    assert!(!request.headers().contains_key(header::TRANSFER_ENCODING));
    assert_eq!(request.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    assert_eq!(request.headers()[header::SEC_WEBSOCKET_KEY].len(), 24);
    // SHA-1 in base64.
    assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT].len(), 28);
    if let Some(chosen) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        let chosen = chosen.to_str().expect("ours");
        assert!(spoken.contains(&chosen));
        let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let offered = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            text.split(',').any(|token| token.trim() == chosen)
        };
        assert!(offers.iter().any(offered), "nobody offered {chosen}");
    }
}
