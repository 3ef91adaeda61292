//! The log an endpoint sends: holds what is not acked and knows what to transmit next.

use crate::{
    Code, MAX_DATA_LEN,
    byte_log::ByteLog,
    session::mutant::{Mutant, Mutation},
};

/// One direction of a stream, at its sender.
///
/// Invariants: base ≤ next ≤ end, where end counts FIN as one offset; `limit` never falls;
/// every byte in [base, written) is held.
#[derive(Debug)]
pub(crate) struct SendLog {
    log: ByteLog,
    /// Next offset to transmit.
    next: u64,
    /// Highest `next` ever: what the peer may have seen and may ack.
    sent: u64,
    limit: u64,
    /// No more is written: FIN stands at `log.end()`.
    finished: bool,
    fin_acked: bool,
    /// Bytes transmitted again.
    pub(crate) resent: u64,
}

/// Something to transmit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    Data { offset: u64, bytes: &'a [u8] },
    Fin { offset: u64 },
}

impl SendLog {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            log: ByteLog::default(),
            next: 0,
            sent: 0,
            limit,
            finished: false,
            fin_acked: false,
            resent: 0,
        }
    }

    /// Lowest offset held; with FIN acked, one past it.
    pub(crate) fn base(&self) -> u64 {
        self.log.base() + u64::from(self.fin_acked)
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.log.len()
    }

    /// Bytes the peer delivered.
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.log.base()
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.log.end()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Everything, FIN included, was acked.
    pub(crate) fn is_over(&self) -> bool {
        self.fin_acked
    }

    /// Appends at most as much as keeps `held` within `cap`, and says how much that was.
    pub(crate) fn write(&mut self, bytes: &[u8], cap: u64, mutation: Mutation) -> usize {
        if self.finished {
            return 0;
        }
        if mutation.is(Mutant::DropOldest) {
            self.log.append(bytes);
            if self.log.len() > cap {
                self.log.trim(self.log.end() - cap);
                self.next = self.next.max(self.log.base());
            }
            return bytes.len();
        }
        let room = cap.saturating_sub(self.log.len());
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.log.append(&bytes[..taken]);
        taken
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    fn end(&self) -> u64 {
        self.log.end() + u64::from(self.finished)
    }

    /// Whether [`SendLog::segment`] has something.
    pub(crate) fn can_transmit(&self) -> bool {
        self.next < self.end() && (self.next < self.limit || self.next == self.log.end())
    }

    /// The next thing to transmit, at most `max` bytes of payload.
    pub(crate) fn segment(&self, max: usize) -> Option<Segment<'_>> {
        if !self.can_transmit() {
            return None;
        }
        if self.next == self.log.end() {
            return Some(Segment::Fin { offset: self.next });
        }
        let credit = usize::try_from(self.limit - self.next).unwrap_or(usize::MAX);
        let bytes = self.log.run(self.next, max.min(credit).min(MAX_DATA_LEN));
        if bytes.is_empty() {
            None
        } else {
            Some(Segment::Data {
                offset: self.next,
                bytes,
            })
        }
    }

    /// Moves on after a segment that ended at `offset` was handed to the transport.
    pub(crate) fn transmitted(&mut self, offset: u64, mutation: Mutation) {
        self.resent += self.sent.min(offset).saturating_sub(self.next);
        self.next = offset;
        self.sent = self.sent.max(offset);
        if mutation.is(Mutant::TrimOnSend) {
            self.log.trim(offset.min(self.log.end()));
        }
    }

    /// Merges an ACK.
    ///
    /// # Errors
    ///
    /// [`Code::Protocol`] if it acks what was never sent.
    pub(crate) fn acked(&mut self, ack: u64, limit: u64, mutation: Mutation) -> Result<(), Code> {
        if ack > self.sent && !mutation.is(Mutant::TrimOnSend) && !mutation.is(Mutant::DropOldest) {
            return Err(Code::Protocol);
        }
        if mutation.is(Mutant::RelativeCredit) {
            self.limit += limit;
        } else {
            self.limit = self.limit.max(limit);
        }
        let ack = ack.min(self.end());
        self.log.trim(ack.min(self.log.end()));
        self.fin_acked |= self.finished && ack > self.log.end();
        self.next = self.next.max(self.base());
        Ok(())
    }

    /// Raises the limit without an ack (HELLO and WELCOME entries).
    pub(crate) fn raise_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Goes on from max(`rn`, base): the peer says what it wants next.
    pub(crate) fn rewind(&mut self, rn: u64) {
        self.next = rn.max(self.base()).min(self.sent.max(self.base()));
    }

    /// Next offset to transmit.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The highest offset the peer may have seen.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The peer accepts offsets below this.
    #[cfg(test)]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}
