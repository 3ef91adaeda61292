//! A queue for what comes one at a time nearly always.

use std::collections::VecDeque;

/// A queue that makes room for one thing first, and keeps no more than that when it is empty: a session that
/// does nothing should not hold what its busiest moment needed.
#[derive(Debug)]
pub struct Few<T>(VecDeque<T>);

impl<T> Few<T> {
    /// Nothing, which takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Whether there is nothing in it.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one behind the others.
    #[inline]
    pub fn push_back(&mut self, thing: T) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.push_back(thing);
    }

    /// Takes the first one out.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        let thing = self.0.pop_front()?;
        if self.0.is_empty() && self.0.capacity() > 1 {
            self.0 = VecDeque::new();
        }
        Some(thing)
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
        assert_eq!(few.0.capacity(), 0);
        for round in 1..6u64 {
            for n in 0..round {
                few.push_back(n);
            }
            assert_eq!(few.len() as u64, round);
            assert!(std::iter::from_fn(|| few.pop_front()).eq(0..round));
            assert!(few.is_empty());
            assert_eq!(few.0.capacity(), usize::from(round == 1));
        }
    }
}
