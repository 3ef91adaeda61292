//! A side that stops reading stops the other side, and costs the gateway nothing.

use std::{sync::Arc, time::Duration};

use perigee_integration_tests::{
    backend::{Backend, fill, receive, send},
    client::{AbortOnDrop, Client, Faults, Stream, Transport},
    gateway::Configuration,
    pattern::{Pattern, Verifier},
    process::Process,
    wait::soon,
};
use perigee_session::Config;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// A write that takes nothing for so long would take nothing for ever.
const FULL: Duration = Duration::from_millis(500);
/// Most that sockets of the system and the gateway's bounds may hold between backend and client.
const MOST_ON_THE_WAY: u64 = 64 * MIB;
/// What the gateway's memory may grow by: its bounds for a stream are 256 KiB and 64 KiB, the rest is what
/// the allocator has taken from the system for its threads and not handed out.
const MOST_GROWTH: u64 = 3 * MIB;

/// How a client stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Its network is read no more.
    Network,
    /// The application takes nothing more; the network is read.
    Application,
}

async fn attached(
    address: std::net::SocketAddr,
    transport: &'static [Transport],
) -> (Arc<Client>, AbortOnDrop) {
    let config = Config {
        window: MIB,
        ..Config::default()
    };
    let client = Arc::new(Client::with(address, config, Faults::default(), 0));
    let attached = client.stay_attached(transport, 0);
    client.welcomed().await;
    (client, attached)
}

/// The backend sends `len` bytes to a client that stops after the first of them, then goes on.
async fn down(transport: &'static [Transport], stop: Stop, len: u64) {
    let backend = Backend::listen().await;
    let gateway = Process::start(&Configuration::new().backend("peer", backend.address)).await;
    let (client, _attached) = attached(gateway.address, transport).await;
    let stream = client.reach("peer").await;
    let mut peer = backend.accept().await;
    let pattern = Pattern(len);
    let mut got = Verifier::new(pattern);
    // Buffers that a conversation needs anyway are there before memory is measured.
    let warm = 4 * MIB;
    let (_, read) = soon("the first bytes", async {
        tokio::join!(
            send(&mut peer, pattern, 0, warm),
            stream.receive(&mut got, warm)
        )
    })
    .await;
    read.expect("it is open");
    let before = gateway.memory();

    if stop == Stop::Network {
        client.pause();
    }
    let taken = fill_from(&mut peer, pattern, warm).await;
    let on_the_way = taken - warm;
    assert!(
        on_the_way < MOST_ON_THE_WAY,
        "{transport:?}, {stop:?}: TCP took {on_the_way} bytes"
    );
    let growth = gateway.memory().saturating_sub(before);
    assert!(
        growth < MOST_GROWTH,
        "{transport:?}, {stop:?}: memory grew by {growth} bytes"
    );

    client.go_on();
    let sent = send(&mut peer, pattern, taken, len);
    let (read, ()) = tokio::join!(stream.receive(&mut got, len), sent);
    read.expect("it is open");
    assert_eq!(got.verified, len);
    let growth = gateway.memory().saturating_sub(before);
    assert!(
        growth < MOST_GROWTH,
        "{transport:?}, {stop:?}: memory grew by {growth} bytes in all"
    );
}

