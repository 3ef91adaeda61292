//! `integration-tests/vectors/frames.json`, which the JS client decodes too.

use proptest::prelude::*;
use serde_json::Value;

use crate::{CodecError, DetachReason, Entry, Frame, Hello, Welcome};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_all(mut input: &[u8]) -> Result<Vec<Frame<'_>>, CodecError> {
    let mut frames = Vec::new();
    while let Some(frame) = Frame::decode(&mut input)? {
        frames.push(frame);
    }
    if input.is_empty() {
        Ok(frames)
    } else {
        Err(CodecError::Cut)
    }
}

fn entries(entries: &[Entry]) -> Value {
    entries
        .iter()
        .map(|e| serde_json::json!({"stream": e.stream, "rn": e.rn, "limit": e.limit, "base": e.base}))
        .collect()
}

fn as_json(frame: &Frame<'_>) -> Value {
    use serde_json::json;
    match frame {
        Frame::Pad { len } => json!({"type": "PAD", "len": len}),
        Frame::Data {
            stream,
            offset,
            bytes,
        } => {
            json!({"type": "DATA", "stream": stream, "offset": offset, "data": to_hex(bytes)})
        }
        Frame::Ack {
            stream,
            ack,
            limit,
            rn: None,
        } => {
            json!({"type": "ACK", "stream": stream, "ack": ack, "limit": limit})
        }
        Frame::Ack {
            stream,
            ack,
            limit,
            rn: Some(rn),
        } => {
            json!({"type": "ACK", "stream": stream, "ack": ack, "limit": limit, "rn": rn})
        }
        Frame::Fin { stream, offset } => json!({"type": "FIN", "stream": stream, "offset": offset}),
        Frame::Reset {
            stream,
            code,
            ack,
            text,
        } => {
            json!({"type": "RESET", "stream": stream, "code": code.to_wire(), "ack": ack, "text": text})
        }
        Frame::Ping { t } => json!({"type": "PING", "t": t}),
        Frame::Pong { t } => json!({"type": "PONG", "t": t}),
        Frame::Hello(h) => json!({"type": "HELLO", "version": h.version, "caps": h.caps, "n": h.n,
            "next_stream": h.next_stream, "initial": h.initial, "token": to_hex(&h.token),
            "prompt": h.prompt, "entries": entries(&h.entries)}),
        Frame::Welcome(w) => {
            let mut value = json!({"type": "WELCOME", "version": w.version, "caps": w.caps, "n": w.n,
                "heartbeat_ms": w.heartbeat_ms, "resume_ms": w.resume_ms, "initial": w.initial,
                "entries": entries(&w.entries)});
            if let Some((sid, token)) = &w.identity {
                value["sid"] = json!(sid);
                value["token"] = json!(to_hex(token));
            }
            value
        }
        Frame::GoAway { after_ms, code } => {
            json!({"type": "GOAWAY", "after_ms": after_ms, "code": code.to_wire()})
        }
        Frame::Open {
            stream,
            service,
            target,
        } => {
            json!({"type": "OPEN", "stream": stream, "service": service, "target": target})
        }
        Frame::Opened { stream, reached } => {
            json!({"type": "OPENED", "stream": stream, "reached": reached})
        }
        Frame::Detach { n, why } => json!({"type": "DETACH", "n": n, "why": *why as u8}),
    }
}

#[test]
fn every_vector_decodes_as_it_says() {
    let cases: Vec<Value> = serde_json::from_str(include_str!(
        "../../../../integration-tests/vectors/frames.json"
    ))
    .unwrap();
    assert!(cases.len() >= 40, "only {} vectors", cases.len());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let input = hex(case["hex"].as_str().unwrap());
        match decode_all(&input) {
            Ok(frames) => {
                let ours: Vec<Value> = frames.iter().map(as_json).collect();
                let mut want = case["frames"].clone();
                for frame in want.as_array_mut().into_iter().flatten() {
                    // This decoder keeps no number it does not know (Code::from_wire).
                    if let Some(code) = frame["code"].as_u64() {
                        frame["code"] = crate::Code::from_wire(code as u16).to_wire().into();
                    }
                }
                assert_eq!(Some(&ours), want.as_array(), "{name}");
            }
            Err(error) => assert_eq!(case["error"], error.code().name(), "{name}: {error}"),
        }
    }
}

