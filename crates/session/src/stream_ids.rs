//! Which stream ids were used: ids rise and are never opened twice (protocol rule 9).

use std::collections::BTreeSet;

use crate::StreamId;

/// The ids a gateway has seen, in a size that does not grow with their number.
#[derive(Debug)]
pub(crate) struct StreamIds {
    /// Every id below was used, except those in `pending`.
    next: StreamId,
    /// Ids below `next` that the client announced or skipped and whose OPEN has not come yet.
    pending: BTreeSet<StreamId>,
}

/// More skipped ids than this cannot come from a client that opens lower ids first.
const MAX_PENDING: usize = 1024;

/// An OPEN so far ahead that the skipped ids cannot be remembered.
#[derive(Debug)]
pub(crate) struct TooFarAhead;

impl StreamIds {
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            pending: BTreeSet::new(),
        }
    }

    /// Whether `id` was never used before; from now on it was.
    pub(crate) fn take(&mut self, id: StreamId) -> Result<bool, TooFarAhead> {
        if id < self.next {
            let may_come = self.pending.remove(&id);
            self.give_back();
            return Ok(may_come);
        }
        if (id - self.next) as usize + self.pending.len() > MAX_PENDING {
            return Err(TooFarAhead);
        }
        self.pending.extend(self.next..id);
        self.next = id.saturating_add(1);
        Ok(true)
    }

    /// Whether an OPEN of `id` may still come.
    pub(crate) fn may_come(&self, id: StreamId) -> bool {
        id >= self.next || self.pending.contains(&id)
    }

    /// Marks `id` as used without opening it (a RESET came first).
    pub(crate) fn forget(&mut self, id: StreamId) {
        // An id too far ahead is refused when its OPEN comes.
        _ = self.take(id);
    }

    /// Applies a HELLO: of the ids below `next`, only those listed may still come.
    pub(crate) fn announce(&mut self, next: StreamId, listed: &BTreeSet<StreamId>) {
        let seen = self.next;
        self.next = seen.max(next);
        self.pending.retain(|id| *id >= next || listed.contains(id));
        self.pending.extend(
            listed
                .iter()
                .copied()
                .filter(|id| (seen..self.next).contains(id))
                .take(MAX_PENDING),
        );
        self.give_back();
    }

    /// A set that is empty keeps what it had room in.
    fn give_back(&mut self) {
        if self.pending.is_empty() {
            self.pending = BTreeSet::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_in_any_order() {
        let mut ids = StreamIds::new();
        assert!(ids.take(1).unwrap());
        assert!(!ids.take(1).unwrap());
        assert!(ids.take(4).unwrap());
        assert!(ids.may_come(2) && ids.may_come(3) && !ids.may_come(4) && ids.may_come(5));
        assert!(ids.take(3).unwrap());
        assert!(!ids.take(3).unwrap());
        ids.forget(2);
        assert!(!ids.take(2).unwrap());
    }

    #[test]
    fn a_hello_closes_the_ids_it_leaves_out() {
        let mut ids = StreamIds::new();
        ids.announce(10, &BTreeSet::from([4, 7]));
        assert!(!ids.take(3).unwrap());
        assert!(ids.take(4).unwrap() && ids.take(7).unwrap() && ids.take(10).unwrap());
        ids.announce(11, &BTreeSet::from([4]));
        assert!(!ids.take(7).unwrap() && !ids.take(4).unwrap());
    }

    #[test]
    fn a_leap_is_refused_and_costs_no_memory() {
        let mut ids = StreamIds::new();
        assert!(ids.take(1_000_000).is_err());
        ids.announce(StreamId::MAX, &BTreeSet::new());
        assert!(!ids.take(1).unwrap() && ids.take(StreamId::MAX).unwrap());
        assert!(ids.pending.is_empty());
    }
}
