//! The STOMP service: at its front door `/stomp/<backend>`, and on streams of our own session.

use futures_util::{SinkExt, StreamExt};
use perigee_gateway::demo::broker;
use perigee_integration_tests::{
    ORIGIN,
    backend::Backend,
    client::{Client, Stream, Transport},
    gateway::Configuration,
    process::Process,
    wait::{soon, until},
};
use perigee_session::Code;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};
use tokio_util::sync::CancellationToken;

/// What OPEN asks for.
const STOMP: u8 = 3;
const SPEAKS: &str = "service = \"stomp\"";

/// The demo's broker, for as long as the set lives.
async fn broker() -> (JoinSet<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(broker::serve(listener, CancellationToken::new()));
    (tasks, address)
}

/// Frames on a stream of a session.
struct Frames {
    stream: Stream,
    read: Vec<u8>,
}

impl Frames {
    async fn say(&self, frame: &str) {
        self.stream.write(frame.as_bytes()).await.expect("open");
    }

    /// The next frame, without its NUL and the heart-beats before it.
    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == 0) {
                let frame: Vec<u8> = self.read.drain(..=end).collect();
                let frame = String::from_utf8(frame).expect("the cases are text");
                return frame.trim_matches(['\n', '\0']).to_owned();
            }
            let bytes = soon("a frame", self.stream.read()).await.expect("open");
            self.read.extend(bytes);
        }
    }
}

#[tokio::test]
async fn a_session_speaks_stomp_on_every_transport_through_cuts() {
    let (_broker, address) = broker().await;
    let gateway = Configuration::new()
        .backend_with("mq", &address, SPEAKS)
        .start();
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.open_service(STOMP, "mq");
        assert_eq!(stream.opened().await.as_deref(), Ok("mq"));
        let mut frames = Frames {
            stream,
            read: Vec::new(),
        };
        frames.say("CONNECT\naccept-version:1.2\n\n\0").await;
        let connected = frames.next().await;
        assert!(
            connected.starts_with("CONNECTED\nversion:1.2\n"),
            "{connected}"
        );
        let topic = format!("/topic/{}", transport.name());
        frames
            .say(&format!("SUBSCRIBE\nid:1\ndestination:{topic}\n\n\0"))
            .await;
        for number in 0..30 {
            frames
                .say(&format!("SEND\ndestination:{topic}\n\n{number}\0"))
                .await;
            if number % 10 == 5 {
                client.cut().await;
                client.attach(transport);
            }
        }
        for number in 0..30 {
            let message = frames.next().await;
            assert!(
                message.ends_with(&format!("\n\n{number}")),
                "{transport:?} {number}: {message}"
            );
        }
        // A mistake is told, and then the stream is over.
        frames.say("ACK\nid:nothing\n\n\0").await;
        let error = frames.next().await;
        assert!(error.starts_with("ERROR\n"), "{transport:?}: {error}");
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn the_gateway_beats_for_a_client_without_a_transport() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend_with(
            "mq",
            backend.address,
            "service = \"stomp\"\n[backend.mq.stomp]\nheart_beat = \"100ms\"",
        )
        .start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let stream = client.open_service(STOMP, "mq");
    stream
        .write(b"CONNECT\naccept-version:1.2\nheart-beat:5000,5000\n\n\0")
        .await
        .expect("open");
    let mut server = BufReader::new(backend.accept().await);
    let mut connect = Vec::new();
    soon("CONNECT", server.read_until(0, &mut connect))
        .await
        .expect("open");
    assert_eq!(
        connect,
        b"CONNECT\naccept-version:1.2\nheart-beat:100,100\n\n\0"
    );
    server
        .write_all(b"CONNECTED\nversion:1.2\nheart-beat:0,100\n\n\0")
        .await
        .expect("open");
    soon("CONNECTED", stream.read()).await.expect("open");
    client.cut().await;
    for _ in 0..5 {
        let beat = soon("a heart-beat", server.read_u8()).await.expect("open");
        assert_eq!(beat, b'\n');
    }
    // The client is back, and hears that at once; then it goes for good, without a word to the broker.
    client.attach(Transport::WebSocket);
    let beat = soon("a heart-beat", stream.read()).await.expect("open");
    assert_eq!(beat[..], *b"\n");
    client.end().await;
    let mut rest = Vec::new();
    soon("the end", server.read_to_end(&mut rest))
        .await
        .expect("in good order");
    let rest = String::from_utf8(rest).expect("text");
    assert_eq!(rest.trim_start_matches('\n'), "DISCONNECT\n\n\0");
    gateway.until_empty().await;
}

