//! Which backends are reached, and what is said of those that are not: to the client by a code,
//! to the operator by a line.

use std::{net::SocketAddr, time::Duration};

use hyper::Method;
use perigee_integration_tests::{
    backend::{Backend, Echo, echo},
    client::{Client, Closed, Transport},
    gateway::Configuration,
    http::{Http, Version},
    process::Process,
    tls::{Authority, TlsEcho},
};
use perigee_session::Code;
use socket2::{Domain, Socket, Type};
use tokio::{net::UnixListener, time::Instant};

/// A listener whose queue is full, so that a SYN to it is not answered.
struct Unanswering {
    address: SocketAddr,
    _held: Vec<Socket>,
}

impl Unanswering {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("loopback");
        listener.listen(0).expect("it is bound");
        let address = listener
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .expect("an address");
        let mut held = vec![listener];
        // A queue of length 0 holds one; the others are waiting to get in.
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            _ = socket.connect(&address.into());
            held.push(socket);
        }
        Self {
            address,
            _held: held,
        }
    }
}

/// An address where nobody listens.
async fn refusing() -> SocketAddr {
    Backend::listen().await.address
}

#[tokio::test]
async fn a_backend_by_name_tells_why_it_was_not_reached() {
    let (refusing, unanswering) = (refusing().await, Unanswering::new());
    let configuration = Configuration::new()
        .backend("refusing", refusing)
        .backend_with(
            "unanswering",
            unanswering.address,
            "connect_timeout = \"300ms\"",
        )
        .backend("unresolvable", "nowhere.invalid:6667")
        .rule("[backend.unlisted]\naddress = \"127.0.0.1:1\"");
    let gateway = Process::start(&configuration).await;
    let cases = [
        ("refusing", Code::Refused, "onnection refused"),
        ("unanswering", Code::Timeout, "300ms"),
        ("unresolvable", Code::Dns, "nowhere.invalid"),
        ("nobody", Code::Denied, "no backend is named"),
        ("unlisted", Code::Denied, "no allow rule covers"),
        ("127.0.0.1:1", Code::Denied, "no allow rule covers"),
        ("not a target", Code::Denied, "target"),
    ];
    for transport in [Transport::WebSocket, Transport::Poll] {
        let client = Client::connect(gateway.address, transport).await;
        for (target, code, _) in cases {
            let closed = client.open(target).opened().await.expect_err(target);
            assert_eq!(closed.code, code, "{target}: {closed:?}");
            for secret in ["127.0.0.1", "invalid", "rule"] {
                assert!(
                    !closed.text.contains(secret),
                    "{target}: the client is told {:?}",
                    closed.text
                );
            }
        }
        client.end().await;
    }
    for (target, code, reason) in cases {
        let is_of_target = |event: &serde_json::Value| {
            event["message"] == "stream closed"
                && event["to"]
                    .as_str()
                    .is_some_and(|logged| logged.trim_matches('"') == target)
        };
        gateway.until_logged(target, is_of_target).await;
        let lines: Vec<_> = gateway.events().into_iter().filter(is_of_target).collect();
        assert_eq!(
            lines.len(),
            2,
            "{target}: one line for each of two streams: {lines:#?}"
        );
        for line in lines {
            assert_eq!(line["code"], code.name(), "{line}");
            assert!(
                line["reason"]
                    .as_str()
                    .is_some_and(|why| why.contains(reason)),
                "{target}: {line}"
            );
        }
    }
}

