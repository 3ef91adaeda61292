//! Plain WebSocket at `/ws/<backend>`, for clients that know nothing of sessions.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, Echo, expect_fin, expect_rst, fill, reset, send},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    pattern::{Pattern, Verifier},
    process::Process,
    raw::upgrade,
    wait::soon,
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

type WebSocket = WebSocketStream<TcpStream>;

async fn connect(
    address: SocketAddr,
    backend: &str,
    subprotocol: Option<&'static str>,
) -> Result<(WebSocket, Option<String>), Error> {
    let mut request = format!("ws://{address}/ws/{backend}").into_client_request()?;
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static(ORIGIN));
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert(
            "sec-websocket-protocol",
            HeaderValue::from_static(subprotocol),
        );
    }
    let tcp = TcpStream::connect(address).await?;
    let (websocket, response) = tokio_tungstenite::client_async(request, tcp).await?;
    let chosen = response
        .headers()
        .get("sec-websocket-protocol")
        .and_then(|value| value.to_str().ok());
    Ok((websocket, chosen.map(str::to_owned)))
}

async fn world() -> (Backend, TestGateway) {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .start();
    (backend, gateway)
}

async fn next(websocket: &mut WebSocket) -> Message {
    loop {
        let message = soon("a message", websocket.next())
            .await
            .expect("not the end")
            .expect("a message");
        // The gateway's heartbeat, which the library answers.
        if !message.is_ping() {
            return message;
        }
    }
}

