//! The state of one session.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Body, Condition, keys::Keys, response::Response};
use crate::{StreamHeader, ns};

/// The version of BOSH spoken here.
const VERSION: (u64, u64) = (1, 11);
/// Responses kept for a client that acknowledges them; without acknowledgements it is `requests`.
const MAX_UNACKED_RESPONSES: usize = 16;
/// HTTP requests that may wait with one `rid`: the first, and its repetitions.
const MAX_REPETITIONS: usize = 4;

/// What a gateway allows its BOSH clients. Whole seconds count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest time that a request is left without an answer.
    pub max_wait: Duration,
    /// Requests that may wait at a time, at least 1.
    pub max_hold: usize,
    /// How long a session lives without a request.
    pub inactivity: Duration,
    /// The longest pause a client may ask for; zero for none.
    pub max_pause: Duration,
    /// The shortest time between two empty requests of a client that lets none wait.
    pub polling: Duration,
    /// Streams of one session, at least 1.
    pub max_streams: usize,
}

impl Default for Config {
    /// As Prosody has it: 60 s of waiting (its own 120 s outlives many proxies), one request on hold,
    /// 60 s of inactivity, 300 s of pause, 5 s between polls; and 4 streams.
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(60),
            max_hold: 1,
            inactivity: Duration::from_secs(60),
            max_pause: Duration::from_secs(300),
            polling: Duration::from_secs(5),
            max_streams: 4,
        }
    }
}

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
    /// Send this on a stream.
    Send {
        /// The stream.
        stream: StreamName,
        /// Whole elements.
        payload: Bytes,
    },
    /// End a stream and its connection.
    Close {
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
    kept: VecDeque<Kept>,
    /// For the client, in order.
    queue: VecDeque<(StreamName, Bytes)>,
    queued_bytes: usize,
    streams: BTreeSet<StreamName>,
    next_stream: StreamName,
    state: State,
    /// What the first response has to say beside its payload.
    creation: Option<Creation>,
    /// A response that the client seems not to have (XEP-0124 §9.3).
    report: Option<(u64, Duration)>,
    last_empty_at: Option<Instant>,
    actions: VecDeque<Action>,
}

