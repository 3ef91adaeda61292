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
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
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
/// Clients that mean harm, one after the other.
const ROUNDS: usize = 40;
/// What the memory of the gateway may grow by meanwhile: less than one stanza of the largest size for each.
const MOST_GROWTH: u64 = 4 << 20;

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
            expect(&stream, &PING.replace("<iq ", "<iq xmlns='jabber:client' ")).await;

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
            expect(&stream, "<presence xmlns='jabber:client'/>").await;
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

#[tokio::test]
async fn who_means_harm_gets_a_stream_error_and_nothing_else() {
    let backend = Backend::listen().await;
    let gateway = Process::with_honest_memory(&configuration(&backend)).await;
    let mut honest = enter(gateway.address).await;
    let mut honest_server = Server(backend.accept().await);
    honest.send(Message::text(OPEN)).await.expect("open");
    honest_server.welcome().await;
    expect_text(&mut honest, "<open ").await;
    expect_text(&mut honest, "<success ").await;

    let bomb = (0..20)
        .map(|n| {
            format!(
                "<!ENTITY a{} '&a{n};&a{n};&a{n};&a{n};&a{n};&a{n};&a{n};&a{n};'>",
                n + 1
            )
        })
        .collect::<String>();
    let bomb = format!("<!DOCTYPE a [<!ENTITY a0 'x'>{bomb}]><a>&a20;</a>");
    let long = format!("<a xmlns='jabber:client'>{}</a>", "x".repeat(300 * 1024));
    let deep = "<a>".repeat(100_000);
    let many: String = (0..5_000).map(|n| format!(" xmlns:a{n}='b'")).collect();
    let harms = [
        (bomb, "<restricted-xml "),
        (long, "<policy-violation "),
        (deep, "<policy-violation "),
        (format!("<a{many}/>"), "<policy-violation "),
        ("<a></b>".to_owned(), "<not-well-formed "),
        ("</stream:stream>".to_owned(), "<not-well-formed "),
    ];
    let mut before = None;
    for round in 0..ROUNDS {
        let (harm, condition) = &harms[round % harms.len()];
        let mut websocket = enter(gateway.address).await;
        let mut server = Server(backend.accept().await);
        websocket.send(Message::text(OPEN)).await.expect("open");
        server.welcome().await;
        expect_text(&mut websocket, "<open ").await;
        expect_text(&mut websocket, "<success ").await;
        // The stream that follows a log-in.
        websocket.send(Message::text(OPEN)).await.expect("open");
        server.expect(HEADER).await;
        websocket
            .send(Message::text(harm.clone()))
            .await
            .expect("open");
        expect_text(&mut websocket, condition).await;
        expect_text(&mut websocket, CLOSE).await;
        let code = match next(&mut websocket).await {
            Message::Close(Some(frame)) => u16::from(frame.code),
            other => panic!("{other:?} is no close"),
        };
        let want = if condition.contains("policy") {
            Code::Limit
        } else {
            Code::Protocol
        };
        assert_eq!(code, want.close_code(), "{condition}");
        server.expect(END).await;
        expect_fin(&mut server.0).await;
        if round == harms.len() {
            before = Some(gateway.memory());
        }
    }
    let growth = gateway
        .memory()
        .saturating_sub(before.expect("there were as many"));
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
    match next(&mut honest).await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1000),
        other => panic!("{other:?} is no close"),
    }
}
