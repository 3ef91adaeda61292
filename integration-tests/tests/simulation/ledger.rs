//! What really happened: every byte written and delivered, at all ends, as nobody in the simulated
//! world could know it. Whoever does something tells the ledger, which says at once when it breaks
//! the promise.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::{Display, Write},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use perigee_gateway::simulation;
use perigee_session::{Code, StreamStats};

/// Names a stream in all of a simulation; the patterns of its bytes follow from it.
pub(crate) type Key = u64;

/// The one ledger of a simulation.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Rc<RefCell<Book>>);

#[derive(Default)]
struct Book {
    /// Set before each step.
    now: Duration,
    streams: BTreeMap<Key, Entry>,
    troubles: Vec<Trouble>,
    problem: Option<String>,
    trace: Vec<String>,
}

/// One stream, as both ends see it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Entry {
    client: usize,
    backend: usize,
    opened_at: Duration,
    /// The gateway's address and the backend's, once the backend knows what it is asked for.
    connection: Option<(SocketAddr, SocketAddr)>,
    /// When its session began, which may be lost before the stream is opened on it.
    session_since: Duration,
    up: Way,
    down: Way,
    outcome: Option<Outcome>,
}

/// One direction of a stream, in bytes.
#[derive(Debug, Default, Clone)]
struct Way {
    written: u64,
    finished: bool,
    delivered: u64,
    ended: bool,
}

/// How a stream ended for its client.
#[derive(Debug, Clone)]
struct Outcome {
    at: Duration,
    code: Code,
    acked: u64,
}

/// Something that may end a stream with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A client's network did not work, or the client was away.
    Away(usize),
    /// The gateway was killed or stopped, or its clock jumped.
    Gateway,
    /// A backend was killed, or could not be reached.
    Backend(usize),
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    cause: Cause,
    from: Duration,
    to: Duration,
}

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

impl Ledger {
    pub(crate) fn set_time(&self, now: Duration) {
        self.0.borrow_mut().now = now;
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.borrow().now
    }

    /// Writes a line of the trace, which is the same whenever the seed is.
    pub(crate) fn trace(&self, line: impl Display) {
        let mut book = self.0.borrow_mut();
        let at = book.now.as_millis();
        book.trace.push(format!("{at:>7} {line}"));
    }

