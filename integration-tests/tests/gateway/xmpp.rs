//! The XMPP service on streams of our own session.
//!
//! Real clients and servers, and the rules of BOSH, are in `browser/xmpp.test.js` and `browser/bosh.test.js`.

use perigee_integration_tests::{
    backend::{Backend, expect_fin},
    client::{Client, Transport},
    gateway::Configuration,
    wait::{soon, until},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What OPEN asks for.
const XMPP: u8 = 2;
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const GREETING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0'>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const PING: &str = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
const PONG: &str = "<iq xmlns='jabber:client' type='result' id='p'/>";
const END: &str = "</stream:stream>";

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
