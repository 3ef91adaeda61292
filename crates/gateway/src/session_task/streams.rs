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
    policy::Request,
    service::Tunnel,
    shared::Shared,
};

/// The only service so far (protocol section 5).
const SERVICE_TUNNEL: u8 = 0;

/// All live streams of a session.
#[derive(Default)]
pub(super) struct Streams {
    by_id: BTreeMap<StreamId, Entry>,
    ready: Arc<ReadyList>,
    /// Those to look at in this round; kept for its memory.
    turn: Vec<StreamId>,
}

/// One stream: its place in the ready list, its line in the log, and its backend once permitted.
struct Entry {
    ready: Ready,
    record: StreamRecord,
    tunnel: Option<(Tunnel, Counted)>,
    _counted: Counted,
}

impl Streams {
    /// Names the task to wake for any of them; call it before [`Streams::serve`].
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.ready.register(cx);
    }

    /// Starts a stream if policy permits it, and otherwise resets it. `transport` is the one in use.
    pub(super) fn open(
        &mut self,
        (id, service, target): (StreamId, u8, &str),
        transport: Option<&'static str>,
        client: &Client,
        session: &mut Session,
        shared: &Shared,
        now: Instant,
    ) {
        let mut record = StreamRecord::new(target, now);
        if let Some(transport) = transport {
            record.transports.add(transport);
        }
        let request = Request {
            origin: client.origin.as_deref(),
            client: client.address,
            target,
        };
        let decision = if service == SERVICE_TUNNEL {
            let decision = shared.config.policy.decide(&request);
            decision.map_err(|denial| denial.to_string())
        } else {
            Err(format!("service {service} is not known"))
        };
        let mut tunnel = None;
        match decision {
            Ok(permit) => {
                record.rule = Some(Arc::clone(&permit.rule));
                let counted = shared.stats.backends.count();
                tunnel = Some((Tunnel::new(id, permit, Arc::clone(&shared.tls)), counted));
            }
            Err(detail) => {
                record.detail = Some(detail);
                session.reset(id, Code::Denied, "not allowed", now);
            }
        }
        let entry = Entry {
            ready: self.ready.add(id),
            record,
            tunnel,
            _counted: shared.stats.streams.count(),
        };
        self.by_id.insert(id, entry);
    }

    /// A stream has bytes to deliver, or room for bytes again.
    pub(super) fn mark(&self, id: StreamId) {
        if let Some(entry) = self.by_id.get(&id) {
            entry.ready.mark();
        }
    }

    /// A transport took over.
    pub(super) fn attached(&mut self, transport: &'static str, resumed: bool) {
        for entry in self.by_id.values_mut() {
            entry.record.transports.add(transport);
            entry.record.resumes += u32::from(resumed);
            // Reading may have been paused for want of memory while detached.
            entry.ready.mark();
        }
    }

    /// Moves bytes between the session and the backends that have something to say, and says
    /// whether there were any.
    pub(super) fn serve(&mut self, session: &mut Session, may_read: bool, now: Instant) -> bool {
        self.ready.take(&mut self.turn);
        let any = !self.turn.is_empty();
        for id in self.turn.drain(..) {
            let Some(entry) = self.by_id.get_mut(&id) else {
                continue;
            };
            let Some((tunnel, _)) = &mut entry.tunnel else {
                continue;
            };
            let mut cx = entry.ready.context();
            match tunnel.poll(session, may_read, now, &mut cx) {
                Ok(true) => entry.ready.mark(),
                Ok(false) => {}
                Err(failure) => entry.record.detail = Some(failure.0),
            }
        }
        any
    }

    /// A stream is over: writes its line and ends its backend.
    pub(super) fn close(
        &mut self,
        id: StreamId,
        (code, text): (Code, &str),
        stats: &StreamStats,
        (client, sid): (&Client, &str),
        now: Instant,
    ) {
        if let Some(entry) = self.by_id.remove(&id) {
            entry.record.log(client, sid, code, text, stats, now);
            if let Some((tunnel, _counted)) = entry.tunnel {
                tunnel.close(code);
            }
        }
    }

    /// The longest time that any of them outlives its transport.
    pub(super) fn resume_timeout(&self) -> Option<Duration> {
        self.by_id.values().filter_map(Entry::resume_timeout).max()
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
        let (tunnel, _) = self.tunnel.as_ref()?;
        Some(tunnel.resume_timeout)
    }
}
