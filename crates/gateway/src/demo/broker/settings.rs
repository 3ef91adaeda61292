//! What can be set of the STOMP broker: who may come in, and limits.

use std::time::Duration;

use perigee_stomp::{HeartBeat, Limits};

/// Access and limits of a STOMP broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `CONNECT` has to say; `None` lets everybody in.
    pub login: Option<Login>,
    /// Clients at a time. More are refused.
    pub max_clients: usize,
    /// Queues and topics at a time: those with a message or a subscriber.
    pub max_destinations: usize,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Transactions that one client has open.
    pub max_transactions: usize,
    /// Frames that one transaction holds.
    pub transaction_frames: usize,
    /// The largest frame of a client.
    pub frame: Limits,
    /// Bytes of all messages that are held, whoever they wait for.
    pub held_bytes: usize,
    /// Bytes of the messages of one queue, those included that wait for an `ACK`.
    pub queue_bytes: usize,
    /// Bytes that wait for one client to read; messages beyond wait in their queue.
    pub outbox_bytes: usize,
    /// Bytes of messages of topics that wait for one client. One that falls behind further is closed.
    pub backlog_bytes: usize,
    /// Messages that one client was sent and did not acknowledge yet; more are not sent before.
    pub unacknowledged: usize,
    /// How often a message may be refused with `NACK` before it is put aside.
    pub max_nacks: u32,
    /// What is offered to clients and asked of them.
    pub heart_beat: HeartBeat,
    /// Time for a new client to send `CONNECT`.
    pub connect_timeout: Duration,
    /// Time for a closed client to take its last frames and close its side.
    pub linger: Duration,
}

/// A login and its passcode.
#[derive(Clone)]
pub struct Login {
    /// The header `login`.
    pub login: String,
    /// The header `passcode`.
    pub passcode: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            login: None,
            max_clients: 256,
            max_destinations: 1024,
            max_subscriptions: 64,
            max_transactions: 16,
            transaction_frames: 1024,
            frame: Limits {
                body_bytes: 4 * MIB,
                ..Limits::default()
            },
            // What a demo may take of a laptop; a queue has a quarter, so that one cannot stop the others.
            held_bytes: 64 * MIB,
            queue_bytes: 16 * MIB,
            outbox_bytes: 256 * 1024,
            backlog_bytes: 8 * MIB,
            unacknowledged: 1024,
            max_nacks: 5,
            // As stompjs asks for by default.
            heart_beat: HeartBeat {
                can_send_ms: 10_000,
                wants_ms: 10_000,
            },
            connect_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}
