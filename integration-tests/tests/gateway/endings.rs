//! Ends go through as they are: half-close, reset, and nobody coming back.

use std::time::Duration;

use futures_util::future::join_all;
use perigee_integration_tests::{
    backend::{Backend, Echo, expect_fin, expect_rst, receive, reset, send},
    client::{Client, Refusal, Transport},
    gateway::{Configuration, TestGateway},
    pattern::{Pattern, Verifier},
    process::Process,
    wait::{soon, until_eq},
};
use perigee_session::Code;
use tokio::io::AsyncWriteExt;

async fn world() -> (Backend, TestGateway) {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .start();
    (backend, gateway)
}

#[tokio::test]
async fn a_client_that_has_said_all_still_listens() {
    let (backend, gateway) = world().await;
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        stream.write(b"QUIT\r\n").await.expect("it is open");
        stream.finish();
        receive_exactly(&mut peer, b"QUIT\r\n").await;
        expect_fin(&mut peer).await;
        send(&mut peer, Pattern(1), 0, 300_000).await;
        peer.shutdown().await.expect("FIN can be sent");
        let mut got = Verifier::new(Pattern(1));
        got.take(&stream.read_to_end().await.expect("it ends well"));
        assert_eq!(got.verified, 300_000, "{transport:?}");
        assert_eq!(stream.closed().await.code, Code::Closed, "{transport:?}");
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_backend_that_has_said_all_still_listens() {
    let (backend, gateway) = world().await;
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        peer.write_all(b"bye\r\n")
            .await
            .expect("the gateway is there");
        peer.shutdown().await.expect("FIN can be sent");
        assert_eq!(
            stream.read_to_end().await.expect("it ends well"),
            b"bye\r\n"
        );
        stream
            .send(Pattern(2), 0, 300_000)
            .await
            .expect("it is open");
        stream.finish();
        receive(&mut peer, &mut Verifier::new(Pattern(2)), 300_000).await;
        expect_fin(&mut peer).await;
        assert_eq!(stream.closed().await.code, Code::Closed, "{transport:?}");
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_reset_goes_through_both_ways() {
    let (backend, gateway) = world().await;
    for transport in Transport::ALL {
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("peer").await;
        let peer = backend.accept().await;
        reset(peer);
        assert_eq!(stream.closed().await.code, Code::Reset, "{transport:?}");

        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        stream.abort();
        expect_rst(&mut peer).await;
        assert_eq!(stream.closed().await.code, Code::Aborted, "{transport:?}");
        client.end().await;
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_client_that_does_not_come_back_is_forgotten_in_time() {
    // Side by side, because a session over polls is given the time between two of them, 10 s,
    // whatever the timeout.
    join_all(Transport::ALL.map(async |transport| {
        let backend = Backend::listen().await;
        let mut config = Configuration::new()
            .backend_with("peer", backend.address, "resume_timeout = \"300ms\"")
            .parse();
        config.timeouts.resume = Duration::from_millis(300);
        let gateway = TestGateway::start(config);
        let client = Client::connect(gateway.address, transport).await;
        let stream = client.reach("peer").await;
        let mut peer = backend.accept().await;
        stream.write(b"hello").await.expect("it is open");
        receive_exactly(&mut peer, b"hello").await;
        client.cut().await;
        expect_rst(&mut peer).await;
        gateway.until_empty().await;
        client.attach(transport);
        assert_eq!(client.ended().await, Code::Lost, "{transport:?}");
        let refusal = client.lost_transport().await;
        let want = match transport {
            Transport::WebSocket | Transport::Http2WebSocket | Transport::WebTransport => {
                Refusal::Close(4011)
            }
            _ => Refusal::Status(404),
        };
        assert_eq!(refusal, Some(want), "{transport:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_stream_ends_at_its_own_time_and_its_neighbour_lives() {
    let (brief, long) = (Backend::listen().await, Backend::listen().await);
    let gateway = Configuration::new()
        .backend_with("brief", brief.address, "resume_timeout = \"0s\"")
        .backend("long", long.address)
        .start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let (short, stay) = (client.reach("brief").await, client.reach("long").await);
    let (mut short_peer, mut stay_peer) = (brief.accept().await, long.accept().await);
    client.cut().await;
    expect_rst(&mut short_peer).await;
    client.attach(Transport::WebSocket);
    assert_eq!(short.closed().await.code, Code::Lost);
    stay.write(b"still here").await.expect("it is open");
    receive_exactly(&mut stay_peer, b"still here").await;
}

#[tokio::test]
async fn everything_that_was_opened_is_closed() {
    let echo = Echo::start().await;
    let configuration = Configuration::new()
        .backend_with("echo", echo.address, "resume_timeout = \"100ms\"")
        .timeout("resume = \"100ms\"");
    let gateway = Process::start(&configuration).await;
    // The first conversation may leave something for later ones, such as an event queue.
    converse(gateway.address, Transport::WebSocket).await;
    until_eq(true, || gateway.descriptors() > 0).await;
    let baseline = soon("descriptors to settle", settled(&gateway)).await;
    for transport in Transport::ALL {
        for _ in 0..4 {
            converse(gateway.address, transport).await;
        }
    }
    until_eq(baseline, || gateway.descriptors()).await;
}

/// The least number of descriptors over a while.
async fn settled(gateway: &Process) -> usize {
    let mut least = gateway.descriptors();
    let mut looks = 0;
    while looks < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = gateway.descriptors();
        looks = if now < least { 0 } else { looks + 1 };
        least = least.min(now);
    }
    least
}

/// Three streams, one that ends well, one that is aborted and one that is left behind.
async fn converse(address: std::net::SocketAddr, transport: Transport) {
    let client = Client::connect(address, transport).await;
    let (well, aborted, left) = (
        client.reach("echo").await,
        client.reach("echo").await,
        client.reach("echo").await,
    );
    for stream in [&well, &aborted, &left] {
        stream.write(b"hello").await.expect("it is open");
        assert_eq!(stream.read().await.expect("an echo"), b"hello");
    }
    well.finish();
    assert_eq!(well.closed_after_reading().await, Code::Closed);
    aborted.abort();
    // Neither the last stream nor the session is ended.
    drop(client);
}

async fn receive_exactly(peer: &mut tokio::net::TcpStream, want: &[u8]) {
    use tokio::io::AsyncReadExt;
    let mut got = vec![0; want.len()];
    soon("bytes at the backend", peer.read_exact(&mut got))
        .await
        .expect("the gateway sends");
    assert_eq!(got, want);
}
