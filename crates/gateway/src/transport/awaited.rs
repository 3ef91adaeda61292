//! What a session says to a request, when it has something to say.
//!
//! Who waits for it holds nothing else, neither the request nor its handler: a poll is held for most of its life.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use perigee_session::Code;
use tokio::sync::oneshot;

use crate::{
    http::{Refusal, frames_response},
    registry::Door,
    session_task::Command,
};

/// The frames that a session answers a command with: a poll when it has been held long enough at the latest. A session
/// that is over answers none.
pub(crate) struct Awaited {
    /// The command, while there is no room for it.
    sending: Option<Sending>,
    frames: oneshot::Receiver<Vec<u8>>,
}

/// Says whether the session took it.
type Sending = Pin<Box<dyn Future<Output = Result<(), Command>> + Send>>;

/// The same on a response that has to wait for them.
#[derive(Clone)]
struct Awaiting(Arc<Mutex<Option<Awaited>>>);

/// The session is over, or never was.
pub(super) const LOST: Refusal = Refusal::new(Code::Lost, "no such session");

impl Awaited {
    /// Hands the session a command whose answer goes to the other end of `frames`.
    pub(super) fn new(
        door: &Arc<Door>,
        command: Command,
        frames: oneshot::Receiver<Vec<u8>>,
    ) -> Self {
        let sending = door.inbox.try_send(command).err().map(|command| {
            let door = Arc::clone(door);
            let sending = async move { door.inbox.send(command).await };
            Box::pin(sending) as Sending
        });
        Self { sending, frames }
    }

    /// A response of frames, once [`Awaited::in_response`] has waited for them.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::default();
        let awaiting = Awaiting(Arc::new(Mutex::new(Some(self))));
        response.extensions_mut().insert(awaiting);
        response
    }

    /// What a response waits for, if it does.
    pub(crate) fn of(response: &mut Response) -> Option<Self> {
        let Awaiting(awaited) = response.extensions_mut().remove()?;
        awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The response when it has all that it waits for.
    pub(crate) async fn in_response(mut response: Response) -> Response {
        let Some(awaited) = Self::of(&mut response) else {
            return response;
        };
        let extensions = std::mem::take(response.extensions_mut());
        let mut response = match awaited.await {
            Ok(frames) => frames_response(Body::from(frames)),
            Err(refusal) => refusal.into_response(),
        };
        response.extensions_mut().extend(extensions);
        response
    }
}

impl Future for Awaited {
    type Output = Result<Vec<u8>, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(sending) = &mut self.sending {
            let sent = ready!(sending.as_mut().poll(cx));
            self.sending = None;
            if sent.is_err() {
                return Poll::Ready(Err(LOST));
            }
        }
        Pin::new(&mut self.frames).poll(cx).map_err(|_| LOST)
    }
}
