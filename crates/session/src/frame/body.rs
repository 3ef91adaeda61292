//! A frame's body being read, field by field; every read says what was missing.

use super::{CodecError, MAX_OFFSET, VERSION};

/// What is left of a body.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CodecError::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CodecError::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn version(&mut self) -> Result<u8, CodecError> {
        match self.u8()? {
            VERSION => Ok(VERSION),
            other => Err(CodecError::Version(other)),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn offset(&mut self) -> Result<u64, CodecError> {
        let offset = self.array().map(u64::from_be_bytes)?;
        if offset > MAX_OFFSET {
            Err(CodecError::Offset(offset))
        } else {
            Ok(offset)
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, CodecError> {
        str::from_utf8(self.0).map_err(|_| CodecError::Text)
    }
}
