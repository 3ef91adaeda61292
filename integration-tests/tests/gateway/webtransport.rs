//! WebTransport over HTTP/3: who gets a session, what becomes of a stream that is not one of ours,
//! a client whose address changes, and an end that says why.

use std::{net::UdpSocket, time::Duration};

use bytes::BytesMut;
use hyper::{Method, StatusCode};
use perigee_gateway::Counts;
use perigee_integration_tests::{
    ORIGIN,
    backend::{Backend, Echo, receive, send},
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    pattern::{Pattern, Verifier},
    process::Process,
    tls::{Authority, TlsTunnel},
    wait::{soon, until, until_eq},
    webtransport::WebTransport,
};
use perigee_session::{Code, Frame, Hello};

const PATH: &str = "/perigee/v1/new/wt";

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::Hello(Hello {
        version: 1,
        caps: 0,
        n: 1,
        next_stream: 1,
        initial: 65_536,
        token: [0; 32],
        prompt: false,
        entries: Vec::new(),
    })
    .encode(&mut bytes);
    bytes
}

async fn connect(gateway: &TestGateway) -> WebTransport {
    let connecting = WebTransport::connect(gateway.webtransport, PATH, Some(ORIGIN));
    soon("a session", connecting).await.expect("it is granted")
}

/// Reads frames until one is this.
async fn until_frame(webtransport: &mut WebTransport, is: impl Fn(&Frame<'_>) -> bool) {
    let mut bytes = BytesMut::new();
    let found = async {
        loop {
            let mut rest = &bytes[..];
            while let Some(frame) = Frame::decode(&mut rest).expect("frames") {
                if is(&frame) {
                    return;
                }
            }
            let more = webtransport.receive().await.expect("the stream is open");
            bytes.extend_from_slice(&more.expect("the stream is open"));
        }
    };
    soon("a frame", found).await;
}

#[tokio::test]
async fn only_allowed_pages_and_known_paths_get_a_session() {
    let gateway = Configuration::new().backend("any", "127.0.0.1:1").start();
    for (path, origin, granted) in [
        (PATH, Some(ORIGIN), true),
        (PATH, Some("https://other.example"), false),
        (PATH, Some("null"), false),
        (PATH, None, false),
        ("/perigee/v1/new/ws", Some(ORIGIN), false),
        ("/perigee/v1//wt", Some(ORIGIN), false),
        ("/perigee/v1/a/b/wt", Some(ORIGIN), false),
        ("/", Some(ORIGIN), false),
    ] {
        let connecting = WebTransport::connect(gateway.webtransport, path, origin);
        let answer = soon("an answer", connecting).await;
        assert_eq!(answer.is_ok(), granted, "{path} {origin:?}: {answer:?}");
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn an_end_says_why() {
    let mut config = Configuration::new().backend("any", "127.0.0.1:1").parse();
    config.timeouts.hello = Duration::from_millis(300);
    let gateway = TestGateway::start(config);
    let mut garbage = vec![0x10, 0, 0, 4, 0, 0, 0, 0];
    garbage.extend_from_slice(b"what");
    let unknown = [hello(), vec![0x77, 0, 0, 0, 0, 0, 0, 0]].concat();
    let cut = hello()[..20].to_vec();
    for (name, path, sent, code) in [
        (
            "no such session",
            "/perigee/v1/p-AAAAAAAAAAAAAAAAAAAAAA/wt",
            hello(),
            Code::Lost,
        ),
        (
            "no HELLO",
            PATH,
            vec![0x05, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1],
            Code::Protocol,
        ),
        ("a HELLO that is none", PATH, garbage, Code::Version),
        ("a frame that is not known", PATH, unknown, Code::Protocol),
        ("half a HELLO", PATH, cut, Code::Idle),
        ("nothing at all", PATH, Vec::new(), Code::Idle),
    ] {
        let connecting = WebTransport::connect(gateway.webtransport, path, Some(ORIGIN));
        let mut webtransport = soon("a session", connecting).await.expect(name);
        webtransport.send.write_all(&sent).await.expect(name);
        assert_eq!(
            webtransport.closed().await,
            Some(code.close_code()),
            "{name}"
        );
    }
    gateway.until_empty().await;
}

#[tokio::test]
async fn other_streams_and_datagrams_are_not_heard() {
    let gateway = Configuration::new().backend("any", "127.0.0.1:1").start();
    let mut webtransport = connect(&gateway).await;
    webtransport.send.write_all(&hello()).await.expect("open");
    until_frame(&mut webtransport, |frame| {
        matches!(frame, Frame::Welcome(_))
    })
    .await;
    let connection = webtransport.connection.clone();
    let more = tokio::time::timeout(Duration::from_millis(200), connection.open_bi()).await;
    assert!(more.is_err(), "there is no credit for another stream");
    for _ in 0..1000 {
        _ = connection.send_datagram(vec![0; 100].into());
    }
    // As many as there may be, each with something that nobody will read.
    let mut streams = Vec::new();
    while let Ok(Ok(mut stream)) =
        tokio::time::timeout(Duration::from_millis(200), connection.open_uni()).await
    {
        stream.write_all(&[0x21; 1000]).await.expect("open");
        streams.push(stream);
    }
    assert!(streams.len() < 8, "{} streams", streams.len());
    let mut ping = Vec::new();
    Frame::Ping { t: 7 }.encode(&mut ping);
    webtransport.send.write_all(&ping).await.expect("open");
    until_frame(&mut webtransport, |frame| *frame == Frame::Pong { t: 7 }).await;
}

#[tokio::test]
async fn a_client_that_changes_its_address_goes_on_as_it_was() {
    let backend = Backend::listen().await;
    let gateway = Configuration::new()
        .backend("peer", backend.address)
        .start();
    let mut webtransport = connect(&gateway).await;
    let (up, down) = (Pattern(1), Pattern(2));
    let mut frames = hello();
    Frame::Open {
        stream: 1,
        service: 0,
        target: "peer",
    }
    .encode(&mut frames);
    webtransport.send.write_all(&frames).await.expect("open");
    let mut peer = backend.accept().await;
    let mut got_up = Verifier::new(up);
    let mut bytes = BytesMut::new();
    let mut received = 0;
    for leg in 0..4_u64 {
        let end = (leg + 1) * 1000;
        let mut frames = Vec::new();
        let data = up.bytes(leg * 1000, 1000);
        Frame::Data {
            stream: 1,
            offset: leg * 1000,
            bytes: &data,
        }
        .encode(&mut frames);
        webtransport.send.write_all(&frames).await.expect("open");
        soon("bytes up", receive(&mut peer, &mut got_up, end)).await;
        send(&mut peer, down, leg * 1000, end).await;
        let arrived = async {
            while received < end {
                let more = webtransport.receive().await.expect("the stream is open");
                bytes.extend_from_slice(&more.expect("the stream is open"));
                let mut rest = &bytes[..];
                while let Some(frame) = Frame::decode(&mut rest).expect("frames") {
                    if let Frame::Data {
                        offset,
                        bytes: data,
                        ..
                    } = frame
                    {
                        assert_eq!(offset, received);
                        assert_eq!(data, &down.bytes(offset, data.len())[..]);
                        received += data.len() as u64;
                    }
                }
                let used = bytes.len() - rest.len();
                let _ = bytes.split_to(used);
            }
        };
        soon("bytes down", arrived).await;
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        webtransport.endpoint.rebind(socket).expect("loopback");
    }
    assert_eq!(gateway.counts().sessions, 1);
    assert_eq!(gateway.counts().backends, 1);
}

#[tokio::test]
async fn where_it_is_spoken_is_told_by_http() {
    let gateway = Configuration::new().backend("any", "127.0.0.1:1").start();
    let ask = async |address, origin: Option<&str>| {
        let http = Http::new(address, Version::Http1).from_origin(origin);
        let path = "/perigee/v1/webtransport";
        http.fetch(Method::GET, path, &[], Vec::new())
            .await
            .expect("an answer")
    };
    let answer = ask(gateway.address, Some(ORIGIN)).await;
    let port = gateway.webtransport.port();
    assert_eq!(answer.body, format!("{{\"port\":{port}}}"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    let answer = ask(gateway.address, Some("https://other.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let without = Configuration::new().without_webtransport().start();
    assert_eq!(
        ask(without.address, None).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_listeners_own_port_and_its_newest_certificate() {
    let authority = Authority::new();
    let gateway = authority
        .on(Configuration::new().backend("any", "127.0.0.1:1"))
        .without_webtransport()
        .listener("webtransport = true")
        .start();
    let tunnel = TlsTunnel::start(authority.client(&["http/1.1"]), gateway.address).await;
    let http = Http::new(tunnel.address, Version::Http1);
    let path = "/perigee/v1/webtransport";
    let answer = http.fetch(Method::GET, path, &[], Vec::new()).await;
    assert_eq!(answer.expect("an answer").body, "{}");
    let first = connect(&gateway).await;
    let second = authority.write_pair();
    assert_ne!(first.certificate().as_ref(), Some(&second));
    let replaced =
        async { while connect(&gateway).await.certificate().as_ref() != Some(&second) {} };
    soon("the new certificate", replaced).await;
    assert!(first.connection.close_reason().is_none(), "it stays open");
}

#[tokio::test]
async fn a_connection_counts_like_any_other() {
    let gateway = Configuration::new()
        .backend("any", "127.0.0.1:1")
        .limit("max_connections_per_client = 2")
        .start();
    let first = connect(&gateway).await;
    let second = connect(&gateway).await;
    let third = WebTransport::connect(gateway.webtransport, PATH, Some(ORIGIN));
    assert!(soon("an answer", third).await.is_err());
    drop(first);
    until_eq(1, || gateway.counts().connections).await;
    drop((connect(&gateway).await, second));
    gateway.until_empty().await;
}

#[tokio::test]
async fn one_that_never_gets_to_its_request_is_dropped() {
    let mut config = Configuration::new().backend("any", "127.0.0.1:1").parse();
    config.timeouts.head = Duration::from_millis(300);
    let gateway = TestGateway::start(config);
    let connection = soon("a connection", WebTransport::dial(gateway.webtransport)).await;
    let (endpoint, connection) = connection.expect("QUIC");
    until("it counts", || {
        (gateway.counts().connections == 1).then_some(())
    })
    .await;
    soon("the end", connection.closed()).await;
    until_eq(Counts::default(), || gateway.counts()).await;
    drop(endpoint);
}

#[tokio::test]
async fn a_gateway_that_stops_leaves_no_client_waiting() {
    let echo = Echo::start().await;
    let mut gateway = Process::start(
        &Configuration::new()
            .backend("echo", echo.address)
            .timeout("drain = \"0s\""),
    )
    .await;
    let client = Client::connect(gateway.address, Transport::WebTransport).await;
    let stream = client.reach("echo").await;
    stream.write(b"hello").await.expect("it is open");
    assert_eq!(stream.read().await.expect("an echo"), b"hello");
    gateway.signal("TERM");
    assert_eq!(client.ended().await, Code::GoingAway);
    client.lost_transport().await;
    assert!(soon("the end", gateway.exited()).await.success());
    assert!(
        !gateway
            .log()
            .iter()
            .any(|line| line.contains("last frames")),
        "{:?}",
        gateway.log()
    );
}
