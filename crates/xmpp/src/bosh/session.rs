//! The state of one session.

mod answering;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Body, Condition, Config,
    kept::Kept,
    keys::Keys,
    response::Response,
    terms::{Creation, Terms},
};
use crate::StreamHeader;

/// HTTP requests that may wait with one `rid`: the first, and its repetitions.
const MAX_REPETITIONS: usize = 4;

/// The name of a stream within its session.
pub type StreamName = u32;

/// What the owner of a session has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the server and begin a stream with this header.
    Open {
        /// The new stream.
        stream: StreamName,
        /// What to send first.
        header: StreamHeader,
    },
    /// Begin a new stream on the same connection.
    Restart {
        /// The stream.
        stream: StreamName,
        /// What to send.
        header: StreamHeader,
    },
    /// Send this element on a stream.
    Send {
        /// The stream.
        stream: StreamName,
        /// The element, as it stands in a stream.
        element: Bytes,
    },
    /// End a stream and its connection.
    Close {
        /// The stream.
        stream: StreamName,
    },
    /// The client is gone and ended nothing: end the connection, so that a stream which the client may
    /// resume elsewhere (XEP-0198) stays resumable.
    Abandon {
        /// The stream.
        stream: StreamName,
    },
    /// Answer an HTTP request.
    Respond {
        /// As it was given to [`Session::handle_request`].
        request: u64,
        /// The HTTP status.
        status: u16,
        /// The `Content-Type`.
        content_type: &'static str,
        /// The content.
        body: Bytes,
    },
    /// The session is over: nothing comes behind this.
    End,
}

/// One session of one client.
#[derive(Debug)]
pub struct Session {
    config: Config,
    terms: Terms,
    keys: Keys,
    /// The next `rid` to be taken.
    next_rid: u64,
    /// Requests that came before their turn.
    early: BTreeMap<u64, (Body, Vec<u64>)>,
    /// Requests without an answer, in order.
    held: VecDeque<Held>,
    /// Responses that may be asked for again, in order.
    kept: Kept,
    /// For the client, in order.
    queue: VecDeque<(StreamName, Bytes)>,
    queued_bytes: usize,
    streams: BTreeSet<StreamName>,
    next_stream: StreamName,
    state: State,
    /// What the first response has to say beside its payload.
    creation: Option<Creation>,
    last_empty_at: Option<Instant>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    Active {
        /// When the session ends if no request comes; `None` while one waits.
        idle_until: Option<Instant>,
    },
    /// Over, but the client was not told because no request of it waited.
    Terminated {
        response: Bytes,
        until: Instant,
    },
    Ended,
}

#[derive(Debug)]
struct Held {
    rid: u64,
    /// HTTP requests that are to have the answer.
    requests: Vec<u64>,
    until: Instant,
}

impl Session {
    /// Begins a session with its first request. The first actions open its stream; the answer waits
    /// for what the server says.
    ///
    /// # Errors
    ///
    /// The condition to refuse it with.
    pub fn new(
        config: Config,
        sid: impl Into<String>,
        request: u64,
        body: &Body,
        now: Instant,
    ) -> Result<Self, Condition> {
        if body.to().is_none_or(str::is_empty) {
            return Err(Condition::ImproperAddressing);
        }
        let terms = Terms::agree(&config, sid.into(), body)?;
        let mut session = Self {
            config,
            keys: Keys::new(body.get("newkey")),
            next_rid: body.rid() + 1,
            early: BTreeMap::new(),
            held: VecDeque::new(),
            kept: Kept::new(terms.kept_responses()),
            queue: VecDeque::new(),
            queued_bytes: 0,
            streams: BTreeSet::new(),
            next_stream: 1,
            state: State::Active { idle_until: None },
            creation: Some(Creation::default()),
            last_empty_at: None,
            actions: VecDeque::new(),
            terms,
        };
        session.open(body);
        session.hold(body.rid(), vec![request], now);
        Ok(session)
    }

