//! Which of a session's backends woke it: a wake names its stream, so that one busy stream among a
//! thousand costs one look, not a thousand.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use perigee_session::StreamId;

/// The streams that want attention, and the task to wake for them.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    /// Held only to push or to take; wakers may run on any thread.
    streams: Mutex<Vec<StreamId>>,
    task: AtomicWaker,
}

/// The waker of one stream.
#[derive(Debug)]
struct Signal {
    stream: StreamId,
    queued: AtomicBool,
    list: Arc<ReadyList>,
}

/// A stream's place in the list.
#[derive(Debug)]
pub(crate) struct Ready {
    signal: Arc<Signal>,
    waker: Waker,
}

impl ReadyList {
    /// Names the task that takes from the list; call it before taking.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Moves the streams that want attention into `into`.
    pub(crate) fn take(&self, into: &mut Vec<StreamId>) {
        into.append(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A place for a stream, which wants attention at once.
    pub(crate) fn add(self: &Arc<Self>, stream: StreamId) -> Ready {
        let signal = Arc::new(Signal {
            stream,
            queued: AtomicBool::new(false),
            list: Arc::clone(self),
        });
        let waker = Waker::from(Arc::clone(&signal));
        let ready = Ready { signal, waker };
        ready.mark();
        ready
    }
}

impl Ready {
    /// Asks for attention.
    pub(crate) fn mark(&self) {
        self.waker.wake_by_ref();
    }

    /// The same for the task itself, which will look at the list before it waits.
    pub(crate) fn note(&self) {
        self.signal.queue();
    }

    /// A context for polling on behalf of the stream. Wakes from now on count again.
    pub(crate) fn context(&self) -> Context<'_> {
        self.signal.queued.store(false, Ordering::Release);
        Context::from_waker(&self.waker)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queue() {
            self.list.task.wake();
        }
    }
}

impl Signal {
    /// Says whether the stream was not in the list before.
    fn queue(&self) -> bool {
        let is_new = !self.queued.swap(true, Ordering::AcqRel);
        if is_new {
            self.list
                .streams
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(self.stream);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_listed_once_however_often_it_wakes() {
        let list = Arc::new(ReadyList::default());
        let (one, two) = (list.add(1), list.add(2));
        one.mark();
        let mut taken = Vec::new();
        list.take(&mut taken);
        assert_eq!(taken, [1, 2]);
        two.mark();
        let waker = two.context().waker().clone();
        waker.wake_by_ref();
        waker.wake();
        taken.clear();
        list.take(&mut taken);
        assert_eq!(taken, [2]);
    }
}
