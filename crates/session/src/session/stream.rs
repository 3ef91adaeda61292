//! One stream of a session: its two logs, and which frames of it are due.

use std::time::Instant;

use crate::{Few, StreamId, StreamStats, receive::ReceiveLog, send::SendLog};

/// A live stream.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one stream, not a state"
)]
pub(super) struct Stream {
    pub(super) send: SendLog,
    pub(super) receive: ReceiveLog,
    pub(super) service: u8,
    /// What was asked for (client), what was reached (gateway).
    pub(super) target: Box<str>,
    pub(super) opened: bool,
    /// The batch that said OPENED last, and the one that said ACK; 0 for none.
    pub(super) opened_in: u64,
    pub(super) acked_in: u64,
    pub(super) in_open_queue: bool,
    pub(super) in_send_queue: bool,
    pub(super) in_ack_queue: bool,
    /// The next ACK carries `rn`.
    pub(super) tell_rn: bool,
    /// A write found no room.
    pub(super) writer_waits: bool,
    /// Client: where it went back to last, and when.
    pub(super) rewound: Option<Box<(u64, Instant)>>,
}

impl Stream {
    pub(super) fn new(service: u8, target: Box<str>, limit: u64, window: u64) -> Self {
        Self {
            send: SendLog::new(limit),
            receive: ReceiveLog::new(window),
            service,
            target,
            opened: false,
            opened_in: 0,
            acked_in: 0,
            in_open_queue: false,
            in_send_queue: false,
            in_ack_queue: false,
            tell_rn: false,
            writer_waits: false,
            rewound: None,
        }
    }

    /// Gives the stream a turn to transmit, if it has something and no turn yet.
    pub(super) fn queue_send(&mut self, id: StreamId, queue: &mut Few<StreamId>) {
        if !self.in_send_queue && self.send.can_transmit() {
            self.in_send_queue = true;
            queue.push_back(id);
        }
    }

    /// Makes an ACK of the stream due, once however often it is asked for.
    pub(super) fn queue_ack(&mut self, id: StreamId, queue: &mut Few<StreamId>) {
        if !self.in_ack_queue {
            self.in_ack_queue = true;
            queue.push_back(id);
        }
    }

    /// Both ends were acked, and the peer was told so.
    pub(super) fn is_over(&self) -> bool {
        self.send.is_over() && self.receive.is_over() && self.receive.end_was_told()
    }

    /// What it carried so far.
    pub(super) fn stats(&self) -> StreamStats {
        StreamStats {
            written: self.send.written(),
            acked: self.send.acked_bytes(),
            delivered: self.receive.delivered_bytes(),
            resent: self.send.resent,
        }
    }
}
