//! The IRC service: at its front door `/irc/<backend>`, and on streams of our own session.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, expect_fin},
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    ngircd::Ngircd,
    wait::soon,
};
use perigee_session::Code;
use tokio::{
    io::{
        AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
        DuplexStream, duplex, split,
    },
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

/// Between two looks at a server that tells nobody.
const LOOK: Duration = Duration::from_millis(50);
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

    /// Reads to the close frame, and returns its code and reason.
    async fn close_code(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                let frame = frame.expect("a code");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
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

/// A person on an IRC server, over whatever carries bytes.
struct Person {
    lines: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    nick: String,
}

impl Person {
    async fn register(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        nick: &str,
    ) -> Self {
        let mut person = Self {
            lines: BufReader::new(Box::new(read)),
            write: Box::new(write),
            nick: nick.to_owned(),
        };
        person
            .say(format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}"))
            .await;
        person.until(" 376 ").await;
        person
    }

    async fn say(&mut self, line: impl AsRef<str>) {
        let line = format!("{}\r\n", line.as_ref());
        self.write
            .write_all(line.as_bytes())
            .await
            .expect("it is open");
        self.write.flush().await.expect("it is open");
    }

    /// The next line, after the server's PINGs were answered.
    async fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = soon("a line", self.lines.read_line(&mut line)).await;
            assert!(read.expect("UTF-8") > 0, "{}: the end", self.nick);
            match line.strip_prefix("PING ") {
                Some(token) => self.say(format!("PONG {}", token.trim_end())).await,
                None => return line.trim_end().to_owned(),
            }
        }
    }

    /// Reads to a line that has this, and returns it.
    async fn until(&mut self, what: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Looks until there is nobody of that name.
    async fn until_gone(&mut self, nick: &str) {
        while self.idle(nick).await.is_some() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What WHOIS says of somebody: seconds of silence, or `None` for nobody of that name.
    async fn idle(&mut self, nick: &str) -> Option<u64> {
        self.say(format!("WHOIS {nick}")).await;
        let mut idle = None;
        loop {
            let line = self.line().await;
            let words: Vec<&str> = line.split(' ').collect();
            match words.get(1).copied() {
                Some("317") => idle = words.get(4).and_then(|word| word.parse().ok()),
                Some("318") => return idle,
                _ => {}
            }
        }
    }
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

#[tokio::test]
async fn a_backend_is_reached_in_the_ways_it_offers() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend_with("irc", backend.address, "service = \"irc\"")
        .backend_with("both", backend.address, "service = \"irc\"\ntunnel = true")
        .backend("plain", backend.address)
        .start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    for (service, target) in [
        (0, "irc"),
        (1, "plain"),
        (2, "irc"),
        (3, "both"),
        (200, "irc"),
    ] {
        let stream = client.open_service(service, target);
        let closed = stream.opened().await.expect_err("it is refused");
        assert_eq!(closed.code, Code::Denied, "{service} {target}");
    }
    for (service, target) in [(1, "irc"), (0, "both"), (1, "both"), (0, "plain")] {
        let stream = client.open_service(service, target);
        assert_eq!(stream.opened().await.as_deref(), Ok(target), "{service}");
        drop(backend.accept().await);
    }
    for (target, status) in [("plain", 403), ("nobody", 403), ("127.0.0.1:1", 403)] {
        match connect(gateway.address, target, None).await {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("{target}: {other:?}"),
        }
    }
    match connect(gateway.address, "irc", Some("soap")).await {
        Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), 400),
        other => panic!("{other:?}"),
    }
    client.end().await;
    gateway.until_empty().await;
}

