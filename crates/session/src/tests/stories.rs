//! Single rules of the protocol, each told with a fake clock and a link that does as it is told.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::epoch;
use crate::{
    Attach, Code, Config, DetachReason, Entry, Event, Frame, Hello, Link, Session, StreamId,
    Uplink, VERSION,
};

/// A client and a gateway, and messages carried by hand.
struct Pair {
    now: Instant,
    client: Session,
    gateway: Session,
}

impl Pair {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let now = epoch();
        Self {
            now,
            client: Session::client(config.clone()),
            gateway: Session::gateway(config, "n1-sid".to_owned(), [7; 32], now),
        }
    }

    /// Attached, with one stream open.
    fn open() -> (Self, StreamId) {
        Self::open_with(Config::default())
    }

    fn open_with(config: Config) -> (Self, StreamId) {
        let mut pair = Self::with(config);
        let id = pair.client.open(0, "irc");
        pair.attach(Link::Open, Uplink::Fresh);
        pair.drive();
        assert!(
            matches!(pair.gateway.poll_event(), Some(Event::Open { stream, .. }) if stream == id)
        );
        pair.gateway.accept(id, "irc");
        pair.drive();
        assert!(matches!(
            pair.client.poll_event(),
            Some(Event::Opened { .. })
        ));
        (pair, id)
    }

    fn attach(&mut self, link: Link, uplink: Uplink) -> u32 {
        self.client.attach(link, uplink, self.now)
    }

    fn client_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.client.poll_transmit(&mut bytes, 60_000, self.now);
        bytes
    }

    fn gateway_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.gateway.poll_transmit(&mut bytes, 60_000, self.now);
        bytes
    }

    fn gateway_hears(&mut self, bytes: &[u8]) -> Option<Attach> {
        let mut rest = bytes;
        let Ok(Some(Frame::Hello(hello))) = Frame::decode(&mut rest) else {
            self.gateway.handle_message(bytes, self.now);
            return None;
        };
        let attach = self.gateway.handle_hello(&hello, Link::Open, self.now);
        self.gateway.handle_message(rest, self.now);
        Some(attach)
    }

    /// Carries messages both ways until nobody has anything to say.
    fn drive(&mut self) {
        loop {
            let (up, down) = (self.client_says(), self.gateway_says());
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.gateway_hears(&up);
            self.client.handle_message(&down, self.now);
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.client.handle_timeout(self.now);
        self.gateway.handle_timeout(self.now);
    }
}

fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(|| Frame::decode(&mut rest).unwrap()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn closed_with(session: &mut Session) -> Vec<Code> {
    events(session)
        .into_iter()
        .filter_map(|event| match event {
            Event::Closed { code, .. } | Event::Ended { code } => Some(code),
            _ => None,
        })
        .collect()
}

fn take(session: &mut Session, id: StreamId, now: Instant) -> Vec<u8> {
    let bytes: Vec<u8> = session.peek(id).flatten().copied().collect();
    session.consume(id, bytes.len(), now);
    if session.fin_is_next(id) {
        session.consume_fin(id, now);
    }
    bytes
}

#[test]
fn a_conversation_ends_cleanly_after_half_closes() {
    let (mut pair, id) = Pair::open();
    pair.client.write(id, b"QUIT\r\n");
    pair.client.finish(id);
    pair.drive();
    assert_eq!(take(&mut pair.gateway, id, pair.now), b"QUIT\r\n");
    pair.drive();
    assert_eq!(
        pair.client.stream_count(),
        1,
        "the other half is still open"
    );
    pair.gateway.write(id, b"ERROR :bye\r\n");
    pair.gateway.finish(id);
    pair.drive();
    assert_eq!(take(&mut pair.client, id, pair.now), b"ERROR :bye\r\n");
    pair.drive();
    assert_eq!(closed_with(&mut pair.client), [Code::Closed]);
    assert_eq!(closed_with(&mut pair.gateway), [Code::Closed]);
}

#[test]
fn no_data_leaves_a_client_before_its_first_welcome() {
    let mut pair = Pair::new();
    let id = pair.client.open(0, "irc");
    pair.attach(Link::Open, Uplink::Separate);
    assert_eq!(pair.client.write(id, b"NICK x\r\n"), 8);
    let first = pair.client_says();
    assert!(
        matches!(frames(&first)[..], [Frame::Hello(_), Frame::Open { .. }]),
        "{:?}",
        frames(&first)
    );
    pair.gateway_hears(&first);
    let welcome = pair.gateway_says();
    assert!(matches!(&frames(&welcome)[..], [Frame::Welcome(w)] if w.identity.is_some()));
    pair.client.handle_message(&welcome, pair.now);
    let second = pair.client_says();
    assert!(frames(&second).iter().any(|f| matches!(
        f,
        Frame::Data {
            bytes: b"NICK x\r\n",
            ..
        }
    )));
}

#[test]
fn a_session_nobody_confirmed_ends_soon_and_a_confirmed_one_is_kept() {
    let config = Config::default();
    let mut pair = Pair::new();
    pair.attach(Link::Open, Uplink::Fresh);
    let hello = pair.client_says();
    pair.gateway_hears(&hello);
    _ = pair.gateway_says();
    pair.gateway.detach(1, pair.now);
    pair.advance(config.confirm);
    assert_eq!(closed_with(&mut pair.gateway), [Code::Lost]);

    let (mut pair, _) = Pair::open();
    pair.gateway.detach(1, pair.now);
    pair.advance(config.resume - Duration::from_millis(1));
    assert_eq!(pair.gateway.ended(), None);
    pair.advance(Duration::from_millis(1));
    assert_eq!(closed_with(&mut pair.gateway), [Code::Lost, Code::Lost]);
    assert_eq!(
        (pair.gateway.buffered(), pair.gateway.poll_timeout()),
        (0, None)
    );
}

#[test]
fn the_newest_attachment_is_the_downlink_and_an_older_one_is_told_so() {
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Open, Uplink::Fresh);
    let second = pair.client_says();
    pair.attach(Link::Open, Uplink::Fresh);
    let third = pair.client_says();
    assert_eq!(
        pair.gateway_hears(&third),
        Some(Attach::Newest { former: Some(1) })
    );
    assert_eq!(pair.gateway_hears(&second), Some(Attach::Stale));
    assert_eq!(pair.gateway.attachment(), Some(3));
    pair.gateway.write(id, b"still here");
    pair.drive();
    assert_eq!(take(&mut pair.client, id, pair.now), b"still here");
}

#[test]
fn a_gateway_does_not_rewind_on_an_ack_and_a_client_does() {
    let (mut pair, id) = Pair::open();
    pair.gateway.write(id, b"abc");
    _ = pair.gateway_says();
    let forged = {
        let mut bytes = Vec::new();
        Frame::Ack {
            stream: id,
            ack: 0,
            limit: 0,
            rn: Some(0),
        }
        .encode(&mut bytes);
        bytes
    };
    pair.gateway.handle_message(&forged, pair.now);
    assert!(pair.gateway_says().is_empty());

    pair.client.write(id, b"abc");
    _ = pair.client_says();
    pair.client.handle_message(&forged, pair.now);
    assert!(
        frames(&pair.client_says())
            .iter()
            .any(|f| matches!(f, Frame::Data { offset: 0, .. }))
    );
    pair.client.handle_message(&forged, pair.now);
    assert!(
        pair.client_says().is_empty(),
        "not twice in a moment to the same place"
    );
}