    /// Takes a request. `request` names the HTTP request and comes back in [`Action::Respond`].
    pub fn handle_request(&mut self, request: u64, body: Body, now: Instant) {
        let rid = body.rid();
        match &self.state {
            State::Active { .. } => {}
            State::Terminated { response, .. } => {
                let response = response.clone();
                self.respond(request, response, None);
                self.end();
                return;
            }
            State::Ended => return,
        }
        if rid < self.next_rid {
            self.repeat(rid, request, now);
            return;
        }
        // So many requests may be under way behind the one that is waited for.
        if rid >= self.next_rid + self.terms.requests as u64 {
            self.terminate_with(Some(Condition::ItemNotFound), &[], &[request], now);
            return;
        }
        let (_, requests) = self.early.entry(rid).or_insert_with(|| (body, Vec::new()));
        requests.push(request);
        if requests.len() > MAX_REPETITIONS {
            self.terminate_with(Some(Condition::PolicyViolation), &[], &[], now);
            return;
        }
        while let Some((body, requests)) = self.early.remove(&self.next_rid) {
            self.next_rid += 1;
            self.take(&body, requests, now);
            if !matches!(self.state, State::Active { .. }) {
                return;
            }
        }
        self.flush(now);
    }

    /// The HTTP request is gone: its connection broke before it was answered. The client repeats it.
    pub fn request_gone(&mut self, request: u64) {
        for held in &mut self.held {
            held.requests.retain(|&waiting| waiting != request);
        }
        for (_, requests) in self.early.values_mut() {
            requests.retain(|&waiting| waiting != request);
        }
    }

    /// Takes what the server sent on a stream: the header, or an element with its declarations.
    pub fn handle_open(&mut self, stream: StreamName, header: &StreamHeader) {
        if let Some(creation) = &mut self.creation
            && self.streams.contains(&stream)
        {
            creation.stream_id = header.attributes.get("id").map(str::to_owned);
            creation.from = header.attributes.get("from").map(str::to_owned);
        }
    }

    /// Takes one element for the client, which declares all the namespaces it uses.
    pub fn handle_element(&mut self, stream: StreamName, element: Bytes, now: Instant) {
        if self.streams.contains(&stream) {
            self.queued_bytes += element.len();
            self.queue.push_back((stream, element));
            self.flush(now);
        }
    }

    /// The server ended a stream, or it broke: `condition` and `error` (the `<stream:error/>`) say why.
    pub fn handle_close(
        &mut self,
        stream: StreamName,
        condition: Option<Condition>,
        error: &[u8],
        now: Instant,
    ) {
        if !self.streams.remove(&stream) {
            return;
        }
        if self.streams.is_empty() {
            self.terminate_with(condition, error, &[], now);
            return;
        }
        // The others go on.
        let mut response = Response::terminate(condition);
        response.set("stream", stream);
        response.push(error);
        self.answer_next(response, now);
        self.flush(now);
    }

    /// Ends the session for a reason of the gateway.
    pub fn terminate(&mut self, condition: Condition, now: Instant) {
        if matches!(self.state, State::Active { .. }) {
            self.terminate_with(Some(condition), &[], &[], now);
        }
    }

