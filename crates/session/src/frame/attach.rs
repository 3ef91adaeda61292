//! HELLO and WELCOME: how an attachment begins (protocol section 4).

use std::fmt;

use super::{CodecError, MAX_SID_LEN, StreamId, TOKEN_LEN, body::Body, kind};

/// Length of an [`Entry`] in bytes.
const ENTRY_LEN: usize = 28;

/// What an endpoint says of one stream when a transport attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The stream.
    pub stream: StreamId,
    /// Next offset wanted of the peer's log.
    pub rn: u64,
    /// The limit granted to the peer.
    pub limit: u64,
    /// Lowest offset still held of the own log.
    pub base: u64,
}

/// The client's side of an attach.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocol version.
    pub version: u8,
    /// Capabilities; none are defined.
    pub caps: u8,
    /// The attachment's number.
    pub n: u32,
    /// The id the client will give to the next stream it opens.
    pub next_stream: StreamId,
    /// Credit of a new stream.
    pub initial: u64,
    /// The session's token; all zeros for a new session.
    pub token: [u8; TOKEN_LEN],
    /// Answer a poll at once.
    pub prompt: bool,
    /// The streams the client has not seen the end of.
    pub entries: Vec<Entry>,
}

/// The gateway's side of an attach.
#[derive(Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Protocol version.
    pub version: u8,
    /// Capabilities; none are defined.
    pub caps: u8,
    /// The number from the HELLO.
    pub n: u32,
    /// Longest silence before the gateway sends PING, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long a detached session is kept, in milliseconds.
    pub resume_ms: u32,
    /// Credit of a new stream.
    pub initial: u64,
    /// Id and token, told once.
    pub identity: Option<(String, [u8; TOKEN_LEN])>,
    /// The streams the gateway has not seen the end of.
    pub entries: Vec<Entry>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HELLO({} next {} {:?})",
            self.n, self.next_stream, self.entries
        )
    }
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WELCOME({} {:?})", self.n, self.entries)
    }
}

impl Hello {
    pub(super) fn encode_body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.version, self.caps]);
        out.extend_from_slice(&entry_count(&self.entries).to_be_bytes());
        out.extend_from_slice(&self.n.to_be_bytes());
        out.extend_from_slice(&self.next_stream.to_be_bytes());
        out.extend_from_slice(&self.initial.to_be_bytes());
        out.extend_from_slice(&self.token);
        encode_entries(&self.entries, out);
    }
}

impl Welcome {
    pub(super) fn encode_body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.version, self.caps]);
        out.extend_from_slice(&entry_count(&self.entries).to_be_bytes());
        out.extend_from_slice(&self.n.to_be_bytes());
        out.extend_from_slice(&self.heartbeat_ms.to_be_bytes());
        out.extend_from_slice(&self.resume_ms.to_be_bytes());
        out.extend_from_slice(&self.initial.to_be_bytes());
        match &self.identity {
            Some((sid, token)) => {
                out.push(u8::try_from(sid.len()).expect("a sid is at most 64 bytes"));
                out.extend_from_slice(sid.as_bytes());
                out.extend_from_slice(token);
            }
            None => out.push(0),
        }
        encode_entries(&self.entries, out);
    }
}

pub(super) fn decode_hello(prompt: bool, mut body: Body<'_>) -> Result<Hello, CodecError> {
    let (version, caps, count) = (body.version()?, body.u8()?, body.u16()?);
    let hello = Hello {
        version,
        caps,
        n: body.u32()?,
        next_stream: body.u32()?,
        initial: body.offset()?,
        token: body.array()?,
        prompt,
        entries: decode_entries(kind::HELLO, count, body)?,
    };
    if hello.n == 0 {
        return Err(CodecError::Field("n"));
    }
    Ok(hello)
}

pub(super) fn decode_welcome(mut body: Body<'_>) -> Result<Welcome, CodecError> {
    let (version, caps, count) = (body.version()?, body.u8()?, body.u16()?);
    let (n, heartbeat_ms, resume_ms) = (body.u32()?, body.u32()?, body.u32()?);
    let initial = body.offset()?;
    let identity = match usize::from(body.u8()?) {
        0 => None,
        len if len <= MAX_SID_LEN => {
            let sid = Body(body.bytes(len)?).text()?;
            Some((sid.to_owned(), body.array()?))
        }
        _ => return Err(CodecError::Field("sid_len")),
    };
    if n == 0 {
        return Err(CodecError::Field("n"));
    }
    let entries = decode_entries(kind::WELCOME, count, body)?;
    Ok(Welcome {
        version,
        caps,
        n,
        heartbeat_ms,
        resume_ms,
        initial,
        identity,
        entries,
    })
}

fn decode_entries(kind: u8, count: u16, mut body: Body<'_>) -> Result<Vec<Entry>, CodecError> {
    if body.0.len() != usize::from(count) * ENTRY_LEN {
        return Err(CodecError::Length {
            kind,
            len: body.0.len(),
        });
    }
    (0..count)
        .map(|_| {
            let stream = body.u32()?;
            if stream == 0 {
                return Err(CodecError::Stream { kind, stream });
            }
            Ok(Entry {
                stream,
                rn: body.offset()?,
                limit: body.offset()?,
                base: body.offset()?,
            })
        })
        .collect()
}

fn encode_entries(entries: &[Entry], out: &mut Vec<u8>) {
    for entry in entries {
        out.extend_from_slice(&entry.stream.to_be_bytes());
        for offset in [entry.rn, entry.limit, entry.base] {
            out.extend_from_slice(&offset.to_be_bytes());
        }
    }
}

fn entry_count(entries: &[Entry]) -> u16 {
    u16::try_from(entries.len()).expect("streams per session are bounded far below 2,337")
}
