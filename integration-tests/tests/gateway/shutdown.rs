//! A gateway that is told to stop says so, waits, and goes.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use hyper::Method;
use perigee_integration_tests::{
    backend::{Backend, Echo, receive},
    client::{Client, Stream, Transport},
    gateway::Configuration,
    http::{Http, Version},
    pattern::{Pattern, Verifier},
    process::Process,
    raw::{Raw, upgrade},
    wait::soon,
};
use perigee_session::{Code, Frame, Hello};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

const CLIENTS: usize = 20;
const STREAMS: usize = 10;
/// What each client says on each stream, and each backend has read, before the end.
const SAID: u64 = 1000;

/// Sends until the other side is gone.
async fn talk_on(mut peer: TcpStream) {
    let bytes = Pattern(7).bytes(0, 4096);
    while peer.write_all(&bytes).await.is_ok() {}
}

/// Reads until the stream ends.
async fn listen_on(stream: &Stream) -> u64 {
    let mut total = 0;
    while let Ok(bytes) = stream.read().await {
        total += bytes.len() as u64;
    }
    total
}

#[tokio::test]
async fn two_hundred_live_streams_are_told_and_ended() {
    let (talkative, quiet) = (Backend::listen().await, Backend::listen().await);
    let configuration = Configuration::new()
        .backend("talkative", talkative.address)
        .backend("quiet", quiet.address)
        .timeout("drain = \"1s\"")
        // So late that only the end itself can tell what was delivered to quiet backends.
        .timeout("ack_delay = \"5s\"");
    let mut gateway = Process::start(&configuration).await;
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    let mut talking = JoinSet::new();
    let mut held = Vec::new();
    let mut attached = Vec::new();
    for index in 0..CLIENTS {
        let transport = Transport::ALL[index % Transport::ALL.len()];
        let client = Arc::new(Client::new(gateway.address));
        // Streams are rotated after 4 MiB.
        attached.push(client.stay_attached(transport.only(), 0));
        client.welcomed().await;
        for number in 0..STREAMS {
            let (name, backend) = if number % 2 == 0 {
                ("talkative", &talkative)
            } else {
                ("quiet", &quiet)
            };
            let stream = client.reach(name).await;
            let mut peer = backend.accept().await;
            stream.send(Pattern(9), 0, SAID).await.expect("it is open");
            receive(&mut peer, &mut Verifier::new(Pattern(9)), SAID).await;
            if name == "talkative" {
                talking.spawn(talk_on(peer));
            } else {
                held.push(peer);
            }
            streams.push((transport, name, stream));
        }
        clients.push((transport, client));
    }
    assert_eq!(streams.len(), 200);
    let listening = join_all(streams.iter().map(|(_, _, stream)| listen_on(stream)));
    let ending = async {
        gateway.signal("TERM");
        for (transport, client) in &clients {
            let (after, code) = client.go_away().await;
            assert_eq!(code, Code::GoingAway, "{transport:?}");
            // Each has its own share of the second half.
            assert!(
                (500..=1000).contains(&after.as_millis()),
                "{transport:?}: {after:?}"
            );
        }
        let status = gateway.exited().await;
        // Each of them was told before the process ended, and need not wait for anything else.
        for (transport, client) in &clients {
            let told = timeout(Duration::from_secs(5), client.ended()).await;
            assert_eq!(told, Ok(Code::GoingAway), "{transport:?}");
        }
        status
    };
    let (heard, status) = soon("the end", async { tokio::join!(listening, ending) }).await;
    assert!(status.success(), "{status}");
    for ((transport, name, stream), heard) in streams.iter().zip(heard) {
        let closed = stream.closed().await;
        assert_eq!(closed.code, Code::GoingAway, "{transport:?}, {name}");
        assert_eq!(closed.stats.acked, SAID, "{transport:?}, {name}");
        assert_eq!(
            heard > 0,
            *name == "talkative",
            "{transport:?}, {name}: {heard} bytes"
        );
    }
    while talking.join_next().await.is_some() {}
}

#[tokio::test]
async fn a_gateway_goes_as_soon_as_its_clients_have_gone() {
    let echo = Echo::start().await;
    let mut gateway = Process::start(
        &Configuration::new()
            .backend("echo", echo.address)
            .timeout("drain = \"30min\""),
    )
    .await;
    let mut clients = Vec::new();
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("echo").await;
        clients.push((transport, client, stream));
    }
    gateway.signal("TERM");
    for (transport, client, stream) in clients {
        client.go_away().await;
        // What was begun can be finished.
        stream.write(b"last words").await.expect("it is open");
        assert_eq!(
            stream.read().await.expect("an echo"),
            b"last words",
            "{transport:?}"
        );
        client.end().await;
    }
    assert!(gateway.exited().await.success());
}

#[tokio::test]
async fn a_draining_gateway_takes_no_one_new() {
    let echo = Echo::start().await;
    let mut gateway = Process::start(
        &Configuration::new()
            .backend("echo", echo.address)
            .timeout("drain = \"30min\""),
    )
    .await;
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let stream = client.reach("echo").await;
    gateway.signal("TERM");
    client.go_away().await;
    let mut hello = Vec::new();
    Frame::Hello(Hello {
        version: 1,
        caps: 0,
        n: 1,
        next_stream: 1,
        initial: 65_536,
        token: [0; 32],
        prompt: true,
        entries: Vec::new(),
    })
    .encode(&mut hello);
    let http = Http::new(gateway.address, Version::Http1);
    let refused = http
        .fetch(Method::POST, "/perigee/v1/new/poll", &[], hello)
        .await
        .expect("an answer");
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_deref()),
        (503, Some("going_away"))
    );
    assert!(refused.header("retry-after").is_some());
    // Who was here before may come back.
    client.cut().await;
    client.attach(Transport::Stream);
    stream.write(b"back").await.expect("it is open");
    assert_eq!(stream.read().await.expect("an echo"), b"back");
    assert!(gateway.is_running());
    // Told twice, it does not wait for anyone.
    gateway.signal("TERM");
    let status = gateway.exited().await;
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn a_gateway_does_not_wait_for_who_has_said_nothing() {
    let mut gateway = Process::start(
        &Configuration::new()
            .backend("echo", "127.0.0.1:9")
            // One after the other is accepted, so the first are when the last is answered.
            .top("workers = 1")
            .timeout("first_byte = \"5min\"")
            .timeout("hello = \"1min\""),
    )
    .await;
    let mut silent = Raw::connect(gateway.address).await;
    let mut without_hello = Raw::connect(gateway.address).await;
    without_hello
        .write(upgrade("/perigee/v1/new/ws", "perigee.v1"))
        .await;
    let reply = without_hello.read_until(b"\r\n\r\n").await;
    assert!(reply.starts_with(b"HTTP/1.1 101 "), "{reply:?}");
    gateway.signal("TERM");
    assert_eq!(silent.until_closed().await, b"");
    // A close frame with the code of protocol section 10 for a gateway that goes.
    let close = without_hello.read_until(b"going_away").await;
    let code = Code::GoingAway.close_code().to_be_bytes();
    assert_eq!((close[0], &close[2..4]), (0x88, &code[..]));
    drop(without_hello);
    assert!(gateway.exited().await.success());
}