    /// The promise is broken, in the first of all the ways that were found.
    pub(crate) fn fail(&self, problem: impl Display) {
        self.trace(format_args!("PROBLEM {problem}"));
        self.0
            .borrow_mut()
            .problem
            .get_or_insert_with(|| problem.to_string());
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.0.borrow().problem.clone()
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().trace)
    }

    /// Something is or was wrong for a while.
    pub(crate) fn trouble(&self, cause: Cause, from: Duration, to: Duration) {
        self.0
            .borrow_mut()
            .troubles
            .push(Trouble { cause, from, to });
    }

    pub(crate) fn opened(&self, key: Key, client: usize, backend: usize, session_since: Duration) {
        let mut book = self.0.borrow_mut();
        let opened_at = book.now;
        book.streams.insert(
            key,
            Entry {
                client,
                backend,
                opened_at,
                session_since,
                ..Entry::default()
            },
        );
        drop(book);
        self.trace(format_args!(
            "client {client}: stream {key:x} to backend {backend}"
        ));
    }

    fn change(&self, key: Key, what: &str, change: impl FnOnce(&mut Entry) -> Result<(), String>) {
        let changed = match self.0.borrow_mut().streams.get_mut(&key) {
            Some(entry) => change(entry),
            None => Err("nobody opened it".to_owned()),
        };
        if let Err(problem) = changed {
            self.fail(format_args!("stream {key:x}, {what}: {problem}"));
        }
    }

    /// Bytes were handed to the session or to the gateway's socket.
    pub(crate) fn wrote(&self, key: Key, direction: Direction, len: usize) {
        self.change(key, "write", |entry| {
            entry.way(direction).written += len as u64;
            Ok(())
        });
    }

    /// There will be no more.
    pub(crate) fn finished(&self, key: Key, direction: Direction) {
        self.change(key, "finish", |entry| {
            entry.way(direction).finished = true;
            Ok(())
        });
    }

    /// A backend was asked for what this stream is for.
    pub(crate) fn connected(&self, key: Key, gateway: SocketAddr, backend: SocketAddr) {
        self.change(key, "connection", |entry| {
            let before = entry.connection.replace((gateway, backend));
            before.map_or(Ok(()), |_| Err("a second connection for it".to_owned()))
        });
    }

    /// Bytes, already compared with the pattern, reached the application at the other end.
    pub(crate) fn delivered(&self, key: Key, direction: Direction, len: usize) {
        self.change(key, "delivery", |entry| {
            let way = entry.way(direction);
            way.delivered += len as u64;
            if way.ended {
                return Err(format!("{direction:?}: bytes after the end"));
            }
            if way.delivered > way.written {
                return Err(format!(
                    "{direction:?}: more delivered than written: {way:?}"
                ));
            }
            Ok(())
        });
        self.trace(format_args!("{key:x} {direction:?} +{len}"));
    }

    /// The application at the other end was told that this is all.
    pub(crate) fn ended(&self, key: Key, direction: Direction) {
        self.trace(format_args!("{key:x} {direction:?} end"));
        let now = self.now();
        let mut cut_short = None;
        self.change(key, "end", |entry| {
            let way = entry.way(direction);
            if way.ended {
                return Err(format!("{direction:?}: ended twice"));
            }
            way.ended = true;
            if !way.finished || way.delivered != way.written {
                cut_short = Some((
                    entry.backend,
                    entry.opened_at,
                    format!("{:?}", entry.way(direction)),
                ));
            }
            Ok(())
        });
        let Some((backend, since, way)) = cut_short else {
            return;
        };
        // The kernel of a process that was killed says FIN for it.
        let liar = match direction {
            Direction::Up => Cause::Gateway,
            Direction::Down => Cause::Backend(backend),
        };
        if !self.had(liar, since, now) {
            self.fail(format_args!(
                "stream {key:x}, {direction:?}: an end before the last byte: {way}"
            ));
        }
    }

    /// The client was told how the stream ended.
    pub(crate) fn closed(&self, key: Key, code: Code, text: &str, stats: &StreamStats) {
        self.trace(format_args!("{key:x} closed: {code} {text:?} {stats:?}"));
        let at = self.now();
        self.change(key, "close", |entry| {
            let outcome = Outcome {
                at,
                code,
                acked: stats.acked,
            };
            match entry.outcome.replace(outcome) {
                None => Ok(()),
                Some(before) => Err(format!("closed twice, first with {}", before.code)),
            }
        });
    }

    /// The client is gone, and with it whoever could be told.
    pub(crate) fn client_died(&self, client: usize) {
        let mut book = self.0.borrow_mut();
        for entry in book.streams.values_mut() {
            if entry.client == client && entry.outcome.is_none() {
                // What was delivered until then was compared; what comes of it later is nobody's.
                entry.outcome = Some(Outcome {
                    at: Duration::ZERO,
                    code: Code::Aborted,
                    acked: 0,
                });
            }
        }
    }

    fn had(&self, cause: Cause, from: Duration, to: Duration) -> bool {
        let book = self.0.borrow();
        book.troubles
            .iter()
            .any(|trouble| trouble.cause == cause && trouble.from <= to && trouble.to >= from)
    }

    /// How long a client was away in this time, summed up.
    fn away(&self, client: usize, from: Duration, to: Duration) -> Duration {
        let book = self.0.borrow();
        book.troubles
            .iter()
            .filter(|trouble| trouble.cause == Cause::Away(client))
            .map(|trouble| trouble.to.min(to).saturating_sub(trouble.from.max(from)))
            .sum()
    }

    /// When all is over: everything written was delivered, or a code was told that had a cause.
    pub(crate) fn check_outcomes(&self, resume: Duration) {
        let entries: Vec<(Key, Entry)> = {
            let book = self.0.borrow();
            book.streams
                .iter()
                .map(|(key, entry)| (*key, entry.clone()))
                .collect()
        };
        for (key, entry) in entries {
            if let Err(problem) = self.check(&entry, resume) {
                self.fail(format_args!("stream {key:x}: {problem}: {entry:?}"));
            }
        }
    }

    fn check(&self, entry: &Entry, resume: Duration) -> Result<(), &'static str> {
        let Some(outcome) = &entry.outcome else {
            return Err("its client was never told how it ended");
        };
        let (from, to) = (entry.opened_at, outcome.at);
        let backend_died = self.had(Cause::Backend(entry.backend), from, to);
        if let Some((gateway, backend)) = entry.connection
            && outcome.acked > simulation::written(gateway, backend)
        {
            return Err("more was acked than the backend's socket was given");
        }
        // What it had in its socket and did not read died with it.
        let reader_died = self.had(Cause::Backend(entry.backend), from, Duration::MAX);
        let gateway = self.had(Cause::Gateway, entry.session_since, to);
        let explained = match outcome.code {
            Code::Closed => {
                let complete =
                    |way: &Way| way.finished && way.ended && way.delivered == way.written;
                return if complete(&entry.up) && complete(&entry.down) || reader_died {
                    Ok(())
                } else {
                    Err("it ended well and is not complete")
                };
            }
            // The client itself gave up, because the backend ended early or the client died.
            Code::Aborted => true,
            Code::Lost => {
                gateway || self.away(entry.client, entry.session_since, to) + AROUND >= resume
            }
            Code::GoingAway => gateway,
            Code::Reset | Code::Refused | Code::Timeout | Code::Unreachable => {
                backend_died || gateway
            }
            _ => false,
        };
        explained
            .then_some(())
            .ok_or("it ended with a code that nothing explains")
    }

    /// Whether the backends of all streams that ended well have come to their end, too.
    pub(crate) fn is_settled(&self) -> bool {
        let book = self.0.borrow();
        book.streams.values().all(|entry| {
            let Some(_) = entry.outcome.as_ref().filter(|it| it.code == Code::Closed) else {
                return true;
            };
            entry.up.ended
                || self.had(
                    Cause::Backend(entry.backend),
                    entry.opened_at,
                    Duration::MAX,
                )
        })
    }

    /// For people: the streams that are not over.
    pub(crate) fn open_streams(&self) -> String {
        let book = self.0.borrow();
        let mut text = String::new();
        for (key, entry) in book
            .streams
            .iter()
            .filter(|(_, entry)| entry.outcome.is_none())
        {
            _ = write!(text, "\n  {key:x}: {entry:?}");
        }
        text
    }

    /// How many streams ended well, and how many with a code.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let book = self.0.borrow();
        let codes = book
            .streams
            .values()
            .filter_map(|entry| entry.outcome.as_ref());
        codes.fold((0, 0), |(well, ill), outcome| match outcome.code {
            Code::Closed => (well + 1, ill),
            _ => (well, ill + 1),
        })
    }
}

/// What comes on top of a trouble before its client is attached again: the waits between attempts.
const AROUND: Duration = Duration::from_secs(6);

impl Entry {
    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}
