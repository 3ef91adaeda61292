//! Clients over TLS: what is negotiated, what is carried, and a certificate that changes meanwhile.

use std::{fs, time::Duration};

use futures_util::{SinkExt, StreamExt};
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, Echo, expect_fin, receive, send},
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    pattern::{Pattern, Verifier},
    process::Process,
    raw::Raw,
    tls::{Authority, NAME, TlsTunnel},
    wait::{soon, until_eq},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

/// Bytes each way: more than any buffer on the way.
const SOME: u64 = 1024 * 1024;

#[tokio::test]
async fn every_transport_is_the_same_over_tls() {
    let echo = Echo::start().await;
    let authority = Authority::new();
    let gateway = authority
        .on(Configuration::new().backend("echo", echo.address))
        .start();
    for transport in Transport::ALL {
        let alpn = match transport {
            Transport::Http2WebSocket | Transport::Http2Stream | Transport::Http2Poll => "h2",
            _ => "http/1.1",
        };
        let tunnel = TlsTunnel::start(authority.client(&[alpn]), gateway.address).await;
        let client = Client::connect(tunnel.address, transport).await;
        let stream = client.open("echo");
        soon("the stream", stream.opened()).await.expect("it opens");
        let pattern = Pattern(7);
        let exchange = async {
            let sent = async {
                stream.send(pattern, 0, SOME).await?;
                stream.finish();
                Ok(())
            };
            let received = async {
                stream.receive(&mut Verifier::new(pattern), SOME).await?;
                stream.read_to_end().await
            };
            tokio::try_join!(sent, received)
        };
        let ((), rest) = soon("the exchange", exchange)
            .await
            .unwrap_or_else(|closed| panic!("{transport:?}: {closed:?}"));
        assert!(rest.is_empty(), "{transport:?}");
    }
}

#[tokio::test]
async fn protocols_versions_and_tickets() {
    let authority = Authority::new();
    // Several workers, as any of them must resume what another began.
    let gateway = authority
        .on(Configuration::new().top("workers = 3"))
        .start();
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let client = authority.client(offered);
        let stream = client.connect(gateway.address).await.expect("TLS");
        let alpn = stream.get_ref().1.alpn_protocol();
        assert_eq!(alpn, chosen.map(str::as_bytes), "{offered:?}");
    }
    let refused = authority.client(&["spdy/3"]).connect(gateway.address).await;
    assert!(refused.is_err(), "no protocol in common");

    for version in [&TLS12, &TLS13] {
        let client = authority.client_of(&["http/1.1"], &[version]);
        let mut kinds = Vec::new();
        for _ in 0..8 {
            let mut stream = client.connect(gateway.address).await.expect("TLS");
            let request = format!(
                "POST /perigee/v1/origin HTTP/1.1\r\nHost: {NAME}\r\nOrigin: {ORIGIN}\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream
                .write_all(request.as_bytes())
                .await
                .expect("it is taken");
            let mut answer = Vec::new();
            // Tickets come with it; the end is announced, so that nothing can be cut off unseen.
            stream.read_to_end(&mut answer).await.expect("close_notify");
            assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
            let (_, connection) = stream.get_ref();
            assert_eq!(connection.protocol_version(), Some(version.version));
            kinds.push(connection.handshake_kind().expect("it is done"));
        }
        assert_eq!(kinds.remove(0), HandshakeKind::Full);
        assert!(
            kinds.iter().all(|kind| *kind == HandshakeKind::Resumed),
            "{version:?}: {kinds:?}"
        );
    }
    gateway.shutdown().await;
}

