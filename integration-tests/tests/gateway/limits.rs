//! What is bounded stays bounded, and says so.

use std::net::SocketAddr;

use hyper::Method;
use perigee_gateway::{Gateway, StartError};
use perigee_integration_tests::{
    backend::{Backend, Echo, send},
    client::{Client, Stream, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version, Whole},
    pattern::{Pattern, Verifier},
    process::Process,
    raw::Raw,
    wait::until,
};
use perigee_session::{Code, Frame, Hello};
use tokio::{net::TcpStream, task::JoinSet};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Asks for a session by a poll.
async fn ask_for_session(address: SocketAddr) -> Whole {
    let mut body = Vec::new();
    let hello = Hello {
        version: 1,
        caps: 0,
        n: 1,
        next_stream: 1,
        initial: 65_536,
        token: [0; 32],
        prompt: true,
        entries: Vec::new(),
    };
    Frame::Hello(hello).encode(&mut body);
    let http = Http::new(address, Version::Http1);
    http.fetch(Method::POST, "/perigee/v1/new/poll", &[], body)
        .await
        .expect("an answer")
}

async fn works(client: &Client) {
    let stream = client.reach("echo").await;
    stream.write(b"hello").await.expect("it is open");
    assert_eq!(stream.read().await.expect("an echo"), b"hello");
    stream.abort();
}

#[tokio::test]
async fn sessions_are_counted_for_each_client_and_for_all() {
    let echo = Echo::start().await;
    for (limit, for_each, status, code) in [
        ("two for each client", 2, 429, "limit"),
        ("two for all", 100, 503, "overloaded"),
    ] {
        let mut config = Configuration::new().backend("echo", echo.address).parse();
        config.limits.max_sessions_per_client = for_each;
        config.limits.max_sessions = if for_each == 2 { 100 } else { 2 };
        let gateway = TestGateway::start(config);
        let first = Client::connect(gateway.address, Transport::WebSocket).await;
        let second = Client::connect(gateway.address, Transport::Poll).await;
        let refused = ask_for_session(gateway.address).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_deref()),
            (status, Some(code)),
            "{limit}"
        );
        assert_eq!(
            refused.header("retry-after").is_some(),
            status == 503,
            "{limit}"
        );
        works(&second).await;
        first.end().await;
        until("room for another session", || {
            (gateway.counts().sessions == 1).then_some(())
        })
        .await;
        let third = Client::connect(gateway.address, Transport::Stream).await;
        works(&third).await;
    }
}

#[tokio::test]
async fn streams_of_a_session_are_counted() {
    let echo = Echo::start().await;
    let gateway = Configuration::new()
        .backend("echo", echo.address)
        .limit("max_streams = 3")
        .start();
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let held: Vec<Stream> = vec![
            client.reach("echo").await,
            client.reach("echo").await,
            client.reach("echo").await,
        ];
        let refused = client
            .open("echo")
            .opened()
            .await
            .expect_err("one too many");
        assert_eq!(refused.code, Code::Limit, "{transport:?}");
        held[0].abort();
        until("room for another stream", || {
            (gateway.counts().streams == 2).then_some(())
        })
        .await;
        works(&client).await;
        client.end().await;
        drop((client, held));
        gateway.until_empty().await;
    }
}

#[tokio::test]
async fn connections_are_counted_for_each_client_and_for_all() {
    let echo = Echo::start().await;
    for limit in ["max_connections_per_client = 3", "max_connections = 3"] {
        let gateway = Configuration::new()
            .backend("echo", echo.address)
            .limit(limit)
            .start();
        let client = Client::connect(gateway.address, Transport::WebSocket).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(Raw::connect(gateway.address).await);
        }
        until("the connections to be accepted", || {
            (gateway.counts().connections == 3).then_some(())
        })
        .await;
        for _ in 0..3 {
            let said = Raw::connect(gateway.address).await.until_closed().await;
            assert!(said.is_empty(), "{limit}: closed without a word");
        }
        works(&client).await;
        drop(held);
        until("the connections to be closed", || {
            (gateway.counts().connections == 1).then_some(())
        })
        .await;
        works(&Client::connect(gateway.address, Transport::Stream).await).await;
    }
}

#[tokio::test]
async fn gateways_share_an_address_only_if_all_of_them_say_so() {
    let echo = Echo::start().await;
    let config = |port: u16, is_shared: bool| {
        let mut config = Configuration::new()
            .backend("echo", echo.address)
            .without_webtransport()
            .parse();
        config.listeners[0].address.set_port(port);
        config.listeners[0].reuse_port = is_shared;
        config
    };
    let first = TestGateway::start(config(0, true));
    let port = first.address.port();
    let second = TestGateway::start(config(port, true));
    let alone = Gateway::start(config(port, false), axum::Router::new());
    assert!(matches!(alone, Err(StartError::Bind { .. })), "{alone:?}");
    // The system chooses by the client's port; that it chooses one gateway 64 times is as likely as 1 to 2^63.
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(Raw::connect(first.address).await);
    }
    let counts = || (first.counts().connections, second.counts().connections);
    until("all connections to be accepted", || {
        (counts().0 + counts().1 == 64).then_some(())
    })
    .await;
    assert!(counts().0 > 0 && counts().1 > 0, "{:?}", counts());
}

