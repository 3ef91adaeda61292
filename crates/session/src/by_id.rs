//! What there is for each stream of a session, found by the stream's id.
//!
//! Most sessions have one stream, and each message asks for it several times: a short list that rises
//! by id costs a comparison where a map goes through a node.

use crate::StreamId;

/// Things by rising stream id.
///
/// In boxes, so that a new one moves pointers.
#[derive(Debug)]
pub struct ById<T>(Vec<(StreamId, Box<T>)>);

impl<T> ById<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That of a stream.
    #[must_use]
    #[inline]
    pub fn get(&self, id: StreamId) -> Option<&T> {
        let index = self.find(id).ok()?;
        self.0.get(index).map(|(_, thing)| &**thing)
    }

    /// That of a stream.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut T> {
        let index = self.find(id).ok()?;
        self.0.get_mut(index).map(|(_, thing)| &mut **thing)
    }

    /// Adds that of a stream, in place of what there was.
    pub fn insert(&mut self, id: StreamId, thing: T) {
        let thing = Box::new(thing);
        match self.find(id) {
            Ok(index) => self.0[index].1 = thing,
            Err(index) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(index, (id, thing));
            }
        }
    }

    /// Takes that of a stream out.
    pub fn remove(&mut self, id: StreamId) -> Option<Box<T>> {
        let index = self.find(id).ok()?;
        let (_, thing) = self.0.remove(index);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(thing)
    }

    /// The ids, rising.
    pub fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// All of them, by rising id.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &T)> {
        self.0.iter().map(|(id, thing)| (*id, &**thing))
    }

    /// All of them, by rising id.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut T)> {
        self.0.iter_mut().map(|(id, thing)| (*id, &mut **thing))
    }

    /// Its index, or where it would be.
    ///
    /// Ids are given one after the other, so that it is as far from the first as its id, unless some between
    /// them are gone.
    #[inline]
    fn find(&self, id: StreamId) -> Result<usize, usize> {
        let things = self.0.as_slice();
        if let Some((first, _)) = things.first()
            && let Some(guess) = id.checked_sub(*first)
            && let Some((at, _)) = things.get(guess as usize)
            && *at == id
        {
            return Ok(guess as usize);
        }
        things.binary_search_by_key(&id, |(id, _)| *id)
    }
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((1..20u32, 0..3u8), 1..60)) {
            let (mut things, mut model) = (ById::default(), BTreeMap::new());
            for (step, (id, what)) in steps.into_iter().enumerate() {
                match what {
                    0 => prop_assert_eq!(things.remove(id).map(|thing| *thing), model.remove(&id)),
                    1 => prop_assert_eq!(things.get_mut(id), model.get_mut(&id)),
                    _ => {
                        things.insert(id, step);
                        model.insert(id, step);
                    }
                }
                prop_assert_eq!(things.get(id), model.get(&id));
                prop_assert!(things.iter().eq(model.iter().map(|(id, thing)| (*id, thing))));
                prop_assert_eq!((things.len(), things.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
