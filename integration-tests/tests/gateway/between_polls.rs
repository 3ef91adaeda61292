//! What a service does for a client that polls: between two replies it has no transport, and is there all the same.
//!
//! The client's polls are sent by hand, so that it is known when there is none.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{Method, StatusCode};
use perigee_integration_tests::{
    backend::Backend,
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    wait::{soon, until},
};
use perigee_session::{Config, Link, Session, Uplink};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const XMPP: u8 = 2;
const STOMP: u8 = 3;
/// More than a request of these stories has.
const BODY: usize = 16 * 1024;

/// A client with one stream.
struct Client {
    http: Http,
    session: Session,
    stream: u32,
    read: String,
}

impl Client {
    /// Has a session, and asks for a stream.
    async fn enter(gateway: &TestGateway, service: u8) -> Self {
        let mut session = Session::client(Config::default());
        let stream = session.open(service, "talk");
        let mut client = Self {
            http: Http::new(gateway.address, Version::Http1),
            session,
            stream,
            read: String::new(),
        };
        client.poll().await;
        client.send("").await;
        client
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Vec<u8> {
        let identity = self.session.identity();
        let sid = identity.map_or("new", |(sid, _)| sid);
        let token = identity.map_or(String::new(), |(_, token)| URL_SAFE_NO_PAD.encode(token));
        let path = format!("/perigee/v1/{sid}/{path}");
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let reply = self.http.fetch(Method::POST, &path, &headers, body);
        let reply = soon(&path, reply).await.expect("a reply");
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        reply.body.to_vec()
    }

    /// One poll, to its reply.
    async fn poll(&mut self) {
        let mut hello = Vec::new();
        self.session
            .attach(Link::Poll, Uplink::Separate, Instant::now());
        self.session
            .transmit_hello(&mut hello, false, Instant::now());
        let reply = self.post("poll", hello).await;
        self.session.handle_message(&reply, Instant::now());
        let mut read = Vec::new();
        for run in self.session.peek(self.stream) {
            read.extend_from_slice(run);
        }
        self.session
            .consume(self.stream, read.len(), Instant::now());
        self.read += &String::from_utf8(read).expect("text");
    }

    /// Sends what there is to say, with this on the stream.
    async fn send(&mut self, text: &str) {
        self.session.write(self.stream, text.as_bytes());
        let mut body = Vec::new();
        self.session.poll_transmit(&mut body, BODY, Instant::now());
        let reply = self.post("up", body).await;
        self.session.handle_reply(&reply, Instant::now());
    }

    /// Polls until it has so much, which must be this.
    async fn expect(&mut self, text: &str) {
        while self.read.len() < text.len() {
            self.poll().await;
        }
        assert_eq!(std::mem::take(&mut self.read), text);
    }
}

async fn expect(server: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    let read = soon(text, server.read_exact(&mut got)).await;
    read.expect("it is open");
    assert_eq!(String::from_utf8_lossy(&got), text);
}

async fn say(server: &mut TcpStream, text: &str) {
    let said = server.write_all(text.as_bytes()).await;
    said.expect("it is open");
}

/// Says something of which the client has no poll to get it, and waits until the gateway holds it for the client.
async fn say_between_polls(gateway: &TestGateway, server: &mut TcpStream, text: &str) {
    let before = gateway.counts().buffered_bytes;
    say(server, text).await;
    until("what was said to be held for the client", || {
        (gateway.counts().buffered_bytes > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_pings_over_xmpp_asks_the_client() {
    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
    const GREETING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0'>";
    const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    const PING: &str =
        "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    const PONG: &str = "<iq xmlns='jabber:client' type='result' id='p'/>";

    let backend = Backend::listen().await;
    let more =
        "service = \"xmpp\"\n[backend.talk.xmpp]\ndomain = \"a.example\"\nstarttls = \"off\"";
    let gateway = Configuration::new()
        .backend_with("talk", backend.address, more)
        .start();
    let mut client = Client::enter(&gateway, XMPP).await;
    let mut server = backend.accept().await;
    client.send(HEADER).await;
    expect(&mut server, HEADER).await;
    say(&mut server, &format!("{GREETING}{SUCCESS}")).await;
    client.expect(&format!("{GREETING}{SUCCESS}")).await;
    client.send(HEADER).await;
    expect(&mut server, HEADER).await;
    say(&mut server, GREETING).await;
    client.expect(GREETING).await;

    say_between_polls(&gateway, &mut server, PING).await;
    client.expect(PING).await;
    client.send(PONG).await;
    expect(&mut server, PONG).await;
}

#[tokio::test]
async fn a_poll_of_a_client_with_heart_beats_is_held() {
    const CONNECT: &str = "CONNECT\naccept-version:1.2\nheart-beat:600000,600000\n\n\0";
    const CONNECTED: &str = "CONNECTED\nversion:1.2\nheart-beat:600000,600000\n\n\0";
    const SUBSCRIBE: &str = "SUBSCRIBE\nid:1\ndestination:a\n\n\0";
    const MESSAGES: [&str; 3] = [
        "MESSAGE\nsubscription:1\nmessage-id:1\ndestination:a\n\none\0",
        "MESSAGE\nsubscription:1\nmessage-id:2\ndestination:a\n\ntwo\0",
        "MESSAGE\nsubscription:1\nmessage-id:3\ndestination:a\n\nthree\0",
    ];

    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend_with("talk", backend.address, "service = \"stomp\"")
        .start();
    let mut client = Client::enter(&gateway, STOMP).await;
    let mut server = backend.accept().await;
    client.send(CONNECT).await;
    let mut connect = Vec::new();
    while !connect.ends_with(b"\0") {
        let read = soon("CONNECT", server.read_buf(&mut connect)).await;
        assert_ne!(read.expect("it is open"), 0);
    }
    say(&mut server, CONNECTED).await;
    while !client.read.contains('\0') {
        client.poll().await;
    }
    client.read.clear();
    client.send(SUBSCRIBE).await;
    // A poll has no reply before there is something to say: least of all a heart-beat, which brought
    // the next poll at once, and that one the next heart-beat.
    for message in MESSAGES {
        say_between_polls(&gateway, &mut server, message).await;
        client.poll().await;
        assert_eq!(std::mem::take(&mut client.read), message);
    }
}