#[tokio::test]
async fn a_gateway_without_descriptors_lives_on() {
    let echo = Echo::start().await;
    let gateway =
        Process::with_open_files(&Configuration::new().backend("echo", echo.address), 64).await;
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let stream = client.reach("echo").await;
    let mut crowd = Vec::new();
    for _ in 0..80 {
        crowd.push(Raw::connect(gateway.address).await);
    }
    gateway
        .until_logged("the want of descriptors", |event| {
            event["message"]
                .as_str()
                .is_some_and(|message| message.contains("cannot accept connections"))
        })
        .await;
    stream.write(b"still here").await.expect("it is open");
    assert_eq!(stream.read().await.expect("an echo"), b"still here");
    let closed = client
        .open("echo")
        .opened()
        .await
        .expect_err("there is no descriptor for a backend");
    assert_ne!(closed.code, Code::Closed);
    drop(crowd);
    works(&Client::connect(gateway.address, Transport::Stream).await).await;
    works(&client).await;
}

/// Streams that were reached, with the backends' ends of them.
async fn reach_many(client: &Client, backend: &Backend, count: usize) -> Vec<(Stream, TcpStream)> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let stream = client.reach("peer").await;
        streams.push((stream, backend.accept().await));
    }
    streams
}

/// Lets each backend say so much, and hands back the client's ends.
fn let_talk(
    streams: Vec<(Stream, TcpStream)>,
    len: u64,
) -> (Vec<Stream>, JoinSet<Option<TcpStream>>) {
    let mut talking = JoinSet::new();
    let mut ours = Vec::new();
    for (stream, mut peer) in streams {
        talking.spawn(async move {
            // An end before the last byte is what some of these stories are about.
            let sending = tokio::spawn(async move {
                send(&mut peer, Pattern(1), 0, len).await;
                peer
            });
            sending.await.ok()
        });
        ours.push(stream);
    }
    (ours, talking)
}

#[tokio::test]
async fn a_client_that_is_away_takes_no_more_memory_than_there_is() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .limit("max_memory = \"16MiB\"")
        .start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let streams = reach_many(&client, &backend, 100).await;
    client.cut().await;
    until("the session to be detached", || {
        (gateway.counts().connections == 0).then_some(())
    })
    .await;
    // 100 streams may hold 25 MiB; three quarters of 16 MiB are there for those who are away.
    let len = 300 * KIB;
    let (ours, mut talking) = let_talk(streams, len);
    until("memory to become short", || {
        (gateway.counts().buffered_bytes > 12 * MIB).then_some(())
    })
    .await;
    let mut quiet = 0;
    let mut last = gateway.counts().buffered_bytes;
    until("reading to stop", || {
        let now = gateway.counts().buffered_bytes;
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        (quiet > 50).then_some(())
    })
    .await;
    assert!(last < 16 * MIB, "{last} bytes are held");
    assert_eq!(gateway.counts().sessions, 1, "paused, not ended");

    client.attach(Transport::WebSocket);
    for stream in &ours {
        let mut got = Verifier::new(Pattern(1));
        stream
            .receive(&mut got, len)
            .await
            .expect("nothing was lost");
    }
    while let Some(sent) = talking.join_next().await {
        assert!(sent.is_ok_and(|peer| peer.is_some()));
    }
}

#[tokio::test]
async fn when_memory_is_full_the_longest_away_goes_first_and_nobody_comes() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .limit("max_memory = \"16MiB\"")
        .start();
    let mut away = Vec::new();
    for _ in 0..2 {
        let client = Client::connect(gateway.address, Transport::WebSocket).await;
        let streams = reach_many(&client, &backend, 8).await;
        let (ours, talking) = let_talk(streams, MIB);
        let held = gateway.counts().buffered_bytes;
        until("the buffers to fill", || {
            (gateway.counts().buffered_bytes >= held + 2 * MIB - 8 * 64 * KIB).then_some(())
        })
        .await;
        let before = gateway.counts().connections;
        client.cut().await;
        until("the session to be detached", || {
            (gateway.counts().connections < before).then_some(())
        })
        .await;
        away.push((client, ours, talking));
    }
    // The one who stays reads nothing of what comes.
    let stays = Client::connect(gateway.address, Transport::WebSocket).await;
    let streams = reach_many(&stays, &backend, 90).await;
    let (ours, _talking) = let_talk(streams, MIB);
    until("all who are away to be ended", || {
        (gateway.counts().sessions == 1).then_some(())
    })
    .await;
    until("memory to be full", || {
        (gateway.counts().buffered_bytes > 16 * MIB).then_some(())
    })
    .await;
    let refused = ask_for_session(gateway.address).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_deref()),
        (503, Some("overloaded"))
    );
    assert!(refused.header("retry-after").is_some());
    for (client, ..) in &away {
        client.attach(Transport::WebSocket);
        assert_eq!(client.ended().await, Code::Lost);
    }
    // Who stayed lost nothing, and reading makes room again.
    for stream in &ours {
        stream
            .receive(&mut Verifier::new(Pattern(1)), MIB)
            .await
            .expect("nothing was lost");
    }
    until("room", || {
        (gateway.counts().buffered_bytes < MIB).then_some(())
    })
    .await;
    let welcomed = ask_for_session(gateway.address).await;
    assert_eq!(welcomed.status, 200);
}
