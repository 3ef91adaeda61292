//! The log an endpoint receives: holds what is not delivered and decides what to tell its sender.

use crate::{
    Code,
    byte_log::{ByteLog, Runs},
    session::mutant::{Mutant, Mutation},
};

/// One direction of a stream, at its receiver.
///
/// Invariants: delivered ≤ rn ≤ granted (+1 for FIN); granted never falls; bytes held ≤ window.
#[derive(Debug)]
pub(crate) struct ReceiveLog {
    log: ByteLog,
    window: u64,
    granted: u64,
    /// Where the sender's log ends, once its FIN was received.
    fin: Option<u64>,
    fin_delivered: bool,
    /// `ack` of the last ACK sent.
    told_ack: u64,
}

/// What became of a DATA or FIN frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// New bytes, or FIN in its place.
    Fresh,
    /// Nothing new; the sender may have missed an ACK.
    Repeated,
    /// Beyond the next offset wanted; dropped.
    Gap,
}

impl ReceiveLog {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            log: ByteLog::default(),
            window,
            granted: window,
            fin: None,
            fin_delivered: false,
            told_ack: 0,
        }
    }

    /// Next offset wanted.
    pub(crate) fn rn(&self) -> u64 {
        self.log.end() + u64::from(self.fin.is_some())
    }

    /// Everything below left this endpoint.
    pub(crate) fn delivered(&self) -> u64 {
        self.log.base() + u64::from(self.fin_delivered)
    }

    /// Bytes that left this endpoint: `delivered` without the offset of FIN.
    pub(crate) fn delivered_bytes(&self) -> u64 {
        self.log.base()
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.log.len()
    }

    /// Everything, FIN included, was delivered.
    pub(crate) fn is_over(&self) -> bool {
        self.fin_delivered
    }

    /// The end was told: nothing remains to ack.
    pub(crate) fn end_was_told(&self) -> bool {
        self.fin_delivered && self.told_ack == self.delivered()
    }

    /// # Errors
    ///
    /// [`Code::Flow`] beyond what was granted, [`Code::Protocol`] beyond FIN.
    pub(crate) fn data(
        &mut self,
        offset: u64,
        bytes: &[u8],
        mutation: Mutation,
    ) -> Result<Received, Code> {
        let end = offset + bytes.len() as u64;
        if end > self.granted && !mutation.is(Mutant::RelativeCredit) {
            return Err(Code::Flow);
        }
        if self.fin.is_some_and(|fin| end > fin) {
            return Err(Code::Protocol);
        }
        let rn = self.log.end();
        if offset > rn && !mutation.is(Mutant::AcceptGaps) {
            return Ok(Received::Gap);
        }
        if mutation.is(Mutant::NoDedupe) {
            self.log.append(bytes);
            return Ok(Received::Fresh);
        }
        let known = usize::try_from(rn.saturating_sub(offset)).unwrap_or(usize::MAX);
        match bytes.get(known..) {
            Some(fresh) if !fresh.is_empty() => {
                self.log.append(fresh);
                Ok(Received::Fresh)
            }
            _ => Ok(Received::Repeated),
        }
    }

    /// Whether DATA that ends at `end` can be delivered from where it lies: it is granted, nothing before
    /// it is missing, and nothing before it waits.
    pub(crate) fn is_next(&self, offset: u64, end: u64) -> bool {
        self.log.len() == 0
            && offset == self.log.end()
            && end > offset
            && end <= self.granted
            && self.fin.is_none()
    }

    /// Takes DATA that [`ReceiveLog::is_next`] of which `delivered` bytes left this endpoint already, and
    /// holds the rest.
    pub(crate) fn pass<'a>(&mut self, delivered: usize, runs: impl Iterator<Item = &'a [u8]>) {
        self.log.pass(delivered as u64);
        let mut skip = delivered;
        for run in runs {
            let of_run = skip.min(run.len());
            skip -= of_run;
            self.log.append(&run[of_run..]);
        }
    }

    /// # Errors
    ///
    /// [`Code::Protocol`] if FIN moved or stands below what was received.
    pub(crate) fn fin(&mut self, offset: u64) -> Result<Received, Code> {
        match self.fin {
            Some(fin) if fin == offset => Ok(Received::Repeated),
            Some(_) => Err(Code::Protocol),
            None if offset > self.log.end() => Ok(Received::Gap),
            None if offset < self.log.end() => Err(Code::Protocol),
            None => {
                self.fin = Some(offset);
                Ok(Received::Fresh)
            }
        }
    }

    /// The bytes that wait to be delivered, in order.
    pub(crate) fn runs(&self) -> Runs<'_> {
        self.log.runs()
    }

    /// All bytes were delivered and FIN waits.
    pub(crate) fn fin_is_next(&self) -> bool {
        self.fin.is_some() && !self.fin_delivered && self.log.len() == 0
    }

    /// `len` more bytes left this endpoint.
    pub(crate) fn consume(&mut self, len: usize) {
        self.log
            .trim((self.log.base() + len as u64).min(self.log.end()));
    }

    /// FIN was passed on.
    pub(crate) fn consume_fin(&mut self) {
        debug_assert!(self.fin_is_next());
        self.fin_delivered = true;
    }

    /// `ack` of the last ACK sent.
    pub(crate) fn told_ack(&self) -> u64 {
        self.told_ack
    }

    /// Something was delivered that was not told.
    pub(crate) fn ack_is_wanted(&self) -> bool {
        self.delivered() > self.told_ack
    }

    /// Enough was delivered, or the end, that the sender should know at once.
    pub(crate) fn ack_is_urgent(&self) -> bool {
        self.delivered().saturating_sub(self.told_ack) >= (self.window / 4).max(1)
            || (self.fin_delivered && self.ack_is_wanted())
    }

    /// The `ack` and `limit` to tell, which count as told.
    pub(crate) fn tell(&mut self, mutation: Mutation) -> (u64, u64) {
        let told = self.told_ack;
        self.told_ack = if mutation.is(Mutant::AckOnReceive) {
            self.rn()
        } else {
            self.delivered()
        };
        self.granted = self.granted.max(self.log.base() + self.window);
        if mutation.is(Mutant::RelativeCredit) {
            return (self.told_ack, self.told_ack.saturating_sub(told));
        }
        (self.told_ack, self.granted)
    }

    /// The limit as an entry of HELLO or WELCOME states it.
    pub(crate) fn grant(&mut self) -> u64 {
        self.granted = self.granted.max(self.log.base() + self.window);
        self.granted
    }

    /// The limit told to the sender.
    #[cfg(test)]
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }
}
