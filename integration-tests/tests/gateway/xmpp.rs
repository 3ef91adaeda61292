//! The XMPP service: on streams of our own session, and at its front door against clients who mean harm.
//!
//! Real clients and servers, and the rules of BOSH, are in `browser/xmpp.test.js` and `browser/bosh.test.js`.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, expect_fin},
    client::{Client, Transport},
    gateway::Configuration,
    process::Process,
    wait::{soon, until},
};
use perigee_session::Code;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

/// What OPEN asks for.
const XMPP: u8 = 2;
const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0'/>";
const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const GREETING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0'>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const PING: &str = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
const PONG: &str = "<iq xmlns='jabber:client' type='result' id='p'/>";
const END: &str = "</stream:stream>";
/// How often each harm is done.
const ROUNDS: usize = 4;
/// What the memory of the gateway may grow by meanwhile: less than what the clients send.
const MOST_GROWTH: u64 = 2 << 20;

fn configuration(backend: &Backend) -> Configuration {
    let more =
        "service = \"xmpp\"\n[backend.talk.xmpp]\ndomain = \"a.example\"\nstarttls = \"off\"";
    Configuration::new().backend_with("talk", backend.address, more)
}

/// One connection at a server that says what the test says.
struct Server(TcpStream);

impl Server {
    async fn expect(&mut self, text: &str) {
        let mut got = vec![0; text.len()];
        soon(text, self.0.read_exact(&mut got))
            .await
            .expect("it is open");
        assert_eq!(String::from_utf8_lossy(&got), text);
    }

    async fn say(&mut self, text: &str) {
        let said = self.0.write_all(text.as_bytes());
        said.await.expect("it is open");
    }

    /// Takes a client that logs in at once.
    async fn welcome(&mut self) {
        self.expect(HEADER).await;
        self.say(&format!("{GREETING}{SUCCESS}")).await;
    }
}

/// Reads so much of a stream as this.
async fn expect(stream: &perigee_integration_tests::client::Stream, text: &str) {
    let mut got = Vec::new();
    while got.len() < text.len() {
        got.extend(stream.read().await.expect("it is open"));
    }
    assert_eq!(String::from_utf8_lossy(&got), text);
}

#[tokio::test]
async fn a_stream_of_a_session_is_a_stream_of_xml() {
    let backend = Backend::listen().await;
    let gateway = configuration(&backend).start();
    for transport in [Transport::WebSocket, Transport::Poll] {
        for resumable in [false, true] {
            let client = Client::connect(gateway.address, transport).await;
            let stream = client.open_service(XMPP, "talk");
            let mut server = Server(backend.accept().await);
            assert_eq!(stream.opened().await.as_deref(), Ok("talk"));
            stream.write(HEADER.as_bytes()).await.expect("open");
            server.welcome().await;
            expect(&stream, &format!("{GREETING}{SUCCESS}")).await;
            stream.write(HEADER.as_bytes()).await.expect("open");
            server.expect(HEADER).await;
            server.say(GREETING).await;
            expect(&stream, GREETING).await;
            // In pieces, and with what a stream may not have outside of it.
            for piece in ["<message><bo", "dy>ä</body></mess", "age>\n "] {
                stream.write(piece.as_bytes()).await.expect("open");
            }
            server
                .expect("<message xmlns='jabber:client'><body>ä</body></message>")
                .await;
            server.say(PING).await;
            let ping = PING.replace("<iq ", "<iq xmlns='jabber:client' ");
            expect(&stream, &ping).await;
            stream.write(PONG.as_bytes()).await.expect("open");
            server.expect(PONG).await;

            client.cut().await;
            if resumable {
                server
                    .say("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>")
                    .await;
            } else {
                until("the session is detached and answers", || {
                    no_transport(&gateway)
                })
                .await;
                server.say(PING).await;
                server.expect(PONG).await;
            }
            client.attach(transport);
            if resumable {
                // It comes when the client is back.
                let enabled = "<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>";
                expect(&stream, enabled).await;
            }
            server.say("<presence/>").await;
            let presence = "<presence xmlns='jabber:client'/>";
            let mut got = Vec::new();
            while !got.ends_with(presence.as_bytes()) {
                got.extend(stream.read().await.expect("it is open"));
            }
            let got = String::from_utf8_lossy(&got);
            // A client that was cut off between two polls is missed when it is late for the next, and
            // gets the ping that came in the meantime and was answered then.
            let was_late = transport == Transport::Poll && !resumable;
            assert!(
                got == presence || was_late && got == ping + presence,
                "{got}"
            );
            client.end().await;
            if !resumable {
                server.expect(END).await;
            }
            expect_fin(&mut server.0).await;
        }
    }
    gateway.until_empty().await;
}

