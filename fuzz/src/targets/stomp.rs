//! The STOMP service between a hostile client and a hostile broker, and the demo's broker itself.
//!
//! The input is what the client says, what the broker says, and where both are cut: `client 0xff 0xff broker`, the
//! first byte the distance of the cuts.

use perigee_gateway::fuzzing::{StompEnds, stomp_broker, stomp_service};
use perigee_stomp::{Command, Decoder, Limits, Message, Version};

/// Where the service lets a client send to.
const ALLOWED: &str = "/queue/a";

/// Sees whether the service and the broker hold what they promise.
///
/// # Panics
///
/// When they do not.
pub fn run(input: &[u8]) {
    let Some((&cut, talk)) = input.split_first() else {
        return;
    };
    let at = talk.windows(2).position(|pair| pair == [0xff, 0xff]);
    let (client, broker) = match at {
        Some(at) => (&talk[..at], &talk[at + 2..]),
        None => (talk, &b"CONNECTED\nversion:1.2\n\n\0"[..]),
    };
    let cut = usize::from(cut).max(1);

    let whole = stomp_service(ALLOWED, client, broker, usize::MAX);
    let cuts = stomp_service(ALLOWED, client, broker, cut);
    assert_eq!(whole, cuts, "cuts do not matter");
    check_policy(&whole);

    let whole = stomp_broker(client, usize::MAX);
    assert_eq!(whole, stomp_broker(client, cut), "cuts do not matter");
    let mut decoder = Decoder::new(Limits {
        headers: 2 * Limits::default().headers,
        head_bytes: 2 * Limits::default().head_bytes,
        ..Limits::default()
    });
    let mut rest = &whole[..];
    while let Some(message) = decoder
        .decode(&mut rest)
        .expect("what a broker says is STOMP")
    {
        if let Message::Frame(frame) = message {
            assert!(!frame.command.is_of_client(), "{}", frame.command);
            if frame.command == Command::Connected {
                let version = frame.header("version").and_then(Version::parse);
                decoder.set_version(version.expect("ours say which"));
            }
        }
    }
    assert_eq!(decoder.buffered(), 0, "whole frames");
}

/// Nothing that is not allowed reaches a broker that reads the same version.
fn check_policy(ends: &StompEnds) {
    // The gateway adds headers to CONNECT.
    let limits = Limits {
        headers: 2 * Limits::default().headers,
        head_bytes: 2 * Limits::default().head_bytes,
        ..Limits::default()
    };
    let mut decoder = Decoder::new(limits);
    let mut rest = &ends.broker[..];
    while let Ok(Some(message)) = decoder.decode(&mut rest) {
        let Message::Frame(frame) = message else {
            continue;
        };
        assert!(frame.command.is_of_client(), "{}", frame.command);
        match frame.command {
            Command::Send => assert_eq!(frame.header("destination"), Some(ALLOWED)),
            Command::Subscribe => panic!("nothing may be subscribed"),
            _ => {}
        }
        if let Some(version) = ends.version.and_then(Version::parse) {
            decoder.set_version(version);
        }
    }
    assert!(
        ends.broker.is_empty() || rest.is_empty(),
        "what a broker reads is STOMP"
    );
}
