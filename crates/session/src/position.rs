//! How far the frames of an attachment got, told by the client when a new reply takes the place of
//! one that ended (protocol section 7.2).
//!
//! Opaque to clients. Bounded: only streams with bytes that are not acked are in it.

use std::{fmt, str::FromStr};

use crate::{MAX_OFFSET, StreamId};

/// Streams in a position. One that is left out goes on from its acked bytes, so that leaving out
/// costs bytes and loses none.
const MAX_STREAMS: usize = 128;
/// Longest text: 20 digits, and for each stream two separators, 10 and 16 digits.
const MAX_TEXT: usize = 20 + MAX_STREAMS * 28;

/// A point between two batches of frames of one attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Batches transmitted up to here.
    pub(crate) batch: u64,
    /// The next offset of each stream that is not acked up to there, by rising id.
    pub(crate) offsets: Vec<(StreamId, u64)>,
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct NotAPosition;

impl Position {
    pub(crate) fn new(batch: u64, offsets: impl Iterator<Item = (StreamId, u64)>) -> Self {
        Self {
            batch,
            offsets: offsets.take(MAX_STREAMS).collect(),
        }
    }

    pub(crate) fn of(&self, stream: StreamId) -> Option<u64> {
        let index = self.offsets.binary_search_by_key(&stream, |(id, _)| *id);
        index.ok().map(|index| self.offsets[index].1)
    }
}

/// `batch[_stream.offset]…`: characters that a URL and an event's id carry as they are.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.batch)?;
        for (stream, offset) in &self.offsets {
            write!(f, "_{stream}.{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        if text.len() > MAX_TEXT {
            return Err(NotAPosition);
        }
        let mut parts = text.split('_');
        let batch = parts.next().and_then(number).ok_or(NotAPosition)?;
        let mut offsets: Vec<(StreamId, u64)> = Vec::new();
        for part in parts {
            let (stream, offset) = part.split_once('.').ok_or(NotAPosition)?;
            let stream = number(stream)
                .and_then(|stream| StreamId::try_from(stream).ok())
                .ok_or(NotAPosition)?;
            let offset = number(offset)
                .filter(|offset| *offset <= MAX_OFFSET)
                .ok_or(NotAPosition)?;
            let rises = offsets.last().map_or(0, |(last, _)| *last) < stream;
            if !rises || offsets.len() == MAX_STREAMS {
                return Err(NotAPosition);
            }
            offsets.push((stream, offset));
        }
        Ok(Self { batch, offsets })
    }
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_written_and_nothing_else_is_read() {
        for text in [
            "0",
            "17",
            "17_1.2048",
            "9_1.0_3.9007199254740991_4294967295.1",
        ] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
        }
        let long: String = (1..=129).map(|id| format!("_{id}.1")).collect();
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1_",
            "1_1",
            "1_1.",
            "1_.1",
            "1_0.5",
            "1_2.5_1.5",
            "1_1.5_1.5",
            "1_1.9007199254740993",
            "1_4294967296.1",
            "18446744073709551616",
            "1,1.5",
            "1_1.5\n",
            &format!("1{long}"),
            &"1".repeat(5000),
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text:?}");
        }
    }

    #[test]
    fn the_longest_position_can_be_read_again() {
        let most = Position::new(
            u64::MAX,
            (0..=200).map(|id| (StreamId::MAX - 200 + id, MAX_OFFSET)),
        );
        assert_eq!(most.offsets.len(), MAX_STREAMS);
        assert_eq!(most.to_string().parse(), Ok(most));
    }
}
