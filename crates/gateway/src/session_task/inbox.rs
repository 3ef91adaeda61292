//! The way into a session's task: a queue with a bound, small as long as it is empty, which is nearly
//! always.
//!
//! Invariants:
//! - whoever sends to a full inbox waits, and who came first goes first;
//! - a command that came in is either taken or dropped with the inbox, which tells who waits for its answer;
//! - the task has a wake on its way whenever a command came after its last look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perigee_session::Few;
use tokio::sync::{Notify, Semaphore, TryAcquireError};

use super::{
    Command,
    ready::{INBOX, ReadyList},
};

/// Commands that wait for the task; more wait at their senders.
const INBOX_COMMANDS: usize = 16;

/// The commands that wait for one session's task.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Held to push or to take; never across an await.
    queue: Mutex<Queue>,
    /// How many more commands it takes.
    room: Semaphore,
    /// Told when it closes.
    closed: Notify,
    /// Of the task.
    ready: Arc<ReadyList>,
}

#[derive(Debug, Default)]
struct Queue {
    commands: Few<Command>,
    /// The task was woken since it looked last.
    was_woken: bool,
    is_closed: bool,
}

impl Inbox {
    /// What wakes the task.
    pub(super) fn ready(&self) -> &Arc<ReadyList> {
        &self.ready
    }

    /// Hands a command to the task, when there is room.
    ///
    /// # Errors
    ///
    /// The command, if the session is over.
    pub(crate) async fn send(&self, command: Command) -> Result<(), Command> {
        // There is room nearly always, and who waits has its turn before there is some again.
        let room = match self.room.try_acquire() {
            Ok(room) => room,
            Err(_) => match self.room.acquire().await {
                Ok(room) => room,
                Err(_) => return Err(command),
            },
        };
        room.forget();
        self.push(command)
    }

    /// Hands a command to the task if there is room at once.
    ///
    /// # Errors
    ///
    /// The command, if there is none or the session is over.
    pub(crate) fn try_send(&self, command: Command) -> Result<(), Command> {
        match self.room.try_acquire() {
            Ok(room) => {
                room.forget();
                self.push(command)
            }
            Err(TryAcquireError::Closed | TryAcquireError::NoPermits) => Err(command),
        }
    }

    /// Waits for the end of the session.
    pub(crate) async fn closed(&self) {
        let closed = self.closed.notified();
        if !self.queue().is_closed {
            closed.await;
        }
    }

    /// The next command. If there is none, the task is woken for the next one.
    pub(super) fn take(&self) -> Option<Command> {
        let mut queue = self.queue();
        let Some(command) = queue.commands.pop_front() else {
            queue.was_woken = false;
            return None;
        };
        drop(queue);
        self.room.add_permits(1);
        Some(command)
    }

    /// Takes nothing from now on, and drops what waits.
    pub(super) fn close(&self) {
        let dropped = {
            let mut queue = self.queue();
            queue.is_closed = true;
            std::mem::take(&mut queue.commands)
        };
        self.room.close();
        self.closed.notify_waiters();
        drop(dropped);
    }

