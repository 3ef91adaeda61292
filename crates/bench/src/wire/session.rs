//! A client's end of the session protocol, whatever carries it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use perigee_session::{Config, Event, Session, StreamId};

use super::{BACKEND, Io};
use crate::Result;

/// A session with all its streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) session: Session,
    /// By number; ids begin at 1.
    ids: Vec<StreamId>,
    opened: usize,
    numbers: BTreeMap<StreamId, usize>,
}

impl Streams {
    pub(super) fn new(count: usize) -> Self {
        let config = Config {
            max_streams: count.max(256),
            // As a page does.
            window: 256 * 1024,
            peer_dead: Duration::from_secs(55),
            ..Config::default()
        };
        let mut session = Session::client(config);
        let ids: Vec<StreamId> = (0..count).map(|_| session.open(0, BACKEND)).collect();
        let numbers = ids
            .iter()
            .enumerate()
            .map(|(number, id)| (*id, number))
            .collect();
        Self {
            session,
            ids,
            opened: 0,
            numbers,
        }
    }

    pub(super) fn are_open(&self) -> bool {
        self.opened == self.ids.len()
    }

    pub(super) fn write(&mut self, number: usize, bytes: &[u8]) -> usize {
        self.session.write(self.ids[number], bytes)
    }

    /// Looks at what happened, and takes what came; says whether the transport is to be replaced.
    pub(super) fn take(&mut self, io: &mut Io, now: Instant) -> Result<bool> {
        let mut detached = false;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Opened { .. } => self.opened += 1,
                Event::Readable(id) => {
                    let number = self.numbers[&id];
                    let mut len = 0;
                    for run in self.session.peek(id) {
                        io.came(number, run);
                        len += run.len();
                    }
                    self.session.consume(id, len, now);
                    if self.session.fin_is_next(id) {
                        return Err("the backend ended a stream".into());
                    }
                }
                Event::Closed { code, text, .. } => {
                    return Err(format!("a stream was closed: {} {text}", code.name()).into());
                }
                Event::Ended { code } => {
                    return Err(format!("the session ended: {}", code.name()).into());
                }
                Event::Detached { .. } => detached = true,
                Event::PeerDead { .. } => return Err("the gateway went silent".into()),
                Event::GoAway { .. }
                | Event::Writable(_)
                | Event::Open { .. }
                | Event::Refused { .. } => {}
            }
        }
        Ok(detached)
    }
}
