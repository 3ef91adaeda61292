//! The IRC service: at its front door `/irc/<backend>`, and on streams of our own session.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, expect_fin},
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    wait::soon,
};
use perigee_session::Code;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

/// What OPEN asks for.
const IRC: u8 = 1;

/// One connection at a server that says what the test says.
struct Server {
    lines: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Server {
    async fn accept(backend: &Backend) -> Self {
        let (read, write) = backend.accept().await.into_split();
        let lines = BufReader::new(read);
        Self { lines, write }
    }

    /// The next line, with its end.
    async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        soon("a line", self.lines.read_until(b'\n', &mut line))
            .await
            .expect("no error");
        line
    }

    async fn expect(&mut self, line: impl AsRef<[u8]>) {
        let got = self.line().await;
        let want = [line.as_ref(), b"\r\n"].concat();
        assert_eq!(
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(&want)
        );
        assert_eq!(got, want);
    }

    async fn say(&mut self, lines: impl AsRef<[u8]>) {
        let lines = lines.as_ref();
        self.write.write_all(lines).await.expect("it is open");
    }
}

async fn connect(
    address: SocketAddr,
    backend: &str,
    subprotocol: Option<&'static str>,
) -> Result<(WebSocketStream<TcpStream>, Option<String>), Error> {
    let mut request = format!("ws://{address}/irc/{backend}").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("origin", HeaderValue::from_static(ORIGIN));
    if let Some(subprotocol) = subprotocol {
        let subprotocol = HeaderValue::from_static(subprotocol);
        headers.insert("sec-websocket-protocol", subprotocol);
    }
    let tcp = TcpStream::connect(address).await?;
    let (websocket, response) = tokio_tungstenite::client_async(request, tcp).await?;
    let chosen = response
        .headers()
        .get("sec-websocket-protocol")
        .and_then(|value| value.to_str().ok());
    Ok((websocket, chosen.map(str::to_owned)))
}

/// A client at the front door.
struct Door(WebSocketStream<TcpStream>);

impl Door {
    async fn enter(gateway: &TestGateway, subprotocol: Option<&'static str>) -> Self {
        match connect(gateway.address, "irc", subprotocol).await {
            Ok((websocket, _)) => Self(websocket),
            Err(error) => panic!("{subprotocol:?}: {error}"),
        }
    }

    async fn say(&mut self, line: &str) {
        self.0.send(Message::text(line)).await.expect("it is open");
    }

    async fn next(&mut self) -> Message {
        loop {
            let message = soon("a message", self.0.next())
                .await
                .expect("not the end")
                .expect("a message");
            if !message.is_ping() {
                return message;
            }
        }
    }

    async fn expect(&mut self, line: &str) {
        assert_eq!(self.next().await, Message::text(line));
    }
}

async fn world(irc: &str) -> (Backend, TestGateway) {
    let backend = Backend::listen().await;
    let more = format!("service = \"irc\"\n[backend.irc.irc]\n{irc}");
    let gateway = Configuration::new()
        .backend_with("irc", backend.address, &more)
        .start();
    (backend, gateway)
}

#[tokio::test]
async fn a_message_is_a_line_and_a_line_is_a_message() {
    let (backend, gateway) = world("").await;
    for subprotocol in [None, Some("text.ircv3.net")] {
        let mut door = Door::enter(&gateway, subprotocol).await;
        let mut server = Server::accept(&backend).await;
        door.say("NICK ada").await;
        door.say("USER ada 0 * :Ada\r\n").await;
        server.expect("NICK ada").await;
        server.expect("USER ada 0 * :Ada").await;
        server.say(":s 001 ada :Welcome\r\n:s 002 ada").await;
        door.expect(":s 001 ada :Welcome").await;
        server
            .say(" :Your host\n\r\n:s NOTICE ada :gr\u{fc}\u{df}\r\n")
            .await;
        door.expect(":s 002 ada :Your host").await;
        door.expect(":s NOTICE ada :gr\u{fc}\u{df}").await;
        server.say(b":s NOTICE ada :caf\xe9 \x80\r\n").await;
        door.expect(":s NOTICE ada :café €").await;
        door.0.close(None).await.expect("it is open");
        server.expect("QUIT :Connection closed").await;
        expect_fin(&mut server.lines).await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_stream_of_a_session_has_the_same_service() {
    let (backend, gateway) = world("").await;
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.open_service(IRC, "irc");
        let mut server = Server::accept(&backend).await;
        assert_eq!(stream.opened().await.as_deref(), Ok("irc"));
        stream.write(b"NICK a\r\nUSER a 0 * ").await.expect("open");
        server.expect("NICK a").await;
        stream
            .write(b":A\nWEBIRC x y z 1.2.3.4\n")
            .await
            .expect("open");
        server.expect("USER a 0 * :A").await;
        server.say(b":s 001 a :caf\xe9\r\n").await;
        let want = ":perigee FAIL WEBIRC NOT_ALLOWED :This command is not for clients\r\n:s 001 a :café\r\n";
        let mut got = Vec::new();
        while got.len() < want.len() {
            got.extend(stream.read().await.expect("open"));
        }
        assert_eq!(String::from_utf8_lossy(&got), want);
        stream.finish();
        server.expect("QUIT :Connection closed").await;
        expect_fin(&mut server.lines).await;
        drop(server);
        assert_eq!(
            stream.closed_after_reading().await,
            Code::Closed,
            "{transport:?}"
        );
        client.end().await;
    }
    gateway.until_empty().await;
}
