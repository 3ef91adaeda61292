//! Frames whose body is not looked at yet: nearly every frame is DATA or ACK, and a session applies those
//! without making a [`Frame`] of them, which has room for the largest.

use super::{
    CodecError, FLAG_SKIPPABLE, Frame, HEADER_LEN, MAX_OFFSET, StreamId, body::Body, kind,
};

/// A frame of a known type and of a length that its type can have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    kind: u8,
    flags: u8,
    pub(crate) stream: StreamId,
    body: &'a [u8],
}

/// What an ACK says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) ack: u64,
    pub(crate) limit: u64,
    pub(crate) rn: Option<u64>,
}

impl<'a> Raw<'a> {
    /// Takes one off the front of `input`; see [`Frame::decode`].
    #[inline]
    pub(crate) fn take(input: &mut &'a [u8]) -> Result<Option<Self>, CodecError> {
        loop {
            let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
                return Ok(None);
            };
            let [kind, flags, l0, l1, s0, s1, s2, s3] = *header;
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            super::check_length(kind, len)?;
            let Some((body, rest)) = rest.split_at_checked(len) else {
                return Ok(None);
            };
            *input = rest;
            if matches!(kind, kind::PAD..=kind::PONG | kind::HELLO..=kind::DETACH) {
                return Ok(Some(Self {
                    kind,
                    flags,
                    stream: StreamId::from_be_bytes([s0, s1, s2, s3]),
                    body,
                }));
            }
            if flags & FLAG_SKIPPABLE == 0 {
                return Err(CodecError::Type(kind));
            }
        }
    }

    /// Offset and payload, if it is a DATA frame of a stream.
    #[inline]
    pub(crate) fn data(&self) -> Option<Result<(u64, &'a [u8]), CodecError>> {
        (self.kind == kind::DATA && self.stream != 0).then(|| {
            let mut body = Body(self.body);
            let offset = body.offset()?;
            if offset + body.0.len() as u64 > MAX_OFFSET {
                return Err(CodecError::Offset(offset));
            }
            Ok((offset, body.0))
        })
    }

    /// What it says, if it is an ACK of a stream.
    #[inline]
    pub(crate) fn ack(&self) -> Option<Result<Ack, CodecError>> {
        (self.kind == kind::ACK && self.stream != 0).then(|| {
            let mut body = Body(self.body);
            let (ack, limit) = (body.offset()?, body.offset()?);
            let rn = if body.0.is_empty() {
                None
            } else {
                Some(body.offset()?)
            };
            Ok(Ack { ack, limit, rn })
        })
    }

    /// The whole frame.
    pub(crate) fn decode(&self) -> Result<Frame<'a>, CodecError> {
        let stream = self.stream;
        if let Some(data) = self.data() {
            let (offset, bytes) = data?;
            return Ok(Frame::Data {
                stream,
                offset,
                bytes,
            });
        }
        if let Some(ack) = self.ack() {
            let Ack { ack, limit, rn } = ack?;
            return Ok(Frame::Ack {
                stream,
                ack,
                limit,
                rn,
            });
        }
        Frame::decode_rare(self.kind, self.flags, stream, self.body)
    }
}
