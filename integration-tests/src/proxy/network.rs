//! What all connections of one relay share: how often its fault may still strike, and what was carried.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::{sync::watch, task::JoinSet};

use super::Fault;
use crate::random::Random;

/// The state of a relay.
#[derive(Debug)]
pub(super) struct Network {
    /// How often the fault may still strike.
    strikes: AtomicU64,
    /// Bytes that are carried before the first strike, so that faults also meet transfers under way.
    begins_after: u64,
    up: AtomicU64,
    down: AtomicU64,
    cuts: AtomicU64,
    /// Nothing arrives any more, and nobody is told.
    silent: AtomicBool,
    /// Rises to cut all connections.
    cut_all: watch::Sender<u64>,
    /// For faults that meet all connections at once: when the next strike is due.
    storm: Mutex<Option<Storm>>,
    /// What must end with the relay.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Storm {
    random: Random,
    /// Bytes to carry until the next strike.
    left: u64,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// One connection in it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) network: &'a Network,
    /// It has fallen silent in both directions.
    pub(super) silent: AtomicBool,
}

impl Network {
    /// For connections whose fate a test chooses.
    pub(super) fn endless() -> std::sync::Arc<Self> {
        Self::new(u64::MAX, 0, None)
    }

    /// For a fault that ends.
    pub(super) fn healing(fault: Fault, random: &mut Random) -> std::sync::Arc<Self> {
        let begins_after = fault.begins_after(random);
        let storm = (fault == Fault::ResetAll).then(|| Storm {
            random: random.clone(),
            left: begins_after,
        });
        Self::new(fault.strikes(), begins_after, storm)
    }

    fn new(strikes: u64, begins_after: u64, storm: Option<Storm>) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            strikes: AtomicU64::new(strikes),
            begins_after,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            cut_all: watch::Sender::new(0),
            storm: Mutex::new(storm),
            tasks: Mutex::new(JoinSet::new()),
        })
    }

    /// Whether the fault strikes now: true so often as it may, then never again.
    pub(super) fn strikes(&self) -> bool {
        let (up, down) = self.carried();
        up + down >= self.begins_after
            && self
                .strikes
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }

    pub(super) fn heal(&self) {
        self.strikes.store(0, Relaxed);
    }

    pub(super) fn has_healed(&self) -> bool {
        self.strikes.load(Relaxed) == 0
    }

    /// From now on no datagram arrives, whoever sends it.
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Relaxed)
    }

    pub(super) fn carried(&self) -> (u64, u64) {
        (self.up.load(Relaxed), self.down.load(Relaxed))
    }

    /// So many bytes were carried.
    pub(super) fn carry(&self, direction: Direction, len: usize) {
        let carried = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        carried.fetch_add(len as u64, Relaxed);
        let due = {
            let mut storm = self.storm.lock().unwrap_or_else(PoisonError::into_inner);
            storm.as_mut().is_some_and(|storm| {
                let due = storm.left <= len as u64;
                storm.left = match due {
                    true => storm.random.range(1, 100_000),
                    false => storm.left - len as u64,
                };
                due
            })
        };
        if due && self.strikes() {
            self.cut_all();
        }
    }

    pub(super) fn cut_all(&self) {
        self.cut_all.send_modify(|cuts| *cuts += 1);
    }

    /// Changes when all connections are to be cut.
    pub(super) fn told_to_cut(&self) -> watch::Receiver<u64> {
        self.cut_all.subscribe()
    }

    pub(super) fn count_cut(&self) {
        self.cuts.fetch_add(1, Relaxed);
    }

    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }

    /// Runs beside the connections and ends with the relay.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that ended are of no more use.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends what runs beside the connections.
    pub(super) fn end(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        Self {
            network,
            silent: AtomicBool::new(false),
        }
    }
}