#[tokio::test]
async fn ends_have_a_code() {
    let (backend, gateway) = world("registration_timeout = \"1s\"").await;
    // The server closes.
    let mut door = Door::enter(&gateway, None).await;
    let mut server = Server::accept(&backend).await;
    server.say("ERROR :Closing link\r\n").await;
    drop(server);
    door.expect("ERROR :Closing link").await;
    assert_eq!(door.close_code().await, (1000, "closed".to_owned()));

    // The client does not register.
    let mut door = Door::enter(&gateway, None).await;
    let mut server = Server::accept(&backend).await;
    door.expect("ERROR :Registration timed out").await;
    let why = "the client did not register in time";
    assert_eq!(door.close_code().await, (4017, why.to_owned()));
    server.expect("QUIT :Connection closed").await;
    expect_fin(&mut server.lines).await;
    drop(server);
    let client = Client::connect(gateway.address, Transport::Stream).await;
    let stream = client.open_service(IRC, "irc");
    let _server = Server::accept(&backend).await;
    assert_eq!(
        stream.read().await.as_deref(),
        Ok(&b"ERROR :Registration timed out\r\n"[..])
    );
    let closed = stream.closed().await;
    assert_eq!((closed.code, closed.text.as_str()), (Code::Idle, why));
    client.end().await;

    // The server says what is no line.
    let mut door = Door::enter(&gateway, None).await;
    let mut server = Server::accept(&backend).await;
    server.say(vec![b'x'; 64 * 1024]).await;
    let (code, _) = door.close_code().await;
    assert_eq!(code, 4013);
    drop(server);

    // A message that is larger than any may be.
    let mut door = Door::enter(&gateway, None).await;
    let mut server = Server::accept(&backend).await;
    _ = door.0.send(Message::text("x".repeat(70_000))).await;
    server.expect("QUIT :Connection closed").await;
    drop((door, server));

    // Nobody is there.
    let address = backend.address;
    drop(backend);
    let mut door = Door::enter(&gateway, None).await;
    assert_eq!(door.close_code().await.0, 4004, "{address}");
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_quit_for_its_clients() {
    let (backend, gateway) = world("quit_message = \"the gateway stops\"").await;
    let _door = Door::enter(&gateway, None).await;
    let mut one = Server::accept(&backend).await;
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let stream = client.open_service(IRC, "irc");
    let mut other = Server::accept(&backend).await;
    assert_eq!(stream.opened().await.as_deref(), Ok("irc"));
    let stopped = tokio::spawn(gateway.shutdown());
    for server in [&mut one, &mut other] {
        server.expect("QUIT :the gateway stops").await;
        expect_fin(&mut server.lines).await;
    }
    drop((one, other));
    soon("the end of the gateway", stopped)
        .await
        .expect("no panic");
}

#[tokio::test]
async fn who_floods_waits_and_holds_nobody_up() {
    const LINES: usize = 100_000;
    let backend = Backend::listen().await;
    let more = "service = \"irc\"\n[backend.irc.irc]\nflood_burst = 5\nflood_interval = \"60s\"";
    let gateway = Configuration::new()
        .backend_with("irc", backend.address, more)
        .timeout("heartbeat = \"1s\"\npeer_dead = \"2s\"\nhold = \"1s\"")
        .start();
    let mut flooder = Door::enter(&gateway, None).await;
    let mut its_server = Server::accept(&backend).await;
    let flood = async {
        for n in 0..LINES {
            let line = format!("PRIVMSG #a :{n} {}", "x".repeat(400));
            // It ends when the test does.
            if flooder.0.send(Message::text(line)).await.is_err() {
                return;
            }
        }
        panic!("all of it was taken");
    };
    let story = async {
        for n in 0..5 {
            let line = its_server.line().await;
            assert!(line.starts_with(format!("PRIVMSG #a :{n} ").as_bytes()));
        }
        // The server's PING is answered though the client's turn does not come.
        its_server.say("PING :there?\r\n").await;
        its_server.expect("PONG :there?").await;
        for n in 0..20 {
            let mut door = Door::enter(&gateway, None).await;
            let mut server = Server::accept(&backend).await;
            door.say(&format!("NICK n{n}")).await;
            server.expect(format!("NICK n{n}")).await;
            server.say(":s 001 n :hi\r\n").await;
            door.expect(":s 001 n :hi").await;
            assert!(gateway.counts().buffered_bytes < 256 * 1024);
        }
        // Longer than who is silent is waited for: the client would talk if it were listened to.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(4) {
            its_server.say("PING :still?\r\n").await;
            its_server.expect("PONG :still?").await;
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = story => {}
    }
    drop(flooder);
    its_server.expect("QUIT :Connection closed").await;
    drop(its_server);
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_server() {
    const LINES: usize = 40_000;
    let (backend, gateway) = world("").await;
    let mut door = Door::enter(&gateway, None).await;
    let mut server = Server::accept(&backend).await;
    let line = |n: usize| format!(":s NOTICE a :{n} {}", "é".repeat(200));
    let writer = tokio::spawn(async move {
        for n in 0..LINES {
            server.say(format!("{}\r\n", line(n))).await;
        }
        server
    });
    for n in 0..LINES {
        door.expect(&line(n)).await;
        if n % 1000 == 0 {
            let held = gateway.counts().buffered_bytes;
            assert!(held < 512 * 1024, "{held} bytes after {n} lines");
        }
    }
    drop(writer.await.expect("no panic"));
    assert_eq!(door.close_code().await.0, 1000);
    drop(door);
    gateway.until_empty().await;
}

/// A stream of a session as something to read and to write.
fn carried(client: &Arc<Client>, service: u8, target: &str) -> DuplexStream {
    let (ours, theirs) = duplex(64 * 1024);
    let stream = Arc::new(client.open_service(service, target));
    let (mut read, mut write) = split(theirs);
    let up = Arc::clone(&stream);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = read.read(&mut buffer).await {
            if up.write(&buffer[..len]).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok(bytes) = stream.read().await {
            if bytes.is_empty() || write.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_survives_cuts_on_a_real_server() {
    const LINES: usize = 300;
    let server = Ngircd::start("", "WebircPassword = trusted").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = folder.path().join("webirc");
    std::fs::write(&password, "trusted\n").expect("a file in it");
    let more = format!(
        "service = \"irc\"\n[backend.irc.irc]\nflood_burst = 2000\nwebirc_password_file = {password:?}"
    );
    let gateway = Configuration::new()
        .backend_with("irc", server.address, &more)
        .start();
    let (read, write) = server.connect().await.into_split();
    let mut vega = Person::register(read, write, "vega").await;
    vega.say("JOIN #a").await;
    vega.until(" 366 ").await;

    let client = Arc::new(Client::new(gateway.address));
    let attached = client.stay_attached(&Transport::OVER_TCP, 17);
    client.welcomed().await;
    let (read, write) = split(carried(&client, IRC, "irc"));
    let mut luna = Person::register(read, write, "luna").await;
    luna.say("JOIN #a").await;
    luna.until(" 366 ").await;
    vega.until("JOIN").await;
    for n in 0..LINES {
        luna.say(format!("PRIVMSG #a :{n} grüß")).await;
        vega.say(format!("PRIVMSG #a :{n} dich")).await;
        if n % 50 == 25 {
            client.cut().await;
        }
        if n % 50 == 49 {
            let line = luna.until("dich").await;
            let heard = n / 50;
            assert!(line.ends_with(&format!(":{heard} dich")), "{heard}: {line}");
        }
    }
    for n in LINES / 50..LINES {
        let line = luna.until("dich").await;
        assert!(line.ends_with(&format!(":{n} dich")), "{n}: {line}");
    }
    for n in 0..LINES {
        let line = vega.until("grüß").await;
        assert!(line.ends_with(&format!(":{n} grüß")), "{n}: {line}");
    }
    drop(attached);
    client.end().await;
    let quit = vega.until("QUIT").await;
    assert!(quit.contains(":luna!"), "{quit}");
    assert!(quit.ends_with("Connection closed\""), "{quit}");
    // Its HTTP connections are kept for another request.
    gateway.until_empty_of_sessions().await;
}

#[tokio::test]
async fn a_server_keeps_who_is_away_for_a_while() {
    // It asks after 5 s of silence, and ends the connection 5 s later.
    let server = Ngircd::start("PingTimeout = 5\nPongTimeout = 5", "").await;
    let gateway = Configuration::new()
        .backend_with("irc", server.address, "service = \"irc\"")
        .backend("tunnel", server.address)
        .start();
    let (read, write) = server.connect().await.into_split();
    let mut vega = Person::register(read, write, "vega").await;
    let mut away = Vec::new();
    for (service, target, nick) in [(IRC, "irc", "luna"), (0, "tunnel", "eve")] {
        let client = Arc::new(Client::new(gateway.address));
        client.attach(Transport::WebSocket);
        client.welcomed().await;
        let (read, write) = split(carried(&client, service, target));
        let person = Person::register(read, write, nick).await;
        client.cut().await;
        away.push((client, person));
    }
    // Who has no service answers no PING, and is gone; who has one is still there after that.
    vega.until_gone("eve").await;
    let idle = vega.idle("luna").await.expect("luna is there");
    assert!(idle >= 5, "{idle} s");
    let (client, mut luna) = away.swap_remove(0);
    client.attach(Transport::Poll);
    vega.say("PRIVMSG luna :back?").await;
    let line = luna.line().await;
    assert!(line.ends_with("PRIVMSG luna :back?"), "{line}");
    luna.say("PRIVMSG vega :yes").await;
    vega.until("PRIVMSG vega :yes").await;
    client.end().await;
    vega.until_gone("luna").await;
}