/// Reads to the close frame, and returns its code.
async fn close_code(websocket: &mut WebSocket) -> u16 {
    loop {
        if let Message::Close(frame) = next(websocket).await {
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
}

#[tokio::test]
async fn messages_become_bytes_and_bytes_become_messages() {
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    for (offered, chosen) in [
        (None, None),
        (Some("binary"), Some("binary")),
        (Some("base64, binary"), Some("binary")),
    ] {
        // The library refuses a reply that does not fit its offer of one; a list it cannot check.
        let Ok((mut websocket, protocol)) = connect(gateway.address, "echo", offered).await else {
            panic!("{offered:?} was refused");
        };
        assert_eq!(protocol.as_deref(), chosen, "{offered:?}");
        for message in [
            Message::binary(&b"NICK x\r\n"[..]),
            Message::text("USER x\r\n"),
        ] {
            let sent = message.clone().into_data();
            websocket.send(message).await.expect("it is open");
            let mut echoed = Vec::new();
            while echoed.len() < sent.len() {
                match next(&mut websocket).await {
                    Message::Binary(bytes) => echoed.extend_from_slice(&bytes),
                    other => panic!("{other:?} is not binary"),
                }
            }
            assert_eq!(echoed, sent);
        }
        websocket.close(None).await.expect("it is open");
        while soon("the closing handshake", websocket.next())
            .await
            .is_some_and(|message| message.is_ok())
        {}
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn other_subprotocols_pages_and_backends_are_refused() {
    let (backend, gateway) = world().await;
    for (name, target, subprotocol) in [
        ("subprotocol", "peer", Some("mqtt")),
        ("backend", "nobody", None),
        ("address", "127.0.0.1:1", None),
    ] {
        let refusal = connect(gateway.address, target, subprotocol)
            .await
            .map(|_| ());
        let status = match refusal {
            Err(Error::Http(response)) => response.status().as_u16(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(
            status,
            if name == "subprotocol" { 400 } else { 403 },
            "{name}"
        );
    }
    for origin in [None, Some("https://evil.example")] {
        let head = upgrade("/ws/peer", "");
        let head = match origin {
            Some(origin) => head.replace(ORIGIN, origin),
            None => head.replace(&format!("Origin: {ORIGIN}\r\n"), ""),
        };
        let mut raw = perigee_integration_tests::raw::Raw::connect(gateway.address).await;
        raw.write(head).await;
        let answer = raw.read_until(b"\r\n\r\n").await;
        assert!(
            answer.starts_with(b"HTTP/1.1 403"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let reply = Http::new(gateway.address, Version::Http1)
        .fetch(hyper::Method::GET, "/ws/peer", &[], Vec::new())
        .await;
    assert_eq!(reply.expect("an answer").status, 426);
    drop(backend);
    gateway.until_empty().await;
}

#[tokio::test]
async fn each_end_closes_as_it_should() {
    let (backend, gateway) = world().await;

    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    let mut peer = backend.accept().await;
    websocket
        .send(Message::binary(&b"bye"[..]))
        .await
        .expect("it is open");
    websocket.close(None).await.expect("it is open");
    let mut said = [0; 3];
    soon("the last bytes", peer.read_exact(&mut said))
        .await
        .expect("the gateway sends");
    assert_eq!(&said, b"bye");
    expect_fin(&mut peer).await;
    drop(peer);

    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    drop(backend.accept().await);
    assert_eq!(close_code(&mut websocket).await, 1000, "the backend closed");

    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    reset(backend.accept().await);
    assert_eq!(close_code(&mut websocket).await, 4009, "the backend reset");

    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    let mut peer = backend.accept().await;
    websocket
        .send(Message::binary(vec![0; 64 * 1024 + 1]))
        .await
        .expect("it is open");
    let mut rest = Vec::new();
    _ = soon("the end at the backend", peer.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "a message above the bound goes nowhere");
    drop((websocket, peer));

    drop(backend);
    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    assert_eq!(close_code(&mut websocket).await, 4004, "nobody listens");
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_gateway_that_stops_resets_the_backend() {
    let backend = Backend::listen().await;
    let mut config = Configuration::new()
        .backend("peer", backend.address)
        .parse();
    config.timeouts.drain = Duration::from_millis(100);
    let gateway = TestGateway::start(config);
    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    let mut peer = backend.accept().await;
    let (code, ()) = tokio::join!(close_code(&mut websocket), gateway.shutdown());
    assert_eq!(code, 4015);
    expect_rst(&mut peer).await;
}

#[tokio::test]
async fn who_does_not_read_stops_the_other() {
    let backend = Backend::listen().await;
    let gateway = Process::start(&Configuration::new().backend("peer", backend.address)).await;
    let (mut websocket, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    let mut peer = backend.accept().await;
    websocket
        .send(Message::binary(&b"warm"[..]))
        .await
        .expect("it is open");
    peer.read_exact(&mut [0; 4])
        .await
        .expect("the gateway sends");
    let before = gateway.memory();
    let pattern = Pattern(1);
    let len = 64 * 1024 * 1024;
    let taken = fill(&mut peer, pattern, Duration::from_millis(500)).await;
    assert!(taken < len, "TCP took {taken} bytes");
    let growth = gateway.memory().saturating_sub(before);
    assert!(growth < 1024 * 1024, "memory grew by {growth} bytes");
    let mut got = Verifier::new(pattern);
    let read = async {
        while got.verified < len {
            got.take(&next(&mut websocket).await.into_data());
        }
    };
    tokio::join!(read, send(&mut peer, pattern, taken, len));

    // And upward: the client's TCP is full before the gateway's memory is.
    let chunk = Bytes::from(pattern.bytes(0, 32 * 1024));
    let mut sent = 0u64;
    while tokio::time::timeout(
        Duration::from_millis(500),
        websocket.feed(Message::Binary(chunk.clone())),
    )
    .await
    .is_ok()
    {
        sent += 1;
        assert!(sent < 4096, "the client was not stopped");
    }
    let growth = gateway.memory().saturating_sub(before);
    assert!(growth < 1024 * 1024, "memory grew by {growth} bytes");
    let mut first = vec![0; chunk.len()];
    soon("what was stalled", peer.read_exact(&mut first))
        .await
        .expect("the gateway sends");
    assert!(first == chunk);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_given_up() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .timeout("heartbeat = \"1s\"\npeer_dead = \"2s\"\nhold = \"1s\"")
        .start();
    // It reads nothing, so that the library sees no PING.
    let (_silent, _) = connect(gateway.address, "peer", None)
        .await
        .expect("it is allowed");
    let mut peer = backend.accept().await;
    // Not as if it had said all it wanted to.
    expect_rst(&mut peer).await;
    gateway.until_empty().await;
}
