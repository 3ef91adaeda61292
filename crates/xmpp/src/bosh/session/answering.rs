//! What requests are answered with, and when.

use std::time::Instant;

use bytes::Bytes;

use super::{Action, Condition, Held, Response, Session, State};

impl Session {
    /// Answers those that are not to wait any longer, the oldest first.
    pub(super) fn flush(&mut self, now: Instant) {
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
    pub(super) fn answer(&mut self, now: Instant) {
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
    pub(super) fn answer_next(&mut self, mut response: Response, now: Instant) {
        let Some(Held { rid, requests, .. }) = self.held.pop_front() else {
            return;
        };
        if let Some(creation) = self.creation.take() {
            self.terms
                .describe(&self.config, &creation, self.next_stream - 1, &mut response);
        }
        if self.terms.acks {
            // The last one whose predecessors all came; its own is understood.
            let highest = self.next_rid - 1;
            if highest != rid || self.kept.is_empty() {
                response.set("ack", highest);
            }
            if let Some((report, since)) = self.kept.take_report() {
                response.set("report", report);
                response.set("time", since.as_millis());
            }
        }
        let body = response.into_bytes();
        for request in requests {
            self.respond(request, body.clone(), None);
        }
        self.kept.push(rid, body, now);
        if self.held.is_empty() && self.early.is_empty() {
            self.state = State::Active {
                idle_until: Some(now + self.config.inactivity),
            };
        }
    }

    /// Ends the session and tells every request that waits, those in `also` included.
    pub(super) fn terminate_with(
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
            self.terms
                .describe(&self.config, &creation, self.next_stream - 1, &mut response);
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

    pub(super) fn close_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            self.actions.push_back(Action::Close { stream });
        }
    }

    pub(super) fn end(&mut self) {
        self.state = State::Ended;
        self.actions.push_back(Action::End);
    }

    pub(super) fn respond(&mut self, request: u64, body: Bytes, condition: Option<Condition>) {
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
