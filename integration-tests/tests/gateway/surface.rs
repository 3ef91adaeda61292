//! What HTTP clients see: headers, preflights, and refusals that give nothing away.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::{HeaderMap, Method};
use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    raw::Raw,
    wait::{soon, until_eq},
};
use perigee_session::{Code, Frame, Hello};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

const OTHER: &str = "https://other.example";

async fn world() -> (Echo, TestGateway) {
    let echo = Echo::start().await;
    let other = format!("[[allow]]\norigins = [\"{OTHER}\"]\nto = [\"echo\"]");
    let gateway = Configuration::new()
        .backend("echo", echo.address)
        .rule(&other)
        .start();
    (echo, gateway)
}

fn hello(token: [u8; 32], n: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    Frame::Hello(Hello {
        version: 1,
        caps: 0,
        n,
        next_stream: 1,
        initial: 65_536,
        token,
        prompt: true,
        entries: Vec::new(),
    })
    .encode(&mut frame);
    frame
}

#[tokio::test]
async fn a_stream_starts_with_enough_to_be_let_through() {
    let (_echo, gateway) = world().await;
    let http = Http::new(gateway.address, Version::Http1);
    let mut reply = http
        .send(
            Method::POST,
            "/perigee/v1/new/stream",
            &[],
            hello([0; 32], 1),
        )
        .await
        .expect("a reply");
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    while frames.len() < 2 {
        let piece = soon("the first frames", reply.response.frame()).await;
        let piece = piece.expect("no end").expect("no cut");
        bytes.extend_from_slice(&piece.into_data().expect("no trailers"));
        frames.clear();
        // Type and length of each frame that is whole.
        let mut rest = &bytes[..];
        while let [kind, _, high, low, ..] = *rest {
            let length = 8 + usize::from(u16::from_be_bytes([high, low]));
            let Some(after) = rest.get(length..) else {
                break;
            };
            frames.push((kind, length));
            rest = after;
        }
    }
    assert_eq!(frames[0].0, 0x11, "WELCOME");
    assert_eq!(frames[1], (0x00, 2048), "PAD");
}

#[tokio::test]
async fn every_reply_has_its_headers() {
    let (_echo, gateway) = world().await;
    for version in [Version::Http1, Version::Http2] {
        let http = Http::new(gateway.address, version);
        for (method, path, body, status) in [
            (Method::POST, "/perigee/v1/origin", Vec::new(), 204),
            (Method::POST, "/perigee/v1/new/poll", hello([0; 32], 1), 200),
            (
                Method::POST,
                "/perigee/v1/new/poll",
                b"nonsense".to_vec(),
                400,
            ),
            (
                Method::POST,
                "/perigee/v1/new/poll",
                vec![0; 128 * 1024 + 1],
                400,
            ),
            (Method::POST, "/perigee/v1/p-unknown/up", Vec::new(), 404),
            (Method::GET, "/perigee/v1/new/poll", Vec::new(), 405),
        ] {
            let reply = http
                .fetch(method.clone(), path, &[], body)
                .await
                .expect("an answer");
            assert_eq!(reply.status, status, "{method} {path}");
            for (name, value) in [
                ("cache-control", "no-store, no-transform"),
                ("x-accel-buffering", "no"),
                ("x-content-type-options", "nosniff"),
                ("vary", "Origin"),
                ("access-control-allow-origin", ORIGIN),
            ] {
                assert_eq!(reply.header(name), Some(value), "{method} {path}: {name}");
            }
            assert_eq!(reply.header("access-control-allow-credentials"), None);
        }
        let preflight = [
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization, content-type",
            ),
        ];
        let reply = http
            .fetch(
                Method::OPTIONS,
                "/perigee/v1/new/up",
                &preflight,
                Vec::new(),
            )
            .await
            .expect("an answer");
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some("authorization, content-type")
        );
        assert!(
            reply
                .header("access-control-allow-methods")
                .is_some_and(|methods| methods.contains("POST"))
        );
        assert!(reply.header("access-control-max-age").is_some());
        for origin in [None, Some("https://evil.example")] {
            let http = Http::new(gateway.address, version).from_origin(origin);
            let reply = http
                .fetch(
                    Method::OPTIONS,
                    "/perigee/v1/new/up",
                    &preflight,
                    Vec::new(),
                )
                .await
                .expect("an answer");
            assert_eq!(reply.status, 403, "{origin:?}");
            assert!(
                !reply
                    .headers
                    .keys()
                    .any(|name| name.as_str().starts_with("access-control")),
                "{:?}",
                reply.headers
            );
        }
    }
}

