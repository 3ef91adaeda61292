//! The deadlines of a connection, one at a time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that costs nothing to move: the timer is made when something waits, and moved only when it fires too early.
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// None while nothing is waited for.
    pub(super) at: Option<Instant>,
}

impl Timer {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            sleep: None,
            at: Some(Instant::now() + after),
        }
    }

    pub(super) fn set(&mut self, after: Duration) {
        self.at = Some(Instant::now() + after);
    }

    pub(super) fn stop(&mut self) {
        self.at = None;
    }

    /// Ready when the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}
