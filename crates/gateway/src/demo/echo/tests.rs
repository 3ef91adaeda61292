use super::*;
use crate::demo::test_client::{TestServer, in_time};

/// Bytes without a period that a buffer could hide behind.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

#[tokio::test]
async fn bytes_come_back() {
    let server = TestServer::start(serve).await;
    let mut client = server.connect().await;
    for text in ["a\r\n", "bc\r\n"] {
        client.send(text).await;
        assert_eq!(client.line().await, text.trim_end());
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn fin_comes_back_behind_the_last_byte() {
    let server = TestServer::start(serve).await;
    let sent = bytes(100_000);
    let mut client = server.connect().await;
    client.send(&sent).await;
    client.send_fin().await;
    assert!(client.rest().await == sent);
    let mut silent = server.connect().await;
    silent.send_fin().await;
    assert!(silent.rest().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from_and_loses_nothing() {
    let server = TestServer::start(serve).await;
    let mut client = server.connect().await;
    let chunk = bytes(64 * 1024);
    let mut sent = 0;
    // Until the sockets' buffers are full, the write has been refused and nothing moves any more.
    let refused = async {
        loop {
            let write = client.stream().write(&chunk[sent % chunk.len()..]);
            match tokio::time::timeout(STALL, write).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
            assert!(sent < 1 << 30, "the echo server takes bytes without end");
        }
    };
    in_time("the write to be refused", refused).await;

    // Another client is served meanwhile.
    let mut other = server.connect().await;
    other.send("still there?\r\n").await;
    assert_eq!(other.line().await, "still there?");

    // All of it comes out, in order.
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    while received < sent {
        let read = in_time("bytes", client.stream().read(&mut buffer))
            .await
            .unwrap();
        assert_ne!(read, 0, "the end came after {received} of {sent} bytes");
        for (index, byte) in buffer[..read].iter().enumerate() {
            assert_eq!(*byte, chunk[(received + index) % chunk.len()]);
        }
        received += read;
    }
    client.send_fin().await;
    assert!(client.rest().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_reset_ends_one_connection_only() {
    let server = TestServer::start(serve).await;
    let mut broken = server.connect().await;
    let mut other = server.connect().await;
    broken.send("a\r\n").await;
    assert_eq!(broken.line().await, "a");
    broken.reset();
    other.send("b\r\n").await;
    assert_eq!(other.line().await, "b");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_ends_connections_that_are_open_or_stuck() {
    let server = TestServer::start(serve).await;
    let mut open = server.connect().await;
    open.send("a\r\n").await;
    assert_eq!(open.line().await, "a");
    let mut stuck = server.connect().await;
    let chunk = bytes(64 * 1024);
    while let Ok(written) = tokio::time::timeout(STALL, stuck.stream().write(&chunk)).await {
        assert_ne!(written.unwrap(), 0);
    }
    server.stop().await;
    assert!(open.rest().await.is_empty());
    stuck.wait_for_reset().await;
}

/// On loopback, a write that has been refused for this long is refused because nobody reads.
const STALL: std::time::Duration = std::time::Duration::from_millis(300);
