//! Moves the bytes of one direction, as its course says.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Course, Cut, End, Pace,
    network::{Direction, Line},
};

/// Bytes moved at a time.
const CHUNK: usize = 16 * 1024;

/// How a direction, or a connection, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// By its own end, which was passed on unless the network lost it.
    Ended,
    /// By FIN to both sides.
    Fin,
    /// By RST to both sides.
    Reset,
}

/// Moves both directions until both ended or one cut the connection.
pub(super) async fn both(
    up: impl Future<Output = Outcome>,
    down: impl Future<Output = Outcome>,
) -> Outcome {
    tokio::pin!(up, down);
    tokio::select! {
        outcome = &mut up => if outcome == Outcome::Ended { down.await } else { outcome },
        outcome = &mut down => if outcome == Outcome::Ended { up.await } else { outcome },
    }
}

/// Moves bytes until the sender ends or the network ends it.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut course: Course,
    line: &Line<'_>,
    direction: Direction,
) -> Outcome {
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        buffer.clear();
        let ended = fill(&mut from, &mut buffer, &mut course.pace, line).await;
        let mut arrives = buffer.len();
        let mut end = None;
        if let Some(cut) = &mut course.cut {
            if cut.after > buffer.len() as u64 {
                cut.after -= buffer.len() as u64;
            } else if cut.comes(line) {
                arrives = usize::try_from(cut.after).expect("at most a buffer");
                end = Some(cut.end);
            } else {
                // Not now; perhaps later.
                cut.after = cut.distance;
            }
        }
        if line.silent.load(Relaxed) {
            return discard(&mut from).await;
        }
        line.network.carry(direction, arrives);
        if to.write_all(&buffer[..arrives]).await.is_err() {
            return Outcome::Ended;
        }
        match end {
            Some(End::Reset) => return Outcome::Reset,
            Some(End::Fin) => return Outcome::Fin,
            Some(End::HalfClose) => {
                _ = to.shutdown().await;
                return discard(&mut from).await;
            }
            Some(End::Silence) => {
                line.silent.store(true, Relaxed);
                return discard(&mut from).await;
            }
            None => {}
        }
        if ended {
            _ = to.shutdown().await;
            return Outcome::Ended;
        }
    }
}

/// Waits for the next bytes that may travel; true if they are the last.
async fn fill(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    pace: &mut Pace,
    line: &Line<'_>,
) -> bool {
    let most = match pace {
        Pace::Throttle(bytes, _) => *bytes,
        Pace::Free | Pace::Delay(..) | Pace::Gather(..) => CHUNK,
    };
    let ended = read(from, buffer, most).await;
    if ended || !pace.is_harmful() || !line.network.strikes() {
        return ended;
    }
    match pace {
        Pace::Free => false,
        Pace::Delay(most, random) => {
            sleep(fraction(*most, random.range(0, 1000))).await;
            false
        }
        Pace::Throttle(_, pause) => {
            sleep(*pause).await;
            false
        }
        Pace::Gather(most, time, random) => {
            let wanted = random.range(1, *most);
            let deadline = time.map(|time| Instant::now() + time);
            while (buffer.len() as u64) < wanted {
                tokio::select! {
                    ended = read(from, buffer, CHUNK) => if ended { return true },
                    () = until(deadline) => break,
                }
            }
            false
        }
    }
}

/// Appends what comes next; true at the end.
async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, most: usize) -> bool {
    let mut limited = from.take(most as u64);
    !matches!(limited.read_buf(buffer).await, Ok(len) if len > 0)
}

/// Waits for a deadline, or for ever.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// So many thousandths of a duration.
pub(super) fn fraction(most: Duration, thousandths: u64) -> Duration {
    most.mul_f64(thousandths as f64 / 1000.0)
}

/// What still comes goes nowhere, and nobody learns of its end.
async fn discard(from: &mut (impl AsyncRead + Unpin)) -> Outcome {
    let mut buffer = Vec::with_capacity(CHUNK);
    while !read(from, &mut buffer, CHUNK).await {
        buffer.clear();
    }
    Outcome::Ended
}

impl Pace {
    const fn is_harmful(&self) -> bool {
        !matches!(self, Self::Free)
    }
}

impl Cut {
    fn comes(&self, line: &Line<'_>) -> bool {
        match self.is_the_fault {
            true => line.network.strikes(),
            false => !line.network.has_healed(),
        }
    }
}
