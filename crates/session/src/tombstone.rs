//! What is remembered of streams that are over, to answer frames that come late (protocol rule 8).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{Code, StreamId};

/// The end of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Tombstone {
    pub(crate) code: Code,
    /// How far the peer's log was delivered here.
    pub(crate) ack: u64,
    pub(crate) text: &'static str,
    /// A RESET that says so is due.
    pub(crate) pending: bool,
    /// The batch that said so last: who got that one knows.
    told_in: u64,
    expires: Instant,
}

/// The tombstones of a session, at most [`MAX_TOMBSTONES`], the oldest dropped first.
///
/// In a box, since most sessions have none.
#[derive(Debug, Default)]
pub(crate) struct Tombstones(Option<Box<Graveyard>>);

#[derive(Debug, Default)]
struct Graveyard {
    by_id: BTreeMap<StreamId, Tombstone>,
    oldest_first: VecDeque<StreamId>,
    pending: VecDeque<StreamId>,
}

const MAX_TOMBSTONES: usize = 1024;

impl Tombstones {
    /// Remembers an end; `tell` says that the peer does not know of it yet. What told it otherwise
    /// is in no batch after `batch`.
    pub(crate) fn bury(
        &mut self,
        id: StreamId,
        (code, ack, text): (Code, u64, &'static str),
        tell: bool,
        batch: u64,
        expires: Instant,
    ) {
        let all = self.0.get_or_insert_default();
        if all.oldest_first.len() == MAX_TOMBSTONES
            && let Some(oldest) = all.oldest_first.pop_front()
        {
            all.by_id.remove(&oldest);
        }
        all.by_id.insert(
            id,
            Tombstone {
                code,
                ack,
                text,
                pending: false,
                told_in: batch,
                expires,
            },
        );
        all.oldest_first.push_back(id);
        if tell {
            all.tell(id);
        }
    }

    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.0
            .as_ref()
            .is_some_and(|all| all.by_id.contains_key(&id))
    }

    /// Makes the RESET of `id` due, once however often it is asked for; false if `id` is not known.
    pub(crate) fn tell(&mut self, id: StreamId) -> bool {
        self.0.as_mut().is_some_and(|all| all.tell(id))
    }

    /// Makes every RESET due again, after a link that may have lost some.
    pub(crate) fn tell_all(&mut self) {
        self.tell_if(|_| true);
    }

    /// Makes every RESET due again that was told after `batch`.
    pub(crate) fn tell_after(&mut self, batch: u64) {
        self.tell_if(|tombstone| tombstone.told_in > batch);
    }

    fn tell_if(&mut self, is_due: impl Fn(&Tombstone) -> bool) {
        let Some(all) = &mut self.0 else {
            return;
        };
        for index in 0..all.oldest_first.len() {
            let id = all.oldest_first[index];
            if all.by_id.get(&id).is_some_and(&is_due) {
                all.tell(id);
            }
        }
    }

    pub(crate) fn anything_to_tell(&self) -> bool {
        self.0.as_ref().is_some_and(|all| !all.pending.is_empty())
    }

    /// The next RESET that is due, which goes with `batch`.
    pub(crate) fn next_to_tell(&mut self, batch: u64) -> Option<(StreamId, Tombstone)> {
        let all = self.0.as_mut()?;
        while let Some(id) = all.pending.pop_front() {
            if let Some(tombstone) = all.by_id.get_mut(&id) {
                tombstone.pending = false;
                tombstone.told_in = batch;
                return Some((id, tombstone.clone()));
            }
        }
        None
    }

    /// Restarts the clock of all of them: time spent detached does not count.
    pub(crate) fn postpone(&mut self, expires: Instant) {
        for tombstone in self.0.iter_mut().flat_map(|all| all.by_id.values_mut()) {
            tombstone.expires = expires;
        }
    }

    pub(crate) fn drop_expired(&mut self, now: Instant) {
        let Some(all) = &mut self.0 else {
            return;
        };
        while let Some(id) = all.oldest_first.front() {
            if all
                .by_id
                .get(id)
                .is_some_and(|tombstone| tombstone.expires > now)
            {
                return;
            }
            all.by_id.remove(id);
            all.oldest_first.pop_front();
        }
        // None is left, and none is still to be told.
        self.0 = None;
    }

    /// When the oldest is due.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let all = self.0.as_ref()?;
        let oldest = all.oldest_first.front()?;
        all.by_id.get(oldest).map(|tombstone| tombstone.expires)
    }
}

impl Graveyard {
    fn tell(&mut self, id: StreamId) -> bool {
        let Some(tombstone) = self.by_id.get_mut(&id) else {
            return false;
        };
        if !tombstone.pending {
            tombstone.pending = true;
            self.pending.push_back(id);
        }
        true
    }
}
