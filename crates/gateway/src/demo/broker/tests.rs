use std::time::Duration;

use super::*;
use crate::demo::test_client::{TestClient, TestServer};

/// The defaults, but nobody waits for clients that a test leaves open.
fn settings() -> Settings {
    Settings {
        linger: Duration::from_millis(50),
        ..Settings::default()
    }
}

async fn start(settings: Settings) -> TestServer {
    TestServer::start(|listener, shutdown| serve_with(listener, settings, shutdown)).await
}

async fn connect(server: &TestServer) -> TestClient {
    let mut client = server.connect().await;
    client.send("CONNECT\naccept-version:1.2\n\n\0").await;
    let connected = client.until(0).await;
    assert!(connected.starts_with(b"CONNECTED\nversion:1.2\n"));
    client
}

#[tokio::test]
async fn the_defaults_serve() {
    let server = TestServer::start(serve).await;
    drop(connect(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn a_large_body_travels_between_two_clients() {
    let server = start(settings()).await;
    let (mut alice, mut bob) = (connect(&server).await, connect(&server).await);
    bob.send("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:r\n\n\0")
        .await;
    assert_eq!(bob.until(0).await, b"RECEIPT\nreceipt-id:r\n\n\0");
    let body = vec![b'x'; 1024 * 1024];
    alice.send("SEND\ndestination:/topic/t\n\n").await;
    alice.send(&body).await;
    alice.send("\0").await;
    let message = bob.until(0).await;
    let head = b"MESSAGE\ndestination:/topic/t\nmessage-id:1\nsubscription:1\n\n";
    assert_eq!(&message[..head.len()], head);
    assert!(message[head.len()..] == *[&body[..], b"\0"].concat());
    server.stop().await;
}

#[tokio::test]
async fn a_goodbye_is_confirmed_before_the_end() {
    let server = start(settings()).await;
    let mut alice = connect(&server).await;
    alice
        .send("DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:/queue/q\n\nlate\0")
        .await;
    assert_eq!(alice.rest().await, b"RECEIPT\nreceipt-id:bye\n\n\0");
    server.stop().await;
}

#[tokio::test]
async fn what_came_before_a_fin_is_answered_before_ours() {
    let server = start(settings()).await;
    let mut alice = connect(&server).await;
    alice
        .send("SEND\ndestination:/queue/q\nreceipt:1\n\n\0SEND\ndest")
        .await;
    alice.send_fin().await;
    assert_eq!(alice.rest().await, b"RECEIPT\nreceipt-id:1\n\n\0");
    server.stop().await;
}

#[tokio::test]
async fn a_message_of_a_consumer_that_breaks_off_goes_to_another() {
    let server = start(settings()).await;
    let (mut alice, mut bob) = (connect(&server).await, connect(&server).await);
    let subscribe = "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\n\n\0";
    alice.send(subscribe).await;
    alice.send("SEND\ndestination:/queue/q\n\nx\0").await;
    assert!(alice.until(0).await.ends_with(b"\n\nx\0"));
    bob.send(subscribe).await;
    alice.reset();
    let message = bob.until(0).await;
    assert!(message.ends_with(b"redelivered:true\n\nx\0"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_broken_off() {
    let server = start(Settings {
        outbox_bytes: 1000,
        backlog_bytes: 1_000_000,
        ..settings()
    })
    .await;
    let (mut alice, mut bob) = (connect(&server).await, connect(&server).await);
    bob.send("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:r\n\n\0")
        .await;
    bob.until(0).await;
    let frame = format!("SEND\ndestination:/topic/t\n\n{}\0", "x".repeat(500_000));
    // More than the sockets between them hold.
    for _ in 0..40 {
        alice.send(&frame).await;
    }
    bob.wait_for_reset().await;
    alice
        .send("SEND\ndestination:/topic/t\nreceipt:fine\n\n\0")
        .await;
    assert_eq!(alice.until(0).await, b"RECEIPT\nreceipt-id:fine\n\n\0");
    server.stop().await;
}

#[tokio::test]
async fn clients_are_told_when_the_broker_stops() {
    let server = start(settings()).await;
    let mut alice = connect(&server).await;
    server.stop().await;
    let rest = String::from_utf8(alice.rest().await).unwrap();
    assert!(
        rest.starts_with("ERROR\nmessage:broker is stopping\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn who_is_one_too_many_is_told() {
    let server = start(Settings {
        max_clients: 1,
        ..settings()
    })
    .await;
    let alice = connect(&server).await;
    let mut bob = server.connect().await;
    let rest = String::from_utf8(bob.rest().await).unwrap();
    assert!(
        rest.starts_with("ERROR\nmessage:broker is full\n"),
        "{rest}"
    );
    drop(alice);
    server.stop().await;
}