#[test]
fn a_lost_post_is_repeated_and_its_reply_tells_where_the_gateway_is() {
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Poll, Uplink::Separate);
    pair.drive();
    pair.client.write(id, b"hello");
    let body = pair.client_says();
    let named = pair.gateway.handle_request(&body, pair.now);
    assert_eq!(take(&mut pair.gateway, id, pair.now), b"hello");
    let mut reply = Vec::new();
    pair.gateway.transmit_acks(&named, &mut reply, pair.now);
    assert!(matches!(
        frames(&reply)[..],
        [Frame::Ack {
            ack: 5,
            rn: Some(5),
            ..
        }]
    ));
    // The reply is lost.
    pair.client.rewind(pair.now);
    let again = pair.client_says();
    assert!(
        frames(&again)
            .iter()
            .any(|f| matches!(f, Frame::Data { offset: 0, .. }))
    );
    let named = pair.gateway.handle_request(&again, pair.now);
    assert!(
        take(&mut pair.gateway, id, pair.now).is_empty(),
        "nothing twice"
    );
    let mut reply = Vec::new();
    pair.gateway.transmit_acks(&named, &mut reply, pair.now);
    pair.client.handle_message(&reply, pair.now);
    assert_eq!(pair.client.buffered(), 0);
}

#[test]
fn what_the_peer_may_not_do_ends_the_stream_or_the_session() {
    struct Case {
        name: &'static str,
        frame: Frame<'static>,
        want: &'static [Code],
    }
    let cases = [
        Case {
            name: "more than granted",
            frame: Frame::Data {
                stream: 1,
                offset: 64 * 1024,
                bytes: b"x",
            },
            want: &[Code::Flow],
        },
        Case {
            name: "ack of what was not sent",
            frame: Frame::Ack {
                stream: 1,
                ack: 1,
                limit: 0,
                rn: None,
            },
            want: &[Code::Protocol],
        },
        Case {
            name: "a reset",
            frame: Frame::Reset {
                stream: 1,
                code: Code::Aborted,
                ack: 0,
                text: "",
            },
            want: &[Code::Aborted],
        },
        Case {
            name: "the end of the session",
            frame: Frame::Reset {
                stream: 0,
                code: Code::Closed,
                ack: 0,
                text: "",
            },
            want: &[Code::Closed, Code::Closed],
        },
        Case {
            name: "a frame only a gateway sends",
            frame: Frame::GoAway {
                after_ms: 0,
                code: Code::Rotate,
            },
            want: &[Code::Protocol, Code::Protocol],
        },
        Case {
            name: "an id far ahead",
            frame: Frame::Open {
                stream: 1_000_000,
                service: 0,
                target: "irc",
            },
            want: &[Code::Protocol, Code::Protocol],
        },
        Case {
            name: "data of no stream",
            frame: Frame::Data {
                stream: 9,
                offset: 0,
                bytes: b"x",
            },
            want: &[],
        },
    ];
    for Case { name, frame, want } in cases {
        let (mut pair, _) = Pair::open();
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        pair.gateway.handle_message(&bytes, pair.now);
        assert_eq!(closed_with(&mut pair.gateway), want, "{name}");
    }
}

#[test]
fn fin_does_not_move_and_nothing_follows_it() {
    for (name, second) in [
        (
            "moved",
            Frame::Fin {
                stream: 1,
                offset: 4,
            },
        ),
        (
            "beyond",
            Frame::Data {
                stream: 1,
                offset: 3,
                bytes: b"x",
            },
        ),
    ] {
        let (mut pair, id) = Pair::open();
        let mut bytes = Vec::new();
        Frame::Data {
            stream: id,
            offset: 0,
            bytes: b"abc",
        }
        .encode(&mut bytes);
        Frame::Fin {
            stream: id,
            offset: 3,
        }
        .encode(&mut bytes);
        second.encode(&mut bytes);
        pair.gateway.handle_message(&bytes, pair.now);
        assert_eq!(closed_with(&mut pair.gateway), [Code::Protocol], "{name}");
    }
}

