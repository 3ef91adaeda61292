//! Data frames of RFC 6455 as nearly all of them are: a message in one frame.
//!
//! They are read and written where they lie. What else a client may send is told apart here and
//! left to the library: fragments, control frames, and what is no frame at all.

use tokio_tungstenite::tungstenite::{Error, error::CapacityError};

/// The longest head of a frame that a server sends.
pub(crate) const HEAD_ROOM: usize = 10;
/// The longest head of a frame that a client sends: that, and a mask.
pub(super) const MAX_HEAD: usize = HEAD_ROOM + 4;

pub(super) const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;
const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;

/// What stands at the front of the bytes of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// A message in one frame, whose payload is at `head..head + len`.
    Message {
        is_text: bool,
        head: usize,
        len: usize,
        mask: [u8; 4],
    },
    /// Another frame of so many bytes, of which `ends` is none but if it is of a message: whether the
    /// message ends with it.
    Other { len: usize, ends: Option<bool> },
    /// More bytes are needed to go on; so many in all.
    Cut { wanted: usize },
}

/// Says what stands at the front of `bytes`.
///
/// # Errors
///
/// A frame with a payload of more than `max` bytes, as soon as its head is there.
pub(super) fn front(bytes: &[u8], max: usize) -> Result<Front, Error> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(Front::Cut { wanted: 2 });
    };
    let mask_len = if second & MASKED == 0 { 0 } else { 4 };
    let (length_len, len) = match second & !MASKED {
        126 => match rest.first_chunk() {
            Some(len) => (2, u64::from(u16::from_be_bytes(*len))),
            None => {
                return Ok(Front::Cut {
                    wanted: 4 + mask_len,
                });
            }
        },
        127 => match rest.first_chunk() {
            Some(len) => (8, u64::from_be_bytes(*len)),
            None => {
                return Ok(Front::Cut {
                    wanted: 10 + mask_len,
                });
            }
        },
        len => (0, u64::from(len)),
    };
    let head = 2 + length_len + mask_len;
    if bytes.len() < head {
        return Ok(Front::Cut { wanted: head });
    }
    let opcode = first & OPCODE;
    let ends = match opcode {
        CONTINUATION | TEXT | BINARY => Some(first & FIN != 0),
        PING | PONG | CLOSE => None,
        // The library refuses it without its payload.
        _ => {
            return Ok(Front::Other {
                len: head,
                ends: None,
            });
        }
    };
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= max)
        .ok_or_else(|| {
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            CapacityError::MessageTooLong {
                size,
                max_size: max,
            }
        })?;
    if bytes.len() < head + len {
        return Ok(Front::Cut { wanted: head + len });
    }
    let is_text = *first == FIN | TEXT;
    Ok(match rest[length_len..].first_chunk() {
        Some(mask) if mask_len == 4 && (is_text || *first == FIN | BINARY) => Front::Message {
            is_text,
            head,
            len,
            mask: *mask,
        },
        _ => Front::Other {
            len: head + len,
            ends,
        },
    })
}

/// Takes the mask off a payload (RFC 6455 §5.3).
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Writes the head of a frame that is a whole message so that it ends where `room` ends, and says
/// where it begins.
pub(super) fn put_head(room: &mut [u8; HEAD_ROOM], opcode: u8, len: usize) -> usize {
    let first = FIN | opcode;
    if let Ok(short @ 0..=125) = u8::try_from(len) {
        room[8..].copy_from_slice(&[first, short]);
        8
    } else if let Ok(len) = u16::try_from(len) {
        room[6..8].copy_from_slice(&[first, 126]);
        room[8..].copy_from_slice(&len.to_be_bytes());
        6
    } else {
        room[..2].copy_from_slice(&[first, 127]);
        room[2..].copy_from_slice(&(len as u64).to_be_bytes());
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut room = [0; HEAD_ROOM];
        let at = put_head(&mut room, 0, payload.len());
        room[at] = first;
        let mut bytes = room[at..].to_vec();
        let mut payload = payload.to_vec();
        if let Some(mask) = mask {
            bytes[1] |= MASKED;
            bytes.extend_from_slice(&mask);
            unmask(&mut payload, mask);
        }
        bytes.extend_from_slice(&payload);
        bytes
    }

    #[test]
    fn a_message_is_found_whatever_its_length_and_wherever_it_is_cut() {
        let mask = [1, 2, 3, 250];
        for (len, is_text) in [0usize, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536]
            .into_iter()
            .flat_map(|len| [(len, false), (len, true)])
        {
            let opcode = if is_text { TEXT } else { BINARY };
            let payload: Vec<u8> = (0..len).map(|i| (i % 251).to_le_bytes()[0]).collect();
            let mut bytes = frame(FIN | opcode, &payload, Some(mask));
            for cut in (0..bytes.len()).step_by(1 + len / 50) {
                match front(&bytes[..cut], 65_536) {
                    Ok(Front::Cut { wanted }) => {
                        assert!(
                            wanted > cut && wanted <= bytes.len(),
                            "{len} {cut} {wanted}"
                        );
                    }
                    other => panic!("{len} cut at {cut}: {other:?}"),
                }
            }
            let head = bytes.len() - payload.len();
            let whole = front(&bytes, 65_536).unwrap();
            let expected = Front::Message {
                is_text,
                head,
                len,
                mask,
            };
            assert_eq!(whole, expected);
            unmask(&mut bytes[head..], mask);
            assert_eq!(&bytes[head..], &payload[..], "{len}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_library_one_whole_frame_at_a_time() {
        let mask = Some([9, 8, 7, 6]);
        let cases = [
            (frame(TEXT, b"te", mask), 8, Some(false)),
            (frame(BINARY, b"by", mask), 8, Some(false)),
            (frame(CONTINUATION, b"t", mask), 7, Some(false)),
            (frame(FIN, b"t", mask), 7, Some(true)),
            (frame(FIN | PING, b"p", mask), 7, None),
            (frame(FIN | PONG, b"", mask), 6, None),
            (frame(FIN | CLOSE, &[3, 232], mask), 8, None),
            // Not masked, reserved bits, a control frame in pieces: wrong, and as the library says it.
            (frame(FIN | BINARY, b"not masked", None), 12, Some(true)),
            (frame(FIN | 0x40 | BINARY, b"x", mask), 7, Some(true)),
            (frame(PING, b"", mask), 6, None),
            // Refused by its head.
            (frame(FIN | 0x3, &[0; 300], mask), 8, None),
            (frame(FIN | 0xb, &[0; 300], mask), 8, None),
        ];
        for (bytes, len, ends) in cases {
            let other = Front::Other { len, ends };
            assert_eq!(front(&bytes, 1000).unwrap(), other, "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_head() {
        for len in [1001, 65_536, u64::MAX] {
            let mut bytes = vec![FIN | BINARY, MASKED | 127];
            bytes.extend_from_slice(&len.to_be_bytes());
            assert_eq!(front(&bytes, 1000).unwrap(), Front::Cut { wanted: 14 });
            bytes.extend_from_slice(&[0; 4]);
            assert!(matches!(
                front(&bytes, 1000),
                Err(Error::Capacity(CapacityError::MessageTooLong {
                    max_size: 1000,
                    ..
                }))
            ));
        }
    }
}
