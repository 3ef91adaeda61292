//! An attachment whose reply is cut goes on over another one, exactly where it was cut.

use std::time::{Duration, Instant};

use super::epoch;
use crate::{Attach, Code, Config, Event, Frame, Hello, Link, Position, Session, StreamId, Uplink};

const N: u32 = 1;
/// Small, so that there are many places to cut at.
const BATCH: usize = 90;

/// Both ends after a HELLO, with frames of every kind due from the gateway: two streams with bytes
/// and one with FIN, one refused, one over, and an ack.
fn world() -> (Session, Session, Instant) {
    let now = epoch();
    let mut client = Session::client(Config::default());
    let mut gateway = Session::gateway(Config::default(), "n1-sid".to_owned(), [7; 32], now);
    for _ in 0..4 {
        client.open(0, "irc");
    }
    assert_eq!(client.attach(Link::Open, Uplink::Separate, now), N);
    let mut up = Vec::new();
    client.poll_transmit(&mut up, 60_000, now);
    let mut rest = &up[..];
    let Ok(Some(Frame::Hello(hello))) = Frame::decode(&mut rest) else {
        panic!("no HELLO");
    };
    assert!(matches!(
        gateway.handle_hello(&hello, Link::Open, now),
        Attach::Newest { .. }
    ));
    // The reply of the request that carried HELLO is no downlink.
    gateway.detach(N, now);
    gateway.handle_message(rest, now);
    for id in 1..=3 {
        gateway.accept(id, "irc");
    }
    gateway.reset(4, Code::Denied, "not allowed", now);
    gateway.reset(3, Code::Refused, "", now);
    gateway.write(1, &pattern(1, 0, 400));
    gateway.write(2, &pattern(2, 0, 300));
    gateway.finish(2);
    gateway.go_away(Duration::from_secs(1), Code::Rotate);
    (client, gateway, now)
}

fn pattern(id: StreamId, from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| (at * 7 + id as usize) as u8).collect()
}

/// All that the gateway has to say, in batches, each with the position after it.
fn batches(gateway: &mut Session, now: Instant) -> Vec<(Vec<u8>, Position)> {
    let mut all = Vec::new();
    while gateway.can_transmit() {
        let mut bytes = Vec::new();
        assert!(gateway.poll_transmit(&mut bytes, BATCH, now));
        all.push((bytes, gateway.position()));
    }
    all
}