#[tokio::test]
async fn a_session_that_is_not_yours_looks_like_none() {
    let (_echo, gateway) = world().await;
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let stream = client.reach("echo").await;
    let sid = client.welcomed().await;
    let (token, raw_token) = (client.token(), client.raw_token());
    let (node, random) = sid.split_once('-').expect("node-random");
    let unknown = format!("{node}-{}", random.chars().rev().collect::<String>());
    let mut wrong = raw_token;
    wrong[31] ^= 1;
    let attempts = [
        ("a wrong token", ORIGIN, sid.as_str(), wrong),
        ("no token", ORIGIN, &sid, [0; 32]),
        ("another origin", OTHER, &sid, raw_token),
        ("an unknown id", ORIGIN, &unknown, raw_token),
        ("no id at all", ORIGIN, "x", raw_token),
        ("a known token for a new session", ORIGIN, "new", raw_token),
    ];

    let mut answers = Vec::new();
    for (name, origin, sid, token) in &attempts {
        let http = Http::new(gateway.address, Version::Http1).from_origin(Some(origin));
        for way in ["poll", "stream"] {
            let path = format!("/perigee/v1/{sid}/{way}");
            let reply = http
                .fetch(Method::POST, &path, &[], hello(*token, 7))
                .await
                .expect("an answer");
            assert_eq!(
                (reply.status.as_u16(), reply.code().as_deref()),
                (404, Some("lost")),
                "{name}, {way}"
            );
            answers.push((without_origin(reply.headers), reply.body));
        }
        assert_eq!(
            websocket_close(&gateway, origin, sid, hello(*token, 7)).await,
            (4011, "lost".to_owned()),
            "{name}"
        );
    }
    for (name, origin, sid, authorization) in [
        (
            "a wrong token",
            ORIGIN,
            &sid,
            "Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        ),
        ("no bearer", ORIGIN, &sid, "Basic AAAA".to_owned()),
        ("nonsense", ORIGIN, &sid, "Bearer ?".to_owned()),
        ("another origin", OTHER, &sid, format!("Bearer {token}")),
        ("an unknown id", ORIGIN, &unknown, format!("Bearer {token}")),
    ] {
        let http = Http::new(gateway.address, Version::Http1).from_origin(Some(origin));
        let path = format!("/perigee/v1/{sid}/up");
        let reply = http
            .fetch(
                Method::POST,
                &path,
                &[("authorization", &authorization)],
                Vec::new(),
            )
            .await
            .expect("an answer");
        assert_eq!(reply.status, 404, "{name}");
        answers.push((without_origin(reply.headers), reply.body));
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }

    stream
        .write(b"untouched")
        .await
        .expect("none of this was its owner");
    assert_eq!(stream.read().await.expect("an echo"), b"untouched");
}

/// The headers but for those that repeat the request's origin or the time.
fn without_origin(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("access-control-allow-origin");
    headers.remove("date");
    headers
}

async fn websocket_close(
    gateway: &TestGateway,
    origin: &'static str,
    sid: &str,
    hello: Vec<u8>,
) -> (u16, String) {
    let mut request = format!("ws://{}/perigee/v1/{sid}/ws", gateway.address)
        .into_client_request()
        .expect("a URL");
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static(origin));
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("perigee.v1"),
    );
    let tcp = TcpStream::connect(gateway.address)
        .await
        .expect("the gateway listens");
    let (mut websocket, _) = tokio_tungstenite::client_async(request, tcp)
        .await
        .expect("the upgrade says nothing yet");
    websocket
        .send(Message::binary(hello))
        .await
        .expect("it is open");
    match soon("a close frame", websocket.next()).await {
        Some(Ok(Message::Close(Some(frame)))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?}"),
    }
}