/// Whether no transport of a session is left.
fn no_transport(gateway: &perigee_integration_tests::gateway::TestGateway) -> Option<()> {
    (gateway.counts().connections == 0).then_some(())
}

async fn enter(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{address}/xmpp/talk");
    let mut request = url.into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.insert("origin", HeaderValue::from_static(ORIGIN));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("xmpp"));
    let tcp = TcpStream::connect(address).await.expect("it listens");
    let entered = tokio_tungstenite::client_async(request, tcp).await;
    entered.expect("a WebSocket").0
}

async fn next(websocket: &mut WebSocketStream<TcpStream>) -> Message {
    loop {
        let message = soon("a message", websocket.next())
            .await
            .expect("not the end")
            .expect("a message");
        if !message.is_ping() {
            return message;
        }
    }
}

async fn expect_text(websocket: &mut WebSocketStream<TcpStream>, part: &str) {
    match next(websocket).await {
        Message::Text(text) => assert!(text.contains(part), "{text} has no {part}"),
        other => panic!("{other:?} where {part} was to come"),
    }
}

/// What a client sends that means harm, and what it is told: a stream error, or a close code.
fn harms() -> Vec<(Message, Result<&'static str, u16>)> {
    let entities: String = (0..20)
        .map(|n| format!("<!ENTITY a{} '{}'>", n + 1, format!("&a{n};").repeat(8)))
        .collect();
    let bomb = format!("<!DOCTYPE a [<!ENTITY a0 'x'>{entities}]><a>&a20;</a>");
    let long = format!("<a xmlns='jabber:client'>{}</a>", "x".repeat(300 * 1024));
    let prefixes: String = (0..5_000).map(|n| format!(" xmlns:a{n}='b'")).collect();
    let attributes: String = (0..5_000).map(|n| format!(" a{n}='b'")).collect();
    let not_utf8 = Frame::message(&b"<a>\xff</a>"[..], OpCode::Data(Data::Text), true);
    let stanza = |text: String, condition| (Message::text(text), Ok(condition));
    vec![
        stanza(bomb, "<restricted-xml "),
        stanza("<a>&lol;</a>".to_owned(), "<restricted-xml "),
        stanza("<a><!-- --></a>".to_owned(), "<restricted-xml "),
        stanza(long, "<policy-violation "),
        stanza("<a>".repeat(100_000), "<policy-violation "),
        stanza(format!("<a{prefixes}/>"), "<policy-violation "),
        stanza(format!("<a{attributes}/>"), "<policy-violation "),
        stanza("<a></b>".to_owned(), "<not-well-formed "),
        stanza("<message><body>half".to_owned(), "<bad-format "),
        stanza("<a/><a/>".to_owned(), "<bad-format "),
        stanza(END.to_owned(), "<not-well-formed "),
        (Message::binary(&b"<presence/>"[..]), Err(1003)),
        (Message::Frame(not_utf8), Err(1007)),
    ]
}

/// Enters, and logs in.
async fn log_in(backend: &Backend, address: SocketAddr) -> (WebSocketStream<TcpStream>, Server) {
    let mut websocket = enter(address).await;
    let mut server = Server(backend.accept().await);
    websocket.send(Message::text(OPEN)).await.expect("open");
    server.welcome().await;
    expect_text(&mut websocket, "<open ").await;
    expect_text(&mut websocket, "<success ").await;
    (websocket, server)
}

async fn close_code(websocket: &mut WebSocketStream<TcpStream>) -> u16 {
    match next(websocket).await {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("{other:?} is no close"),
    }
}

/// One client after the other, each with one of all harms.
async fn harm_all(backend: &Backend, address: SocketAddr) {
    for (harm, told) in harms() {
        let (mut websocket, mut server) = log_in(backend, address).await;
        // The stream that follows a login.
        websocket.send(Message::text(OPEN)).await.expect("open");
        server.expect(HEADER).await;
        websocket.send(harm).await.expect("open");
        let want = match told {
            Ok(condition) => {
                expect_text(&mut websocket, condition).await;
                expect_text(&mut websocket, CLOSE).await;
                match condition {
                    "<policy-violation " => Code::Limit.close_code(),
                    _ => Code::Protocol.close_code(),
                }
            }
            Err(number) => number,
        };
        assert_eq!(close_code(&mut websocket).await, want, "{told:?}");
        // Nothing of it reached the server.
        server.expect(END).await;
        expect_fin(&mut server.0).await;
    }
}

