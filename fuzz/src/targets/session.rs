//! A gateway's session with a client that says anything at any time: it does not panic, holds no more than its bounds,
//! says only whole frames and tells each end once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use perigee_session::{Code, Config, Event, Frame, Hello, Link, Session, TOKEN_LEN, VERSION};

const WINDOW: u64 = 64;
const REPLAY: u64 = 256;
const STREAMS: usize = 4;

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(input: &[u8]) {
    let mut now = Instant::now();
    let config = Config {
        window: WINDOW,
        replay: REPLAY,
        max_streams: STREAMS,
        ..Config::default()
    };
    let mut session = Session::gateway(config, "p-fuzz".to_owned(), [7; TOKEN_LEN], now);
    let mut open = BTreeSet::new();
    let mut n = 0;
    let mut rest = input;
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let argument = *argument;
        match operation % 8 {
            0 => {
                n += u32::from(argument % 3);
                let hello = Hello {
                    version: VERSION,
                    caps: 0,
                    n,
                    next_stream: 1,
                    initial: 128,
                    token: [0; TOKEN_LEN],
                    prompt: false,
                    entries: Vec::new(),
                };
                let link = if argument & 1 == 0 {
                    Link::Open
                } else {
                    Link::Poll
                };
                session.handle_hello(&hello, link, now);
            }
            1 | 2 => {
                let (message, tail) = rest.split_at(usize::from(argument).min(rest.len()));
                rest = tail;
                session.handle_message(message, now);
            }
            3 => {
                let (body, tail) = rest.split_at(usize::from(argument).min(rest.len()));
                rest = tail;
                // A HELLO in front is what a transport decodes before the session sees the rest.
                let mut after = body;
                if let Ok(Some(Frame::Hello(hello))) = Frame::decode(&mut after) {
                    session.handle_hello(&hello, Link::Open, now);
                    session.handle_message(after, now);
                } else {
                    session.handle_request(body, now);
                }
            }
            4 => {
                now += Duration::from_millis(u64::from(argument) * 250);
                session.handle_timeout(now);
            }
            5 => {
                for &stream in &open {
                    let len: usize = session.peek(stream).map(<[u8]>::len).sum();
                    session.consume(stream, len.min(usize::from(argument)), now);
                    if session.fin_is_next(stream) {
                        session.consume_fin(stream, now);
                    }
                }
            }
            6 => {
                for &stream in &open {
                    let room = session.room(stream).min(usize::from(argument));
                    session.write(stream, &vec![argument; room]);
                    if argument == 0 {
                        session.finish(stream);
                    }
                }
            }
            _ => session.detach(n, now),
        }
        events(&mut session, &mut open, now);
        frames(&mut session, now);
        let most = STREAMS as u64 * (WINDOW + REPLAY);
        assert!(
            session.buffered() <= most,
            "{} bytes are held",
            session.buffered()
        );
        assert!(session.stream_count() <= STREAMS);
    }
}

/// Answers each stream, and sees each end once.
fn events(session: &mut Session, open: &mut BTreeSet<u32>, now: Instant) {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Open {
                stream,
                service,
                target,
            } => {
                assert!(open.insert(stream), "stream {stream} opened twice");
                if service == 0 {
                    session.accept(stream, &target);
                } else {
                    session.reset(stream, Code::Denied, "not allowed", now);
                }
            }
            Event::Closed { stream, .. } => {
                assert!(open.remove(&stream), "stream {stream} ended twice")
            }
            _ => {}
        }
    }
}

/// What is transmitted is whole frames.
fn frames(session: &mut Session, now: Instant) {
    let mut sent = Vec::new();
    while session.can_transmit() && session.poll_transmit(&mut sent, 1024, now) {
        let mut rest = &sent[..];
        while !rest.is_empty() {
            assert!(
                matches!(Frame::decode(&mut rest), Ok(Some(_))),
                "not a frame: {rest:?}"
            );
        }
        sent.clear();
    }
}