/// The bytes of DATA in a batch, by stream.
fn data(bytes: &[u8]) -> Vec<(StreamId, u64, usize)> {
    let mut rest = bytes;
    std::iter::from_fn(|| Frame::decode(&mut rest).unwrap())
        .filter_map(|frame| match frame {
            Frame::Data {
                stream,
                offset,
                bytes,
            } => Some((stream, offset, bytes.len())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_cut_between_any_two_batches_loses_and_repeats_nothing() {
    let whole = {
        let (_, mut gateway, now) = world();
        let start = gateway.position();
        gateway
            .continue_attachment(N, Link::Open, &start, now)
            .unwrap();
        batches(&mut gateway, now).len()
    };
    assert!(whole > 8, "only {whole} batches");
    for cut in 0..=whole {
        let (mut client, mut gateway, now) = world();
        let start = gateway.position();
        gateway
            .continue_attachment(N, Link::Open, &start, now)
            .unwrap();
        let before = batches(&mut gateway, now);
        let mut position = start;
        let mut seen = Vec::new();
        for (bytes, after) in before.into_iter().take(cut) {
            seen.extend(data(&bytes));
            client.handle_message(&bytes, now);
            // It comes back as text.
            position = after.to_string().parse().unwrap();
        }
        gateway.detach(N, now);
        gateway
            .continue_attachment(N, Link::Open, &position, now)
            .unwrap();
        for (bytes, _) in batches(&mut gateway, now) {
            seen.extend(data(&bytes));
            client.handle_message(&bytes, now);
        }

        assert_eq!(
            client.identity(),
            Some(("n1-sid", &[7; 32])),
            "cut at {cut}"
        );
        for (id, len) in [(1, 400), (2, 300)] {
            let got: Vec<u8> = client.peek(id).flatten().copied().collect();
            assert_eq!(got, pattern(id, 0, len), "cut at {cut}");
            // Exactly: what was seen before the cut is not seen again.
            let bytes: usize = seen
                .iter()
                .filter(|(of, ..)| *of == id)
                .map(|(.., len)| len)
                .sum();
            assert_eq!(bytes, len, "cut at {cut}, stream {id}");
        }
        client.consume(2, 300, now);
        assert!(client.fin_is_next(2), "cut at {cut}");
        let events: Vec<Event> = std::iter::from_fn(|| client.poll_event()).collect();
        for (what, found) in [
            (
                "OPENED",
                events
                    .iter()
                    .any(|event| matches!(event, Event::Opened { stream: 1, .. })),
            ),
            (
                "OPENED",
                events
                    .iter()
                    .any(|event| matches!(event, Event::Opened { stream: 2, .. })),
            ),
            (
                "RESET",
                events.iter().any(|event| {
                    matches!(
                        event,
                        Event::Closed {
                            stream: 3,
                            code: Code::Refused,
                            ..
                        }
                    )
                }),
            ),
            (
                "RESET",
                events.iter().any(|event| {
                    matches!(
                        event,
                        Event::Closed {
                            stream: 4,
                            code: Code::Denied,
                            ..
                        }
                    )
                }),
            ),
            (
                "GOAWAY",
                events
                    .iter()
                    .any(|event| matches!(event, Event::GoAway { .. })),
            ),
        ] {
            assert!(found, "cut at {cut}: no {what} in {events:?}");
        }
    }
}

#[test]
fn acks_that_were_cut_off_are_told_again_also_for_a_stream_that_ended_well() {
    let (mut client, mut gateway, now) = world();
    let start = gateway.position();
    gateway
        .continue_attachment(N, Link::Open, &start, now)
        .unwrap();
    for (bytes, _) in batches(&mut gateway, now) {
        client.handle_message(&bytes, now);
    }
    let position = gateway.position();
    client.write(2, b"bye");
    client.finish(2);
    client.consume(2, 300, now);
    client.consume_fin(2, now);
    let mut up = Vec::new();
    client.poll_transmit(&mut up, 60_000, now);
    gateway.handle_message(&up, now);
    gateway.consume(2, 3, now);
    gateway.consume_fin(2, now);
    let lost = batches(&mut gateway, now);
    assert!(
        !lost.is_empty() && gateway.stats(2).is_none(),
        "both ends were acked"
    );

    gateway.detach(N, now);
    gateway
        .continue_attachment(N, Link::Open, &position, now)
        .unwrap();
    for (bytes, _) in batches(&mut gateway, now) {
        client.handle_message(&bytes, now);
    }
    let ended = std::iter::from_fn(|| client.poll_event())
        .find(|event| matches!(event, Event::Closed { stream: 2, .. }));
    assert!(
        matches!(&ended, Some(Event::Closed { code: Code::Closed, stats, .. }) if stats.acked == 3),
        "{ended:?}"
    );
}

#[test]
fn a_position_may_be_old_but_not_beyond_what_was_sent() {
    let (_, mut gateway, now) = world();
    let start = gateway.position();
    gateway
        .continue_attachment(N, Link::Open, &start, now)
        .unwrap();
    let all = batches(&mut gateway, now);
    let (_, last) = all.last().unwrap();
    let text = last.to_string();
    let ack = |gateway: &mut Session, ack| {
        let mut bytes = Vec::new();
        Frame::Ack {
            stream: 1,
            ack,
            limit: 1000,
            rn: None,
        }
        .encode(&mut bytes);
        gateway.handle_message(&bytes, now);
    };
    // Acked meanwhile: an older position asks for bytes that are gone because the client has them.
    ack(&mut gateway, 350);
    gateway.detach(N, now);
    gateway
        .continue_attachment(N, Link::Open, &all[2].1, now)
        .unwrap();
    let again: Vec<_> = batches(&mut gateway, now)
        .iter()
        .flat_map(|(bytes, _)| data(bytes))
        .collect();
    assert_eq!(
        again
            .iter()
            .filter(|(id, ..)| *id == 1)
            .map(|(_, at, _)| *at)
            .min(),
        Some(350)
    );

    for (position, name) in [
        (
            text.replace("_2.301", "_2.302"),
            "an offset that was not sent",
        ),
        (format!("{}", 1_000_000), "a batch that was not sent"),
    ] {
        assert_ne!(position, text);
        let refused = gateway.continue_attachment(N, Link::Open, &position.parse().unwrap(), now);
        assert_eq!(refused, Err(Code::Protocol), "{name}");
    }
    // Left out, a stream goes on from what was acked.
    gateway
        .continue_attachment(N, Link::Open, &Position::default(), now)
        .unwrap();
    let again: Vec<_> = batches(&mut gateway, now)
        .iter()
        .flat_map(|(bytes, _)| data(bytes))
        .collect();
    assert_eq!(again.iter().map(|(_, at, _)| *at).min(), Some(0));
    assert_eq!(
        again
            .iter()
            .filter(|(id, ..)| *id == 1)
            .map(|(_, at, _)| *at)
            .min(),
        Some(350)
    );
}

#[test]
fn only_the_newest_attachment_of_a_live_session_goes_on() {
    let (_, mut gateway, now) = world();
    let position = gateway.position();
    let hello = Hello {
        version: 1,
        caps: 0,
        n: 5,
        next_stream: 5,
        initial: 1000,
        token: [7; 32],
        prompt: false,
        entries: Vec::new(),
    };
    gateway.handle_hello(&hello, Link::Open, now);
    for n in [1, 4, 6] {
        assert_eq!(
            gateway.continue_attachment(n, Link::Open, &position, now),
            Err(Code::Rotate)
        );
    }
    assert_eq!(
        gateway.continue_attachment(5, Link::Open, &position, now),
        Ok(())
    );
    gateway.end(Code::GoingAway, "", now);
    assert_eq!(
        gateway.continue_attachment(5, Link::Open, &position, now),
        Err(Code::Rotate)
    );
}

#[test]
fn a_session_is_told_who_it_is_until_it_shows_that_it_knows() {
    let (_, mut gateway, now) = world();
    let identity = |gateway: &mut Session, from: &Position| {
        gateway
            .continue_attachment(N, Link::Open, from, now)
            .unwrap();
        let all = batches(gateway, now);
        let mut rest = all.first().map_or(&[][..], |(bytes, _)| bytes);
        let identity = match Frame::decode(&mut rest).unwrap() {
            Some(Frame::Welcome(welcome)) => Some(welcome.identity),
            _ => None,
        };
        gateway.detach(N, now);
        identity
    };
    let start = gateway.position();
    let known = Some(Some(("n1-sid".to_owned(), [7; 32])));
    assert_eq!(identity(&mut gateway, &start), known);
    assert_eq!(
        identity(&mut gateway, &start),
        known,
        "the first one was cut"
    );
    let later = gateway.position();
    assert_eq!(
        identity(&mut gateway, &later),
        None,
        "who is that far has it"
    );
    assert_eq!(identity(&mut gateway, &start), Some(None), "told no more");
}
