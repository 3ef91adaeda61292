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

async fn register(server: &TestServer, nick: &str) -> TestClient {
    let mut client = server.connect().await;
    client
        .send(format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n"))
        .await;
    client.line_with(" 376 ").await;
    client
}

async fn join(server: &TestServer, nick: &str) -> TestClient {
    let mut client = register(server, nick).await;
    client.send("JOIN #tea\r\n").await;
    client.line_with(" 366 ").await;
    client
}

#[tokio::test]
async fn the_defaults_serve() {
    let server = TestServer::start(serve).await;
    drop(register(&server, "alice").await);
    server.stop().await;
}

#[tokio::test]
async fn two_clients_chat_and_leave() {
    let server = start(settings()).await;
    let mut alice = join(&server, "alice").await;
    let mut bob = join(&server, "bob").await;
    assert_eq!(alice.line().await, ":bob!bob@127.0.0.1 JOIN #tea");

    bob.send("PRIVMSG #tea :Grüße 😀\r\n").await;
    let line = alice.line().await;
    assert_eq!(line, ":bob!bob@127.0.0.1 PRIVMSG #tea :Grüße 😀");

    bob.send("QUIT :bye\r\n").await;
    let line = alice.line().await;
    assert_eq!(line, ":bob!bob@127.0.0.1 QUIT :Quit: bye");
    let goodbye = &b"ERROR :Closing link: 127.0.0.1 (Quit: bye)\r\n"[..];
    assert_eq!(bob.rest().await, goodbye);
    server.stop().await;
}

#[tokio::test]
async fn a_line_may_come_in_pieces_and_without_cr() {
    let server = start(settings()).await;
    let mut alice = register(&server, "alice").await;
    for byte in b"PING a\nPING b\r\n" {
        alice.send([*byte]).await;
    }
    assert_eq!(alice.line().await, ":demo.perigee PONG demo.perigee :a");
    assert_eq!(alice.line().await, ":demo.perigee PONG demo.perigee :b");
    server.stop().await;
}

#[tokio::test]
async fn a_line_too_long_does_not_end_the_connection() {
    let server = start(settings()).await;
    let mut alice = register(&server, "alice").await;
    alice.send("x".repeat(100_000)).await;
    alice.send("\r\nPING a\r\n").await;
    let line = alice.line().await;
    assert_eq!(line, ":demo.perigee 417 alice :Input line was too long");
    assert_eq!(alice.line().await, ":demo.perigee PONG demo.perigee :a");
    server.stop().await;
}

#[tokio::test]
async fn what_came_before_a_fin_is_answered_before_ours() {
    let server = start(settings()).await;
    let mut alice = server.connect().await;
    alice
        .send("NICK alice\r\nUSER alice 0 * :Alice\r\nPING x\r\nPRIVMSG alice :me")
        .await;
    alice.send_fin().await;
    let rest = String::from_utf8(alice.rest().await).unwrap();
    let end = concat!(
        ":demo.perigee PONG demo.perigee :x\r\n",
        "ERROR :Closing link: 127.0.0.1 (Connection closed)\r\n",
    );
    assert!(rest.starts_with(":demo.perigee 001 alice "), "{rest}");
    assert!(rest.ends_with(end), "{rest}");
    server.stop().await;
}

#[tokio::test]
async fn what_comes_behind_a_quit_does_not_cost_the_goodbye() {
    let server = start(Settings {
        linger: Duration::from_secs(20),
        ..settings()
    })
    .await;
    let mut alice = register(&server, "alice").await;
    // More than the sockets' buffers take: the server has to read it, and must not answer with RST.
    alice.send(b"QUIT\r\n").await;
    alice.send("PING x\r\n".repeat(2_000_000)).await;
    let goodbye = &b"ERROR :Closing link: 127.0.0.1 (Client quit)\r\n"[..];
    assert_eq!(alice.rest().await, goodbye);
    drop(alice);
    server.stop().await;
}

#[tokio::test]
async fn a_reset_is_told_to_the_others() {
    let server = start(settings()).await;
    let mut alice = join(&server, "alice").await;
    let bob = join(&server, "bob").await;
    bob.reset();
    let line = alice.line_with("QUIT").await;
    assert_eq!(line, ":bob!bob@127.0.0.1 QUIT :Connection reset");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_the_others_chat_on() {
    let server = start(Settings {
        sendq_lines: 50,
        line_interval: Duration::ZERO,
        linger: Duration::from_secs(20),
        ..settings()
    })
    .await;
    let mut alice = join(&server, "alice").await;
    let mut sleeper = join(&server, "sleeper").await;
    let mut bob = join(&server, "bob").await;
    alice.line_with(":bob").await;

    // Alice reads all of it, so that it is the sleeper alone who falls behind.
    let line = format!("PRIVMSG #tea :{}\r\n", "z".repeat(400));
    let mut rounds = 0;
    let gone = loop {
        bob.send(line.repeat(20) + "PRIVMSG #tea :round\r\n").await;
        let line = alice.line_with_any(&["QUIT", ":round"]).await;
        if line.contains("QUIT") {
            break line;
        }
        rounds += 1;
        assert!(
            rounds < 10_000,
            "80 MB wait for a client that does not read"
        );
    };
    assert_eq!(gone, ":sleeper!sleeper@127.0.0.1 QUIT :SendQ exceeded");

    bob.send("PRIVMSG #tea :still there?\r\n").await;
    alice.line_with("still there?").await;
    // It may still be told, if it wakes up in time, and nothing before that is missing.
    let rest = String::from_utf8(sleeper.rest().await).unwrap();
    assert!(
        rest.ends_with("ERROR :Closing link: 127.0.0.1 (SendQ exceeded)\r\n"),
        "{}",
        &rest[rest.len() - 200..]
    );
    drop((alice, bob, sleeper));
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_client_that_never_reads_is_cut_off() {
    let server = start(Settings {
        sendq_lines: 50,
        line_interval: Duration::ZERO,
        linger: Duration::from_millis(50),
        ..settings()
    })
    .await;
    let mut sleeper = join(&server, "sleeper").await;
    let mut bob = join(&server, "bob").await;
    let line = format!("PRIVMSG #tea :{}\r\n", "z".repeat(400));
    loop {
        bob.send(line.repeat(20) + "NAMES #tea\r\n").await;
        if !bob.line_with(" 353 ").await.contains("sleeper") {
            break;
        }
    }
    // The sleeper has more waiting in its socket than it will get: its connection breaks.
    sleeper.wait_for_reset().await;
    server.stop().await;
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_loses_nothing() {
    let interval = Duration::from_millis(10);
    let server = start(Settings {
        burst_lines: 5,
        line_interval: interval,
        ..settings()
    })
    .await;
    let mut alice = register(&server, "alice").await;
    let start = Instant::now();
    let flood: String = (0..30).map(|n| format!("PING {n}\r\n")).collect();
    alice.send(flood).await;
    for n in 0..30 {
        let line = alice.line().await;
        assert_eq!(line, format!(":demo.perigee PONG demo.perigee :{n}"));
    }
    assert!(start.elapsed() >= interval * 25);
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_refuses_until_somebody_leaves() {
    let server = start(Settings {
        max_clients: 1,
        ..settings()
    })
    .await;
    let mut alice = register(&server, "alice").await;
    let refusal = &b"ERROR :Closing link: 127.0.0.1 (Server is full)\r\n"[..];
    assert_eq!(server.connect().await.rest().await, refusal);
    alice.send("QUIT\r\n").await;
    alice.rest().await;
    register(&server, "bob").await;
    server.stop().await;
}

#[tokio::test]
async fn timers_run_without_any_traffic() {
    let server = start(Settings {
        registration_timeout: Duration::from_millis(50),
        ping_after: Duration::from_millis(50),
        pong_timeout: Duration::from_millis(50),
        ..settings()
    })
    .await;
    let late = server.connect().await.rest().await;
    let want = &b"ERROR :Closing link: 127.0.0.1 (Registration timed out)\r\n"[..];
    assert_eq!(late, want);

    let mut silent = register(&server, "silent").await;
    assert_eq!(silent.line().await, "PING :demo.perigee");
    let want = &b"ERROR :Closing link: 127.0.0.1 (Ping timeout: 0 seconds)\r\n"[..];
    assert_eq!(silent.rest().await, want);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_says_goodbye_and_waits_for_nobody_for_ever() {
    let server = start(settings()).await;
    let mut alice = register(&server, "alice").await;
    // Never closes its side, and has lines on their way that nobody will handle.
    let mut rude = register(&server, "rude").await;
    rude.send("PING x\r\n".repeat(1000)).await;
    server.stop().await;
    let goodbye = &b"ERROR :Closing link: 127.0.0.1 (Server is shutting down)\r\n"[..];
    assert_eq!(alice.rest().await, goodbye);
}