#[tokio::test]
async fn whoever_dawdles_or_speaks_no_tls_is_closed() {
    let authority = Authority::new();
    let mut config = authority.on(Configuration::new()).parse();
    config.timeouts.first_byte = Duration::from_millis(150);
    config.timeouts.head = Duration::from_millis(150);
    let gateway = TestGateway::start(config);
    // A handshake record of 512 bytes, of which a few come.
    let half = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let cases: [(&str, &[u8]); 4] = [
        ("no byte", b""),
        ("one byte", &half[..1]),
        ("half a ClientHello", &half),
        (
            "HTTP without TLS",
            b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        ),
    ];
    for (name, bytes) in cases {
        let mut client = Raw::connect(gateway.address).await;
        client.write(bytes).await;
        let said = client.until_closed().await;
        assert!(!said.starts_with(b"HTTP"), "{name}: {said:?}");
        until_eq(0, || gateway.counts().connections).await;
    }
    // After the handshake the deadlines of HTTP count.
    let client = authority.client(&["http/1.1"]);
    let mut stream = client.connect(gateway.address).await.expect("TLS");
    stream.write_all(b"GET / HT").await.expect("it is taken");
    _ = soon("the end", stream.read_to_end(&mut Vec::new())).await;
    gateway.until_empty().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_while_connections_live_on() {
    let echo = Echo::start().await;
    let authority = Authority::new();
    let configuration = authority.on(Configuration::new().backend("echo", echo.address));
    let first = authority.write_pair();
    let gateway = Process::start(&configuration).await;
    let client = authority.client(&["http/1.1"]);
    let shown = async || {
        // Not resumed, so that the certificate is shown.
        let fresh = authority.client(&["http/1.1"]);
        let stream = fresh.connect(gateway.address).await.expect("TLS");
        let (_, connection) = stream.get_ref();
        connection.peer_certificates().expect("shown")[0].clone()
    };
    assert_eq!(shown().await, first);

    let old = client.connect(gateway.address).await.expect("TLS");
    let mut request = format!("ws://{NAME}/ws/echo")
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("origin", HeaderValue::from_static(ORIGIN));
    let (mut websocket, _) = tokio_tungstenite::client_async(request, old)
        .await
        .expect("a WebSocket");

    let second = authority.write_pair();
    let replaced = |event: &serde_json::Value| event["message"] == "certificate replaced";
    gateway.until_logged("the new certificate", replaced).await;
    assert_eq!(shown().await, second);

    // A key that belongs to another certificate changes nothing and is complained about.
    let [certificate_file, key_file] = authority.pair_files();
    let good_key = fs::read(&key_file).expect("it was written");
    let good_certificate = fs::read(&certificate_file).expect("it was written");
    authority.write_pair();
    fs::write(&key_file, &good_key).expect("a file of ours");
    let complaint = gateway
        .until_logged("a complaint", |event| {
            event["level"] == "WARN"
                && event["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("is not the key of the certificate"))
        })
        .await;
    assert!(
        complaint["message"].as_str().is_some_and(
            |text| text.starts_with("certificate not replaced, the one before stays in use: ")
        ),
        "{complaint}"
    );
    assert_eq!(shown().await, second);

    // What is repaired is used, and a missing file is no end either.
    fs::remove_file(&key_file).expect("it was there");
    let missing = |event: &serde_json::Value| {
        let text = event["message"].as_str().unwrap_or_default();
        text.contains("gateway.key is no file that can be found")
    };
    gateway.until_logged("a complaint", missing).await;
    fs::write(&key_file, &good_key).expect("a file of ours");
    fs::write(&certificate_file, &good_certificate).expect("a file of ours");
    let count = || {
        let events = gateway.events();
        events.iter().filter(|event| replaced(event)).count()
    };
    until_eq(2, count).await;
    assert_eq!(shown().await, second);

    websocket
        .send(Message::Binary("still here".into()))
        .await
        .expect("it is taken");
    let echoed = loop {
        let message = soon("the echo", websocket.next())
            .await
            .expect("not the end");
        match message.expect("a message") {
            Message::Binary(bytes) => break bytes,
            _ => continue,
        }
    };
    assert_eq!(&echoed[..], b"still here");
}

#[tokio::test]
async fn a_websocket_ends_over_tls_as_without() {
    let backend = Backend::listen().await;
    let authority = Authority::new();
    let gateway = authority
        .on(Configuration::new().backend("peer", backend.address))
        .start();
    let client = authority.client(&["http/1.1"]);
    let connect = async || {
        let stream = client.connect(gateway.address).await.expect("TLS");
        let mut request = format!("ws://{NAME}/ws/peer")
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_static(ORIGIN));
        let (websocket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .expect("a WebSocket");
        (websocket, backend.accept().await)
    };

    // A backend that fills every buffer while the client reads slowly, and ends.
    let (mut websocket, mut peer) = connect().await;
    let pattern = Pattern(3);
    let sent = async {
        send(&mut peer, pattern, 0, SOME).await;
        peer.shutdown().await.expect("FIN can be sent");
    };
    let received = async {
        let mut verifier = Verifier::new(pattern);
        loop {
            match websocket
                .next()
                .await
                .expect("not the end")
                .expect("a message")
            {
                Message::Binary(bytes) => verifier.take(&bytes),
                Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
                _ => {}
            }
        }
    };
    let ((), code) = soon("the transfer", async { tokio::join!(sent, received) }).await;
    assert_eq!(code, Some(1000));

    // A client that sends a lot and closes in order: the backend has all of it, then FIN.
    let (mut websocket, mut peer) = connect().await;
    let sent = async {
        for offset in (0..SOME).step_by(32 * 1024) {
            let bytes = pattern.bytes(offset, 32 * 1024);
            websocket
                .send(Message::Binary(bytes.into()))
                .await
                .expect("it is taken");
        }
        websocket.close(None).await.expect("it is taken");
    };
    let received = async {
        receive(&mut peer, &mut Verifier::new(pattern), SOME).await;
        expect_fin(&mut peer).await;
    };
    soon("the transfer", async { tokio::join!(sent, received) }).await;

    // A client that is cut off without a goodbye.
    let (websocket, mut peer) = connect().await;
    drop(websocket);
    _ = soon("the end", peer.read_to_end(&mut Vec::new())).await;
    drop(peer);
    gateway.until_empty().await;
}
