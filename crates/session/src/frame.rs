//! Frames: the unit on our wire, and their encoding (protocol sections 3 and 4).
//!
//! Decoding borrows from its input and allocates only for HELLO and WELCOME entries, which are
//! bounded by the frame's length. It knows nothing of sessions: a frame that decodes may still
//! break a rule.

mod attach;
mod body;

use thiserror::Error;

pub use self::attach::{Entry, Hello, Welcome};
use self::{
    attach::{decode_hello, decode_welcome},
    body::Body,
};
use crate::Code;

/// Names a stream within its session; chosen by the client, rising from 1. 0 means the session.
pub type StreamId = u32;

/// The version this crate speaks.
pub const VERSION: u8 = 1;
/// Length of a frame header in bytes.
pub const HEADER_LEN: usize = 8;
/// Most bytes of payload in one DATA frame.
pub const MAX_DATA_LEN: usize = 16 * 1024;
/// Offsets stay below this, so that JavaScript numbers hold them exactly.
pub const MAX_OFFSET: u64 = (1 << 53) - 1;
/// Longest target of an OPEN in bytes.
pub const MAX_TARGET_LEN: usize = 255;
/// Longest text of a RESET in bytes.
pub const MAX_TEXT_LEN: usize = 96;
/// Longest session id in bytes.
pub const MAX_SID_LEN: usize = 64;
/// Length of a session's token in bytes.
pub const TOKEN_LEN: usize = 32;

/// One frame, borrowing its text and payload from the input.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the table in docs/protocol.md section 3, word for word"
)]
pub enum Frame<'a> {
    /// Bytes without meaning.
    Pad { len: u16 },
    /// Bytes of the sender's log.
    Data {
        stream: StreamId,
        offset: u64,
        bytes: &'a [u8],
    },
    /// Delivered up to `ack`; offsets below `limit` may be sent; `rn` is wanted next.
    Ack {
        stream: StreamId,
        ack: u64,
        limit: u64,
        rn: Option<u64>,
    },
    /// Final length of the sender's log.
    Fin { stream: StreamId, offset: u64 },
    /// Both directions end.
    Reset {
        stream: StreamId,
        code: Code,
        ack: u64,
        text: &'a str,
    },
    /// Please echo.
    Ping { t: u32 },
    /// The echo.
    Pong { t: u32 },
    /// First frame of an attachment.
    Hello(Hello),
    /// The answer to HELLO.
    Welcome(Welcome),
    /// Attach again, or finish, after a while.
    GoAway { after_ms: u32, code: Code },
    /// Start a stream.
    Open {
        stream: StreamId,
        service: u8,
        target: &'a str,
    },
    /// The stream reached its backend.
    Opened { stream: StreamId, reached: &'a str },
    /// This attachment ends; the session lives.
    Detach { n: u32, why: DetachReason },
}

/// Why an attachment ends while its session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DetachReason {
    /// A newer attachment took over.
    Superseded = 0,
    /// The transport has carried enough: attach again now.
    Rotate = 1,
    /// A poll's hold ended with nothing to say.
    Hold = 2,
    /// The client goes; it may come back.
    Leaving = 3,
}

/// Input that is no frame of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A body of a length its type does not allow.
    #[error("frame of type {kind:#04x} has a body of {len} bytes")]
    Length {
        /// The frame's type.
        kind: u8,
        /// Length of its body.
        len: usize,
    },
    /// A stream id where none is due, or none where one is.
    #[error("frame of type {kind:#04x} names stream {stream}")]
    Stream {
        /// The frame's type.
        kind: u8,
        /// The id.
        stream: StreamId,
    },
    /// A type this version does not know and may not skip.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
    /// An offset of 2^53 or more.
    #[error("offset {0} is out of range")]
    Offset(u64),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// HELLO or WELCOME of a version not spoken here, whose layout is not known.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// A field with a value the table does not allow.
    #[error("field `{0}` has a value that is not allowed")]
    Field(&'static str),
    /// Bytes that are no whole frame where a whole number of frames is due.
    #[error("the last frame is cut")]
    Cut,
}

impl CodecError {
    /// What to tell the peer.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Version(_) => Code::Version,
            _ => Code::Protocol,
        }
    }
}

mod kind {
    pub(super) const PAD: u8 = 0x00;
    pub(super) const DATA: u8 = 0x01;
    pub(super) const ACK: u8 = 0x02;
    pub(super) const FIN: u8 = 0x03;
    pub(super) const RESET: u8 = 0x04;
    pub(super) const PING: u8 = 0x05;
    pub(super) const PONG: u8 = 0x06;
    pub(super) const HELLO: u8 = 0x10;
    pub(super) const WELCOME: u8 = 0x11;
    pub(super) const GOAWAY: u8 = 0x12;
    pub(super) const OPEN: u8 = 0x13;
    pub(super) const OPENED: u8 = 0x14;
    pub(super) const DETACH: u8 = 0x15;
}

const FLAG_SKIPPABLE: u8 = 0x80;
const FLAG_PROMPT: u8 = 0x01;