#[test]
fn a_tombstone_answers_late_frames_until_it_expires() {
    let (mut pair, id) = Pair::open_with(Config {
        peer_dead: Duration::from_secs(600),
        ..Config::default()
    });
    pair.gateway.reset(
        id,
        Code::Reset,
        "the backend reset the connection",
        pair.now,
    );
    let told = pair.gateway_says();
    assert!(matches!(
        frames(&told)[..],
        [Frame::Reset {
            code: Code::Reset,
            ..
        }]
    ));
    let mut late = Vec::new();
    Frame::Data {
        stream: id,
        offset: 0,
        bytes: b"late",
    }
    .encode(&mut late);
    pair.gateway.handle_message(&late, pair.now);
    assert!(matches!(
        frames(&pair.gateway_says())[..],
        [Frame::Reset {
            code: Code::Reset,
            ..
        }]
    ));
    pair.advance(Duration::from_secs(60));
    _ = pair.gateway_says();
    pair.gateway.handle_message(&late, pair.now);
    assert!(pair.gateway_says().is_empty());
    let mut open = Vec::new();
    Frame::Open {
        stream: id,
        service: 0,
        target: "irc",
    }
    .encode(&mut open);
    pair.gateway.handle_message(&open, pair.now);
    assert!(
        matches!(
            frames(&pair.gateway_says())[..],
            [Frame::Reset {
                code: Code::Lost,
                ..
            }]
        ),
        "never again"
    );
}

#[test]
fn a_stream_the_client_leaves_out_is_over() {
    let (mut pair, id) = Pair::open();
    let hello = Hello {
        version: VERSION,
        caps: 0,
        n: 2,
        next_stream: id + 1,
        initial: 1,
        token: [7; 32],
        prompt: false,
        entries: vec![],
    };
    pair.gateway.handle_hello(&hello, Link::Open, pair.now);
    assert_eq!(closed_with(&mut pair.gateway), [Code::Lost]);
}

#[test]
fn an_endpoint_that_lost_its_state_is_told_so() {
    let (mut pair, id) = Pair::open();
    let entry = Entry {
        stream: id,
        rn: 0,
        limit: 0,
        base: 1,
    };
    let hello = Hello {
        version: VERSION,
        caps: 0,
        n: 2,
        next_stream: id + 1,
        initial: 1,
        token: [7; 32],
        prompt: false,
        entries: vec![entry],
    };
    pair.gateway.handle_hello(&hello, Link::Open, pair.now);
    assert_eq!(closed_with(&mut pair.gateway), [Code::Lost]);
}

#[test]
fn a_stalled_stream_does_not_hold_up_its_neighbour() {
    let (mut pair, stalled) = Pair::open();
    let lively = pair.client.open(0, "irc");
    pair.drive();
    events(&mut pair.gateway);
    pair.gateway.accept(lively, "irc");
    let block = vec![1; 300 * 1024];
    assert_eq!(
        pair.gateway.write(stalled, &block),
        256 * 1024,
        "replay is bounded"
    );
    pair.drive();
    for _ in 0..50 {
        pair.gateway.write(lively, &[2; 5_000]);
        pair.drive();
        assert_eq!(take(&mut pair.client, lively, pair.now).len(), 5_000);
    }
    let waiting: usize = pair.client.peek(stalled).map(<[u8]>::len).sum();
    assert_eq!(waiting, 64 * 1024, "the window is what was granted");
    assert!(!events(&mut pair.gateway).contains(&Event::Writable(stalled)));
    take(&mut pair.client, stalled, pair.now);
    pair.drive();
    assert!(events(&mut pair.gateway).contains(&Event::Writable(stalled)));
}