/// What was agreed on when the session began.
#[derive(Debug)]
struct Terms {
    sid: String,
    wait: Duration,
    hold: usize,
    requests: usize,
    acks: bool,
    content_type: &'static str,
    /// The client knows no conditions, only HTTP statuses.
    is_legacy: bool,
    version: (u64, u64),
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

#[derive(Debug)]
struct Kept {
    rid: u64,
    body: Bytes,
    at: Instant,
}

#[derive(Debug, Default)]
struct Creation {
    stream_id: Option<String>,
    from: Option<String>,
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
        let number = |name| body.number(name).map_err(|_| Condition::BadRequest);
        let wait = number("wait")?.unwrap_or(0).min(config.max_wait.as_secs());
        let hold = number("hold")?.unwrap_or(0).min(config.max_hold as u64);
        let hold = usize::try_from(hold).unwrap_or(config.max_hold);
        let version = match body.get("ver") {
            None => None,
            Some(version) => Some(parse_version(version).ok_or(Condition::BadRequest)?),
        };
        let terms = Terms {
            sid: sid.into(),
            wait: Duration::from_secs(wait),
            hold,
            requests: hold + 1,
            acks: body.get("ack") == Some("1"),
            content_type: content_type(body.get("content")),
            is_legacy: version.is_none(),
            version: version.map_or(VERSION, |version| version.min(VERSION)),
        };
        let mut session = Self {
            config,
            keys: Keys::new(body.get("newkey")),
            next_rid: body.rid() + 1,
            early: BTreeMap::new(),
            held: VecDeque::new(),
            kept: VecDeque::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            streams: BTreeSet::new(),
            next_stream: 1,
            state: State::Active { idle_until: None },
            creation: Some(Creation::default()),
            report: None,
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
                self.close_streams();
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
        match self.kept.iter().find(|kept| kept.rid == rid) {
            Some(kept) => {
                let body = kept.body.clone();
                self.respond(request, body, None);
            }
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
        if let Some(ack) = ack {
            self.acked(ack, now);
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
            self.kept.pop_back();
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
        if body.is_empty() {
            return;
        }
        let payload = body.payload();
        for stream in self.addressed(stream) {
            let payload = payload.clone();
            self.actions.push_back(Action::Send { stream, payload });
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

    /// The client has every response up to that of `ack`.
    fn acked(&mut self, ack: u64, now: Instant) {
        if !self.terms.acks {
            return;
        }
        self.kept.retain(|kept| kept.rid > ack);
        self.report = self
            .kept
            .front()
            .filter(|kept| kept.rid == ack + 1)
            .map(|kept| (kept.rid, now.saturating_duration_since(kept.at)));
    }

    /// Answers those that are not to wait any longer, the oldest first.
    fn flush(&mut self, now: Instant) {
        while matches!(self.state, State::Active { .. })
            && let Some(oldest) = self.held.front()
        {
            // The first response also says what was agreed on; it waits for the server as long as it may.
            let too_many = self.held.len() > self.terms.hold && self.creation.is_none();
            if self.queue.is_empty() && !too_many && now < oldest.until {
                return;
            }
            self.answer(now);
        }
    }

    /// Answers the oldest request with what there is for one stream.
    fn answer(&mut self, now: Instant) {
        let mut response = Response::new();
        if let Some(&(stream, _)) = self.queue.front() {
            if self.next_stream > 2 {
                response.set("stream", stream);
            }
            while let Some((_, element)) = self.queue.pop_front_if(|(next, _)| *next == stream) {
                self.queued_bytes -= element.len();
                response.push(&element);
            }
        }
        self.answer_next(response, now);
    }

    /// Gives `response` to the oldest request; without one it waits in nobody's place and is dropped.
    fn answer_next(&mut self, mut response: Response, now: Instant) {
        let Some(Held { rid, requests, .. }) = self.held.pop_front() else {
            return;
        };
        if let Some(creation) = self.creation.take() {
            self.describe(&creation, &mut response);
        }
        if self.terms.acks {
            // The last one whose predecessors all came; its own is understood.
            let highest = self.next_rid - 1;
            if highest != rid || self.kept.is_empty() {
                response.set("ack", highest);
            }
            if let Some((report, since)) = self.report.take() {
                response.set("report", report);
                response.set("time", since.as_millis());
            }
        }
        let body = response.into_bytes();
        for request in requests {
            self.respond(request, body.clone(), None);
        }
        self.kept.push_back(Kept { rid, body, at: now });
        let most = match self.terms.acks {
            true => MAX_UNACKED_RESPONSES,
            false => self.terms.requests,
        };
        while self.kept.len() > most {
            self.kept.pop_front();
        }
        if self.held.is_empty() && self.early.is_empty() {
            self.state = State::Active {
                idle_until: Some(now + self.config.inactivity),
            };
        }
    }

    /// What the first response says (XEP-0124 §7.2, XEP-0206 §3).
    fn describe(&self, creation: &Creation, response: &mut Response) {
        let Terms {
            sid,
            wait,
            hold,
            requests,
            version: (major, minor),
            ..
        } = &self.terms;
        response.set("sid", sid);
        response.set("wait", wait.as_secs());
        response.set("ver", format!("{major}.{minor}"));
        response.set("hold", hold);
        response.set("requests", requests);
        response.set("inactivity", self.config.inactivity.as_secs());
        response.set("polling", self.config.polling.as_secs());
        if !self.config.max_pause.is_zero() {
            response.set("maxpause", self.config.max_pause.as_secs());
        }
        if let Some(from) = &creation.from {
            response.set("from", from);
        }
        if let Some(id) = &creation.stream_id {
            response.set("authid", id);
        }
        if self.config.max_streams > 1 {
            response.set("stream", self.next_stream - 1);
        }
        response.set("xmlns:xmpp", ns::XBOSH);
        response.set("xmpp:version", "1.0");
        response.set("xmpp:restartlogic", "true");
    }

    /// Ends the session and tells every request that waits, those in `also` included.
    fn terminate_with(
        &mut self,
        condition: Option<Condition>,
        error: &[u8],
        also: &[u64],
        now: Instant,
    ) {
        self.close_streams();
        let mut requests: Vec<u64> = self.held.drain(..).flat_map(|held| held.requests).collect();
        requests.extend(
            std::mem::take(&mut self.early)
                .into_values()
                .flat_map(|(_, ids)| ids),
        );
        requests.extend_from_slice(also);
        let mut response = Response::terminate(condition);
        // What the server said last comes before the end.
        for (_, element) in self.queue.drain(..) {
            response.push(&element);
        }
        self.queued_bytes = 0;
        response.push(error);
        if let Some(creation) = self.creation.take() {
            self.describe(&creation, &mut response);
        }
        let response = response.into_bytes();
        if requests.is_empty() {
            let until = now + self.config.inactivity;
            self.state = State::Terminated { response, until };
            return;
        }
        for request in requests {
            self.respond(request, response.clone(), condition);
        }
        self.end();
    }

    fn close_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            self.actions.push_back(Action::Close { stream });
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.actions.push_back(Action::End);
    }

    fn respond(&mut self, request: u64, body: Bytes, condition: Option<Condition>) {
        let status = condition
            .filter(|_| self.terms.is_legacy)
            .map_or(200, Condition::legacy_status);
        self.actions.push_back(Action::Respond {
            request,
            status,
            content_type: self.terms.content_type,
            body,
        });
    }
}

/// The answer to a request that belongs to no session (XEP-0124 §17): the HTTP status and the content.
impl Condition {
    /// Refuses a request.
    pub fn refuse(self, body: Option<&Body>) -> (u16, Bytes) {
        // Without `sid` the version is in the request; with one it was in an earlier one.
        let is_legacy = body.is_some_and(|body| body.sid().is_none() && body.get("ver").is_none());
        let status = if is_legacy { self.legacy_status() } else { 200 };
        (status, Response::terminate(Some(self)).into_bytes())
    }
}

fn parse_version(version: &str) -> Option<(u64, u64)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What a client may have its responses called (`content`): nothing that a browser would run.
fn content_type(asked: Option<&str>) -> &'static str {
    const DEFAULT: &str = "text/xml; charset=utf-8";
    let asked = asked.unwrap_or(DEFAULT).to_ascii_lowercase();
    match asked.split(';').next().map(str::trim) {
        Some("application/xml") => "application/xml; charset=utf-8",
        Some("text/plain") => "text/plain; charset=utf-8",
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests;