impl<'a> Frame<'a> {
    /// Takes one frame off the front of `input`; `None` if it does not hold a whole one yet.
    ///
    /// Frames of unknown type that may be skipped are skipped.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes can never become a frame. `input` is then in no defined state.
    pub fn decode(input: &mut &'a [u8]) -> Result<Option<Self>, CodecError> {
        loop {
            let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
                return Ok(None);
            };
            let [kind, flags, l0, l1, s0, s1, s2, s3] = *header;
            let len = u16::from_be_bytes([l0, l1]);
            check_length(kind, usize::from(len))?;
            let Some((body, rest)) = rest.split_at_checked(usize::from(len)) else {
                return Ok(None);
            };
            *input = rest;
            let stream = StreamId::from_be_bytes([s0, s1, s2, s3]);
            // What nearly every frame is.
            match kind {
                kind::DATA if stream != 0 => return decode_data(stream, Body(body)).map(Some),
                kind::ACK if stream != 0 => return decode_ack(stream, Body(body)).map(Some),
                kind::PAD..=kind::PONG | kind::HELLO..=kind::DETACH => {
                    return Self::decode_body(kind, flags, stream, body).map(Some);
                }
                _ if flags & FLAG_SKIPPABLE == 0 => return Err(CodecError::Type(kind)),
                _ => {}
            }
        }
    }

    fn decode_body(
        kind: u8,
        flags: u8,
        stream: StreamId,
        body: &'a [u8],
    ) -> Result<Self, CodecError> {
        let of_stream = matches!(kind, kind::DATA..=kind::FIN | kind::OPEN | kind::OPENED);
        let of_session = !of_stream && kind != kind::RESET;
        if (of_stream && stream == 0) || (of_session && stream != 0) {
            return Err(CodecError::Stream { kind, stream });
        }
        let mut body = Body(body);
        let frame = match kind {
            kind::PAD => Frame::Pad {
                len: u16::try_from(body.0.len()).unwrap_or(u16::MAX),
            },
            kind::DATA => decode_data(stream, body)?,
            kind::ACK => decode_ack(stream, body)?,
            kind::FIN => Frame::Fin {
                stream,
                offset: body.offset()?,
            },
            kind::RESET => {
                let code = Code::from_wire(body.u16()?);
                Frame::Reset {
                    stream,
                    code,
                    ack: body.offset()?,
                    text: body.text()?,
                }
            }
            kind::PING => Frame::Ping { t: body.u32()? },
            kind::PONG => Frame::Pong { t: body.u32()? },
            kind::HELLO => Frame::Hello(decode_hello(flags & FLAG_PROMPT != 0, body)?),
            kind::WELCOME => Frame::Welcome(decode_welcome(body)?),
            kind::GOAWAY => Frame::GoAway {
                after_ms: body.u32()?,
                code: Code::from_wire(body.u16()?),
            },
            kind::OPEN => Frame::Open {
                stream,
                service: body.u8()?,
                target: body.text()?,
            },
            kind::OPENED => Frame::Opened {
                stream,
                reached: body.text()?,
            },
            kind::DETACH => Frame::Detach {
                n: body.u32()?,
                why: DetachReason::from_wire(body.u8()?)?,
            },
            _ => return Err(CodecError::Type(kind)),
        };
        Ok(frame)
    }

    /// Appends the frame to `out`.
    ///
    /// Text is cut to the length the protocol allows; payload must be at most [`MAX_DATA_LEN`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, flags, stream) = self.head();
        let [s0, s1, s2, s3] = stream.to_be_bytes();
        // The length follows when it is known.
        out.extend_from_slice(&[kind, flags, 0, 0, s0, s1, s2, s3]);
        match self {
            Frame::Pad { len } => out.resize(out.len() + usize::from(*len), 0),
            Frame::Data { offset, bytes, .. } => {
                debug_assert!((1..=MAX_DATA_LEN).contains(&bytes.len()));
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Frame::Ack { ack, limit, rn, .. } => {
                out.extend_from_slice(&ack.to_be_bytes());
                out.extend_from_slice(&limit.to_be_bytes());
                if let Some(rn) = rn {
                    out.extend_from_slice(&rn.to_be_bytes());
                }
            }
            Frame::Fin { offset, .. } => out.extend_from_slice(&offset.to_be_bytes()),
            Frame::Reset {
                code, ack, text, ..
            } => {
                out.extend_from_slice(&code.to_wire().to_be_bytes());
                out.extend_from_slice(&ack.to_be_bytes());
                out.extend_from_slice(cut(text, MAX_TEXT_LEN).as_bytes());
            }
            Frame::Ping { t } | Frame::Pong { t } => out.extend_from_slice(&t.to_be_bytes()),
            Frame::Hello(hello) => hello.encode_body(out),
            Frame::Welcome(welcome) => welcome.encode_body(out),
            Frame::GoAway { after_ms, code } => {
                out.extend_from_slice(&after_ms.to_be_bytes());
                out.extend_from_slice(&code.to_wire().to_be_bytes());
            }
            Frame::Open {
                service, target, ..
            } => {
                out.push(*service);
                out.extend_from_slice(cut(target, MAX_TARGET_LEN).as_bytes());
            }
            Frame::Opened { reached, .. } => {
                out.extend_from_slice(cut(reached, MAX_TARGET_LEN).as_bytes());
            }
            Frame::Detach { n, why } => {
                out.extend_from_slice(&n.to_be_bytes());
                out.push(*why as u8);
            }
        }
        let len = u16::try_from(out.len() - start - HEADER_LEN)
            .expect("every body is bounded below 64 KiB");
        out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    fn head(&self) -> (u8, u8, StreamId) {
        match self {
            Frame::Pad { .. } => (kind::PAD, 0, 0),
            Frame::Data { stream, .. } => (kind::DATA, 0, *stream),
            Frame::Ack { stream, .. } => (kind::ACK, 0, *stream),
            Frame::Fin { stream, .. } => (kind::FIN, 0, *stream),
            Frame::Reset { stream, .. } => (kind::RESET, 0, *stream),
            Frame::Ping { .. } => (kind::PING, 0, 0),
            Frame::Pong { .. } => (kind::PONG, 0, 0),
            Frame::Hello(hello) => (kind::HELLO, if hello.prompt { FLAG_PROMPT } else { 0 }, 0),
            Frame::Welcome(_) => (kind::WELCOME, 0, 0),
            Frame::GoAway { .. } => (kind::GOAWAY, 0, 0),
            Frame::Open { stream, .. } => (kind::OPEN, 0, *stream),
            Frame::Opened { stream, .. } => (kind::OPENED, 0, *stream),
            Frame::Detach { .. } => (kind::DETACH, 0, 0),
        }
    }
}