#[test]
fn what_was_in_flight_is_sent_again_though_the_next_attachment_is_lost_too() {
    let (mut pair, id) = Pair::open();
    pair.client.write(id, b"x");
    let lost = pair.client_says();
    assert!(matches!(
        &frames(&lost)[..],
        [Frame::Data { bytes: b"x", .. }]
    ));
    // The first attachment with requests brings nothing, not even its WELCOME.
    for _ in 0..2 {
        pair.attach(Link::Open, Uplink::Separate);
        pair.client_says();
    }
    // The one after it has a new uplink all the same, and asks for an answer at once.
    let n = pair.attach(Link::Poll, Uplink::Separate);
    let mut hello = Vec::new();
    pair.client.transmit_hello(&mut hello, false, pair.now);
    assert!(
        matches!(&frames(&hello)[..], [Frame::Hello(hello), ..] if hello.n == n && hello.prompt)
    );
    pair.gateway_hears(&hello);
    assert!(!pair.client.can_transmit(), "DATA waits for the WELCOME");
    let welcome = pair.gateway_says();
    pair.client.handle_message(&welcome, pair.now);
    let said = pair.client_says();
    assert!(
        matches!(&frames(&said)[..], [Frame::Data { bytes: b"x", .. }]),
        "{:?}",
        frames(&said)
    );
}

#[test]
fn a_stream_that_a_welcome_leaves_out_ends_as_it_ended_though_that_went_another_way() {
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Poll, Uplink::Separate);
    pair.drive();
    pair.attach(Link::Poll, Uplink::Separate);
    let mut hello = Vec::new();
    pair.client.transmit_hello(&mut hello, true, pair.now);
    pair.gateway_hears(&hello);
    // The reply of an earlier request takes the RESET along, and is slower than the poll's.
    pair.gateway.reset(id, Code::Reset, "gone", pair.now);
    let mut late = Vec::new();
    let named = BTreeSet::from([id]);
    pair.gateway.transmit_acks(&named, &mut late, pair.now);
    assert!(matches!(
        &frames(&late)[..],
        [Frame::Reset {
            code: Code::Reset,
            ..
        }]
    ));
    let welcome = pair.gateway_says();
    pair.client.handle_message(&welcome, pair.now);
    pair.client.handle_reply(&late, pair.now);
    let ends: Vec<Code> = events(&mut pair.client)
        .into_iter()
        .filter_map(|event| match event {
            Event::Closed { code, .. } => Some(code),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [Code::Reset]);
}

#[test]
fn a_held_poll_is_released_by_what_matters_only() {
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Poll, Uplink::Separate);
    pair.drive();
    pair.attach(Link::Poll, Uplink::Separate);
    let mut body = Vec::new();
    pair.client.transmit_hello(&mut body, false, pair.now);
    let mut rest = body.as_slice();
    let Ok(Some(Frame::Hello(hello))) = Frame::decode(&mut rest) else {
        panic!("no hello")
    };
    pair.gateway.handle_hello(&hello, Link::Poll, pair.now);
    assert!(
        !pair.gateway.can_transmit(),
        "a WELCOME alone is nothing to say"
    );
    pair.client.write(id, b"x");
    let up = pair.client_says();
    let named = pair.gateway.handle_request(&up, pair.now);
    take(&mut pair.gateway, id, pair.now);
    pair.gateway
        .transmit_acks(&named, &mut Vec::new(), pair.now);
    assert!(!pair.gateway.can_transmit(), "the reply told it already");
    pair.gateway.write(id, b"y");
    assert!(pair.gateway.can_transmit());
    let down = pair.gateway_says();
    assert!(
        matches!(
            &frames(&down)[..],
            [Frame::Welcome(_), .., Frame::Data { bytes: b"y", .. }]
        ),
        "{:?}",
        frames(&down)
    );
}

#[test]
fn replies_of_requests_are_no_sign_of_life_of_the_downlink() {
    let config = Config::default();
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Open, Uplink::Separate);
    pair.client.write(id, b"x");
    let said = pair.client_says();
    pair.gateway_hears(&said);
    pair.advance(config.peer_dead / 2);
    let mut reply = Vec::new();
    pair.gateway
        .transmit_acks(&[id].into(), &mut reply, pair.now);
    pair.client.handle_reply(&reply, pair.now);
    pair.advance(config.peer_dead / 2);
    assert!(events(&mut pair.client).contains(&Event::PeerDead { n: 2 }));
}

