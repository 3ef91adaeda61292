//! WebSocket over HTTP/2, and clients that abuse HTTP/2.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    backend::{Backend, Echo, receive, send},
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    pattern::{Pattern, Verifier},
    process::Process,
    proxy::{Fate, Proxy},
    raw::Raw,
    raw_http2::{PREFACE, frame},
    wait::{soon, until_eq},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::interval,
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request, Response},
};

/// Bytes each way.
const SOME: u64 = 256 * 1024;

/// Takes WebSockets over HTTP/1.1 and passes their messages on over one HTTP/2 connection, so that
/// a client that speaks only the former shows what the gateway makes of the latter.
struct Bridge {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Bridge {
    async fn start(gateway: SocketAddr) -> Self {
        let http = Http::new(gateway, Version::Http2);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, http.clone()));
            }
        });
        Self {
            address,
            _task: task,
        }
    }
}

async fn pass(stream: tokio::net::TcpStream, http: Http) {
    stream.set_nodelay(true).expect("it is connected");
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    let read = |request: &Request, mut response: Response| {
        path = request.uri().path().to_owned();
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    let Ok(near) = tokio_tungstenite::accept_hdr_async(stream, read).await else {
        return;
    };
    let Ok(far) = http.websocket(&path, Some("perigee.v1")).await else {
        return;
    };
    let (near_sink, near) = near.split();
    let (far_sink, far) = far.split();
    tokio::select! {
        _ = near.forward(far_sink) => {}
        _ = far.forward(near_sink) => {}
    }
}

#[tokio::test]
async fn sessions_share_one_connection_and_outlive_it() {
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    let network = Proxy::start(gateway.address, Fate::unharmed).await;
    let bridge = Bridge::start(network.address).await;
    let mut clients = Vec::new();
    for seed in 0..4 {
        let client = Client::connect(bridge.address, Transport::WebSocket).await;
        let stream = client.open("echo");
        soon("the stream", stream.opened()).await.expect("it opens");
        clients.push((client, stream, Pattern(seed), Verifier::new(Pattern(seed))));
    }
    assert_eq!(gateway.counts().connections, 1);
    assert_eq!(gateway.counts().sessions, 4);
    let mut carried = 0;
    for _ in 0..3 {
        for (_, stream, pattern, verifier) in &mut clients {
            let to = carried + SOME;
            let both = async {
                tokio::join!(
                    stream.send(*pattern, carried, to),
                    stream.receive(verifier, to)
                )
            };
            let (sent, received) = soon("the exchange", both).await;
            sent.and(received).expect("it lives");
            // Some more is on its way when the connection of all is lost.
            let more = stream.send(*pattern, to, to + 10_000).await;
            more.expect("it lives");
        }
        network.cut_all();
        for (client, stream, _, verifier) in &mut clients {
            client.attach(Transport::WebSocket);
            let more = stream.receive(verifier, carried + SOME + 10_000);
            soon("what was on its way", more).await.expect("it lives");
        }
        carried += SOME + 10_000;
    }
    until_eq(1, || gateway.counts().connections).await;
    for (_, stream, ..) in &clients {
        stream.finish();
        let rest = soon("the end", stream.read_to_end())
            .await
            .expect("it ends");
        assert!(rest.is_empty());
    }
    until_eq(0, || gateway.counts().streams).await;
    network.cut_all();
    until_eq(0, || gateway.counts().connections).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_refused() {
    let echo = Echo::start().await;
    let gateway = Configuration::new().backend("echo", echo.address).start();
    let http = Http::new(gateway.address, Version::Http2);
    let version = ("sec-websocket-version", "13");
    for (name, path, protocol, headers, status) in [
        (
            "another protocol",
            "/ws/echo",
            "connect-udp",
            &[version][..],
            426,
        ),
        ("no version", "/ws/echo", "websocket", &[], 426),
        (
            "an unknown subprotocol",
            "/ws/echo",
            "websocket",
            &[version, ("sec-websocket-protocol", "nonsense")],
            400,
        ),
        ("no backend", "/ws/other", "websocket", &[version], 403),
        (
            "another method's path",
            "/perigee/v1/new/poll",
            "websocket",
            &[version],
            405,
        ),
        ("no path", "/nothing", "websocket", &[version], 404),
    ] {
        let reply = http
            .connect(path, protocol, headers)
            .await
            .expect("a reply");
        assert_eq!(reply.status(), status, "{name}");
    }
    let stranger = http.clone().from_origin(Some("https://evil.example"));
    // The first request of `connect` is refused, too, and the connection serves the next.
    let reply = stranger.connect("/ws/echo", "websocket", &[version]).await;
    assert_eq!(reply.expect("a reply").status(), 403);
    let mut websocket = http
        .websocket("/ws/echo", Some("binary"))
        .await
        .expect("open");
    websocket.send("hello".into()).await.expect("it is taken");
    let echoed = soon("the echo", websocket.next())
        .await
        .expect("not the end");
    assert_eq!(echoed.expect("a message").into_data(), "hello");
    assert_eq!(gateway.counts().connections, 1);
}

#[tokio::test]
async fn a_stalled_websocket_is_bounded_and_stalls_no_other() {
    let backend = Backend::listen().await;
    let echo = Echo::start().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .backend("echo", echo.address)
        .start();
    let http = Http::new(gateway.address, Version::Http2);
    // Up: a backend that reads nothing.
    let mut stalled = http.websocket("/ws/peer", None).await.expect("open");
    let mut peer = backend.accept().await;
    let pattern = Pattern(5);
    let mut lively = http.websocket("/ws/echo", None).await.expect("open");
    let sent = Cell::new(0);
    let sender = async {
        loop {
            let message = pattern.bytes(sent.get(), 16 * 1024);
            stalled.send(message.into()).await.expect("it is taken");
            sent.set(sent.get() + 16 * 1024);
        }
    };
    until_stalled(sender, &sent, &mut lively).await;
    let mut verifier = Verifier::new(pattern);
    soon("the bytes", receive(&mut peer, &mut verifier, sent.get())).await;
    // Down: a client that reads nothing of one stream.
    sent.set(0);
    let sender = async {
        loop {
            let from = sent.get();
            send(&mut peer, pattern, from, from + 16 * 1024).await;
            sent.set(from + 16 * 1024);
        }
    };
    until_stalled(sender, &sent, &mut lively).await;
    // The connection ends, and with it everything on it.
    drop((stalled, lively, http));
    _ = soon("the end", peer.read_to_end(&mut Vec::new())).await;
    drop(peer);
    gateway.until_empty().await;
}

/// Sends until nothing more is taken while a neighbour's echoes come all the same.
async fn until_stalled<S>(
    sender: impl Future<Output = ()>,
    sent: &Cell<u64>,
    lively: &mut tokio_tungstenite::WebSocketStream<S>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let watch = async {
        let mut still = 0;
        while still < 5 {
            let before = sent.get();
            exchange(lively).await;
            still = if sent.get() == before { still + 1 } else { 0 };
            assert!(before < 256 * SOME, "nothing stops {before} bytes");
        }
    };
    tokio::select! {
        () = sender => {}
        () = watch => {}
    }
}

/// A message and its echo, a hundred times: long enough for whatever goes on elsewhere.
async fn exchange<S>(websocket: &mut tokio_tungstenite::WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for _ in 0..100 {
        websocket.send("hello".into()).await.expect("it is taken");
        let mut left = "hello".len();
        while left > 0 {
            let message = soon("the echo", websocket.next())
                .await
                .expect("not the end");
            if let Message::Binary(bytes) = message.expect("a message") {
                left -= bytes.len();
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_keeps_its_connection_in_use() {
    let echo = Echo::start().await;
    let mut config = Configuration::new().backend("echo", echo.address).parse();
    config.timeouts.http_idle = Duration::from_millis(150);
    let gateway = TestGateway::start(config);
    let http = Http::new(gateway.address, Version::Http2);
    let mut websocket = http.websocket("/ws/echo", None).await.expect("open");
    let mut tick = interval(Duration::from_millis(50));
    for _ in 0..10 {
        tick.tick().await;
        exchange(&mut websocket).await;
    }
    // Without it the connection is idle.
    websocket.close(None).await.expect("it is taken");
    while let Some(Ok(_)) = soon("the end", websocket.next()).await {}
    drop(websocket);
    gateway.until_empty().await;
}

/// `GET http://gateway/`, in HPACK.
const GET: &[u8] = b"\x82\x86\x84\x41\x07gateway";

#[tokio::test]
async fn abuse_of_http2_ends_the_connection_and_costs_no_memory() {
    // The shortest that the file allows, for the client that takes no answers.
    let mut configuration = Configuration::new().log_level("info");
    for line in ["heartbeat = \"1s\"", "peer_dead = \"2s\"", "hold = \"1s\""] {
        configuration = configuration.timeout(line);
    }
    let gateway = Process::start(&configuration).await;
    let settings = frame(4, 0, 0, &[]);
    let resets = |number: u32| {
        let id = 2 * number + 1;
        [frame(1, 5, id, GET), frame(3, 0, id, &8u32.to_be_bytes())].concat()
    };
    let continuations = |number: u32| match number {
        0 => frame(1, 0, 1, GET),
        // A header of its own each, never the last.
        _ => frame(9, 0, 1, b"\x00\x01a\x01b"),
    };
    let empty_continuations = |number: u32| match number {
        0 => frame(1, 0, 1, GET),
        _ => frame(9, 0, 1, b""),
    };
    let pings = |_: u32| frame(6, 0, 0, b"flooding");
    let settings_again = |_: u32| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    type Abuse<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let cases: [(&str, Abuse<'_>); 5] = [
        ("rapid reset", &resets),
        ("CONTINUATION", &continuations),
        ("empty CONTINUATION", &empty_continuations),
        ("PING, without reading the answers", &pings),
        ("SETTINGS, without reading the answers", &settings_again),
    ];
    let before = gateway.memory();
    for (name, abuse) in cases {
        let mut client = Raw::connect(gateway.address).await;
        client.write([PREFACE, &settings].concat()).await;
        let mut sent = 0;
        let ended = async {
            loop {
                let burst: Vec<u8> = (sent..sent + 1000).flat_map(abuse).collect();
                sent += 1000;
                if client.stream.write_all(&burst).await.is_err() {
                    break;
                }
                assert!(sent < 10_000_000, "{name}: never ended");
            }
        };
        soon(name, ended).await;
        let grown = gateway.memory().saturating_sub(before);
        assert!(grown < 4 << 20, "{name}: {grown} bytes more");
    }
    // It serves others as before.
    let reply = Http::new(gateway.address, Version::Http2)
        .fetch(hyper::Method::GET, "/perigee.js", &[], Vec::new())
        .await
        .expect("a reply");
    assert_eq!(reply.status, 200);
}