    /// Bytes for the client that no request has come for: the owner stops reading from the server while they are too many.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes held for the client: those, and responses that it may ask for again.
    pub fn held_bytes(&self) -> usize {
        self.queued_bytes + self.kept.bytes()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Active { idle_until } => {
                let answer = self.held.front().map(|held| held.until);
                answer.into_iter().chain(*idle_until).min()
            }
            State::Terminated { until, .. } => Some(*until),
            State::Ended => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Active {
                idle_until: Some(until),
            } if *until <= now => {
                // Silently: there is nobody to tell.
                for stream in std::mem::take(&mut self.streams) {
                    self.actions.push_back(Action::Abandon { stream });
                }
                self.end();
            }
            State::Active { .. } => self.flush(now),
            State::Terminated { until, .. } if *until <= now => self.end(),
            State::Terminated { .. } | State::Ended => {}
        }
    }

    /// A request that came before: the same answer, or the wait for it.
    fn repeat(&mut self, rid: u64, request: u64, now: Instant) {
        if let Some(held) = self.held.iter_mut().find(|held| held.rid == rid) {
            held.requests.push(request);
            if held.requests.len() > MAX_REPETITIONS {
                self.terminate_with(Some(Condition::PolicyViolation), &[], &[], now);
            }
            return;
        }
        match self.kept.find(rid) {
            Some(body) => self.respond(request, body, None),
            None => {
                self.terminate_with(Some(Condition::ItemNotFound), &[], &[request], now);
            }
        }
    }

    /// A request whose turn it is.
    fn take(&mut self, body: &Body, requests: Vec<u64>, now: Instant) {
        let rid = body.rid();
        let refuse = |session: &mut Self, condition| {
            session.terminate_with(Some(condition), &[], &requests, now);
        };
        if !self.keys.check(body.get("key"), body.get("newkey")) {
            return refuse(self, Condition::ItemNotFound);
        }
        let (Ok(ack), Ok(pause), Ok(stream)) = (
            body.number("ack"),
            body.number("pause"),
            body.number("stream"),
        ) else {
            return refuse(self, Condition::BadRequest);
        };
        if let Some(ack) = ack
            && self.terms.acks
        {
            self.kept.acked(ack, now);
        }
        let stream = stream.map(|name| StreamName::try_from(name).unwrap_or(0));
        if stream.is_some_and(|stream| !self.streams.contains(&stream)) {
            return refuse(self, Condition::ItemNotFound);
        }

        if body.is_terminate() {
            self.send(body, stream);
            let rest =
                stream.is_some_and(|stream| self.streams.len() > 1 && self.streams.remove(&stream));
            if let (true, Some(stream)) = (rest, stream) {
                self.actions.push_back(Action::Close { stream });
                self.hold(rid, requests, now);
                let mut response = Response::terminate(None);
                response.set("stream", stream);
                self.answer_next(response, now);
            } else {
                self.terminate_with(None, &[], &requests, now);
            }
            return;
        }
        if let Some(pause) = pause {
            let pause = Duration::from_secs(pause);
            if pause > self.config.max_pause {
                return refuse(self, Condition::PolicyViolation);
            }
            self.hold(rid, requests, now);
            while !self.held.is_empty() {
                self.answer(now);
            }
            // Asked for again it would say nothing, so it is not kept (XEP-0124 §14.3).
            self.kept.forget_newest();
            self.state = State::Active {
                idle_until: Some(now + pause),
            };
            return;
        }
        if body.is_restart() {
            let header = body.stream_header();
            for stream in self.addressed(stream) {
                let header = header.clone();
                self.actions.push_back(Action::Restart { stream, header });
            }
        } else if body.to().is_some() && stream.is_none() && body.is_empty() {
            if self.streams.len() >= self.config.max_streams {
                return refuse(self, Condition::PolicyViolation);
            }
            self.open(body);
        } else if body.is_empty() && self.polls_too_often(now) {
            return refuse(self, Condition::PolicyViolation);
        }
        if !body.is_restart() {
            self.send(body, stream);
        }
        self.hold(rid, requests, now);
    }

    fn send(&mut self, body: &Body, stream: Option<StreamName>) {
        for stream in self.addressed(stream) {
            for element in body.payload() {
                self.actions.push_back(Action::Send { stream, element });
            }
        }
    }

    /// The stream that a request names; without a name it is for all of them (XEP-0124 §16.3).
    fn addressed(&self, stream: Option<StreamName>) -> Vec<StreamName> {
        match stream {
            Some(stream) => vec![stream],
            None => self.streams.iter().copied().collect(),
        }
    }

    fn open(&mut self, body: &Body) {
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(stream);
        let header = body.stream_header();
        self.actions.push_back(Action::Open { stream, header });
    }

    fn hold(&mut self, rid: u64, requests: Vec<u64>, now: Instant) {
        self.state = State::Active { idle_until: None };
        self.held.push_back(Held {
            rid,
            requests,
            until: now + self.terms.wait,
        });
    }

    /// A client that lets no request wait asks again and again, but not too often (XEP-0124 §12).
    fn polls_too_often(&mut self, now: Instant) -> bool {
        if self.terms.hold > 0 && !self.terms.wait.is_zero() {
            return false;
        }
        let last = self.last_empty_at.replace(now);
        last.is_some_and(|last| now.saturating_duration_since(last) < self.config.polling)
    }
}

#[cfg(test)]
mod tests;
