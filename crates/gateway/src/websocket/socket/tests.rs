//! That the short way and the library together are what the library is by itself, whatever a
//! client sends and however it is cut; and what that is, in the cases that Autobahn's suite has.

use std::{
    future::poll_fn,
    io::{Cursor, Read, Write},
};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{messages::new_library, *};

const MAX: usize = 70_000;
const MASK: [u8; 4] = [7, 0, 255, 32];

/// A frame of a client.
#[derive(Debug, Clone)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
    is_masked: bool,
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        let mut head = [0; HEAD_ROOM];
        let at = frames::put_head(&mut head, 0, self.payload.len());
        head[at] = self.first;
        let mut payload = self.payload.clone();
        let mask: &[u8] = if self.is_masked {
            head[at + 1] |= 0x80;
            frames::unmask(&mut payload, MASK);
            &MASK
        } else {
            &[]
        };
        [&head[at..], mask, &payload].concat()
    }
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        first,
        payload: payload.as_ref().to_vec(),
        is_masked: true,
    }
}

/// What somebody made of the bytes of a client.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    messages: Vec<Message>,
    error: Option<String>,
    /// What it answered.
    answers: Vec<u8>,
}

/// The library by itself.
fn by_library(bytes: &[u8]) -> Made {
    struct Both<'a>(Cursor<&'a [u8]>, Vec<u8>);
    impl Read for Both<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Read::read(&mut self.0, buffer)
        }
    }
    impl Write for Both<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Write::write(&mut self.1, bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut both = Both(Cursor::new(bytes), Vec::new());
    let mut library = new_library(MAX);
    let mut messages = Vec::new();
    let error = loop {
        match library.read(&mut both) {
            Ok(message) => messages.push(message),
            Err(Error::ConnectionClosed) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    Made {
        messages,
        error,
        answers: both.1,
    }
}

/// How the messages are asked for.
#[derive(Debug, Clone, Copy)]
enum Way {
    OneByOne,
    Hear(Pieces),
}

/// Ours, for a client that sends its bytes in pieces of these lengths, in turn.
async fn by_us(bytes: &[u8], cuts: &[usize], way: Way) -> Made {
    let (near, far) = duplex(1 << 20);
    let mut websocket = WebSocket::new(Carrier::memory(near, MAX), &[], MAX);
    let mut far = Some(far);
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    let mut messages = Vec::new();
    let error = loop {
        let heard =
            poll_fn(|cx| Poll::Ready(poll_one(&mut websocket, way, cx, &mut messages))).await;
        match heard {
            Poll::Ready(Some(Ok(()))) => {}
            Poll::Ready(None | Some(Err(Error::ConnectionClosed))) => break None,
            Poll::Ready(Some(Err(error))) => break Some(error.to_string()),
            Poll::Pending => send_more(&mut far, &mut rest, cuts.next().copied()).await,
        }
    };
    _ = websocket.flush().await;
    assert!(websocket.kept.len() <= MAX + frames::MAX_HEAD);
    drop(websocket);
    let mut answers = Vec::new();
    if let Some(far) = &mut far {
        far.read_to_end(&mut answers).await.unwrap();
    }
    Made {
        messages,
        error,
        answers,
    }
}

fn poll_one(
    websocket: &mut WebSocket,
    way: Way,
    cx: &mut Context<'_>,
    messages: &mut Vec<Message>,
) -> Poll<Option<Result<(), Error>>> {
    match way {
        Way::OneByOne => websocket
            .poll_next_unpin(cx)
            .map_ok(|message| messages.push(message)),
        Way::Hear(pieces) => websocket
            .poll_hear(pieces, cx, |heard, _| {
                messages.push(match heard {
                    Heard::Bytes(bytes) => Message::Binary(Bytes::copy_from_slice(bytes)),
                    Heard::Text(text) => Message::text(text),
                    Heard::Closed => Message::Close(None),
                });
                // What is not taken now comes at the next call.
                pieces == Pieces::Joined || !messages.len().is_multiple_of(3)
            })
            .map(Some),
    }
}

/// The next piece, or the end.
async fn send_more(far: &mut Option<DuplexStream>, rest: &mut &[u8], cut: Option<usize>) {
    let Some(far) = far else { return };
    let (now, later) = rest.split_at(cut.unwrap_or(rest.len()).min(rest.len()));
    *rest = later;
    if now.is_empty() {
        far.shutdown().await.unwrap();
    } else {
        far.write_all(now).await.unwrap();
    }
}

/// What [`Way::Hear`] tells of messages.
fn as_heard(messages: &[Message]) -> Vec<Message> {
    messages
        .iter()
        .filter_map(|message| match message {
            Message::Close(_) => Some(Message::Close(None)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
            data => Some(data.clone()),
        })
        .collect()
}

fn bytes_of(messages: &[Message]) -> Vec<u8> {
    let data = messages.iter().filter(|message| !message.is_close());
    data.flat_map(|message| message.clone().into_data())
        .collect()
}

/// Sends frames every way there is and compares with the library.
fn compare(frames: &[Frame], cuts: &[usize]) -> Made {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let expected = by_library(&bytes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // Polled by hand, so that nobody would give it a new budget.
    runtime.block_on(tokio::task::unconstrained(async {
        let one_by_one = by_us(&bytes, cuts, Way::OneByOne).await;
        assert_eq!(one_by_one, expected);
        let heard = by_us(&bytes, cuts, Way::Hear(Pieces::Messages)).await;
        assert_eq!(heard.messages, as_heard(&expected.messages));
        let joined = by_us(&bytes, cuts, Way::Hear(Pieces::Joined)).await;
        assert_eq!(
            bytes_of(&joined.messages),
            bytes_of(&as_heard(&expected.messages))
        );
        for made in [heard, joined] {
            assert_eq!(
                (&made.error, &made.answers),
                (&expected.error, &expected.answers)
            );
        }
    }));
    expected
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let first = prop_oneof![
        8 => Just(0x82u8),
        4 => Just(0x81),
        2 => prop_oneof![Just(0x01u8), Just(0x02), Just(0x00), Just(0x80)],
        2 => prop_oneof![Just(0x89u8), Just(0x8a)],
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        4 => "[a-zä-ü€𝄞]{0,40}".prop_map(String::into_bytes),
        1 => (0..MAX + 2).prop_map(|len| vec![b'x'; len]),
    ];
    (first, payload, prop::bool::weighted(0.99)).prop_map(|(first, payload, is_masked)| Frame {
        first,
        payload,
        is_masked,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_comes_is_taken_as_the_library_takes_it(
        frames in prop::collection::vec(any_frame(), 1..12),
        cuts in prop::collection::vec(prop_oneof![1usize..40, 1usize..100_000], 1..6),
    ) {
        // Not byte by byte for what is large.
        let len: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut + len / 400).collect();
        compare(&frames, &cuts);
    }
}

/// The rules that Autobahn's cases 1 to 7, 9 and 10 ask after, by their numbers.
#[test]
fn the_cases_of_autobahn() {
    let sound = |frames: &[Frame], expected: &[&[u8]]| {
        for cuts in [&[1usize][..], &[7, 1000], &[1_000_000]] {
            // Byte by byte costs nothing for what is short.
            let len: usize = frames.iter().map(|frame| frame.payload.len()).sum();
            let cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).max(len / 500)).collect();
            let made = compare(frames, &cuts);
            let data: Vec<Vec<u8>> = as_heard(&made.messages)
                .into_iter()
                .map(|message| message.into_data().to_vec())
                .collect();
            assert_eq!(data, expected);
            // The client goes without a word.
            assert!(made.error.unwrap().contains("without closing handshake"));
        }
    };
    let broken = |frames: &[Frame], why: &str| {
        for cuts in [[1], [1_000]] {
            let error = compare(frames, &cuts).error.expect("an error");
            assert!(error.contains(why), "{error}");
        }
    };
    // 1: text and binary of every length that has a head of its own.
    for len in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; len];
        sound(&[frame(0x81, &payload)], &[&payload]);
        sound(&[frame(0x82, &payload)], &[&payload]);
    }
    // 2: PING and PONG.
    for len in [0, 5, 125] {
        let payload = vec![0xfe; len];
        let made = compare(&[frame(0x89, &payload)], &[1]);
        let length = u8::try_from(len).unwrap();
        assert_eq!(made.answers, [&[0x8a, length][..], &payload].concat());
    }
    sound(&[frame(0x8a, "unasked"), frame(0x82, "x")], &[b"x"]);
    sound(&vec![frame(0x89, "ten"); 10], &[]);
    broken(&[frame(0x89, [0; 126])], "too big");
    // 3: reserved bits.
    for bits in 1..8u8 {
        broken(
            &[frame(0x81, "a"), frame(0x81 | (bits << 4), "b")],
            "Reserved bits",
        );
        broken(&[frame(0x82 | (bits << 4), "")], "Reserved bits");
        broken(&[frame(0x89 | (bits << 4), "p")], "Reserved bits");
    }
    // 4: opcodes without a meaning.
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        broken(
            &[frame(0x81, "a"), frame(0x80 | opcode, "b"), frame(0x89, "")],
            "opcode",
        );
    }
    // 5: fragments.
    broken(&[frame(0x09, "a"), frame(0x80, "b")], "Fragmented control");
    sound(&[frame(0x01, "a"), frame(0x80, "b")], &[b"ab"]);
    sound(
        &[
            frame(0x02, "a"),
            frame(0x89, "p"),
            frame(0x80, "b"),
            frame(0x82, "c"),
        ],
        &[b"ab", b"c"],
    );
    broken(&[frame(0x80, "a"), frame(0x81, "b")], "nothing to continue");
    broken(&[frame(0x00, "a"), frame(0x81, "b")], "nothing to continue");
    broken(
        &[frame(0x01, "a"), frame(0x81, "b")],
        "waiting for more fragments",
    );
    broken(
        &[frame(0x02, "a"), frame(0x82, "b")],
        "waiting for more fragments",
    );
    sound(&[frame(0x01, ""), frame(0x00, ""), frame(0x80, "")], &[b""]);
    // 6: text is UTF-8, also over fragments.
    let kosme = "κόσμε".as_bytes();
    sound(&[frame(0x81, kosme)], &[kosme]);
    sound(
        &[frame(0x01, &kosme[..3]), frame(0x80, &kosme[3..])],
        &[kosme],
    );
    for wrong in [
        &[0xce][..],
        &[0xed, 0xa0, 0x80],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xc0, 0x80],
        &[0xff],
    ] {
        broken(&[frame(0x81, wrong)], "UTF-8");
        broken(&[frame(0x01, "ok"), frame(0x80, wrong)], "UTF-8");
        sound(&[frame(0x82, wrong)], &[wrong]);
    }
    // 7: the close handshake.
    let closed = |payload: &[u8], answer: &[u8]| {
        let frames = [frame(0x82, "x"), frame(0x88, payload), frame(0x82, "late")];
        let made = compare(&frames, &[1]);
        assert_eq!((made.messages.len(), made.error), (2, None));
        assert_eq!(made.answers, answer);
    };
    closed(&[], &[0x88, 0]);
    closed(&[3, 232], &[0x88, 2, 3, 232]);
    closed(b"\x03\xe8bye", b"\x88\x05\x03\xe8bye");
    for code in [0, 999, 1004, 1005, 1006, 1016, 2999u16] {
        let made = compare(&[frame(0x88, code.to_be_bytes())], &[1]);
        assert_eq!(made.answers[2..4], 1002u16.to_be_bytes());
    }
    broken(&[frame(0x88, [3])], "close");
    broken(&[frame(0x88, b"\x03\xe8\xff")], "UTF-8");
    broken(&[frame(0x88, [3; 126])], "too big");
    // 9 and 10: large, also in small fragments.
    let large = vec![b'9'; 65_536];
    for (piece, opcode) in [(64, 0x02), (4096, 0x01), (65_535, 0x02)] {
        let mut frames: Vec<Frame> = large.chunks(piece).map(|chunk| frame(0, chunk)).collect();
        frames[0].first = opcode;
        frames.last_mut().unwrap().first |= 0x80;
        sound(&frames, &[&large]);
    }
    broken(&[frame(0x82, vec![0; MAX + 1])], "Message too long");
}
