//! What a session tells its owner.

use std::time::Duration;

use crate::{Code, DetachReason, StreamId};

/// What happened, for the owner of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client asks for a stream (gateway). Answer with [`Session::accept`](crate::Session::accept) or [`Session::reset`](crate::Session::reset).
    Open {
        /// Its id.
        stream: StreamId,
        /// The service asked for; 0 is a tunnel.
        service: u8,
        /// Where to.
        target: String,
    },
    /// A client asked for a stream beyond [`Config::max_streams`](crate::Config::max_streams) and was refused (gateway).
    Refused {
        /// Where to.
        target: String,
        /// Why.
        code: Code,
    },
    /// The gateway reached the backend (client).
    Opened {
        /// The stream.
        stream: StreamId,
        /// What was reached.
        reached: String,
    },
    /// There are bytes, or a FIN, to deliver.
    Readable(StreamId),
    /// [`Session::write`](crate::Session::write) had no room and has some now.
    Writable(StreamId),
    /// The stream is over.
    Closed {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
        /// For people; from the peer if it ended the stream.
        text: String,
        /// What it carried.
        stats: StreamStats,
    },
    /// The peer ended attachment `n`.
    Detached {
        /// The attachment.
        n: u32,
        /// Why.
        why: DetachReason,
    },
    /// Nothing was heard on attachment `n` for too long.
    PeerDead {
        /// The attachment.
        n: u32,
    },
    /// The gateway asks the client to attach again, or to finish.
    GoAway {
        /// After how long.
        after: Duration,
        /// Why.
        code: Code,
    },
    /// The session is over, and with it all streams.
    Ended {
        /// Why.
        code: Code,
    },
}

/// What a stream carried, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Written by this endpoint.
    pub written: u64,
    /// Of these, delivered at the peer.
    pub acked: u64,
    /// Delivered at this endpoint.
    pub delivered: u64,
    /// Transmitted more than once.
    pub resent: u64,
}