/// The same in a stream of a session, in which a stanza may take as many frames as it likes.
async fn harm_in_a_session(backend: &Backend, address: SocketAddr) {
    let client = Client::connect(address, Transport::WebSocket).await;
    for (harm, told) in harms() {
        let (Message::Text(harm), Ok(condition)) = (harm, told) else {
            continue;
        };
        // In a stream a stanza may come in two parts, or with another one, and an end is an end.
        if condition == "<bad-format " || harm == END {
            continue;
        }
        let stream = client.open_service(XMPP, "talk");
        let mut server = Server(backend.accept().await);
        stream.write(HEADER.as_bytes()).await.expect("open");
        server.welcome().await;
        expect(&stream, &format!("{GREETING}{SUCCESS}")).await;
        stream.write(HEADER.as_bytes()).await.expect("open");
        server.expect(HEADER).await;
        // It may be over before all was sent.
        _ = stream.write(harm.as_bytes()).await;
        let mut told = String::new();
        while !told.ends_with(END) {
            let piece = soon("the error", stream.read()).await.expect("it is open");
            told += &String::from_utf8_lossy(&piece);
        }
        assert!(told.contains(condition), "{told}");
        server.expect(END).await;
        expect_fin(&mut server.0).await;
    }
    client.end().await;
}

#[tokio::test]
async fn who_means_harm_gets_an_error_and_nothing_else() {
    let backend = Backend::listen().await;
    let gateway = Process::start(&configuration(&backend)).await;
    let (mut honest, mut honest_server) = log_in(&backend, gateway.address).await;
    harm_all(&backend, gateway.address).await;
    harm_in_a_session(&backend, gateway.address).await;
    let before = gateway.memory();
    for _ in 0..ROUNDS {
        harm_all(&backend, gateway.address).await;
        harm_in_a_session(&backend, gateway.address).await;
    }
    let growth = gateway.memory().saturating_sub(before);
    assert!(growth < MOST_GROWTH, "memory grew by {growth} bytes");

    // Who was there before has noticed nothing.
    honest.send(Message::text(OPEN)).await.expect("open");
    honest_server.expect(HEADER).await;
    let hello = "<message xmlns='jabber:client'><body>hello</body></message>";
    honest.send(Message::text(hello)).await.expect("open");
    honest_server.expect(hello).await;
    honest_server.say(&format!("{GREETING}<presence/>")).await;
    expect_text(&mut honest, "<open ").await;
    expect_text(&mut honest, "<presence ").await;
    honest.send(Message::text(CLOSE)).await.expect("open");
    honest_server.expect(END).await;
    honest_server.say(END).await;
    expect_text(&mut honest, CLOSE).await;
    assert_eq!(close_code(&mut honest).await, 1000);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_stream_error() {
    let backend = Backend::listen().await;
    let configuration = configuration(&backend).expose_errors();
    drop(backend);
    let gateway = configuration.start();
    let mut websocket = enter(gateway.address).await;
    websocket.send(Message::text(OPEN)).await.expect("open");
    expect_text(&mut websocket, "from='a.example'").await;
    expect_text(&mut websocket, "<remote-connection-failed ").await;
    expect_text(&mut websocket, CLOSE).await;
    assert_eq!(close_code(&mut websocket).await, Code::Refused.close_code());
}

#[tokio::test]
async fn neither_side_waits_for_the_other_to_let_go() {
    let backend = Backend::listen().await;
    let gateway = configuration(&backend).start();
    let (mut websocket, mut server) = log_in(&backend, gateway.address).await;
    websocket
        .send(Message::text("<a></b>"))
        .await
        .expect("open");
    expect_text(&mut websocket, "<not-well-formed ").await;
    expect_text(&mut websocket, CLOSE).await;
    // Though the server keeps its end open.
    assert_eq!(
        close_code(&mut websocket).await,
        Code::Protocol.close_code()
    );
    server.expect(END).await;
    drop(websocket);
    drop(server);
    gateway.until_empty().await;
}
