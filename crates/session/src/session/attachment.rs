//! How an attachment begins and ends: HELLO and WELCOME, and what they say of each stream (protocol section 4).

use std::{collections::BTreeSet, time::Instant};

use super::{Attach, Attachment, Link, Role, Session, Uplink, Welcoming};
use crate::{
    Code, Entry, Hello, Position, StreamId, TOKEN_LEN, Timer, VERSION, Welcome, send::SendLog,
};

impl Session {
    /// Starts an attachment (client) and returns its number; HELLO is the next frame transmitted.
    pub fn attach(&mut self, link: Link, uplink: Uplink, now: Instant) -> u32 {
        debug_assert_eq!(self.role, Role::Client);
        self.last_n += 1;
        self.uplink_is_new |= uplink == Uplink::Fresh || self.uplink != Some(uplink);
        self.uplink = Some(uplink);
        self.attachment = Some(Attachment {
            n: self.last_n,
            link,
            awaits_welcome: self.uplink_is_new,
        });
        self.control.hello = true;
        self.tell_opens_again();
        self.timers.stop(Timer::Resume);
        self.heard(now);
        self.last_n
    }

    /// The attachment `n` ended; nothing happens if it is not the one in use.
    pub fn detach(&mut self, n: u32, now: Instant) {
        if self.attachment() != Some(n) {
            return;
        }
        self.attachment = None;
        self.control.welcome = None;
        self.control.hello = false;
        self.control.ping = false;
        self.timers.stop(Timer::Heartbeat);
        self.timers.stop(Timer::PeerDead);
        self.timers.stop(Timer::Tombstone);
        if self.role == Role::Gateway && self.ended.is_none() {
            let keep = if self.confirmed {
                self.resume
            } else {
                self.config.confirm
            };
            self.timers.set(Timer::Resume, now + keep);
        }
    }

    /// Applies a HELLO (gateway), the first frame of an attachment.
    ///
    /// The caller has checked the token. With [`Attach::Newest`] the WELCOME is the next frame
    /// transmitted.
    pub fn handle_hello(&mut self, hello: &Hello, link: Link, now: Instant) -> Attach {
        debug_assert_eq!(self.role, Role::Gateway);
        if hello.n <= self.last_n || self.ended.is_some() {
            return Attach::Stale;
        }
        let former = self.attachment();
        let first = self.last_n == 0;
        if !first {
            self.confirm();
        }
        self.last_n = hello.n;
        self.peer_initial = self.peer_initial.max(hello.initial);
        self.attachment = Some(Attachment {
            n: hello.n,
            link,
            awaits_welcome: false,
        });
        self.timers.stop(Timer::Resume);
        self.heard(now);

        let listed: BTreeSet<StreamId> = hello.entries.iter().map(|entry| entry.stream).collect();
        let left_out: Vec<StreamId> = self
            .streams
            .ids()
            .filter(|id| !listed.contains(id))
            .collect();
        for id in left_out {
            if id < hello.next_stream {
                self.close_forgotten(id, now);
            } else {
                self.begin_again(id);
            }
        }
        self.ids.announce(hello.next_stream, &listed);
        self.apply_entries(&hello.entries, now);

        let prompt = first || hello.prompt || link == Link::Open;
        self.control.welcomed_in = None;
        self.control.welcome = Some(if prompt {
            Welcoming::Prompt
        } else {
            Welcoming::Lazy
        });
        self.tombstones.postpone(now + self.config.tombstone);
        self.arm_tombstones();
        Attach::Newest { former }
    }

    /// Attachment `n` goes on over another transport, where the frames that its client has end
    /// (gateway).
    ///
    /// Bytes after `from` are transmitted again, and so is everything else that was said after it.
    ///
    /// # Errors
    ///
    /// [`Code::Rotate`] if `n` is not the newest attachment or the session is over, and
    /// [`Code::Protocol`] if nobody can have got that far.
    pub fn continue_attachment(
        &mut self,
        n: u32,
        link: Link,
        from: &Position,
        now: Instant,
    ) -> Result<(), Code> {
        debug_assert_eq!(self.role, Role::Gateway);
        if n != self.last_n || self.ended.is_some() {
            return Err(Code::Rotate);
        }
        let beyond = |&(id, offset): &(StreamId, u64)| {
            self.streams
                .get(id)
                .is_some_and(|stream| offset > stream.send.sent().max(stream.send.base()))
        };
        if from.batch > self.batch || from.offsets.iter().any(beyond) {
            return Err(Code::Protocol);
        }
        self.attachment = Some(Attachment {
            n,
            link,
            awaits_welcome: false,
        });
        self.timers.stop(Timer::Resume);
        self.heard(now);
        if self
            .control
            .welcomed_in
            .is_none_or(|batch| batch > from.batch)
        {
            self.control.welcome = Some(Welcoming::Prompt);
        } else {
            self.confirm();
        }
        let ids: Vec<StreamId> = self.streams.ids().collect();
        for id in ids {
            self.rewind_stream(id, |send| from.of(id).unwrap_or(send.base()));
            let Some(stream) = self.streams.get(id) else {
                continue;
            };
            let (opened, acked) = (stream.opened_in, stream.acked_in);
            if opened > from.batch {
                self.queue_open(id);
            }
            if acked > from.batch {
                self.want_ack(id, true, now);
            }
        }
        if let Some(leaving) = &mut self.control.leaving
            && let Some((after, code, batch)) = leaving.gone_away_in
            && batch > from.batch
        {
            leaving.go_away = Some((after, code));
        }
        self.tombstones.tell_after(from.batch);
        self.tombstones.postpone(now + self.config.tombstone);
        self.arm_tombstones();
        Ok(())
    }

