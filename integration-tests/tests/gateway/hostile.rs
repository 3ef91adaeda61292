//! Whoever breaks the protocol loses the session, or the stream, and nobody else does.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Stream, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    raw::Raw,
    wait::soon,
};
use perigee_session::{Code, Frame, Hello};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

/// A client that writes frames by hand.
struct Attacker {
    websocket: WebSocketStream<TcpStream>,
    sid: String,
    token: [u8; 32],
}

/// What the gateway said of something.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The session lives.
    Pong,
    /// The stream is over.
    StreamOver(Code),
    /// The session is over.
    SessionOver(Code),
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a body fits");
    let mut frame = vec![kind, flags];
    frame.extend(len.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend(body);
    frame
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn data(stream: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut body = numbers(&[offset]);
    body.resize(8 + len, b'x');
    frame(0x01, 0, stream, &body)
}

fn reset_frame(stream: u32, text: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 10];
    body.extend(numbers(&[0]));
    body.extend(text);
    frame(0x04, 0, stream, &body)
}

fn open(stream: u32, target: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(target);
    frame(0x13, 0, stream, &body)
}

fn hello(version: u8, token: [u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let hello = Hello {
        version: 1,
        caps: 0,
        n: 1,
        next_stream: 1,
        initial: 65_536,
        token,
        prompt: true,
        entries: Vec::new(),
    };
    Frame::Hello(hello).encode(&mut bytes);
    bytes[8] = version;
    bytes
}

async fn upgrade(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{address}/perigee/v1/new/ws")
        .into_client_request()
        .expect("a URL");
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static(ORIGIN));
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("perigee.v1"),
    );
    let tcp = TcpStream::connect(address)
        .await
        .expect("the gateway listens");
    tokio_tungstenite::client_async(request, tcp)
        .await
        .expect("the upgrade is allowed")
        .0
}

impl Attacker {
    /// A session of its own, with stream 1 open.
    async fn start(address: SocketAddr) -> Self {
        let mut websocket = upgrade(address).await;
        let mut first = hello(1, [0; 32]);
        first.extend(open(1, b"echo"));
        websocket
            .send(Message::binary(first))
            .await
            .expect("it is open");
        let (mut identity, mut opened) = (None, false);
        while identity.is_none() || !opened {
            let message = soon("WELCOME and OPENED", websocket.next())
                .await
                .expect("open")
                .expect("open");
            let message = message.into_data();
            let mut rest = &message[..];
            while let Some(frame) =
                Frame::decode(&mut rest).expect("the gateway speaks the protocol")
            {
                match frame {
                    Frame::Welcome(welcome) => identity = welcome.identity,
                    Frame::Opened { .. } => opened = true,
                    _ => {}
                }
            }
        }
        let (sid, token) = identity.expect("just checked");
        Self {
            websocket,
            sid,
            token,
        }
    }