/// Fills TCP with a pattern that was begun before, and says how far it came.
async fn fill_from(peer: &mut TcpStream, pattern: Pattern, from: u64) -> u64 {
    let mut at = from;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        pattern.fill(at, &mut buffer);
        match tokio::time::timeout(FULL, peer.write(&buffer)).await {
            Ok(taken) => at += taken.expect("the gateway is there") as u64,
            Err(_) => return at,
        }
        assert!(
            at - from < 2 * MOST_ON_THE_WAY,
            "the backend was not stopped"
        );
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_read_stops_a_backend_with_a_gibibyte_to_say() {
    down(&[Transport::WebSocket], Stop::Network, GIB).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_stops_its_backend() {
    down(&[Transport::Stream], Stop::Network, 256 * MIB).await;
    down(&[Transport::Http2Stream], Stop::Network, 128 * MIB).await;
}

#[tokio::test]
async fn an_application_that_does_not_read_stops_its_backend() {
    down(&[Transport::WebSocket], Stop::Application, 128 * MIB).await;
    down(&[Transport::Stream], Stop::Application, 128 * MIB).await;
    down(&[Transport::Poll], Stop::Application, 64 * MIB).await;
}

/// Waits until nothing more is acked, and says how much was.
async fn until_stuck(stream: &Stream) -> u64 {
    let mut last = (stream.stats().expect("it is open").acked, Instant::now());
    loop {
        let acked = stream.stats().expect("it is open").acked;
        if acked != last.0 {
            last = (acked, Instant::now());
        } else if acked > 0 && last.1.elapsed() > FULL {
            return acked;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_backend_that_does_not_read_stops_its_client() {
    for transport in [
        &[Transport::WebSocket] as &[_],
        &[Transport::Stream],
        &[Transport::Http2Poll],
    ] {
        let backend = Backend::listen().await;
        let gateway = Process::start(&Configuration::new().backend("peer", backend.address)).await;
        let (client, _attached) = attached(gateway.address, transport).await;
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        let pattern = Pattern(3);
        let mut got = Verifier::new(pattern);
        let (warm, len) = (4 * MIB, 64 * MIB);
        let (sent, ()) = tokio::join!(
            stream.send(pattern, 0, warm),
            receive(&mut peer, &mut got, warm)
        );
        sent.expect("it is open");
        let before = gateway.memory();
        let rest = async {
            let acked = soon("the client to be stopped", until_stuck(&stream)).await;
            assert!(
                acked < warm + MOST_ON_THE_WAY / 2,
                "{transport:?}: the client was not stopped"
            );
            let growth = gateway.memory().saturating_sub(before);
            assert!(
                growth < MOST_GROWTH,
                "{transport:?}: memory grew by {growth} bytes"
            );
            receive(&mut peer, &mut got, len).await;
        };
        let (sent, ()) = tokio::join!(stream.send(pattern, warm, len), rest);
        sent.expect("it is open");
    }
}

#[tokio::test]
async fn a_stalled_stream_does_not_slow_its_neighbour() {
    for transport in [
        &[Transport::WebSocket] as &[_],
        &[Transport::Stream],
        &[Transport::Http2Stream],
    ] {
        let (stalled, lively) = (Backend::listen().await, Backend::listen().await);
        let configuration = Configuration::new()
            .backend("stalled", stalled.address)
            .backend("lively", lively.address);
        let gateway = configuration.start();
        let (client, _attached) = attached(gateway.address, transport).await;
        let len = 16 * MIB;
        let alone = talk(&client, &lively, len).await;

        // Neither side of the stalled stream reads, and both have more to say than fits.
        let stream = client.reach("stalled").await;
        let mut peer = stalled.accept().await;
        let (up, down) = (Pattern(1), Pattern(2));
        let filled = fill(&mut peer, down, FULL).await;
        let more = async {
            let beside = talk(&client, &lively, len).await;
            let most = alone * 3 + Duration::from_secs(1);
            assert!(
                beside < most,
                "{transport:?}: {alone:?} alone, {beside:?} beside a stalled stream"
            );
            let mut got_up = Verifier::new(up);
            receive(&mut peer, &mut got_up, 32 * MIB).await;
        };
        let (sent, ()) = tokio::join!(stream.send(up, 0, 32 * MIB), more);
        sent.expect("it is open");
        stream
            .receive(&mut Verifier::new(down), filled)
            .await
            .expect("what was stalled is not lost");
    }
}

/// Moves bytes both ways and says how long it took.
async fn talk(client: &Client, backend: &Backend, len: u64) -> Duration {
    let stream = client.reach("lively").await;
    let mut peer = backend.accept().await;
    let (up, down) = (Pattern(4), Pattern(5));
    let started = Instant::now();
    let (mut got_up, mut got_down) = (Verifier::new(up), Verifier::new(down));
    let (mut from, mut to) = peer.split();
    let (sent, read, (), ()) = tokio::join!(
        stream.send(up, 0, len),
        stream.receive(&mut got_down, len),
        send(&mut to, down, 0, len),
        receive(&mut from, &mut got_up, len),
    );
    sent.and(read).expect("it is open");
    stream.abort();
    started.elapsed()
}
