//! Things by small numbers that are used again.

#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Option<Box<T>>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// The number that the next one gets.
    pub(crate) fn vacancy(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    pub(crate) fn insert(&mut self, thing: T) -> usize {
        let thing = Some(Box::new(thing));
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = thing;
            slot
        } else {
            self.slots.push(thing);
            self.slots.len() - 1
        }
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<Box<T>> {
        let thing = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(thing)
    }
}
