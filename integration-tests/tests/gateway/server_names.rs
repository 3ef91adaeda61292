//! A gateway that was told its names answers to no other: not on any path, nor over any kind of HTTP.

use hyper::{Method, StatusCode};
use perigee_integration_tests::{
    ORIGIN,
    backend::Echo,
    client::{Client, Transport},
    gateway::{Configuration, TestGateway},
    http::{Http, Version},
    process::Process,
    raw::{Raw, upgrade},
    wait::{soon, until},
    webtransport::WebTransport,
};

/// Everything there is, and something that there is not.
const PATHS: [(&str, &str); 15] = [
    ("GET", "/"),
    ("GET", "/perigee.js"),
    ("OPTIONS", "/perigee/v1/origin"),
    ("POST", "/perigee/v1/origin"),
    ("GET", "/perigee/v1/webtransport"),
    ("POST", "/perigee/v1/new/stream"),
    ("POST", "/perigee/v1/new/poll"),
    ("POST", "/perigee/v1/new/sse"),
    ("GET", "/perigee/v1/new/sse?ticket=x"),
    ("POST", "/perigee/v1/new/htmlfile"),
    ("GET", "/perigee/v1/new/jsonp?ticket=x"),
    ("POST", "/perigee/v1/new/up"),
    ("GET", "/ws/echo"),
    ("GET", "/irc/echo"),
    ("GET", "/nothing"),
];

async fn gateway(names: &str) -> (TestGateway, Echo) {
    let echo = Echo::start().await;
    let gateway = Configuration::new()
        .top(&format!("server_names = [{names}]"))
        .backend("echo", echo.address)
        .start();
    (gateway, echo)
}

async fn answer(gateway: &TestGateway, request: &str) -> String {
    let mut client = Raw::connect(gateway.address).await;
    client.write(request).await;
    let answer = client.until_closed().await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn another_name_is_answered_nowhere() {
    let (gateway, _echo) = gateway(r#""gateway.example.org""#).await;
    for (method, path) in PATHS {
        let request = |host: &str| {
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {ORIGIN}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            )
        };
        let ours = answer(&gateway, &request("Gateway.example.org:8000")).await;
        assert!(
            !ours.starts_with("HTTP/1.1 421 "),
            "{method} {path}: {ours}"
        );
        for host in ["evil.example", "127.0.0.1", "localhost:80"] {
            let other = answer(&gateway, &request(host)).await;
            assert!(other.starts_with("HTTP/1.1 421 "), "{host} {path}: {other}");
            assert!(
                !other.contains(host),
                "nothing of the request comes back: {other}"
            );
            assert!(!other.contains("access-control-"), "{other}");
        }
        // What HTTP/2 asks is the address here.
        let http = Http::new(gateway.address, Version::Http2);
        let method = method.parse().expect("a method");
        let other = http.fetch(method, path, &[], Vec::new()).await;
        let other = other.expect("an answer");
        assert_eq!(other.status, StatusCode::MISDIRECTED_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn nor_is_a_websocket_opened_or_a_session_of_webtransport() {
    let (gateway, _echo) = gateway(r#""gateway""#).await;
    // `upgrade` asks for it by that name.
    for (path, subprotocol) in [("/perigee/v1/new/ws", "perigee.v1"), ("/ws/echo", "binary")] {
        let request = upgrade(path, subprotocol);
        let mut client = Raw::connect(gateway.address).await;
        client.write(&request).await;
        client.read_until(b"HTTP/1.1 101 ").await;
        let other = request.replace("Host: gateway", "Connection: close\r\nHost: evil.example");
        let other = answer(&gateway, &other).await;
        assert!(other.starts_with("HTTP/1.1 421 "), "{path}: {other}");
        let http = Http::new(gateway.address, Version::Http2);
        let refused = http.websocket(path, None).await;
        let refused = refused.expect_err("asked for by its address").to_string();
        assert!(refused.contains("421"), "{path}: {refused}");
    }
    let path = "/perigee/v1/new/wt";
    let connecting = WebTransport::connect(gateway.webtransport, path, Some(ORIGIN));
    let refused = soon("an answer", connecting).await;
    let refused = refused.expect_err("asked for by its address").to_string();
    assert!(refused.contains("421"), "{refused}");
}

#[tokio::test]
async fn its_own_name_works_on_every_transport() {
    let (gateway, _echo) = gateway(r#""gateway.example.org", "127.0.0.1""#).await;
    for transport in Transport::ALL {
        let client = Client::new(gateway.address);
        client.webtransport_at(gateway.webtransport);
        client.attach(transport);
        let stream = client.reach("echo").await;
        stream.write(b"said").await.expect("it is open");
        stream.finish();
        let echoed = stream.read_to_end().await.expect("the echo");
        assert_eq!(echoed, b"said", "{transport:?}");
        client.end().await;
    }
}

#[tokio::test]
async fn the_operator_is_told() {
    let configuration = Configuration::new().top(r#"server_names = ["gateway.example.org"]"#);
    let gateway = Process::start(&configuration).await;
    let http = Http::new(gateway.address, Version::Http1);
    let refused = http
        .fetch(Method::GET, "/perigee.js", &[], Vec::new())
        .await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST);
    let event = until("a line", || {
        let mut events = gateway.events().into_iter();
        events.find(|event| event["message"] == "request refused")
    })
    .await;
    let why = "\"127.0.0.1\" is not in server_names";
    assert_eq!(event["reason"], why, "{event}");
    assert_eq!(event["client.addr"], "127.0.0.1", "{event}");
}
