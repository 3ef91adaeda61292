//! Responses that a client may ask for again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// The newest responses, in order: at most so many.
#[derive(Debug)]
pub(super) struct Kept {
    responses: VecDeque<Given>,
    most: usize,
    /// A response that the client seems not to have (XEP-0124 §9.3).
    report: Option<(u64, Duration)>,
}

#[derive(Debug)]
struct Given {
    rid: u64,
    body: Bytes,
    at: Instant,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self {
            responses: VecDeque::new(),
            most,
            report: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.responses.is_empty()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.responses.iter().map(|given| given.body.len()).sum()
    }

    /// What a request was answered with.
    pub(super) fn find(&self, rid: u64) -> Option<Bytes> {
        let given = self.responses.iter().find(|given| given.rid == rid)?;
        Some(given.body.clone())
    }

    /// Keeps a response that was given now; the oldest makes room for it.
    pub(super) fn push(&mut self, rid: u64, body: Bytes, at: Instant) {
        self.responses.push_back(Given { rid, body, at });
        while self.responses.len() > self.most {
            self.responses.pop_front();
        }
    }

    pub(super) fn forget_newest(&mut self) {
        self.responses.pop_back();
    }

    /// The client has every response up to that of `ack`.
    pub(super) fn acked(&mut self, ack: u64, now: Instant) {
        self.responses.retain(|given| given.rid > ack);
        self.report = self
            .responses
            .front()
            .filter(|given| given.rid == ack + 1)
            .map(|given| (given.rid, now.saturating_duration_since(given.at)));
    }

    /// The response that is to be reported as lost, and how long ago it was given.
    pub(super) fn take_report(&mut self) -> Option<(u64, Duration)> {
        self.report.take()
    }
}