    /// Says something and then PING, and reads on until it is clear what became of it.
    async fn say(&mut self, message: Message) -> Verdict {
        self.websocket.send(message).await.expect("it is open");
        // Refused if the session is over by then.
        _ = self
            .websocket
            .send(Message::binary(frame(0x05, 0, 0, b"ping")))
            .await;
        let mut verdict = None;
        loop {
            let Some(Ok(message)) = soon("a verdict", self.websocket.next()).await else {
                return verdict.expect("RESET before the end");
            };
            if let Message::Close(Some(close)) = &message {
                let Some(Verdict::SessionOver(code)) = verdict else {
                    panic!("closed after {verdict:?}")
                };
                assert_eq!(u16::from(close.code), code.close_code());
                return Verdict::SessionOver(code);
            }
            let message = message.into_data();
            let mut rest = &message[..];
            while let Some(frame) =
                Frame::decode(&mut rest).expect("the gateway speaks the protocol")
            {
                match frame {
                    Frame::Reset {
                        stream: 0, code, ..
                    } => verdict = Some(Verdict::SessionOver(code)),
                    Frame::Reset {
                        stream: 1, code, ..
                    } if verdict.is_none() => verdict = Some(Verdict::StreamOver(code)),
                    Frame::Pong { t } => {
                        assert_eq!(t.to_be_bytes(), *b"ping");
                        return verdict.unwrap_or(Verdict::Pong);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Says the same by a request.
    async fn post(&self, address: SocketAddr, body: Vec<u8>) -> Vec<u8> {
        let authorization = format!("Bearer {}", URL_SAFE_NO_PAD.encode(self.token));
        let path = format!("/perigee/v1/{}/up", self.sid);
        let http = Http::new(address, Version::Http1);
        let reply = http
            .fetch(
                Method::POST,
                &path,
                &[("authorization", &authorization)],
                body,
            )
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200);
        reply.body.to_vec()
    }
}

/// A bystander, who must not notice anything.
struct Bystander {
    _client: Client,
    stream: Stream,
}

impl Bystander {
    async fn start(gateway: &TestGateway) -> Self {
        let client = Client::connect(gateway.address, Transport::WebSocket).await;
        let stream = client.reach("echo").await;
        Self {
            _client: client,
            stream,
        }
    }

    async fn is_well(&self, after: &str) {
        self.stream
            .write(b"well")
            .await
            .unwrap_or_else(|closed| panic!("{after}: {closed:?}"));
        assert_eq!(
            self.stream.read().await.expect("an echo"),
            b"well",
            "{after}"
        );
    }
}

async fn world() -> (Echo, TestGateway) {
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    (echo, gateway)
}

/// Every wrong thing that section 3 of the protocol names.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let text = |len: usize| reset_frame(1, &vec![b'x'; len]);
    let mut cut = data(1, 0, 100);
    cut.truncate(50);
    vec![
        ("a cut header", vec![0x01, 0, 0]),
        ("a cut body", cut),
        ("an unknown type", frame(0x42, 0, 0, b"")),
        ("DATA of stream 0", data(0, 0, 1)),
        ("DATA without bytes", data(1, 0, 0)),
        ("DATA of 16,385 bytes", data(1, 0, 16_385)),
        ("DATA with half an offset", frame(0x01, 0, 1, b"xxxx")),
        ("DATA beyond 2^53", data(1, 1 << 53, 1)),
        ("ACK of stream 0", frame(0x02, 0, 0, &numbers(&[0, 0]))),
        ("a short ACK", frame(0x02, 0, 1, &numbers(&[0]))),
        ("an odd ACK", frame(0x02, 0, 1, &[0; 20])),
        ("a long ACK", frame(0x02, 0, 1, &numbers(&[0, 0, 0, 0]))),
        (
            "an ACK beyond 2^53",
            frame(0x02, 0, 1, &numbers(&[0, 1 << 53])),
        ),
        ("FIN of stream 0", frame(0x03, 0, 0, &numbers(&[0]))),
        ("a short FIN", frame(0x03, 0, 1, &[0; 7])),
        ("a long FIN", frame(0x03, 0, 1, &[0; 9])),
        ("a short RESET", frame(0x04, 0, 1, &[0; 9])),
        ("a RESET with 97 bytes of text", text(97)),
        (
            "a RESET with text that is not UTF-8",
            reset_frame(1, &[0xFF]),
        ),
        ("PING of a stream", frame(0x05, 0, 1, &[0; 4])),
        ("a short PING", frame(0x05, 0, 0, &[0; 3])),
        ("a long PONG", frame(0x06, 0, 0, &[0; 5])),
        ("another HELLO", hello(1, [0; 32])),
        ("WELCOME", frame(0x11, 0, 0, &[1; 25])),
        ("GOAWAY", frame(0x12, 0, 0, &[0; 6])),
        ("OPENED", frame(0x14, 0, 1, b"echo")),
        ("OPEN of stream 0", open(0, b"echo")),
        ("OPEN of nothing", open(2, b"")),
        ("OPEN of 256 bytes", open(2, &[b'x'; 256])),
        ("OPEN of what is not UTF-8", open(2, &[0xC0, 0x80])),
        ("OPEN of an id that cannot be next", open(5000, b"echo")),
        ("a short DETACH", frame(0x15, 0, 0, &[0; 4])),
        (
            "a DETACH with a reason that is none",
            frame(0x15, 0, 0, &[0, 0, 0, 9, 99]),
        ),
        ("PAD of a stream", frame(0x00, 0, 1, b"")),
    ]
}

#[tokio::test]
async fn a_violation_ends_its_session_and_no_other() {
    let (_echo, gateway) = world().await;
    let bystander = Bystander::start(&gateway).await;
    let mut wrong = Vec::new();
    for (name, bytes) in violations() {
        let verdict = Attacker::start(gateway.address)
            .await
            .say(Message::binary(bytes))
            .await;
        if verdict != Verdict::SessionOver(Code::Protocol) {
            wrong.push((name, verdict));
        }
        bystander.is_well(name).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let verdict = Attacker::start(gateway.address)
        .await
        .say(Message::text("text"))
        .await;
    assert_eq!(
        verdict,
        Verdict::SessionOver(Code::Protocol),
        "a text message"
    );
    bystander.is_well("text").await;
}

#[tokio::test]
async fn a_violation_by_request_is_told_in_its_reply() {
    let (_echo, gateway) = world().await;
    let bystander = Bystander::start(&gateway).await;
    for (name, bytes) in violations() {
        let attacker = Attacker::start(gateway.address).await;
        let reply = attacker.post(gateway.address, bytes).await;
        let mut rest = &reply[..];
        let mut over = None;
        while let Some(frame) = Frame::decode(&mut rest).expect("the gateway speaks the protocol") {
            if let Frame::Reset {
                stream: 0, code, ..
            } = frame
            {
                over = Some(code);
            }
        }
        assert_eq!(over, Some(Code::Protocol), "{name}: {reply:?}");
        bystander.is_well(name).await;
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_is_no_request() {
    // Of HTTP/2 (RFC 9113 §6).
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    const END_HEADERS: u8 = 4;
    let (_echo, gateway) = world().await;
    let client = Client::connect(gateway.address, Transport::Stream).await;
    let sid = client.welcomed().await;
    let ping = frame(0x05, 0, 0, &[0; 4]);
    let authorization = format!("Bearer {}", client.token());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "gateway"),
        (":path", &format!("/perigee/v1/{sid}/up")),
        ("origin", ORIGIN),
        ("authorization", &authorization),
        ("content-length", &ping.len().to_string()),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed (RFC 7541 §6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    let http2 = |kind: u8, flags: u8, stream: u32, body: &[u8]| {
        let len = u32::try_from(body.len()).expect("a short frame");
        let mut frame = len.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(body);
        frame
    };
    let mut raw = Raw::connect(gateway.address).await;
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend(http2(SETTINGS, 0, 0, &[]));
    said.extend(http2(HEADERS, END_HEADERS, 1, &block));
    said.extend(http2(DATA, 0, 1, &ping[..ping.len() / 2]));
    said.extend(http2(RST_STREAM, 0, 1, &[0; 4]));
    said.extend(http2(PING, 0, 0, &[7; 8]));
    raw.write(said).await;
    raw.read_until(&http2(PING, ACK, 0, &[7; 8])).await;
    let stream = client.reach("echo").await;
    stream.write(b"hello").await.expect("the session lives");
    assert_eq!(stream.read().await.expect("an echo"), b"hello");
}

#[tokio::test]
async fn a_stream_that_breaks_its_bounds_ends_alone() {
    let (_echo, gateway) = world().await;
    let bystander = Bystander::start(&gateway).await;
    let credit: Vec<u8> = (0..3)
        .flat_map(|index| data(1, index * 16_384, 16_384))
        .collect();
    let beyond: Vec<u8> = (3..6)
        .flat_map(|index| data(1, index * 16_384, 16_384))
        .collect();
    let first_half = [data(1, 0, 4), frame(0x03, 0, 1, &numbers(&[4]))].concat();
    for (name, messages, code) in [
        ("DATA beyond its credit", vec![data(1, 1_000_000, 1)], None),
        ("more than was granted at once", vec![credit, beyond], None),
        (
            "ACK of what was not sent",
            vec![frame(0x02, 0, 1, &numbers(&[99, 100]))],
            Some(Code::Protocol),
        ),
        (
            "a FIN that moves",
            vec![first_half.clone(), frame(0x03, 0, 1, &numbers(&[5]))],
            Some(Code::Protocol),
        ),
        (
            "DATA after FIN",
            vec![first_half, data(1, 4, 4)],
            Some(Code::Protocol),
        ),
    ] {
        let mut attacker = Attacker::start(gateway.address).await;
        let mut verdict = Verdict::Pong;
        for message in messages {
            verdict = attacker.say(Message::binary(message)).await;
        }
        match code {
            Some(code) => assert_eq!(verdict, Verdict::StreamOver(code), "{name}"),
            // A gap is dropped, and an echo may be quick enough to grant more.
            None => assert!(
                matches!(verdict, Verdict::StreamOver(Code::Flow) | Verdict::Pong),
                "{name}: {verdict:?}"
            ),
        }
        assert_eq!(
            attacker
                .say(Message::binary(frame(0x00, 0, 0, b"pad")))
                .await,
            Verdict::Pong,
            "{name}: it lives"
        );
        bystander.is_well(name).await;
    }
}

#[tokio::test]
async fn what_a_later_version_may_say_is_skipped() {
    let (_echo, gateway) = world().await;
    let mut attacker = Attacker::start(gateway.address).await;
    for (name, bytes) in [
        (
            "an unknown type that may be skipped",
            frame(0x42, 0x80, 9, b"anything"),
        ),
        ("flags that are not defined", frame(0x00, 0x7F, 0, b"pad")),
        ("DATA of a stream that is not known", data(99, 0, 10)),
        (
            "ACK of a stream that is not known",
            frame(0x02, 0, 99, &numbers(&[7, 7])),
        ),
        ("OPEN of what is open", open(1, b"echo")),
        ("an empty message", Vec::new()),
    ] {
        assert_eq!(
            attacker.say(Message::binary(bytes)).await,
            Verdict::Pong,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_is_refused() {
    let (_echo, gateway) = world().await;
    let mut short = hello(1, [0; 32]);
    short.truncate(40);
    let oversized = vec![0; 64 * 1024 + 1];
    for (name, bytes, code) in [
        ("nothing", Vec::new(), Some(4001)),
        ("PING", frame(0x05, 0, 0, b"ping"), Some(4001)),
        ("half a HELLO", short.clone(), Some(4001)),
        ("version 2", hello(2, [0; 32]), Some(4002)),
        ("a token nobody has", hello(1, [1; 32]), Some(4011)),
        ("more than a message may have", oversized, None),
    ] {
        let mut websocket = upgrade(gateway.address).await;
        websocket
            .send(Message::binary(bytes))
            .await
            .expect("it is open");
        let ended = soon(name, websocket.next()).await;
        match (code, ended) {
            (Some(code), Some(Ok(Message::Close(Some(frame))))) => {
                assert_eq!(u16::from(frame.code), code, "{name}")
            }
            (Some(_), other) => panic!("{name}: {other:?}"),
            (None, ended) => assert!(
                !matches!(ended, Some(Ok(Message::Binary(_)))),
                "{name}: {ended:?}"
            ),
        }
    }
    let http = Http::new(gateway.address, Version::Http2);
    for (name, bytes, status, code) in [
        ("nothing", Vec::new(), 400, "protocol"),
        ("half a HELLO", short, 400, "protocol"),
        ("version 2", hello(2, [0; 32]), 400, "version"),
        ("a token nobody has", hello(1, [1; 32]), 404, "lost"),
    ] {
        for way in ["stream", "poll"] {
            let path = format!("/perigee/v1/new/{way}");
            let reply = http
                .fetch(Method::POST, &path, &[], bytes.clone())
                .await
                .expect("an answer");
            assert_eq!(
                (reply.status.as_u16(), reply.code().as_deref()),
                (status, Some(code)),
                "{name}, {way}"
            );
        }
    }
    gateway.until_empty_of_sessions().await;
}
