//! WebSocket clients that send frames without saying anything.

use perigee_integration_tests::{
    backend::Echo,
    gateway::Configuration,
    raw::{Raw, upgrade},
    wait::until_eq,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Frames of a flood: more than the buffers on the way hold.
const MANY: usize = 5_000_000;
/// Small messages of an honest client, at once.
const HONEST: usize = 100_000;

/// A frame of a client, masked with zeros.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).expect("a short frame");
    [&[first, 0x80 | len, 0, 0, 0, 0], body].concat()
}

#[tokio::test]
async fn floods_of_empty_frames_end_and_floods_of_small_messages_do_not() {
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    let connect = async || {
        let mut client = Raw::connect(gateway.address).await;
        client.write(upgrade("/ws/echo", "")).await;
        client.read_until(b"\r\n\r\n").await;
        client
    };
    // Opcodes with FIN or without: RFC 6455 §5.2.
    let begun = frame(0x02, b"x");
    let cases: [(&str, &[u8], Vec<u8>); 5] = [
        ("empty continuations", &begun, frame(0x00, b"")),
        ("pings", b"", frame(0x89, b"")),
        ("pongs", b"", frame(0x8a, b"")),
        ("empty messages", b"", frame(0x82, b"")),
        (
            "pings among continuations",
            &begun,
            [frame(0x00, b""), frame(0x89, b"")].concat(),
        ),
    ];
    for (name, start, repeated) in cases {
        let mut client = connect().await;
        client.write(start).await;
        let flood = repeated.repeat(1000);
        let mut sent = 0;
        while client.stream.write_all(&flood).await.is_ok() {
            sent += 1000;
            assert!(sent < MANY, "{name}: {sent} were taken");
        }
        until_eq(0, || gateway.counts().connections).await;
    }
    // Small messages are how people type and how terminals answer, however fast.
    let client = connect().await;
    let (mut from, mut to) = client.stream.into_split();
    let message = frame(0x82, &[b'k'; 64]);
    let sent = async {
        for _ in 0..HONEST / 1000 {
            to.write_all(&message.repeat(1000))
                .await
                .expect("it is taken");
        }
    };
    let echoed = async {
        let mut left = HONEST * 64;
        while left > 0 {
            left = left.saturating_sub(next_message(&mut from).await);
        }
    };
    tokio::join!(sent, echoed);
}

/// Reads a frame of the gateway, and returns the length of its body.
async fn next_message(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> usize {
    let mut head = [0; 2];
    from.read_exact(&mut head).await.expect("a frame");
    let len = match head[1] {
        126 => usize::from(from.read_u16().await.expect("a length")),
        len => usize::from(len),
    };
    let mut body = vec![0; len];
    from.read_exact(&mut body).await.expect("a body");
    assert!(body.iter().all(|&byte| byte == b'k'), "what was sent");
    len
}
