//! Frames: the unit on our wire, and their encoding (protocol sections 3 and 4).
//!
//! Decoding borrows from its input and allocates only for HELLO and WELCOME entries, which are
//! bounded by the frame's length. It knows nothing of sessions: a frame that decodes may still
//! break a rule.

mod attach;
mod body;
mod raw;

use thiserror::Error;

pub use self::attach::{Entry, Hello, Welcome};
pub(crate) use self::raw::{Ack, Raw};
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
        Raw::take(input)?.map(|raw| raw.decode()).transpose()
    }

    /// Everything but DATA and ACK of a stream.
    fn decode_rare(
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
        match self {
            Frame::Data {
                stream,
                offset,
                bytes,
            } => put_data(out, *stream, *offset, bytes),
            &Frame::Ack {
                stream,
                ack,
                limit,
                rn,
            } => put_ack(out, stream, Ack { ack, limit, rn }),
            Frame::Pad { len } => put(out, (kind::PAD, 0, 0), |out| {
                out.resize(out.len() + usize::from(*len), 0);
            }),
            Frame::Fin { stream, offset } => put(out, (kind::FIN, 0, *stream), |out| {
                out.extend_from_slice(&offset.to_be_bytes());
            }),
            Frame::Reset {
                stream,
                code,
                ack,
                text,
            } => put(out, (kind::RESET, 0, *stream), |out| {
                out.extend_from_slice(&code.to_wire().to_be_bytes());
                out.extend_from_slice(&ack.to_be_bytes());
                out.extend_from_slice(cut(text, MAX_TEXT_LEN).as_bytes());
            }),
            Frame::Ping { t } => put(out, (kind::PING, 0, 0), |out| {
                out.extend_from_slice(&t.to_be_bytes());
            }),
            Frame::Pong { t } => put(out, (kind::PONG, 0, 0), |out| {
                out.extend_from_slice(&t.to_be_bytes());
            }),
            Frame::Hello(hello) => {
                let flags = if hello.prompt { FLAG_PROMPT } else { 0 };
                put(out, (kind::HELLO, flags, 0), |out| hello.encode_body(out));
            }
            Frame::Welcome(welcome) => put(out, (kind::WELCOME, 0, 0), |out| {
                welcome.encode_body(out);
            }),
            Frame::GoAway { after_ms, code } => put(out, (kind::GOAWAY, 0, 0), |out| {
                out.extend_from_slice(&after_ms.to_be_bytes());
                out.extend_from_slice(&code.to_wire().to_be_bytes());
            }),
            Frame::Open {
                stream,
                service,
                target,
            } => put(out, (kind::OPEN, 0, *stream), |out| {
                out.push(*service);
                out.extend_from_slice(cut(target, MAX_TARGET_LEN).as_bytes());
            }),
            Frame::Opened { stream, reached } => put(out, (kind::OPENED, 0, *stream), |out| {
                out.extend_from_slice(cut(reached, MAX_TARGET_LEN).as_bytes());
            }),
            Frame::Detach { n, why } => put(out, (kind::DETACH, 0, 0), |out| {
                out.extend_from_slice(&n.to_be_bytes());
                out.push(*why as u8);
            }),
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

/// Appends DATA; `bytes` must be at most [`MAX_DATA_LEN`].
pub(crate) fn put_data(out: &mut Vec<u8>, stream: StreamId, offset: u64, bytes: &[u8]) {
    debug_assert!((1..=MAX_DATA_LEN).contains(&bytes.len()));
    let mut head = [0; HEADER_LEN + 8];
    head[..HEADER_LEN].copy_from_slice(&header(kind::DATA, 0, stream, 8 + bytes.len()));
    head[HEADER_LEN..].copy_from_slice(&offset.to_be_bytes());
    out.reserve(head.len() + bytes.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
}

/// Appends ACK.
pub(crate) fn put_ack(out: &mut Vec<u8>, stream: StreamId, Ack { ack, limit, rn }: Ack) {
    let len = if rn.is_some() { 24 } else { 16 };
    let mut frame = [0; HEADER_LEN + 16];
    frame[..HEADER_LEN].copy_from_slice(&header(kind::ACK, 0, stream, len));
    frame[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&ack.to_be_bytes());
    frame[HEADER_LEN + 8..].copy_from_slice(&limit.to_be_bytes());
    out.extend_from_slice(&frame);
    if let Some(rn) = rn {
        out.extend_from_slice(&rn.to_be_bytes());
    }
}

/// Appends any frame, whose body `body` appends.
fn put(
    out: &mut Vec<u8>,
    (kind, flags, stream): (u8, u8, StreamId),
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    body(out);
    let header = header(kind, flags, stream, out.len() - start - HEADER_LEN);
    out[start..start + HEADER_LEN].copy_from_slice(&header);
}

fn header(kind: u8, flags: u8, stream: StreamId, len: usize) -> [u8; HEADER_LEN] {
    let len = u16::try_from(len).expect("every body is bounded below 64 KiB");
    let ([l0, l1], [s0, s1, s2, s3]) = (len.to_be_bytes(), stream.to_be_bytes());
    [kind, flags, l0, l1, s0, s1, s2, s3]
}

/// Refuses a length that its type can never have before the body is waited for.
#[inline]
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