/// A response's head without what differs from one to the next.
fn lasting(head: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(head)
        .lines()
        .filter(|line| !line.starts_with("date:") && !line.starts_with("content-length:"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// Reads one response, which has a length: its head and its body.
async fn response(client: &mut Raw) -> (Vec<u8>, Vec<u8>) {
    let mut head = client.read_until(b"\r\n\r\n").await;
    let end = head.windows(4).position(|window| window == b"\r\n\r\n");
    let mut body = head.split_off(end.expect("it was read") + 4);
    let text = String::from_utf8(head.clone()).expect("text");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    while body.len() < length {
        let len = soon("the body", client.stream.read_buf(&mut body)).await;
        assert_ne!(len.expect("bytes"), 0, "cut: {text}");
    }
    assert_eq!(body.len(), length, "more than one response");
    (head, body)
}

#[tokio::test]
async fn the_same_request_again_is_answered_alike_and_another_is_not_taken_for_it() {
    let (_echo, gateway) = world().await;
    let post = |path: &str, origin: &str, token: &[u8; 32], body: &[u8]| {
        let token = URL_SAFE_NO_PAD.encode(token);
        let head = format!(
            "POST /perigee/v1/{path} HTTP/1.1\r\nHost: gateway\r\nOrigin: {origin}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let mut polls = Raw::connect(gateway.address).await;
    polls
        .write(post("new/poll", ORIGIN, &[0; 32], &hello([0; 32], 1)))
        .await;
    let (first, welcome) = response(&mut polls).await;
    let Ok(Some(Frame::Welcome(welcome))) = Frame::decode(&mut &welcome[..]) else {
        panic!("no WELCOME: {welcome:?}");
    };
    let (sid, token) = welcome.identity.expect("a new session");
    let (up, poll) = (format!("{sid}/up"), format!("{sid}/poll"));

    // Each of these in turn on one connection, and by itself on a new one.
    let mut ups = Raw::connect(gateway.address).await;
    let pads = |len: usize| vec![0; 8 * len];
    let mut other = token;
    other[31] ^= 1;
    let requests = [
        (post(&up, ORIGIN, &token, &pads(1)), "200"),
        (post(&up, ORIGIN, &token, &pads(1)), "200"),
        (post(&up, ORIGIN, &token, &pads(1000)), "200"),
        (post(&up, ORIGIN, &token, &pads(0)), "200"),
        (post(&up, ORIGIN, &token, &pads(3)), "200"),
        (post(&up, OTHER, &token, &pads(1)), "404"),
        (post(&up, ORIGIN, &other, &pads(1)), "404"),
        (post(&up, "https://no.example", &token, &pads(1)), "403"),
        (post(&up, ORIGIN, &token, &pads(1)), "200"),
    ];
    let compare = async |ups: &mut Raw, request: &[u8], status: &str| {
        // In two pieces, so that the body has to be waited for.
        let (head, body) = request.split_at(request.len() - request.len().min(1));
        ups.write(head).await;
        ups.write(body).await;
        let (head, _) = response(ups).await;
        let mut alone = Raw::connect(gateway.address).await;
        alone.write(request).await;
        let (alone, _) = response(&mut alone).await;
        assert_eq!(lasting(&head), lasting(&alone));
        assert!(head.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
    };
    for (request, status) in &requests {
        compare(&mut ups, request, status).await;
    }
    // Two at once are answered one after the other.
    let (again, _) = &requests[0];
    ups.write([&again[..], again].concat()).await;
    let both = ups.read_until(b"\r\n\r\n").await;
    let both = [both, ups.read_until(b"\r\n\r\n").await].concat();
    assert_eq!(String::from_utf8_lossy(&both).matches("200 OK").count(), 2);

    for (n, token, status) in [
        (2, token, "200"),
        (3, token, "200"),
        (4, other, "404"),
        (5, token, "200"),
    ] {
        polls
            .write(post(&poll, ORIGIN, &[0; 32], &hello(token, n)))
            .await;
        let (head, _) = response(&mut polls).await;
        assert!(
            head.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
            "{n}"
        );
        if status == "200" {
            assert_eq!(lasting(&head), lasting(&first));
        }
    }
    let mut end = Vec::new();
    Frame::Reset {
        stream: 0,
        code: Code::Closed,
        ack: 0,
        text: "",
    }
    .encode(&mut end);
    ups.write(post(&up, ORIGIN, &token, &end)).await;
    response(&mut ups).await;
    until_eq(0, || gateway.counts().sessions).await;
    for (request, _) in &requests[..2] {
        compare(&mut ups, request, "404").await;
    }
}
