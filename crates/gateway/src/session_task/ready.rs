//! What woke a session's task: its client's transport, a command, or the backend of one of its streams.
//! A wake names its source, so that a message costs one look at one socket however many there are.
//!
//! Invariants:
//! - one task takes from the list, which tokio's tasks do under one waker for all of their lives, and
//!   it names itself before any source is polled;
//! - a source is in the list at most once, and whoever takes it from there looks at it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// The id of a stream, or a number that no stream has.
pub(crate) type Source = u64;

/// The client's transport.
pub(crate) const TRANSPORT: Source = 1 << 32;
/// The inbox of commands.
pub(crate) const INBOX: Source = 1 << 33;

/// No source.
const NONE: Source = u64::MAX;

/// The sources that want attention, and the task to wake for them.
#[derive(Debug)]
pub(crate) struct ReadyList {
    /// The source that woke first, or [`NONE`]. Nearly always it is the only one.
    first: AtomicU64,
    /// There may be others.
    any: AtomicBool,
    /// Held only to push or to take; wakers may run on any thread.
    others: Mutex<Vec<Source>>,
    task: OnceLock<Waker>,
}

/// The waker of one source.
#[derive(Debug)]
struct Signal {
    source: Source,
    queued: AtomicBool,
    list: Arc<ReadyList>,
}

/// A source's place in the list.
#[derive(Debug)]
pub(crate) struct Ready {
    signal: Arc<Signal>,
    waker: Waker,
}

impl ReadyList {
    /// Names the task that takes from the list; call it before any source is polled.
    pub(crate) fn name_task(&self, cx: &Context<'_>) {
        let task = self.task.get_or_init(|| cx.waker().clone());
        debug_assert!(task.will_wake(cx.waker()));
    }

    /// Takes the sources that want attention.
    pub(crate) fn take(&self, mut taken: impl FnMut(Source)) {
        if self.first.load(Ordering::Relaxed) != NONE {
            taken(self.first.swap(NONE, Ordering::Acquire));
        }
        if self.any.load(Ordering::Relaxed) {
            // In this order: what is pushed from now on sets it again.
            self.any.swap(false, Ordering::Acquire);
            self.others().drain(..).for_each(taken);
        }
    }

    /// Puts a source into the list, and wakes the task. Who does it without a [`Ready`] does it once a look.
    pub(super) fn push(&self, source: Source) {
        let is_first =
            self.first
                .compare_exchange(NONE, source, Ordering::Release, Ordering::Relaxed);
        if is_first.is_err() {
            self.others().push(source);
            self.any.store(true, Ordering::Release);
        }
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    fn others(&self) -> MutexGuard<'_, Vec<Source>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a source.
    pub(crate) fn add(self: &Arc<Self>, source: Source) -> Ready {
        let signal = Arc::new(Signal {
            source,
            queued: AtomicBool::new(false),
            list: Arc::clone(self),
        });
        let waker = Waker::from(Arc::clone(&signal));
        Ready { signal, waker }
    }
}

impl Ready {
    /// Asks for attention when other tasks had their turn.
    pub(crate) fn mark(&self) {
        self.waker.wake_by_ref();
    }

    /// The source was taken from the list and is looked at now. Wakes from now on count again.
    pub(crate) fn taken(&self) {
        self.signal.queued.store(false, Ordering::Release);
    }

    /// A context for polling the source.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.list.push(self.source);
        }
    }
}

impl Default for ReadyList {
    fn default() -> Self {
        Self {
            first: AtomicU64::new(NONE),
            any: AtomicBool::new(false),
            others: Mutex::default(),
            task: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_listed_once_however_often_it_wakes() {
        let list = Arc::new(ReadyList::default());
        let (one, two) = (list.add(1), list.add(2));
        let take = || {
            let mut taken = Vec::new();
            list.take(|source| taken.push(source));
            taken
        };
        assert!(take().is_empty());
        one.mark();
        two.mark();
        one.mark();
        assert_eq!(take(), [1, 2]);
        assert!(take().is_empty());
        two.taken();
        let waker = two.context().waker().clone();
        waker.wake_by_ref();
        waker.wake();
        one.mark();
        assert_eq!(take(), [2], "1 was not looked at yet");
    }

    #[tokio::test]
    async fn a_wake_reaches_the_task() {
        let list = Arc::new(ReadyList::default());
        let source = list.add(TRANSPORT);
        let (mut wakes, mut taken) = (0, Vec::new());
        std::future::poll_fn(|cx| {
            list.name_task(cx);
            list.take(|source| taken.push(source));
            if wakes == 3 {
                return std::task::Poll::Ready(());
            }
            wakes += 1;
            source.taken();
            source.mark();
            std::task::Poll::Pending
        })
        .await;
        assert_eq!(taken, [TRANSPORT; 3]);
    }
}
