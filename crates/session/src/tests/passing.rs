//! Bytes that leave a session where they lie in the message that brought them.

use std::{io::IoSlice, time::Instant};

use super::epoch;
use crate::{Config, Event, Frame, Hello, Link, Session, StreamId, TOKEN_LEN, VERSION};

const STREAM: StreamId = 1;
/// A quarter of it is 25: what makes an ACK urgent.
const WINDOW: u64 = 100;

/// A gateway with one stream, and what its backend was offered and took.
struct Gateway {
    now: Instant,
    session: Session,
    /// Bytes that the backend takes from now on.
    room: usize,
    offers: Vec<Vec<Vec<u8>>>,
}

impl Gateway {
    fn new() -> Self {
        let now = epoch();
        let config = Config {
            window: WINDOW,
            ..Config::default()
        };
        let mut session = Session::gateway(config, "n1-sid".to_owned(), [7; 32], now);
        let hello = Hello {
            version: VERSION,
            caps: 0,
            n: 1,
            next_stream: STREAM,
            initial: WINDOW,
            token: [0; TOKEN_LEN],
            prompt: false,
            entries: Vec::new(),
        };
        session.handle_hello(&hello, Link::Open, now);
        let mut gateway = Self {
            now,
            session,
            room: 0,
            offers: Vec::new(),
        };
        gateway.hears(&[Frame::Open {
            stream: STREAM,
            service: 0,
            target: "irc",
        }]);
        gateway.session.accept(STREAM, "irc");
        gateway.said();
        gateway.events();
        gateway
    }

    fn hears(&mut self, frames: &[Frame<'_>]) {
        let mut message = Vec::new();
        for frame in frames {
            frame.encode(&mut message);
        }
        let (room, offers) = (&mut self.room, &mut self.offers);
        let deliver = |id: StreamId, runs: &[IoSlice<'_>]| {
            assert_eq!(id, STREAM);
            offers.push(runs.iter().map(|run| run.to_vec()).collect());
            let taken = runs.iter().map(|run| run.len()).sum::<usize>().min(*room);
            *room -= taken;
            taken
        };
        self.session
            .handle_message_with(&message, self.now, deliver);
    }

    fn said(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes, 60_000, self.now);
        bytes
    }

    /// (ack, limit) of the ACK that is said now, if one is due.
    fn acks(&mut self) -> Option<(u64, u64)> {
        if !self.session.can_transmit() {
            return None;
        }
        let said = self.said();
        let mut rest = said.as_slice();
        let Ok(Some(Frame::Ack { ack, limit, .. })) = Frame::decode(&mut rest) else {
            panic!("{said:?} is no ACK");
        };
        assert!(rest.is_empty());
        Some((ack, limit))
    }

    fn held(&self) -> Vec<u8> {
        self.session.peek(STREAM).flatten().copied().collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }
}

fn data(offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Data {
        stream: STREAM,
        offset,
        bytes,
    }
}

fn fin(offset: u64) -> Frame<'static> {
    Frame::Fin {
        stream: STREAM,
        offset,
    }
}

#[test]
fn what_is_taken_whole_is_not_held_and_no_event_tells_of_it() {
    let mut gateway = Gateway::new();
    gateway.room = 1000;
    gateway.hears(&[data(0, b"hello")]);
    assert_eq!(gateway.offers, [[b"hello".to_vec()]]);
    assert_eq!((gateway.held(), gateway.session.buffered()), (vec![], 0));
    assert_eq!(gateway.events(), []);
    assert_eq!(
        gateway.session.stats(STREAM).map(|stats| stats.delivered),
        Some(5)
    );
    assert_eq!(gateway.acks(), None, "it waits for company");
    gateway.now += Config::default().ack_delay;
    gateway.session.handle_timeout(gateway.now);
    assert_eq!(gateway.acks(), Some((5, 5 + WINDOW)));
    gateway.hears(&[data(5, &[b'x'; 25])]);
    assert_eq!(gateway.acks(), Some((30, 30 + WINDOW)), "urgent");
}

#[test]
fn what_is_taken_in_part_is_acked_so_far_and_the_rest_is_held() {
    let mut gateway = Gateway::new();
    gateway.room = 30;
    gateway.hears(&[data(0, &[b'a'; 20]), data(20, &[b'b'; 20])]);
    assert_eq!(gateway.offers, [[vec![b'a'; 20], vec![b'b'; 20]]]);
    assert_eq!(gateway.held(), [b'b'; 10]);
    assert_eq!(gateway.session.buffered(), 10);
    assert_eq!(gateway.events(), [Event::Readable(STREAM)]);
    assert_eq!(gateway.acks(), Some((30, 30 + WINDOW)));
    // Nothing passes what is held.
    gateway.room = 1000;
    gateway.hears(&[data(40, b"c"), fin(41)]);
    assert_eq!(gateway.offers.len(), 1);
    assert_eq!(gateway.held(), b"bbbbbbbbbbc");
    gateway.session.consume(STREAM, 11, gateway.now);
    assert!(gateway.session.fin_is_next(STREAM));
}

#[test]
fn what_is_not_taken_is_held_and_not_acked() {
    let mut gateway = Gateway::new();
    gateway.hears(&[data(0, &[b'a'; 90])]);
    assert_eq!(gateway.held(), [b'a'; 90]);
    assert_eq!(gateway.acks(), None);
    assert_eq!(gateway.events(), [Event::Readable(STREAM)]);
}

#[test]
fn only_new_bytes_in_their_place_are_offered() {
    let mut gateway = Gateway::new();
    gateway.room = 1000;
    gateway.hears(&[data(3, b"def")]);
    assert_eq!(gateway.offers.len(), 0, "something is missing before it");
    gateway.hears(&[data(0, b"abc"), data(0, b"abc"), data(4, b"ef")]);
    assert_eq!(gateway.offers, [[b"abc".to_vec()]]);
    // Known in part: the session sorts that out.
    gateway.hears(&[data(1, b"bcd")]);
    assert_eq!((gateway.offers.len(), gateway.held()), (1, b"d".to_vec()));
}

#[test]
fn a_fin_follows_what_was_taken() {
    let mut gateway = Gateway::new();
    gateway.room = 1000;
    gateway.hears(&[data(0, b"bye"), fin(3)]);
    assert!(gateway.session.fin_is_next(STREAM));
    assert_eq!(gateway.events(), [Event::Readable(STREAM)]);
    gateway.session.consume_fin(STREAM, gateway.now);
    assert_eq!(gateway.acks(), Some((4, 3 + WINDOW)));
    gateway.hears(&[data(0, b"bye"), data(3, b"!")]);
    assert_eq!(gateway.offers.len(), 1);
    assert!(matches!(
        gateway.events()[..],
        [Event::Closed {
            code: crate::Code::Protocol,
            ..
        }]
    ));
}

#[test]
fn what_was_not_granted_is_not_offered() {
    let mut gateway = Gateway::new();
    gateway.room = 1000;
    gateway.hears(&[data(0, &[b'a'; 90]), data(90, &[b'b'; 11])]);
    assert_eq!(gateway.offers, [[vec![b'a'; 90]]]);
    assert!(matches!(
        gateway.events()[..],
        [Event::Closed {
            code: crate::Code::Flow,
            ..
        }]
    ));
}