fn offset() -> impl Strategy<Value = u64> {
    0..=crate::MAX_OFFSET - 16_384
}

fn entry() -> impl Strategy<Value = Entry> {
    (1..u32::MAX, offset(), offset(), offset()).prop_map(|(stream, rn, limit, base)| Entry {
        stream,
        rn,
        limit,
        base,
    })
}

/// Any frame, its text and payload taken from the two arguments.
fn frame(text: &'static str, payload: &'static [u8]) -> impl Strategy<Value = Frame<'static>> {
    let entries = || prop::collection::vec(entry(), 0..5);
    let code = || (0..19u16).prop_map(crate::Code::from_wire);
    prop_oneof![
        (0..3000u16).prop_map(|len| Frame::Pad { len }),
        (1..u32::MAX, offset()).prop_map(move |(stream, offset)| Frame::Data {
            stream,
            offset,
            bytes: payload
        }),
        (1..u32::MAX, offset(), offset(), prop::option::of(offset())).prop_map(
            |(stream, ack, limit, rn)| Frame::Ack {
                stream,
                ack,
                limit,
                rn
            }
        ),
        (1..u32::MAX, offset()).prop_map(|(stream, offset)| Frame::Fin { stream, offset }),
        (any::<u32>(), code(), offset()).prop_map(move |(stream, code, ack)| Frame::Reset {
            stream,
            code,
            ack,
            text
        }),
        any::<u32>().prop_map(|t| Frame::Ping { t }),
        any::<u32>().prop_map(|t| Frame::Pong { t }),
        (
            1..u32::MAX,
            1..u32::MAX,
            offset(),
            any::<[u8; 32]>(),
            any::<bool>(),
            entries()
        )
            .prop_map(
                |(n, next_stream, initial, token, prompt, entries)| Frame::Hello(Hello {
                    version: 1,
                    caps: 0,
                    n,
                    next_stream,
                    initial,
                    token,
                    prompt,
                    entries
                })
            ),
        (
            1..u32::MAX,
            any::<u32>(),
            offset(),
            prop::option::of(any::<[u8; 32]>()),
            entries()
        )
            .prop_map(|(n, heartbeat_ms, initial, token, entries)| Frame::Welcome(
                Welcome {
                    version: 1,
                    caps: 0,
                    n,
                    heartbeat_ms,
                    resume_ms: heartbeat_ms,
                    initial,
                    identity: token.map(|token| ("n1-abc".to_owned(), token)),
                    entries
                }
            )),
        (any::<u32>(), code()).prop_map(|(after_ms, code)| Frame::GoAway { after_ms, code }),
        (1..u32::MAX, any::<u8>()).prop_map(move |(stream, service)| Frame::Open {
            stream,
            service,
            target: text
        }),
        (1..u32::MAX).prop_map(move |stream| Frame::Opened {
            stream,
            reached: text
        }),
        any::<u32>().prop_map(|n| Frame::Detach {
            n,
            why: DetachReason::Rotate
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself_at_every_cut(frame in frame("irc.example:6667", b"\x00payload\xff")) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        for cut in 0..bytes.len() {
            let mut input = &bytes[..cut];
            prop_assert_eq!(Frame::decode(&mut input), Ok(None), "cut at {}", cut);
            prop_assert_eq!(input.len(), cut, "a cut frame is left in place");
        }
        prop_assert_eq!(decode_all(&bytes), Ok(vec![frame]));
    }

    #[test]
    fn any_bytes_end_in_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..0x18u8) {
        let mut shaped = bytes.clone();
        if let Some(first) = shaped.first_mut() {
            *first = kind;
        }
        for input in [&bytes, &shaped] {
            if let Ok(frames) = decode_all(input) {
                prop_assert!(frames.len() <= input.len() / crate::HEADER_LEN);
            }
        }
    }
}