#[test]
fn silence_is_broken_by_a_ping_and_ended_by_a_deadline() {
    let config = Config::default();
    let (mut pair, _) = Pair::open();
    pair.advance(config.heartbeat);
    let ping = pair.gateway_says();
    assert!(matches!(frames(&ping)[..], [Frame::Ping { .. }]));
    pair.client.handle_message(&ping, pair.now);
    let answer = pair.client_says();
    assert!(
        frames(&answer)
            .iter()
            .any(|f| matches!(f, Frame::Pong { .. }))
    );
    pair.gateway_hears(&answer);
    pair.advance(config.peer_dead);
    assert!(events(&mut pair.gateway).contains(&Event::PeerDead { n: 1 }));
    assert_eq!(pair.gateway.attachment(), None);
    assert_eq!(pair.gateway.ended(), None);
}

#[test]
fn leaving_and_going_away_are_told() {
    let (mut pair, id) = Pair::open();
    pair.gateway
        .go_away(Duration::from_secs(8), Code::GoingAway);
    pair.drive();
    assert!(events(&mut pair.client).contains(&Event::GoAway {
        after: Duration::from_secs(8),
        code: Code::GoingAway
    }));
    pair.gateway
        .end(Code::GoingAway, "the gateway is stopping", pair.now);
    let last = pair.gateway_says();
    assert!(matches!(
        frames(&last)[..],
        [Frame::Reset { .. }, Frame::Reset { stream: 0, .. }]
    ));
    pair.client.handle_message(&last, pair.now);
    assert_eq!(
        closed_with(&mut pair.client),
        [Code::GoingAway, Code::GoingAway]
    );

    let (mut pair, _) = Pair::open();
    let mut leaving = Vec::new();
    Session::transmit_detach(1, DetachReason::Leaving, &mut leaving);
    pair.gateway.handle_message(&leaving, pair.now);
    assert_eq!(pair.gateway.attachment(), None);
    assert_eq!(
        pair.gateway.stream_count(),
        1,
        "the session lives; stream {id} too"
    );
}

#[test]
fn the_limit_of_streams_is_told() {
    let mut pair = Pair::with(Config {
        max_streams: 2,
        ..Config::default()
    });
    for _ in 0..3 {
        pair.client.open(0, "irc");
    }
    pair.attach(Link::Open, Uplink::Fresh);
    pair.drive();
    assert_eq!(closed_with(&mut pair.client), [Code::Limit]);
    assert_eq!(pair.gateway.stream_count(), 2);
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Refused {
                code: Code::Limit,
                ..
            }
        )
    };
    assert_eq!(
        events(&mut pair.gateway)
            .iter()
            .filter(|event| refused(event))
            .count(),
        1
    );
}

#[test]
fn a_reset_beside_the_welcome_of_a_poll_keeps_its_code() {
    let (mut pair, id) = Pair::open();
    pair.attach(Link::Poll, Uplink::Separate);
    pair.gateway.reset(id, Code::Reset, "", pair.now);
    pair.drive();
    assert_eq!(closed_with(&mut pair.client), [Code::Reset]);
}

#[test]
fn an_open_may_overtake_the_hello_of_the_next_poll() {
    let (mut pair, _) = Pair::open();
    pair.attach(Link::Poll, Uplink::Separate);
    let mut hello = Vec::new();
    pair.client.transmit_hello(&mut hello, false, pair.now);
    let late = pair.client.open(0, "irc");
    let open = pair.client_says();
    pair.gateway_hears(&open);
    pair.gateway.accept(late, "irc");
    pair.gateway.write(late, b"hello");
    // Said on the downlink that the poll replaces, and lost with it.
    assert!(!pair.gateway_says().is_empty());

    pair.gateway_hears(&hello);
    pair.drive();
    assert_eq!(take(&mut pair.client, late, pair.now), b"hello");
    let opened = |event: &Event| matches!(event, Event::Opened { stream, .. } if *stream == late);
    assert!(events(&mut pair.client).iter().any(opened));
}
