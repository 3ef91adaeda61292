//! Receipts: which frames the peer has not confirmed yet.

use std::collections::BTreeSet;

use crate::{Command, Frame};

/// The receipts that were asked for on one connection.
#[derive(Debug, Default)]
pub struct Receipts {
    next: u64,
    outstanding: BTreeSet<u64>,
}

impl Receipts {
    /// Asks for a receipt with `frame`, under an id that this connection has not used.
    pub fn request(&mut self, frame: &mut Frame) -> u64 {
        let id = self.next;
        self.next += 1;
        self.outstanding.insert(id);
        frame.set("receipt", id.to_string());
        id
    }

    /// The id that a `RECEIPT` confirms; `None` for any other frame and for what was not asked for.
    pub fn confirm(&mut self, frame: &Frame) -> Option<u64> {
        if frame.command != Command::Receipt {
            return None;
        }
        let id = frame.header("receipt-id")?.parse().ok()?;
        self.outstanding.remove(&id).then_some(id)
    }

    /// Whether everything that was asked for is confirmed.
    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_confirms_one_frame_once() {
        let mut receipts = Receipts::default();
        let mut sent = Frame::new(Command::Disconnect);
        let id = receipts.request(&mut sent);
        let receipt =
            Frame::new(Command::Receipt).with("receipt-id", sent.header("receipt").expect("set"));
        assert!(!receipts.is_empty());
        assert_eq!(receipts.confirm(&Frame::new(Command::Receipt)), None);
        assert_eq!(receipts.confirm(&sent), None, "not a RECEIPT");
        assert_eq!(receipts.confirm(&receipt), Some(id));
        assert_eq!(receipts.confirm(&receipt), None, "twice");
        assert!(receipts.is_empty());
        assert_ne!(receipts.request(&mut sent), id);
    }
}
