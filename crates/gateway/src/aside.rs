//! Polling only what woke a task: a flag instead of a poll on the way of every message.
//!
//! Invariant: one task polls it, which tokio's tasks do under one waker for all of their lives.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Something that a task polls, with a waker of its own.
#[derive(Debug)]
pub(crate) struct Aside {
    signal: Arc<Signal>,
    waker: Waker,
}

#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    /// Named before anything is polled that could wake it.
    task: OnceLock<Waker>,
}

impl Aside {
    /// It is to be polled once without having been woken.
    pub(crate) fn new() -> Self {
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(true),
            task: OnceLock::new(),
        });
        let waker = Waker::from(Arc::clone(&signal));
        Self { signal, waker }
    }

    /// What to poll with, if there is a reason to. Wakes from now on count again.
    pub(crate) fn turn(&self, cx: &Context<'_>) -> Option<Context<'_>> {
        self.take(cx).then(|| self.context())
    }

    /// Whether there is a reason to poll it. Wakes from now on count again.
    pub(crate) fn take(&self, cx: &Context<'_>) -> bool {
        if !self.signal.woken.load(Ordering::Relaxed) {
            return false;
        }
        let task = self.signal.task.get_or_init(|| cx.waker().clone());
        debug_assert!(task.will_wake(cx.waker()), "one task polls it");
        self.signal.woken.swap(false, Ordering::AcqRel);
        true
    }

    /// What to poll with, once there was a turn.
    pub(crate) fn context(&self) -> Context<'_> {
        debug_assert!(self.signal.task.get().is_some(), "it had its turn");
        Context::from_waker(&self.waker)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::Pin, task::Poll};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_before() {
        let (sender, mut receiver) = oneshot::channel();
        let (aside, mut polls) = (Aside::new(), 0);
        let mut poll = |cx: &mut Context<'_>| {
            let Some(mut own) = aside.turn(cx) else {
                return Poll::Pending;
            };
            polls += 1;
            Pin::new(&mut receiver).poll(&mut own)
        };
        for _ in 0..3 {
            let polled = poll_fn(|cx| Poll::Ready(poll(cx))).await;
            assert!(polled.is_pending());
        }
        let wait = async { assert_eq!(poll_fn(&mut poll).await, Ok(7)) };
        let send = async { sender.send(7).unwrap() };
        tokio::join!(biased; wait, send);
        assert_eq!(polls, 2);
    }
}
