//! The streams of one session: their backends, what the log will say of them, and which of them
//! want attention.
//!
//! A stream wants attention because its backend woke the task, or because the session has something
//! for it. The second is no reason to look whether the backend has said anything.

use std::{
    io::IoSlice,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use perigee_session::{ById, Code, Few, Session, StreamId, StreamStats};

use super::ready::{Ready, ReadyList, Source};
use crate::{
    ops::{
        access_log::{Client, StreamRecord},
        stats::Counted,
    },
    policy::{Permit, Request, ServiceName},
    service::{Caller, Framing, Look, ServiceStream, Tunnel},
    shared::Shared,
};

/// All live streams of a session.
pub(super) struct Streams {
    by_id: ById<Entry>,
    ready: Arc<ReadyList>,
    /// Streams whose backend woke the task, and that were not looked at yet.
    woken: Few<StreamId>,
    /// Streams that the session has something for, which were not looked at yet.
    noted: Few<StreamId>,
    /// What services hold beside the session.
    buffered: u64,
}

/// One stream: its place in the ready list, its line in the log, and its backend once permitted.
struct Entry {
    ready: Ready,
    /// It is among those that the session has something for.
    is_noted: bool,
    record: StreamRecord,
    leg: Option<(Leg, Counted)>,
    /// What its service held when it was looked at last.
    buffered: u64,
    _counted: Counted,
}

/// How a stream is joined to its backend.
enum Leg {
    Tunnel(Tunnel),
    Service(Box<ServiceStream>),
}

impl Streams {
    /// None yet; `ready` is what wakes the task.
    pub(super) fn new(ready: Arc<ReadyList>) -> Self {
        Self {
            by_id: ById::default(),
            ready,
            woken: Few::new(),
            noted: Few::new(),
            buffered: 0,
        }
    }

    /// What wakes the task: the streams' backends, and who else has a place there.
    pub(super) fn ready(&self) -> &Arc<ReadyList> {
        &self.ready
    }

    /// Takes what woke the task: streams for [`Streams::serve`], and `other` is told of what is none.
    pub(super) fn take_woken(&mut self, mut other: impl FnMut(Source)) {
        let woken = &mut self.woken;
        self.ready.take(|source| match StreamId::try_from(source) {
            Ok(stream) => woken.push_back(stream),
            Err(_) => other(source),
        });
    }

    /// Starts a stream if policy permits it, and otherwise resets it. `transport` is the one in use;
    /// a client that is there may be between two.
    pub(super) fn open(
        &mut self,
        (id, service, target): (StreamId, u8, &str),
        (transport, is_there): (Option<&'static str>, bool),
        client: &Client,
        session: &mut Session,
        shared: &Shared,
        now: Instant,
    ) {
        let mut record = StreamRecord::new(target, now);
        if let Some(transport) = transport {
            record.transports.add(transport);
        }
        let decision = match ServiceName::from_number(service) {
            Some(service) => {
                let request = Request {
                    origin: client.origin.as_deref(),
                    client: client.address,
                    user: client.user.as_deref(),
                    service,
                    target,
                };
                let decision = shared.config.policy.decide(&request);
                let leg = |permit| Leg::new((id, service), permit, client, is_there, shared);
                decision
                    .map(|permit| (Arc::clone(&permit.rule), leg(permit)))
                    .map_err(|denial| denial.to_string())
            }
            None => Err(format!("service {service} is not known")),
        };
        let mut leg = None;
        match decision {
            Ok((rule, permitted)) => {
                record.rule = Some(rule);
                leg = Some((permitted, shared.stats.backends.count()));
            }
            Err(detail) => {
                record.detail = Some(detail);
                session.reset(id, Code::Denied, "not allowed", now);
            }
        }
        let entry = Entry {
            ready: self.ready.add(id.into()),
            is_noted: false,
            record,
            leg,
            buffered: 0,
            _counted: shared.stats.streams.count(),
        };
        self.by_id.insert(id, entry);
        self.note(id);
    }

    /// A stream has bytes to deliver, or room for bytes again. Serve them before waiting.
    pub(super) fn note(&mut self, id: StreamId) {
        if let Some(entry) = self.by_id.get_mut(id) {
            entry.note(id, &mut self.noted);
        }
    }

    /// Offers the backend of a tunnel bytes of which the session holds none before them, and says how
    /// many it took. `is_last` if no message that came with them follows.
    pub(super) fn offer(&mut self, id: StreamId, runs: &[IoSlice<'_>], is_last: bool) -> usize {
        match self.by_id.get_mut(id) {
            Some(Entry {
                ready,
                leg: Some((Leg::Tunnel(tunnel), _)),
                ..
            }) => tunnel.offer(runs, is_last, &mut ready.context()),
            _ => 0,
        }
    }

    /// A transport took over.
    pub(super) fn attached(&mut self, transport: &'static str, resumed: bool, now: Instant) {
        for (id, entry) in self.by_id.iter_mut() {
            if let Some((Leg::Service(service), _)) = &mut entry.leg {
                service.set_attached(true, now);
            }
            entry.record.transports.add(transport);
            entry.record.resumes += u32::from(resumed);
            // Reading may have been paused for want of memory while detached.
            entry.note(id, &mut self.noted);
        }
    }

    /// The client is away.
    pub(super) fn detached(&mut self, now: Instant) {
        for (id, entry) in self.by_id.iter_mut() {
            if let Some((Leg::Service(service), _)) = &mut entry.leg {
                service.set_attached(false, now);
                entry.note(id, &mut self.noted);
            }
        }
    }

    /// Bytes that services hold beside the session.
    pub(super) fn buffered(&self) -> u64 {
        self.buffered
    }

    /// Moves bytes between the session and the backends that have something to say.
    pub(super) fn serve(&mut self, session: &mut Session, may_read: bool, now: Instant) {
        while let Some(id) = self.woken.pop_front() {
            if let Some(entry) = self.by_id.get_mut(id) {
                entry.ready.taken();
                entry.is_noted = false;
                self.buffered -= entry.buffered;
                entry.serve(session, Look::Both, may_read, now);
                self.buffered += entry.buffered;
            }
        }
        while let Some(id) = self.noted.pop_front() {
            if let Some(entry) = self.by_id.get_mut(id)
                && mem::take(&mut entry.is_noted)
            {
                self.buffered -= entry.buffered;
                entry.serve(session, Look::Session, may_read, now);
                self.buffered += entry.buffered;
            }
        }
    }

    /// A stream is over: writes its line and ends its backend.
    pub(super) fn close(
        &mut self,
        id: StreamId,
        (code, text): (Code, &str),
        stats: &StreamStats,
        (client, sid): (&Client, &str),
        shared: &Shared,
        now: Instant,
    ) {
        if let Some(entry) = self.by_id.remove(id) {
            entry.record.log(client, sid, code, text, stats, now);
            match entry.leg {
                Some((Leg::Tunnel(tunnel), _counted)) => tunnel.close(code),
                Some((Leg::Service(service), counted)) => {
                    self.buffered -= entry.buffered;
                    service.close(counted, &shared.tasks);
                }
                None => {}
            }
        }
    }

    /// The longest time that any of them outlives its transport.
    pub(super) fn resume_timeout(&self) -> Option<Duration> {
        self.by_id
            .iter()
            .filter_map(|(_, entry)| entry.resume_timeout())
            .max()
    }

    /// When each stream ends that a backend allows only so long without a transport; no sooner
    /// than `least` after `detached_at`.
    pub(super) fn expiries(
        &self,
        detached_at: Instant,
        least: Duration,
    ) -> impl Iterator<Item = (StreamId, Instant)> {
        self.by_id.iter().filter_map(move |(id, entry)| {
            let resume = entry.resume_timeout()?;
            Some((id, detached_at + resume.max(least)))
        })
    }
}

impl Entry {
    fn note(&mut self, id: StreamId, noted: &mut Few<StreamId>) {
        if !self.is_noted {
            self.is_noted = true;
            noted.push_back(id);
        }
    }

    fn serve(&mut self, session: &mut Session, look: Look, may_read: bool, now: Instant) {
        let Some((leg, _)) = &mut self.leg else {
            return;
        };
        let mut cx = self.ready.context();
        let polled = match leg {
            Leg::Tunnel(tunnel) => tunnel.poll(session, look, may_read, now, &mut cx),
            Leg::Service(service) => {
                let polled = service.poll(session, may_read, now, &mut cx);
                self.buffered = service.buffered();
                polled
            }
        };
        match polled {
            Ok(true) => self.ready.mark(),
            Ok(false) => {}
            Err(failure) => self.record.detail = Some(failure.0),
        }
    }

    fn resume_timeout(&self) -> Option<Duration> {
        let (leg, _) = self.leg.as_ref()?;
        Some(match leg {
            Leg::Tunnel(tunnel) => tunnel.resume_timeout,
            Leg::Service(service) => service.resume_timeout,
        })
    }
}

impl Leg {
    fn new(
        (id, service): (StreamId, ServiceName),
        permit: Permit,
        client: &Client,
        attached: bool,
        shared: &Shared,
    ) -> Self {
        if service == ServiceName::Tunnel {
            let tls = Arc::clone(&shared.tls);
            return Self::Tunnel(Tunnel::new(id, permit, tls));
        }
        let caller = Caller {
            client: client.clone(),
            framing: Framing::Stream,
        };
        let stream = ServiceStream::new(id, permit, caller, attached, shared.clone());
        Self::Service(Box::new(stream))
    }
}
