//! A transfer both ways at once that goes on for as long as a story wants, every byte verified as
//! it comes, on both sides.
//!
//! The client names the seed in the first eight bytes. Both sides then send their patterns until
//! the client has seen enough and ends with FIN, which the backend answers with its own.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use perigee_session::Code;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    backend::reset,
    client::Stream,
    pattern::{Pattern, Verifier},
    wait::until,
};

/// Bytes moved at a time.
const CHUNK: usize = 16 * 1024;

/// What one side of a transfer saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes from the client.
    pub up: u64,
    /// Bytes from the backend.
    pub down: u64,
}

/// A backend that verifies what it is sent.
#[derive(Debug)]
pub struct Verifying {
    /// Where it listens.
    pub address: SocketAddr,
    verdicts: Verdicts,
    _task: JoinSet<()>,
}

/// How transfers ended, by their seeds.
type Verdicts = Arc<Mutex<BTreeMap<u64, Result<Moved, Failure>>>>;

/// How a transfer failed, as the backend saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A byte was not the one that was due.
    Wrong(String),
    /// Its connection broke; the client may know why.
    Broken(String),
}

impl Failure {
    fn broken(at: u64, direction: &str, error: &io::Error) -> Self {
        Self::Broken(format!("at {at} {direction}: {error}"))
    }
}

impl Verifying {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When loopback cannot be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let verdicts = Verdicts::default();
        let filed = Arc::clone(&verdicts);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut transfers = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        transfers.spawn(serve(stream, Arc::clone(&filed)));
                    }
                    Some(_) = transfers.join_next() => {}
                }
            }
        });
        Self {
            address,
            verdicts,
            _task: task,
        }
    }

    /// How the transfer with this seed went, once it is over.
    pub async fn verdict(&self, seed: u64) -> Result<Moved, Failure> {
        let take = || self.lock().remove(&seed);
        until("the backend's verdict", take).await
    }

    /// Wrong bytes so far, in transfers whose verdict nobody asked for.
    #[must_use]
    pub fn mismatches(&self) -> Vec<Failure> {
        self.lock()
            .values()
            .filter_map(|verdict| verdict.clone().err())
            .filter(|failure| matches!(failure, Failure::Wrong(_)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Result<Moved, Failure>>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut stream: TcpStream, verdicts: Verdicts) {
    // Without a seed there was no transfer, such as when its client was refused.
    let Ok(seed) = stream.read_u64().await else {
        return;
    };
    let verdict = transfer(&mut stream, seed).await;
    if verdict.is_err() {
        reset(stream);
    }
    verdicts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(seed, verdict);
}

async fn transfer(stream: &mut TcpStream, seed: u64) -> Result<Moved, Failure> {
    let (mut from, mut to) = stream.split();
    let enough = Notify::new();
    let received = async {
        let mut verifier = Verifier::new(Pattern(seed));
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(len) => verifier.check(&buffer[..len]).map_err(Failure::Wrong)?,
                Err(error) => return Err(Failure::broken(verifier.verified, "up", &error)),
            }
        }
        enough.notify_one();
        Ok(verifier.verified)
    };
    let sent = async {
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        loop {
            Pattern(!seed).fill(at, &mut buffer);
            tokio::select! {
                written = to.write(&buffer) => match written {
                    Ok(len) => at += len as u64,
                    Err(error) => return Err(Failure::broken(at, "down", &error)),
                },
                () = enough.notified() => break,
            }
        }
        let ended = to.shutdown().await;
        ended.map_err(|error| Failure::broken(at, "down", &error))?;
        Ok(at)
    };
    let (up, down) = tokio::try_join!(received, sent)?;
    Ok(Moved { up, down })
}

/// Transfers at least so many bytes each way, goes on until `healed`, and then once more as many.
///
/// # Errors
///
/// The first thing that was not as it must be.
pub async fn exchange(
    stream: &Stream,
    backend: &Verifying,
    seed: u64,
    least: u64,
    healed: impl Fn() -> bool,
) -> Result<Moved, String> {
    let ended = |closed| format!("the stream ended: {closed:?}");
    let down = AtomicU64::new(0);
    let sent = async {
        stream.write(&seed.to_be_bytes()).await.map_err(ended)?;
        let mut goal: Option<Moved> = None;
        let mut at = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            let now = Moved {
                up: at,
                down: down.load(Relaxed),
            };
            match goal {
                None if now.reached(least, least) && healed() => {
                    goal = Some(Moved {
                        up: now.up + least,
                        down: now.down + least,
                    });
                }
                Some(goal) if now.reached(goal.up, goal.down) => break,
                None | Some(_) => {}
            }
            Pattern(seed).fill(at, &mut buffer);
            stream.write(&buffer).await.map_err(ended)?;
            at += buffer.len() as u64;
        }
        stream.finish();
        Ok::<u64, String>(at)
    };
    let received = async {
        let mut verifier = Verifier::new(Pattern(!seed));
        loop {
            let bytes = stream.read().await.map_err(ended)?;
            if bytes.is_empty() {
                return Ok(verifier.verified);
            }
            verifier.check(&bytes)?;
            down.store(verifier.verified, Relaxed);
        }
    };
    let (up, down) = tokio::try_join!(sent, received)?;
    let moved = Moved { up, down };
    let closed = stream.closed().await;
    if closed.code != Code::Closed {
        return Err(ended(closed));
    }
    // The seed is of the client's log, too.
    let acked = (closed.stats.acked, closed.stats.delivered);
    if acked != (up + 8, down) {
        return Err(format!("{moved:?}, but the session counted {acked:?}"));
    }
    match backend.verdict(seed).await {
        Ok(seen) if seen == moved => Ok(moved),
        seen => Err(format!("the backend saw {seen:?}, the client {moved:?}")),
    }
}

impl Moved {
    const fn reached(self, up: u64, down: u64) -> bool {
        self.up >= up && self.down >= down
    }
}
