//! Frames that go up by requests of their own, and what a network does to such requests.

use std::{sync::Arc, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{Method, StatusCode};
use perigee_session::TOKEN_LEN;

use super::{Inner, State, Way, form};
use crate::http::{Error, Version, Whole};

/// Most bytes of a request: the gateway takes 128 KiB.
const BODY: usize = 100 * 1024;
/// Withheld requests at a time.
const MAX_LATE: usize = 4;

/// How often in a hundred times a request suffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// It arrives twice.
    pub duplicate: u64,
    /// It arrives after the client gave it up and went on.
    pub late: u64,
    /// It never arrives.
    pub lost: u64,
    /// It arrives, and its reply does not.
    pub reply_lost: u64,
    /// A poll starts while another one is held.
    pub overlapping_poll: u64,
}

impl Faults {
    /// All of them, often.
    pub const HOSTILE: Self = Self {
        duplicate: 20,
        late: 10,
        lost: 10,
        reply_lost: 10,
        overlapping_poll: 20,
    };
}

impl Inner {
    pub(super) fn chance(&mut self, of: impl FnOnce(&Faults) -> u64) -> bool {
        let percent = of(&self.faults);
        percent > 0 && self.random.percent(percent)
    }
}

/// A token as it goes in a header.
pub(super) fn bearer(token: &[u8; TOKEN_LEN]) -> String {
    URL_SAFE_NO_PAD.encode(token)
}

struct Job {
    way: Way,
    path: String,
    token: String,
    body: Vec<u8>,
}

/// Sends what the session has to say, one request at a time, until the transport is a WebSocket.
pub(super) async fn run(state: Arc<State>) {
    let mut late: Vec<Job> = Vec::new();
    while let Some(job) = state.when(next).await {
        if !late.is_empty() && state.lock().random.percent(30) {
            // Its frames are old news by now, and so is its reply.
            _ = post(&state, &late.remove(0)).await;
        }
        if state.lock().chance(|faults| faults.lost) {
            state.change(|inner, now| inner.session.rewind(now));
            continue;
        }
        if late.len() < MAX_LATE && state.lock().chance(|faults| faults.late) {
            late.push(job);
            state.change(|inner, now| inner.session.rewind(now));
            continue;
        }
        let mut reply = post(&state, &job).await;
        if state.lock().chance(|faults| faults.reply_lost) {
            reply = Err("lost on purpose".into());
        }
        apply(&state, reply);
        if state.lock().chance(|faults| faults.duplicate) {
            let reply = post(&state, &job).await;
            apply(&state, reply);
        }
    }
    // Whoever waits for the end of the uplink is told.
    state.change(|_, _| ());
}

/// The next request; `Some(None)` when frames go up another way or the session is gone.
fn next(inner: &mut Inner) -> Option<Option<Job>> {
    let Some(way) = inner
        .uplink
        .filter(|_| inner.ended.is_none_or(|_| inner.session.can_transmit()))
    else {
        inner.uplink_runs = false;
        return Some(None);
    };
    let (sid, token) = inner.session.identity()?;
    let path = format!("/perigee/v1/{sid}/up");
    let token = bearer(token);
    let mut body = Vec::new();
    if !inner.session.can_transmit()
        || !inner.session.poll_transmit(&mut body, BODY, Instant::now())
    {
        return None;
    }
    Some(Some(Job {
        way,
        path,
        token,
        body,
    }))
}

async fn post(state: &State, job: &Job) -> Result<Whole, Error> {
    let version = match job.way {
        Way::Post(version) => version,
        Way::Form => {
            let http = state.http(Version::Http1);
            let reply = form::submit(&http, &job.path, &job.body, Some(&job.token));
            return state.patiently(reply).await;
        }
    };
    let authorization = format!("Bearer {}", job.token);
    let headers = [("authorization", authorization.as_str())];
    let http = state.http(version);
    let reply = http.fetch(Method::POST, &job.path, &headers, job.body.clone());
    state.patiently(reply).await
}

fn apply(state: &State, reply: Result<Whole, Error>) {
    state.change(|inner, now| {
        match &reply {
            Ok(reply) if reply.status == StatusCode::OK => {}
            Ok(reply) => inner.diary.note(format_args!("uplink: {}", reply.status)),
            Err(error) => inner.diary.note(format_args!("uplink: {error}")),
        }
        inner.answered(reply, now);
    });
}

impl Inner {
    fn answered(&mut self, reply: Result<Whole, Error>, now: Instant) {
        match reply {
            Ok(reply) if reply.status == StatusCode::OK => {
                self.session.handle_reply(&reply.body, now);
            }
            // The session is over; the downlink says why, or the next attach is refused.
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => self.uplink = None,
            Ok(_) | Err(_) => self.session.rewind(now),
        }
    }
}
