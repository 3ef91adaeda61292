//! A window onto a growing byte log: the bytes in [base, end), addressed by absolute offset.
//!
//! Both directions of a stream use it: a sender keeps what is not acked, a receiver what is not
//! delivered. Blocks are allocated when there are bytes and freed when they are trimmed, so an idle
//! stream holds none, or one of the size of a short message.

use std::collections::{VecDeque, vec_deque};

/// Bytes in [base, end) of a log.
///
/// Invariant: every block but the last holds exactly [`BLOCK_LEN`] bytes counted from
/// `block_base`, so that an offset is found without a search.
#[derive(Debug, Default)]
pub(crate) struct ByteLog {
    base: u64,
    end: u64,
    /// Offset of the first byte of the first block; ≤ base.
    block_base: u64,
    /// The first block, by itself: a message that is taken before the next one comes needs no other.
    first: Vec<u8>,
    /// Those after it, if there are any.
    #[expect(
        clippy::box_collection,
        reason = "every idle stream has two of these, and needs a pointer only"
    )]
    more: Option<Box<VecDeque<Vec<u8>>>>,
}

/// The contiguous runs of a log; none of them is empty.
#[derive(Debug, Default)]
pub(crate) struct Runs<'a> {
    first: &'a [u8],
    more: vec_deque::Iter<'a, Vec<u8>>,
}

/// Size of a full block in bytes: one DATA frame's worth.
const BLOCK_LEN: usize = 16 * 1024;
/// A block of at most so many bytes is kept for the next message when the log is empty: making one for
/// each would cost more than so little memory.
const KEPT_LEN: usize = 128;

impl ByteLog {
    /// Lowest offset held.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Offset one past the last byte held.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Number of bytes held.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.base
    }

    /// Appends at `end`.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let last = self.more.as_mut().and_then(|more| more.back_mut());
            let block = last.unwrap_or(&mut self.first);
            let room = BLOCK_LEN - block.len();
            if room == 0 {
                self.more
                    .get_or_insert_default()
                    .push_back(Vec::with_capacity(bytes.len().min(BLOCK_LEN)));
                continue;
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            block.extend_from_slice(now);
            bytes = rest;
        }
    }

    /// Bytes at `end` of an empty log come and go without being held.
    pub(crate) fn pass(&mut self, len: u64) {
        debug_assert_eq!(self.base, self.end);
        self.base += len;
        self.end = self.base;
        self.block_base = self.base;
    }

    /// The longest contiguous run at `offset`, at most `max` bytes; empty if `offset` is `end`.
    ///
    /// `offset` must be in [base, end].
    pub(crate) fn run(&self, offset: u64, max: usize) -> &[u8] {
        debug_assert!((self.base..=self.end).contains(&offset));
        let position = to_usize(offset - self.block_base);
        let block = match (position / BLOCK_LEN).checked_sub(1) {
            None => &self.first,
            Some(index) => match self.more.as_ref().and_then(|more| more.get(index)) {
                Some(block) => block,
                None => return &[],
            },
        };
        let rest = block.get(position % BLOCK_LEN..).unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    /// The runs from `base` to `end`, for a vectored write.
    #[inline]
    pub(crate) fn runs(&self) -> Runs<'_> {
        let skip = to_usize(self.base - self.block_base);
        Runs {
            first: self.first.get(skip..).unwrap_or_default(),
            more: self
                .more
                .as_ref()
                .map_or_else(vec_deque::Iter::default, |more| more.iter()),
        }
    }

    /// Forgets everything below `offset`, which must be at most `end`.
    pub(crate) fn trim(&mut self, offset: u64) {
        debug_assert!(offset <= self.end);
        if offset <= self.base {
            return;
        }
        self.base = offset;
        if self.base == self.end {
            if self.first.capacity() <= KEPT_LEN {
                self.first.clear();
            } else {
                self.first = Vec::new();
            }
            self.more = None;
            self.block_base = self.base;
        }
        while self.base - self.block_base >= BLOCK_LEN as u64 {
            let next = self.more.as_mut().and_then(|more| more.pop_front());
            self.first = next.unwrap_or_default();
            self.block_base += BLOCK_LEN as u64;
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.first.is_empty() {
            // A block is made for bytes that it gets at once, so none of these is empty.
            self.more.next().map(Vec::as_slice)
        } else {
            Some(std::mem::take(&mut self.first))
        }
    }
}

/// A difference of two offsets within a bounded buffer.
fn to_usize(difference: u64) -> usize {
    usize::try_from(difference).expect("buffers are bounded far below the address space")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_log_holds_a_short_block_at_most() {
        let mut log = ByteLog::default();
        log.append(&[7; 40_000]);
        log.trim(40_000);
        assert_eq!((log.base(), log.end(), held(&log)), (40_000, 40_000, 0));
        log.append(b"x");
        assert_eq!(log.run(40_000, 10), b"x");
        log.append(&[7; KEPT_LEN - 1]);
        log.trim(log.end());
        assert!((1..=KEPT_LEN).contains(&held(&log)), "{}", held(&log));
    }

    /// Bytes of memory beside the log itself.
    fn held(log: &ByteLog) -> usize {
        let more = log.more.as_ref().map_or(0, |more| {
            let blocks = more.iter().map(Vec::capacity).sum::<usize>();
            size_of_val(&**more) + blocks + more.capacity() * size_of::<Vec<u8>>()
        });
        log.first.capacity() + more
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in prop::collection::vec((0..40_000usize, 0..50_000u64, any::<u16>()), 1..30)) {
            let mut log = ByteLog::default();
            let mut model: Vec<u8> = Vec::new();
            let mut base = 0;
            for (len, trim, seed) in steps {
                let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + usize::from(seed)).to_le_bytes()[0]).collect();
                log.append(&bytes);
                model.extend_from_slice(&bytes);
                base = (base + to_usize(trim)).min(model.len());
                log.trim(base as u64);
                if log.len() == 0 {
                    model.extend_from_slice(&bytes);
                    base = model.len();
                    log.pass(len as u64);
                }
                prop_assert_eq!(to_usize(log.len()), model.len() - base);
                prop_assert_eq!(log.runs().collect::<Vec<_>>().concat(), &model[base..]);
                let from = base + usize::from(seed) % (model.len() - base + 1);
                let run = log.run(from as u64, 1000);
                prop_assert_eq!(run, &model[from..from + run.len()]);
                prop_assert!(!run.is_empty() || from == model.len());
                prop_assert!(log.more.as_ref().map_or(0, |more| more.len()) as u64 <= log.len() / BLOCK_LEN as u64 + 1);
                prop_assert!(log.len() > 0 || held(&log) <= KEPT_LEN);
            }
        }
    }
}
