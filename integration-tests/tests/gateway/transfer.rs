//! Bytes go both ways unharmed, whatever the network does to the requests and connections that
//! carry them.

use std::sync::Arc;

use perigee_integration_tests::{
    backend::{Backend, expect_fin, receive, send},
    client::{Client, Faults, Stream, Transport},
    gateway::{Configuration, TestGateway},
    pattern::{Pattern, Verifier},
    proxy::{End, Fate, Proxy},
    random::Random,
    wait::soon,
};
use perigee_session::{Code, Config, DetachReason};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Bytes each way where the network is hostile.
const SOME: u64 = 2 * 1024 * 1024;

async fn world() -> (Backend, TestGateway) {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .start();
    (backend, gateway)
}

/// Moves `len` bytes each way at once, ends both ways with FIN, and verifies every byte.
async fn exchange(stream: &Stream, peer: &mut TcpStream, len: u64, seed: u64) {
    let (up, down) = (Pattern(seed), Pattern(!seed));
    let client = async {
        let sent = async {
            stream.send(up, 0, len).await?;
            stream.finish();
            Ok(())
        };
        let received = async {
            stream.receive(&mut Verifier::new(down), len).await?;
            stream.read_to_end().await
        };
        let (sent, rest) = tokio::join!(sent, received);
        sent.and(rest)
    };
    let (mut from, mut to) = peer.split();
    let server = async {
        let sent = async {
            send(&mut to, down, 0, len).await;
            to.shutdown().await.expect("FIN can be sent");
        };
        let received = async {
            receive(&mut from, &mut Verifier::new(up), len).await;
            expect_fin(&mut from).await;
        };
        tokio::join!(sent, received);
    };
    let (rest, ()) = soon("the exchange", async { tokio::join!(client, server) }).await;
    let rest = rest.unwrap_or_else(|closed| panic!("seed {seed}: {closed:?}"));
    assert!(
        rest.is_empty(),
        "seed {seed}: {} bytes too many",
        rest.len()
    );
    let closed = stream.closed().await;
    assert_eq!(closed.code, Code::Closed, "seed {seed}");
    assert_eq!(
        (closed.stats.acked, closed.stats.delivered),
        (len, len),
        "seed {seed}"
    );
}

#[tokio::test]
async fn every_transport_carries_both_ways() {
    let (backend, gateway) = world().await;
    for transport in Transport::ALL {
        let client = Arc::new(Client::connect(gateway.address, transport).await);
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        // Streams are rotated after 4 MiB, so that this one has to come back once or twice.
        let _attached = client.stay_attached(transport.only(), 0);
        exchange(&stream, &mut peer, 6 * 1024 * 1024, 1).await;
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn requests_may_come_twice_late_or_never() {
    let (backend, gateway) = world().await;
    for transport in Transport::ALL {
        for seed in 0..4 {
            let client = Client::with(gateway.address, Config::default(), Faults::HOSTILE, seed);
            client.attach(transport);
            let stream = client.reach("peer").await;
            let mut peer = backend.accept().await;
            exchange(&stream, &mut peer, SOME, seed).await;
            client.end().await;
        }
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn connections_may_be_cut_anywhere() {
    let (backend, gateway) = world().await;
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let proxy = Proxy::start(gateway.address, move || {
            let (up, down) = (random.range(1, 200_000), random.range(1, 200_000));
            Fate::cut(up, down, random.choose(&[End::Reset, End::Fin]))
        })
        .await;
        let client = Arc::new(Client::with(
            proxy.address,
            Config::default(),
            Faults::default(),
            seed,
        ));
        let transports: &[Transport] = match seed % 4 {
            0 => &[Transport::WebSocket],
            1 => &[Transport::Stream, Transport::Http2Stream],
            2 => &[Transport::Sse, Transport::Htmlfile, Transport::Jsonp],
            _ => &Transport::OVER_TCP,
        };
        let _attached = client.stay_attached(transports, seed);
        client.welcomed().await;
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        exchange(&stream, &mut peer, SOME, seed).await;
        assert!(proxy.cuts() > 5, "seed {seed}: only {} cuts", proxy.cuts());
        client.end().await;
    }
}

#[tokio::test]
async fn a_session_moves_between_transports_in_mid_transfer() {
    let (backend, gateway) = world().await;
    for seed in 0..4 {
        let client = Client::with(gateway.address, Config::default(), Faults::HOSTILE, seed);
        client.attach(Transport::WebSocket);
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        let mut random = Random::new(seed);
        // Each leg begins as soon as the one before has carried something new.
        let moves = async {
            let mut moves = 0;
            loop {
                let Some(before) = stream.stats() else {
                    return moves;
                };
                client.attach(random.choose(&Transport::ALL));
                moves += 1;
                while stream
                    .stats()
                    .is_some_and(|now| now.delivered < before.delivered + 50_000)
                {
                    tokio::task::yield_now().await;
                }
            }
        };
        let (moves, ()) = tokio::join!(moves, exchange(&stream, &mut peer, SOME, seed));
        assert!(moves > 5, "seed {seed}: only {moves} moves");
        client.detached(DetachReason::Superseded).await;
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_page_that_lost_its_network_comes_back_to_the_same_bytes() {
    let (backend, gateway) = world().await;
    for before in Transport::ALL {
        for after in Transport::ALL {
            let client = Client::connect(gateway.address, before).await;
            let stream = client.reach("peer").await;
            let mut peer = backend.accept().await;
            let (up, down) = (Pattern(1), Pattern(2));
            let (mut got_up, mut got_down) = (Verifier::new(up), Verifier::new(down));
            stream.send(up, 0, 1000).await.expect("it is open");
            receive(&mut peer, &mut got_up, 1000).await;
            client.cut().await;
            // Said by both sides while there is no transport at all.
            stream.send(up, 1000, 30_000).await.expect("it is open");
            send(&mut peer, down, 0, 100_000).await;
            client.attach(after);
            receive(&mut peer, &mut got_up, 30_000).await;
            stream
                .receive(&mut got_down, 100_000)
                .await
                .expect("it is open");
            client.end().await;
        }
    }
    gateway.until_empty().await;
}
