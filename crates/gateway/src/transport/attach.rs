//! The common beginning of every attachment: HELLO says which session, and the session takes it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use perigee_session::{Code, Frame, Hello, TOKEN_LEN};
use tokio::sync::oneshot;

use super::{
    Downlink,
    awaited::LOST,
    ticket::{Kind, TicketHash},
};
use crate::{
    http::{Asker, Refusal},
    registry::{Door, NEW},
    session_task::{Command, NewAttachment, Promise},
    shared::Shared,
};

/// An attachment that found its session.
pub(crate) struct Attach {
    door: Arc<Door>,
    hello: Hello,
    frames: Bytes,
}

/// Reads HELLO off the front of `message` and finds the session it names, or makes a new one.
///
/// # Errors
///
/// A message that does not begin with HELLO, a session that is not there (or not for this token
/// and origin, which looks the same), and a gateway that takes no more sessions.
pub(crate) fn find(
    shared: &Shared,
    sid: &str,
    asker: &Asker,
    mut message: Bytes,
) -> Result<Attach, Refusal> {
    let hello = take_hello(&mut message)?;
    let door = if sid == NEW && hello.token == [0; TOKEN_LEN] {
        shared.create_session(asker)?
    } else {
        shared
            .registry
            .find(sid, &hello.token, asker.origin())
            .ok_or(LOST)?
    };
    Ok(Attach {
        door,
        hello,
        frames: message,
    })
}

/// The same for a session that is known, if HELLO has its token.
pub(super) fn known(
    door: Arc<Door>,
    mut message: Bytes,
    is_its_token: impl FnOnce(&[u8; TOKEN_LEN]) -> bool,
) -> Result<Attach, Refusal> {
    let hello = take_hello(&mut message)?;
    if !is_its_token(&hello.token) {
        return Err(LOST);
    }
    Ok(Attach {
        door,
        hello,
        frames: message,
    })
}

/// Takes HELLO off the front of `message`.
pub(crate) fn take_hello(message: &mut Bytes) -> Result<Hello, Refusal> {
    let mut rest = &message[..];
    match Frame::decode(&mut rest) {
        Ok(Some(Frame::Hello(hello))) => {
            message.advance(message.len() - rest.len());
            Ok(hello)
        }
        Ok(_) => Err(Refusal::new(
            Code::Protocol,
            "the first frame must be HELLO",
        )),
        Err(error) => Err(Refusal::new(
            error.code(),
            "the first frame must be HELLO of version 1",
        )),
    }
}

impl Attach {
    /// The session that was found, and the token that it was found by.
    pub(super) fn known_session(&self) -> (Arc<Door>, [u8; TOKEN_LEN]) {
        (Arc::clone(&self.door), self.hello.token)
    }

    /// What gives the downlink to the session, and the way to it.
    pub(super) fn into_command(self, downlink: Downlink) -> (Arc<Door>, Command) {
        let attachment = NewAttachment {
            hello: self.hello,
            frames: self.frames,
            downlink,
        };
        (self.door, Command::Attach(Box::new(attachment)))
    }

    /// Gives the downlink to the session, or back if the session just ended.
    pub(crate) async fn deliver(self, downlink: Downlink) -> Result<(), (Downlink, Code)> {
        let (door, command) = self.into_command(downlink);
        door.inbox
            .send(command)
            .await
            .map_err(|refused| match refused {
                Command::Attach(attachment) => (attachment.downlink, Code::Lost),
                Command::Promise(_)
                | Command::Continue(_)
                | Command::Up(_)
                | Command::GoAway { .. }
                | Command::End { .. } => {
                    unreachable!("what was sent is what comes back")
                }
            })
    }

    /// Promises the session a downlink that the ticket will be shown for, and says its id.
    pub(super) async fn promise(self, ticket: TicketHash, kind: Kind) -> Result<String, Code> {
        let (reply, sid) = oneshot::channel();
        let promise = Promise {
            hello: self.hello,
            frames: self.frames,
            ticket,
            kind,
            reply,
        };
        self.door
            .inbox
            .send(Command::Promise(Box::new(promise)))
            .await
            .map_err(|_| Code::Lost)?;
        sid.await.unwrap_or(Err(Code::Lost))
    }
}