/// Payload and tokens stay out of logs; HELLO and WELCOME mask themselves.
impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frame::Pad { len } => write!(f, "PAD({len})"),
            Frame::Data {
                stream,
                offset,
                bytes,
            } => write!(f, "DATA({stream} {offset}+{})", bytes.len()),
            Frame::Ack {
                stream,
                ack,
                limit,
                rn,
            } => write!(f, "ACK({stream} {ack} <{limit} rn {rn:?})"),
            Frame::Fin { stream, offset } => write!(f, "FIN({stream} {offset})"),
            Frame::Reset {
                stream,
                code,
                ack,
                text,
            } => write!(f, "RESET({stream} {code} {ack} {text:?})"),
            Frame::Ping { t } => write!(f, "PING({t})"),
            Frame::Pong { t } => write!(f, "PONG({t})"),
            Frame::Hello(hello) => hello.fmt(f),
            Frame::Welcome(welcome) => welcome.fmt(f),
            Frame::GoAway { after_ms, code } => write!(f, "GOAWAY({after_ms} {code})"),
            Frame::Open {
                stream,
                service,
                target,
            } => write!(f, "OPEN({stream} {service} {target:?})"),
            Frame::Opened { stream, reached } => write!(f, "OPENED({stream} {reached:?})"),
            Frame::Detach { n, why } => write!(f, "DETACH({n} {why:?})"),
        }
    }
}

impl DetachReason {
    fn from_wire(number: u8) -> Result<Self, CodecError> {
        match number {
            0 => Ok(Self::Superseded),
            1 => Ok(Self::Rotate),
            2 => Ok(Self::Hold),
            3 => Ok(Self::Leaving),
            _ => Err(CodecError::Field("why")),
        }
    }
}

fn decode_data(stream: StreamId, mut body: Body<'_>) -> Result<Frame<'_>, CodecError> {
    let offset = body.offset()?;
    if offset + body.0.len() as u64 > MAX_OFFSET {
        return Err(CodecError::Offset(offset));
    }
    Ok(Frame::Data {
        stream,
        offset,
        bytes: body.0,
    })
}

fn decode_ack(stream: StreamId, mut body: Body<'_>) -> Result<Frame<'_>, CodecError> {
    let (ack, limit) = (body.offset()?, body.offset()?);
    let rn = if body.0.is_empty() {
        None
    } else {
        Some(body.offset()?)
    };
    Ok(Frame::Ack {
        stream,
        ack,
        limit,
        rn,
    })
}

/// Refuses a length that its type can never have before the body is waited for.
fn check_length(kind: u8, len: usize) -> Result<(), CodecError> {
    let allowed = match kind {
        kind::DATA => (9..=8 + MAX_DATA_LEN).contains(&len),
        kind::ACK => len == 16 || len == 24,
        kind::FIN => len == 8,
        kind::RESET => (10..=10 + MAX_TEXT_LEN).contains(&len),
        kind::PING | kind::PONG => len == 4,
        kind::HELLO | kind::WELCOME => len >= 1,
        kind::GOAWAY => len == 6,
        kind::OPEN => (2..=1 + MAX_TARGET_LEN).contains(&len),
        kind::OPENED => len <= MAX_TARGET_LEN,
        kind::DETACH => len == 5,
        _ => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(CodecError::Length { kind, len })
    }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