async fn enter(gateway: &Process) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{}/stomp/mq", gateway.address);
    let mut request = url.into_client_request().expect("a URL");
    let headers = request.headers_mut();
    headers.insert("origin", HeaderValue::from_static(ORIGIN));
    headers.insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("v12.stomp"),
    );
    let tcp = TcpStream::connect(gateway.address)
        .await
        .expect("it listens");
    let (websocket, _) = tokio_tungstenite::client_async(request, tcp)
        .await
        .expect("a WebSocket");
    websocket
}

/// The next message that is no heart-beat, or the close.
async fn hear(websocket: &mut WebSocketStream<TcpStream>) -> Message {
    loop {
        let message = soon("a message", websocket.next())
            .await
            .expect("not the end")
            .expect("a message");
        if !message.is_ping() && message != Message::text("\n") {
            return message;
        }
    }
}

async fn connect(gateway: &Process) -> WebSocketStream<TcpStream> {
    let mut websocket = enter(gateway).await;
    let connect = "CONNECT\naccept-version:1.2\n\n\0";
    websocket.send(Message::text(connect)).await.expect("open");
    let connected = hear(&mut websocket).await.into_text().expect("text");
    assert!(connected.starts_with("CONNECTED\n"), "{connected}");
    websocket
}

#[tokio::test]
async fn hostile_frames_are_refused_in_words_and_cost_nobody_anything() {
    let (_broker, address) = broker().await;
    let configuration = Configuration::new().backend_with("mq", &address, SPEAKS);
    let gateway = Process::start(&configuration).await;
    let mut bystander = connect(&gateway).await;
    let subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:1\n\n\0";
    bystander
        .send(Message::text(subscribe))
        .await
        .expect("open");
    hear(&mut bystander).await;

    let send = "SEND\ndestination:/queue/a\n";
    let headers: String = (0..100).map(|number| format!("h{number}:x\n")).collect();
    let hostile = [
        format!("{send}content-length:999999999999\n\nshort"),
        format!("{send}content-length:3\n\nlonger\0"),
        format!("{send}content-length:-1\n\n\0"),
        format!("{send}x:{}", "x".repeat(1_000_000)),
        format!("{send}{headers}\n\0"),
        format!("{send}x:\\t\n\n\0"),
        format!("{send}\0\n\n\0"),
        "\0".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "SUBSCRIBE\nid:1\n\n\0".to_owned(),
    ];
    let round = async || {
        for frame in &hostile {
            let mut websocket = connect(&gateway).await;
            // The gateway may end the connection before it has read all of it.
            _ = websocket.send(Message::text(frame.as_str())).await;
            let error = hear(&mut websocket).await;
            let error = error.into_text().expect("text");
            assert!(
                error.starts_with("ERROR\nmessage:not a valid STOMP frame\n"),
                "{frame:.60}: {error}"
            );
            assert!(hear(&mut websocket).await.is_close(), "{frame:.60}");
        }
    };
    round().await;
    let before = gateway.memory();
    for _ in 0..10 {
        round().await;
    }
    // A body that is promised and never comes holds what has come of it, which is nothing.
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut websocket = connect(&gateway).await;
        let promise = format!("{send}content-length:16000000\n\n");
        websocket.send(Message::text(promise)).await.expect("open");
        waiting.push(websocket);
    }
    until("memory to be what it was", || {
        let grown = gateway.memory().saturating_sub(before);
        (grown < 8 * 1024 * 1024).then_some(())
    })
    .await;

    // A message that is larger than any may be.
    let mut websocket = connect(&gateway).await;
    _ = websocket
        .send(Message::binary(vec![b'x'; 3 * 1024 * 1024]))
        .await;
    while let Some(Ok(message)) = soon("the end", websocket.next()).await {
        if let Message::Close(Some(frame)) = message {
            assert_eq!(u16::from(frame.code), Code::Limit.close_code());
        }
    }

    let news = "SEND\ndestination:/topic/t\n\nstill here\0";
    bystander.send(Message::text(news)).await.expect("open");
    let message = hear(&mut bystander).await.into_text().expect("text");
    assert!(message.ends_with("\n\nstill here\0"), "{message}");
}
