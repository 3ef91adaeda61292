//! The streams of one session: their backends, what the log will say of them, and which of them
//! want attention.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::Context,
    time::{Duration, Instant},
};

use perigee_session::{Code, Session, StreamId, StreamStats};

use super::ready::{Ready, ReadyList};
use crate::{
    ops::{
        access_log::{Client, StreamRecord},
        stats::Counted,
    },
    policy::{Permit, Request, ServiceName},
    service::{Caller, Framing, ServiceStream, Tunnel},
    shared::Shared,
};

/// All live streams of a session.
#[derive(Default)]
pub(super) struct Streams {
    /// In boxes, because a map has room for eleven as soon as there is one.
    by_id: BTreeMap<StreamId, Box<Entry>>,
    ready: Arc<ReadyList>,
    /// Those to look at in this round; kept for its memory.
    turn: Vec<StreamId>,
    /// What services hold beside the session.
    buffered: u64,
}

/// One stream: its place in the ready list, its line in the log, and its backend once permitted.
struct Entry {
    ready: Ready,
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
    /// Names the task to wake for any of them; call it before [`Streams::serve`].
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.ready.register(cx);
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
            ready: self.ready.add(id),
            record,
            leg,
            buffered: 0,
            _counted: shared.stats.streams.count(),
        };
        self.by_id.insert(id, Box::new(entry));
    }

    /// A stream has bytes to deliver, or room for bytes again. Serve them before waiting.
    pub(super) fn note(&self, id: StreamId) {
        if let Some(entry) = self.by_id.get(&id) {
            entry.ready.note();
        }
    }

    /// A transport took over.
    pub(super) fn attached(&mut self, transport: &'static str, resumed: bool, now: Instant) {
        for entry in self.by_id.values_mut() {
            if let Some((Leg::Service(service), _)) = &mut entry.leg {
                service.set_attached(true, now);
            }
            entry.record.transports.add(transport);
            entry.record.resumes += u32::from(resumed);
            // Reading may have been paused for want of memory while detached.
            entry.ready.mark();
        }
    }

    /// The client is away.
    pub(super) fn detached(&mut self, now: Instant) {
        for entry in self.by_id.values_mut() {
            if let Some((Leg::Service(service), _)) = &mut entry.leg {
                service.set_attached(false, now);
                entry.ready.mark();
            }
        }
    }

    /// Bytes that services hold beside the session.
    pub(super) fn buffered(&self) -> u64 {
        self.buffered
    }

    /// Moves bytes between the session and the backends that have something to say.
    pub(super) fn serve(&mut self, session: &mut Session, may_read: bool, now: Instant) {
        self.ready.take(&mut self.turn);
        for id in &self.turn {
            let Some(entry) = self.by_id.get_mut(id) else {
                continue;
            };
            let Some((leg, _)) = &mut entry.leg else {
                continue;
            };
            let mut cx = entry.ready.context();
            let polled = match leg {
                Leg::Tunnel(tunnel) => tunnel.poll(session, may_read, now, &mut cx),
                Leg::Service(service) => {
                    let polled = service.poll(session, may_read, now, &mut cx);
                    self.buffered -= entry.buffered;
                    entry.buffered = service.buffered();
                    self.buffered += entry.buffered;
                    polled
                }
            };
            match polled {
                Ok(true) => entry.ready.mark(),
                Ok(false) => {}
                Err(failure) => entry.record.detail = Some(failure.0),
            }
        }
        self.turn.clear();
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
        if let Some(entry) = self.by_id.remove(&id) {
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
            .values()
            .filter_map(|entry| entry.resume_timeout())
            .max()
    }

    /// When each stream ends that a backend allows only so long without a transport; no sooner
    /// than `least` after `detached_at`.
    pub(super) fn expiries(
        &self,
        detached_at: Instant,
        least: Duration,
    ) -> impl Iterator<Item = (StreamId, Instant)> {
        self.by_id.iter().filter_map(move |(&id, entry)| {
            let resume = entry.resume_timeout()?;
            Some((id, detached_at + resume.max(least)))
        })
    }
}

impl Entry {
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
