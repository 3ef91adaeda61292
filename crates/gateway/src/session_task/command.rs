//! What the handlers of requests ask of a session's task.

use std::time::Duration;

use bytes::Bytes;
use perigee_session::{Code, Hello, Position};
use tokio::sync::oneshot;

use crate::transport::{
    Downlink,
    ticket::{Kind, TicketHash},
};

/// What handlers ask of the task.
///
/// What is large is in a box: the inbox of each session keeps room for one of these.
#[derive(Debug)]
pub(crate) enum Command {
    /// A transport that said HELLO.
    Attach(Box<NewAttachment>),
    /// HELLO of a transport whose downlink is to come with a ticket.
    Promise(Box<Promise>),
    /// A downlink for an attachment that has a ticket.
    Continue(Box<Continuation>),
    /// Frames from an uplink request.
    Up(Box<Up>),
    /// Tell the client that the gateway stops, and end the session somewhere in the second half
    /// of this time.
    GoAway { grace: Duration },
    /// End the session.
    End { code: Code, why: &'static str },
}

/// Frames from an uplink request, and the way to answer it.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) body: Bytes,
    pub(crate) reply: oneshot::Sender<Vec<u8>>,
}

/// A transport that said HELLO, with the frames that came in the same message.
pub(crate) struct NewAttachment {
    pub(crate) hello: Hello,
    pub(crate) frames: Bytes,
    pub(crate) downlink: Downlink,
}

/// HELLO and the frames after it, and the ticket that the downlink will be asked for with.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) hello: Hello,
    pub(crate) frames: Bytes,
    pub(crate) ticket: TicketHash,
    pub(crate) kind: Kind,
    /// The session's id.
    pub(crate) reply: oneshot::Sender<Result<String, Code>>,
}

/// A downlink for attachment `n`, whose ticket was shown.
pub(crate) struct Continuation {
    pub(crate) n: u32,
    /// How far the client got; `None` before it got anything.
    pub(crate) position: Option<Position>,
    pub(crate) downlink: Downlink,
    pub(crate) verdict: oneshot::Sender<Result<(), Code>>,
}

impl std::fmt::Debug for Continuation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.downlink.name(), self.n, self.position)
    }
}

impl std::fmt::Debug for NewAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.downlink.name(), self.hello)
    }
}