    fn push(&self, command: Command) -> Result<(), Command> {
        let was_woken = {
            let mut queue = self.queue();
            if queue.is_closed {
                return Err(command);
            }
            queue.commands.push_back(command);
            std::mem::replace(&mut queue.was_woken, true)
        };
        if !was_woken {
            self.ready.push(INBOX);
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            room: Semaphore::new(INBOX_COMMANDS),
            closed: Notify::new(),
            ready: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use perigee_session::Code;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        registry::{Door, Identity},
        session_task::Up,
        transport::uplink,
    };

    fn command(seconds: u64) -> Command {
        let grace = Duration::from_secs(seconds);
        Command::GoAway { grace }
    }

    fn number(command: &Command) -> u64 {
        match command {
            Command::GoAway { grace } => grace.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    fn inbox() -> (Inbox, impl FnMut() -> usize) {
        let inbox = Inbox::default();
        let ready = Arc::clone(inbox.ready());
        let wakes = move || {
            let mut wakes = 0;
            ready.take(|source| {
                assert_eq!(source, INBOX);
                wakes += 1;
            });
            wakes
        };
        (inbox, wakes)
    }

    #[test]
    fn who_sends_to_a_full_inbox_waits_and_comes_in_order() {
        let (inbox, mut wakes) = inbox();
        for n in 0..INBOX_COMMANDS as u64 {
            assert!(inbox.send(command(n)).now_or_never().expect("room").is_ok());
        }
        assert_eq!(wakes(), 1, "one look finds all of them");
        assert!(inbox.try_send(command(99)).is_err());
        let first = inbox.send(command(16));
        let second = inbox.send(command(17));
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        let mut taken: Vec<u64> = inbox.take().iter().map(number).collect();
        assert!(second.as_mut().now_or_never().is_none());
        assert!(inbox.try_send(command(99)).is_err(), "the room is taken");
        assert!(first.as_mut().now_or_never().is_some());
        taken.extend(inbox.take().iter().map(number));
        assert!(second.as_mut().now_or_never().is_some());
        taken.extend(std::iter::from_fn(|| inbox.take()).map(|command| number(&command)));
        assert!(taken.into_iter().eq(0..18));
    }

    #[test]
    fn one_who_gives_up_leaves_the_room_to_others() {
        let (inbox, _) = inbox();
        for n in 0..INBOX_COMMANDS as u64 {
            assert!(inbox.try_send(command(n)).is_ok());
        }
        let mut waits = Box::pin(inbox.send(command(99)));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(inbox.take().is_some());
        drop(waits);
        assert!(inbox.try_send(command(16)).is_ok());
        assert!(inbox.try_send(command(17)).is_err());
    }

    #[test]
    fn a_command_after_the_last_look_wakes_the_task() {
        let (inbox, mut wakes) = inbox();
        assert!(inbox.try_send(command(1)).is_ok());
        assert_eq!(wakes(), 1);
        assert!(inbox.take().is_some());
        assert!(inbox.try_send(command(2)).is_ok());
        assert_eq!(wakes(), 0, "the look is not over");
        assert!(inbox.take().is_some() && inbox.take().is_none());
        assert!(inbox.try_send(command(3)).is_ok());
        assert_eq!(wakes(), 1);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_told() {
        let (inbox, _) = inbox();
        let (reply, answer) = oneshot::channel();
        let body = bytes::Bytes::new();
        assert!(
            inbox
                .try_send(Command::Up(Box::new(Up { body, reply })))
                .is_ok()
        );
        for n in 1..INBOX_COMMANDS as u64 {
            assert!(inbox.try_send(command(n)).is_ok());
        }
        let mut waits = Box::pin(inbox.send(command(99)));
        let mut closed = Box::pin(inbox.closed());
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(closed.as_mut().now_or_never().is_none());
        inbox.close();
        assert_eq!(number(&waits.await.expect_err("it is closed")), 99);
        assert!(answer.await.is_err());
        closed.await;
        inbox.closed().await;
        let end = Command::End {
            code: Code::Closed,
            why: "",
        };
        assert!(inbox.send(end).await.is_err());
    }

    #[tokio::test]
    async fn a_request_at_a_full_inbox_is_answered_when_its_turn_comes() {
        let identity = Identity::random("n1").expect("random numbers");
        let door = Arc::new(Door::new(&identity, None));
        let fill = || {
            for n in 0..INBOX_COMMANDS as u64 {
                assert!(door.inbox.try_send(command(n)).is_ok());
            }
        };
        fill();
        let body = bytes::Bytes::from_static(b"frames");
        let mut awaited = uplink::apply(&door, body.clone());
        assert!((&mut awaited).now_or_never().is_none());
        for n in 0..INBOX_COMMANDS as u64 {
            assert_eq!(door.inbox.take().map(|command| number(&command)), Some(n));
            // It asks again whenever there is room, and comes once.
            assert!((&mut awaited).now_or_never().is_none());
        }
        let Some(Command::Up(up)) = door.inbox.take() else {
            panic!("it has its turn");
        };
        assert!(door.inbox.take().is_none());
        assert_eq!(up.body, body);
        assert!(up.reply.send(vec![7]).is_ok());
        assert!(awaited.await.is_ok_and(|frames| frames == [7]));

        fill();
        let mut waits = uplink::apply(&door, body);
        assert!((&mut waits).now_or_never().is_none());
        door.inbox.close();
        assert!(
            waits
                .await
                .is_err_and(|refusal| refusal.code() == Code::Lost)
        );
    }
}