#[tokio::test]
async fn addresses_that_were_not_reached_look_alike() {
    let (refusing, unanswering) = (refusing().await, Unanswering::new());
    let wait = Duration::from_millis(400);
    let base = Configuration::new()
        .address("127.0.0.1:1-65535")
        .address("nowhere.invalid:1")
        .timeout("connect = \"400ms\"");
    let targets = [
        (refusing.to_string(), Code::Refused),
        (unanswering.address.to_string(), Code::Timeout),
        ("nowhere.invalid:1".to_owned(), Code::Dns),
    ];

    let gateway = base.clone().expose_errors().start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    for (target, code) in &targets {
        let closed = client.open(target).opened().await.expect_err(target);
        assert_eq!(closed.code, *code, "{target}, exposed");
    }

    let gateway = Process::start(&base).await;
    for transport in [Transport::WebSocket, Transport::Stream] {
        let client = Client::connect(gateway.address, transport).await;
        let mut seen: Vec<Closed> = Vec::new();
        for (target, _) in &targets {
            let started = Instant::now();
            let closed = client.open(target).opened().await.expect_err(target);
            let took = started.elapsed();
            assert!(took >= wait, "{target}: told after {took:?}");
            seen.push(closed);
        }
        assert_eq!(seen[0].code, Code::Unreachable);
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        client.end().await;
    }
    for (target, reason) in
        targets
            .iter()
            .zip(["onnection refused", "no answer within", "cannot resolve"])
    {
        let line = gateway
            .until_logged(&target.0, |event| {
                event["to"]
                    .as_str()
                    .is_some_and(|logged| logged.contains(&target.0))
            })
            .await;
        assert!(
            line["reason"]
                .as_str()
                .is_some_and(|why| why.contains(reason)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn pages_that_are_not_allowed_are_told_so_and_logged() {
    let echo = Echo::start().await;
    let gateway = Process::start(&Configuration::new().backend("echo", echo.address)).await;
    let requests = [
        (Method::POST, "/perigee/v1/origin"),
        (Method::GET, "/perigee/v1/new/ws"),
        (Method::POST, "/perigee/v1/new/stream"),
        (Method::POST, "/perigee/v1/new/poll"),
        (Method::POST, "/perigee/v1/new/up"),
    ];
    let mut refused = 0;
    for version in [Version::Http1, Version::Http2] {
        for origin in [
            None,
            Some("https://evil.example"),
            Some("null"),
            Some("https://page.example.evil.example"),
        ] {
            let http = Http::new(gateway.address, version).from_origin(origin);
            for (method, path) in &requests {
                let reply = http
                    .fetch(method.clone(), path, &[], Vec::new())
                    .await
                    .expect("an answer");
                assert_eq!(reply.status, 403, "{origin:?} {path}");
                assert_eq!(reply.code().as_deref(), Some("denied"), "{origin:?} {path}");
                assert_eq!(
                    reply.header("access-control-allow-origin"),
                    None,
                    "{origin:?} {path}"
                );
                refused += 1;
                let lines = || {
                    gateway
                        .events()
                        .into_iter()
                        .filter(|event| event["message"] == "request refused")
                        .count()
                };
                perigee_integration_tests::wait::until_eq(refused, lines).await;
            }
        }
    }
    let line = gateway
        .until_logged("the other origin", |event| {
            event["origin"] == "https://evil.example"
        })
        .await;
    assert_eq!(line["code"], "denied");
    let http = Http::new(gateway.address, Version::Http1);
    let reply = http
        .fetch(Method::POST, "/perigee/v1/origin", &[], Vec::new())
        .await
        .expect("an answer");
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn backends_may_be_on_ipv6_or_a_unix_socket() {
    let echo6 = Echo::start_on("[::1]:0").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("backend.sock");
    let listener = UnixListener::bind(&path).expect("a socket in a folder of ours");
    let gateway = Configuration::new()
        .backend("six", echo6.address)
        .backend("unix", format!("unix:{}", path.display()))
        .address("[::1]:1-65535")
        .start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    let accept = async {
        let (stream, _) = listener.accept().await.expect("accept");
        echo(stream).await;
    };
    let literal = echo6.address.to_string();
    let talk = async {
        for target in ["six", "unix", &literal] {
            let stream = client.reach(target).await;
            stream.write(b"over here").await.expect("it is open");
            stream.finish();
            assert_eq!(
                stream.read_to_end().await.expect("an echo"),
                b"over here",
                "{target}"
            );
            assert_eq!(stream.closed().await.code, Code::Closed, "{target}");
        }
    };
    tokio::join!(talk, accept);
}

#[tokio::test]
async fn tls_is_verified() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = TlsEcho::start(&ours, "localhost").await;
    let plain = Echo::start().await;
    let tls = |ca: &Authority, more: &str| {
        format!("tls = true\ntls_ca = \"{}\"\n{more}", ca.file().display())
    };
    let address = format!("localhost:{}", server.address.port());
    let configuration = Configuration::new()
        .backend_with("right", &address, &tls(&ours, ""))
        .backend_with(
            "named",
            server.address,
            &tls(&ours, "tls_name = \"localhost\""),
        )
        .backend_with(
            "misnamed",
            &address,
            &tls(&ours, "tls_name = \"other.example\""),
        )
        .backend_with("untrusted", &address, &tls(&other, ""))
        .backend_with("plain", plain.address, &tls(&ours, ""));
    let gateway = configuration.start();
    let client = Client::connect(gateway.address, Transport::WebSocket).await;
    for target in ["right", "named"] {
        let stream = client.reach(target).await;
        let text = vec![b'x'; 300_000];
        let (sent, echoed) = tokio::join!(
            async {
                stream.write(&text).await?;
                stream.finish();
                Ok::<_, Closed>(())
            },
            stream.read_to_end()
        );
        sent.expect("it is open");
        assert!(echoed.expect("an echo") == text, "{target}");
        assert_eq!(stream.closed().await.code, Code::Closed, "{target}");
    }
    for target in ["misnamed", "untrusted", "plain"] {
        let closed = client.open(target).opened().await.expect_err(target);
        assert_eq!(closed.code, Code::Tls, "{target}");
    }
}
