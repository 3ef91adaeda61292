//! A queue for what comes one at a time nearly always.

use std::collections::VecDeque;

/// A queue with room for one thing in itself; others wait outside, in memory that is given back when they were
/// taken: a session that does nothing should not hold what its busiest moment needed.
///
/// Invariant: nothing waits outside unless there is a first thing.
#[derive(Debug)]
pub struct Few<T> {
    first: Option<T>,
    #[expect(
        clippy::box_collection,
        reason = "every idle session has several of these, and needs a pointer only"
    )]
    more: Option<Box<VecDeque<T>>>,
}

/// So little is not given back: busy sessions would ask for it again at once.
const KEPT_BYTES: usize = 32;

impl<T> Few<T> {
    /// Nothing, which takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            more: None,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    /// Adds one behind the others.
    #[inline]
    pub fn push_back(&mut self, thing: T) {
        if self.first.is_none() {
            self.first = Some(thing);
        } else {
            self.more.get_or_insert_default().push_back(thing);
        }
    }

    /// Takes the first one out.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        let thing = self.first.take()?;
        if self.more.is_some() {
            self.move_up();
        }
        Some(thing)
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes those out that are not to be kept, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.first.take_if(|thing| !keep(thing));
        if let Some(more) = &mut self.more {
            more.retain(keep);
            if self.first.is_none() {
                self.move_up();
            }
        }
    }

    /// The next of those outside comes first.
    fn move_up(&mut self) {
        if let Some(more) = &mut self.more {
            self.first = more.pop_front();
            if more.is_empty() && more.capacity() * size_of::<T>() > KEPT_BYTES {
                self.more = None;
            }
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_goes_in_order_and_the_room_with_it() {
        let mut few = Few::new();
        for round in 1..6u64 {
            for n in 0..round {
                few.push_back([n; 4]);
            }
            assert_eq!(few.len() as u64, round);
            assert_eq!(few.more.is_some(), round > 1);
            assert!(std::iter::from_fn(|| few.pop_front()).eq((0..round).map(|n| [n; 4])));
            assert!(few.is_empty());
            assert!(few.more.is_none());
        }
    }

    #[test]
    fn a_little_room_is_kept() {
        let mut few = Few::new();
        for n in 0..3u32 {
            few.push_back(n);
        }
        assert!(std::iter::from_fn(|| few.pop_front()).eq(0..3));
        assert!(few.more.is_some_and(|more| more.is_empty()));
    }

    #[test]
    fn it_keeps_what_it_is_told_to() {
        for len in 0..5u32 {
            for kept in 0..1 << len {
                let mut few = Few::new();
                (0..len).for_each(|n| few.push_back(n));
                few.retain(|n| kept & (1 << n) != 0);
                assert_eq!(few.is_empty(), kept == 0);
                few.push_back(len);
                let expected = (0..len).filter(|n| kept & (1 << n) != 0).chain([len]);
                assert!(std::iter::from_fn(|| few.pop_front()).eq(expected));
            }
        }
        let mut few = Few::new();
        (0..3).for_each(|n| few.push_back(n));
        few.clear();
        assert_eq!((few.len(), few.pop_front()), (0, None));
    }
}
