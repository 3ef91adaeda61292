//! Clients that only occupy a connection lose it by a deadline.

use std::time::Duration;

use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    raw::{Raw, upgrade},
    wait::{soon, until_eq},
};
use tokio::{io::AsyncWriteExt, time::interval};

/// Deadlines far below what a configuration file may say.
const BRIEF: Duration = Duration::from_millis(150);

async fn world() -> (Echo, TestGateway) {
    let echo = Echo::start().await;
    let mut config = Configuration::new().backend("echo", echo.address).parse();
    let timeouts = &mut config.timeouts;
    timeouts.first_byte = BRIEF;
    timeouts.head = BRIEF;
    timeouts.body = BRIEF;
    timeouts.hello = BRIEF;
    timeouts.http_idle = BRIEF;
    (echo, TestGateway::start(config))
}

fn post(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nOrigin: {ORIGIN}\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn silence_ends_at_its_deadline() {
    let (_echo, gateway) = world().await;
    let half_head =
        format!("GET /perigee/v1/origin HTTP/1.1\r\nHost: gateway\r\nOrigin: {ORIGIN}\r\nX-Slow: ");
    let half_body = format!("{}half", post("/perigee/v1/new/stream", 1000));
    let answered = post("/perigee/v1/origin", 0);
    let mut settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    settings.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let upgraded = upgrade("/perigee/v1/new/ws", "perigee.v1");
    let cases: [(&str, &[u8], &[u8]); 9] = [
        ("no first byte", b"", b""),
        ("one byte of a head", b"G", b""),
        ("half a head", half_head.as_bytes(), b""),
        ("one byte of the HTTP/2 preface", b"P", b""),
        ("half of the HTTP/2 preface", b"PRI * HTTP/2.0\r\n", b""),
        ("HTTP/2 without a request", &settings, b""),
        ("half a body", half_body.as_bytes(), b"408 Request Timeout"),
        (
            "a WebSocket without HELLO",
            upgraded.as_bytes(),
            b"101 Switching Protocols",
        ),
        (
            "an answered request and no other",
            answered.as_bytes(),
            b"204 No Content",
        ),
    ];
    for (name, bytes, answer) in cases {
        let mut client = Raw::connect(gateway.address).await;
        client.write(bytes).await;
        let said = client.until_closed().await;
        let found = answer.is_empty() || said.windows(answer.len()).any(|window| window == answer);
        assert!(found, "{name}: {:?}", String::from_utf8_lossy(&said));
        if name.contains("HELLO") {
            // A close frame with 4017 (idle): RFC 6455 §5.5.1.
            assert!(
                said.windows(2).any(|pair| pair == 4017u16.to_be_bytes()),
                "{name}: {said:?}"
            );
        }
        until_eq(0, || gateway.counts().connections).await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_trickle_is_no_sign_of_life() {
    let (_echo, gateway) = world().await;
    let head = "GET /perigee/v1/origin HTTP/1.1\r\nX-Slow: ".to_owned();
    for (name, begin) in [
        ("a head", head),
        ("a body", post("/perigee/v1/new/poll", 100_000)),
    ] {
        let mut client = Raw::connect(gateway.address).await;
        client.write(begin).await;
        let mut drip = interval(BRIEF / 5);
        let cut_off = async {
            // A write to a closed connection fails once its RST has come back.
            while client.stream.write_all(b"x").await.is_ok() {
                drip.tick().await;
            }
        };
        soon(name, cut_off).await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_session_that_nobody_confirms_ends() {
    let (_echo, gateway) = world().await;
    for path in ["/perigee/v1/new/poll", "/perigee/v1/new/stream"] {
        let mut hello = Vec::new();
        perigee_session::Frame::Hello(perigee_session::Hello {
            version: 1,
            caps: 0,
            n: 1,
            next_stream: 1,
            initial: 65_536,
            token: [0; 32],
            prompt: true,
            entries: Vec::new(),
        })
        .encode(&mut hello);
        let mut client = Raw::connect(gateway.address).await;
        client.write(post(path, hello.len())).await;
        client.write(&hello).await;
        client.read_until(b"200 OK").await;
        assert_eq!(gateway.counts().sessions, 1, "{path}");
        drop(client);
        gateway.until_empty().await;
    }
}

#[tokio::test]
async fn a_client_that_lives_outlives_every_deadline() {
    let (_echo, gateway) = world().await;
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("echo").await;
        let mut tick = interval(BRIEF);
        // Quiet for longer than any of the deadlines, several times, and never cut.
        for round in 0..4 {
            for _ in 0..2 {
                tick.tick().await;
            }
            stream.write(&[round]).await.expect("it is open");
            assert_eq!(
                stream.read().await.expect("an echo"),
                [round],
                "{transport:?}"
            );
        }
        client.end().await;
    }
    gateway.until_empty().await;
}