    /// The client has its session, so that nobody needs to be told of it any more (gateway).
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
        self.identity = None;
    }

    /// Ends the streams that a WELCOME left out and that no RESET after it explained.
    pub(super) fn close_left_out(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.left_out) {
            self.close_forgotten(id, now);
        }
    }

    pub(super) fn welcomed(&mut self, welcome: &Welcome, now: Instant) {
        let Some(attachment) = &mut self.attachment else {
            return;
        };
        if welcome.n != attachment.n {
            return;
        }
        let fresh = attachment.awaits_welcome;
        attachment.awaits_welcome = false;
        self.uplink_is_new = false;
        if let Some(identity) = &welcome.identity {
            self.identity = Some(Box::new(identity.clone()));
            // Tells the gateway that the session is known here (protocol section 4).
            self.control.ping = true;
        }
        self.peer_initial = self.peer_initial.max(welcome.initial);
        let initial = self.peer_initial;
        let listed: BTreeSet<StreamId> = welcome.entries.iter().map(|entry| entry.stream).collect();
        for (id, stream) in self.streams.iter_mut() {
            stream.send.raise_limit(initial);
            if stream.opened && !listed.contains(&id) {
                self.left_out.push(id);
            }
        }
        if fresh {
            self.apply_entries(&welcome.entries, now);
        } else {
            self.merge_entries(&welcome.entries, now);
        }
        let ids: Vec<StreamId> = self.streams.ids().collect();
        for id in ids {
            self.queue_send(id);
        }
        self.tombstones.postpone(now + self.config.tombstone);
        self.arm_tombstones();
    }

    /// The OPEN of a stream overtook the HELLO that was written before it: what was said of the
    /// stream since then may be lost with the former downlink.
    fn begin_again(&mut self, id: StreamId) {
        if self.streams.get(id).is_some_and(|stream| stream.opened) {
            self.control.opens.push_back(id);
        }
        self.rewind_stream(id, SendLog::base);
    }

    /// The peer no longer knows a stream: over cleanly if nothing was outstanding.
    fn close_forgotten(&mut self, id: StreamId, now: Instant) {
        let clean = self.streams.get(id).is_some_and(|stream| {
            stream.receive.is_over()
                && stream.send.is_finished()
                && stream.send.sent() > stream.send.written()
        });
        let code = if clean { Code::Closed } else { Code::Lost };
        self.close(
            id,
            code,
            "the other side no longer knows this stream",
            false,
            None,
            now,
        );
    }

    /// Takes over what the peer says of each stream, and goes on from where it is.
    fn apply_entries(&mut self, entries: &[Entry], now: Instant) {
        self.merge_entries(entries, now);
        for entry in entries {
            self.rewind_stream(entry.stream, |_| entry.rn);
        }
    }

    fn merge_entries(&mut self, entries: &[Entry], now: Instant) {
        for entry in entries {
            let id = entry.stream;
            let Some(stream) = self.streams.get_mut(id) else {
                let may_come = self.role == Role::Gateway && self.ids.may_come(id);
                if !self.tombstones.tell(id) && !may_come {
                    self.refuse(id, Code::Lost, "this stream is over", now);
                }
                continue;
            };
            if entry.base > stream.receive.rn() {
                self.close(
                    id,
                    Code::Lost,
                    "the state of this stream is gone",
                    true,
                    None,
                    now,
                );
                continue;
            }
            stream.send.raise_limit(entry.limit.max(self.peer_initial));
            // The peer holds what we told it we delivered: it missed that ACK.
            if entry.base < stream.receive.told_ack() {
                self.want_ack(id, true, now);
            }
            self.queue_send(id);
        }
    }

    pub(super) fn entries(&mut self) -> Vec<Entry> {
        self.streams
            .iter_mut()
            .map(|(stream, s)| Entry {
                stream,
                rn: s.receive.rn(),
                limit: s.receive.grant(),
                base: s.send.base(),
            })
            .collect()
    }

    pub(super) fn hello(&mut self) -> Hello {
        let previous = self.attachment().unwrap_or(self.last_n);
        Hello {
            version: VERSION,
            caps: 0,
            n: previous,
            next_stream: self.next_stream,
            initial: self.config.window,
            token: self
                .identity
                .as_ref()
                .map_or([0; TOKEN_LEN], |identity| identity.1),
            prompt: false,
            entries: self.entries(),
        }
    }
}
