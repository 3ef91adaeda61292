//! What follows HTTP on a connection: who asked for another protocol carries it on, in the task that it has.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::listener::ClientSocket;

/// A connection that goes on otherwise, and what was read of that.
pub(crate) struct Rest {
    pub(crate) socket: ClientSocket,
    pub(crate) ahead: Vec<u8>,
}

/// On a request for a WebSocket, and on no other: where its handler leaves who takes the connection when the reply that
/// grants it was written.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Taker>>>);

pub(super) type Taker = Box<dyn FnOnce(Rest) -> Successor + Send>;

/// Carries a connection on, in the task that has it.
pub(crate) type Successor = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Handover {
    /// To be called before the reply is given.
    pub(crate) fn to(&self, taker: impl FnOnce(Rest) -> Successor + Send + 'static) {
        *self.lock() = Some(Box::new(taker));
    }

    pub(super) fn take(&self) -> Option<Taker> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Taker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
