//! How transports come to a session and go: the newest takes the place of the one before it, tickets go on with what was
//! promised, and a session without a transport waits.

use std::time::{Duration, Instant};

use perigee_session::{Attach, Code, DetachReason, Link, Session};

use super::{Continuation, NewAttachment, Promise, SessionTask, attachment::Attachment};
use crate::transport::Downlink;

/// A reply that ends leaves its session without transport until the next one comes. A resume
/// timeout shorter than this gap would end sessions that are in use.
const POLL_GAP: Duration = Duration::from_secs(10);

/// Why a session is without a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// It was lost, and the client with it for all that is known.
    Lost,
    /// A reply ended in good order. Only if the next one is not asked for in time, the client is away.
    BetweenReplies,
}

impl SessionTask {
    pub(super) fn attach(&mut self, new: NewAttachment, now: Instant) {
        let NewAttachment {
            hello,
            frames,
            downlink,
        } = new;
        match self.session.handle_hello(&hello, downlink.link(), now) {
            Attach::Stale => {
                self.session.handle_message(&frames, now);
                downlink.finish(superseded(hello.n), Code::Rotate, &self.shared.tasks);
            }
            Attach::Newest { .. } => {
                self.supersede(now);
                self.carry(hello.n, downlink, now);
                self.session.handle_message(&frames, now);
            }
        }
    }

    /// A newer attachment takes the place of the one in use.
    fn supersede(&mut self, now: Instant) {
        if let Some(former) = self.attachment.take() {
            let last = superseded(former.n);
            former
                .downlink
                .finish(last, Code::Rotate, &self.shared.tasks);
        }
        self.promised = None;
        self.door.tickets.retire(self.tickets_die_at(now));
    }

    /// This downlink carries attachment `n` from now on.
    fn carry(&mut self, n: u32, downlink: Downlink, now: Instant) {
        let resumed = std::mem::take(&mut self.was_cut);
        self.streams.attached(downlink.name(), resumed, now);
        self.link_has_gaps = downlink.link() == Link::Poll;
        self.update_resume_timeout();
        let timeouts = &self.shared.config.timeouts;
        self.attachment = Some(Attachment::new(n, downlink, timeouts, now));
        self.transport_is_quiet = false;
        self.detached_at = None;
        self.away_at = None;
        self.door.detached.set(None);
    }

    /// Begins an attachment that has no downlink before its ticket is shown.
    pub(super) fn promise(&mut self, promise: Promise, now: Instant) {
        let Promise {
            hello,
            frames,
            ticket,
            kind,
            reply,
        } = promise;
        // If the request is gone, nobody has the ticket.
        match self.session.handle_hello(&hello, kind.link(), now) {
            Attach::Stale => _ = reply.send(Err(Code::Rotate)),
            Attach::Newest { .. } => {
                self.supersede(now);
                self.promised = Some(Box::new((hello.n, self.session.position())));
                self.link_has_gaps = true;
                self.update_resume_timeout();
                self.detach(hello.n, Gap::BetweenReplies, now);
                let dead_at = self.tickets_die_at(now);
                self.door.tickets.issue(ticket, hello.n, kind, dead_at);
                _ = reply.send(Ok(self.door.sid.to_string()));
            }
        }
        self.session.handle_message(&frames, now);
    }

    /// Goes on with an attachment whose ticket was shown.
    pub(super) fn go_on(&mut self, continuation: Continuation, now: Instant) {
        let Continuation {
            n,
            position,
            downlink,
            verdict,
        } = continuation;
        let outcome = match self.promised.as_deref() {
            Some((promised, start)) if *promised == n => {
                let from = position.as_ref().unwrap_or(start);
                self.session
                    .continue_attachment(n, downlink.link(), from, now)
            }
            _ => Err(Code::Rotate),
        };
        if outcome.is_ok() {
            if let Some(former) = self.attachment.take() {
                former.downlink.rotate(&self.shared.tasks);
            }
            self.carry(n, downlink, now);
            self.door.tickets.in_use(n);
        }
        // If the request is gone, its downlink says so.
        _ = verdict.send(outcome);
    }

    /// When tickets are dead that are of no use from now on.
    fn tickets_die_at(&self, now: Instant) -> Instant {
        now + self.shared.config.timeouts.ticket
    }

    /// The transport of attachment `n` is gone.
    pub(super) fn detach(&mut self, n: u32, gap: Gap, now: Instant) {
        self.session.detach(n, now);
        self.door.tickets.retire(self.tickets_die_at(now));
        self.detached_at = Some(now);
        self.away_at = Some(match gap {
            Gap::Lost => now,
            Gap::BetweenReplies => now + POLL_GAP,
        });
        self.note_absence(now);
        self.door.detached.set(Some(self.shared.uptime_ms(now)));
    }

    /// Tells the services of a client that is away. They are not told of each gap between two
    /// replies: they would speak for a client that is there, or greet it at every reply.
    pub(super) fn note_absence(&mut self, now: Instant) {
        if self.away_at.take_if(|at| *at <= now).is_some() {
            self.streams.detached(now);
        }
    }

    /// The session lives as long without a transport as the stream that may wait longest.
    pub(super) fn update_resume_timeout(&mut self) {
        let default = self.shared.config.timeouts.resume;
        let resume = self.streams.resume_timeout().unwrap_or(default);
        self.session
            .set_resume_timeout(resume.max(self.least_gap()));
    }

    /// The shortest time without a transport that says nothing of the client.
    pub(super) fn least_gap(&self) -> Duration {
        if self.link_has_gaps {
            POLL_GAP
        } else {
            Duration::ZERO
        }
    }
}

/// DETACH for an attachment that a newer one replaced.
fn superseded(n: u32) -> Vec<u8> {
    let mut frames = Vec::new();
    Session::transmit_detach(n, DetachReason::Superseded, &mut frames);
    frames
}
