//! What goes wrong and when, from a seed; and that all of it is repaired in the end.

use std::time::Duration;

use perigee_integration_tests::random::Random;

use crate::{ledger::Cause, world::GatewayOrder};

/// Something that happens to a client (by its number), a backend or the gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// For the record: something is wrong for a while.
    Trouble {
        cause: Cause,
        time: Duration,
    },
    /// Nothing gets through between a client and the gateway, and what was on its way is lost.
    Partition(usize),
    /// The same in one direction.
    PartitionUp(usize),
    PartitionDown(usize),
    /// What is sent from now on arrives.
    Repair(usize),
    /// Everything is late until it is released.
    Hold(usize),
    Release(usize),
    /// So often in a hundred messages everything on its way is lost.
    Lossy(usize, u32),
    /// How long a message takes.
    Latency(usize, Duration),
    /// The client does nothing for a while.
    Sleep(usize, Duration),
    /// The client's clock jumps.
    Jump(usize, Duration),
    /// The client ends without a word to anybody, and later begins from nothing.
    Kill(usize),
    Revive(usize),
    /// The backend is slow to answer.
    HoldBackend(usize),
    ReleaseBackend(usize),
    KillBackend(usize),
    ReviveBackend(usize),
    KillGateway,
    ReviveGateway,
    GatewayOrder(GatewayOrder),
}

/// Events in the order of their time.
pub(crate) struct Weather(Vec<(Duration, Event)>);

impl Weather {
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next event that is due.
    pub(crate) fn next_until(&mut self, now: Duration) -> Option<Event> {
        let (at, _) = self.0.last()?;
        (*at <= now)
            .then(|| self.0.pop())
            .flatten()
            .map(|(_, event)| event)
    }
}

/// A time that is usually short, and sometimes longer than sessions live.
fn while_(random: &mut Random) -> Duration {
    let millis = match random.range(0, 10) {
        0..4 => random.range(20, 1_500),
        4..8 => random.range(1_500, 9_000),
        // About the timeouts: peers dead after 5 s, sessions lost after 12 s.
        8 => random.choose(&[4_400, 5_000, 12_000, 16_400, 17_000]) + random.range(0, 400),
        _ => random.range(14_000, 24_000),
    };
    Duration::from_millis(millis)
}

/// Makes the weather of a world.
pub(crate) fn forecast(random: &mut Random, clients: usize, backends: usize) -> Weather {
    let length = Duration::from_millis(random.range(8_000, 40_000));
    let mut events = Vec::new();
    for id in 0..clients {
        client_weather(random, id, length, &mut events);
    }
    for index in 0..backends {
        if random.percent(40) {
            backend_weather(random, index, length, &mut events);
        }
    }
    gateway_weather(random, length, &mut events);
    // The last is the next; of those at one time the first that was planned goes first.
    events.reverse();
    events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Weather(events)
}

fn client_weather(
    random: &mut Random,
    id: usize,
    length: Duration,
    events: &mut Vec<(Duration, Event)>,
) {
    let mut at = Duration::from_millis(random.range(100, 8_000));
    while at < length {
        let time = while_(random);
        let end = at + time;
        let trouble = Event::Trouble {
            cause: crate::world::away(id),
            time,
        };
        let (start, repair): (&[Event], &[Event]) = match random.range(0, 9) {
            0 => (&[trouble, Event::Partition(id)], &[Event::Repair(id)]),
            1 => (&[trouble, Event::PartitionUp(id)], &[Event::Repair(id)]),
            2 => (&[trouble, Event::PartitionDown(id)], &[Event::Repair(id)]),
            3 => (&[trouble, Event::Hold(id)], &[Event::Release(id)]),
            4 => {
                let percent = u32::try_from(random.range(1, 20)).expect("few");
                let healed = [Event::Lossy(id, 0), Event::Repair(id)];
                (&[trouble, Event::Lossy(id, percent)], &healed.clone())
            }
            5 => {
                let slow = Duration::from_millis(random.range(150, 1_200));
                let usual = Duration::from_millis(random.range(0, 100));
                (
                    &[trouble, Event::Latency(id, slow)],
                    &[Event::Latency(id, usual)],
                )
            }
            6 => (&[trouble, Event::Sleep(id, time)], &[]),
            7 => (&[Event::Jump(id, time)], &[]),
            _ if random.percent(50) => (
                // As if its plug were pulled: not even its kernel says anything.
                &[Event::Partition(id), Event::Kill(id)],
                &[Event::Repair(id), Event::Revive(id)],
            ),
            _ => (&[Event::Kill(id)], &[Event::Revive(id)]),
        };
        events.extend(start.iter().map(|event| (at, *event)));
        events.extend(repair.iter().map(|event| (end, *event)));
        at = end + Duration::from_millis(random.range(300, 6_000));
    }
}

fn backend_weather(
    random: &mut Random,
    index: usize,
    length: Duration,
    events: &mut Vec<(Duration, Event)>,
) {
    let mut at = Duration::from_millis(random.range(1_000, 15_000));
    while at < length {
        let time = Duration::from_millis(random.range(50, 6_000));
        // What was sent to it meanwhile takes its time, too.
        let trouble = Event::Trouble {
            cause: Cause::Backend(index),
            time: time + Duration::from_secs(5),
        };
        let (start, repair) = match random.percent(60) {
            true => (Event::HoldBackend(index), Event::ReleaseBackend(index)),
            false => (Event::KillBackend(index), Event::ReviveBackend(index)),
        };
        events.extend([(at, trouble), (at, start), (at + time, repair)]);
        at += time + Duration::from_millis(random.range(3_000, 12_000));
    }
}

fn gateway_weather(random: &mut Random, length: Duration, events: &mut Vec<(Duration, Event)>) {
    let trouble = |time| Event::Trouble {
        cause: Cause::Gateway,
        time,
    };
    let at = Duration::from_millis(random.range(2_000, 25_000)).min(length);
    match random.range(0, 10) {
        0..3 => {
            let time = Duration::from_millis(random.range(10, 5_000));
            events.extend([
                (at, trouble(time + Duration::from_secs(2))),
                (at, Event::KillGateway),
                (at + time, Event::ReviveGateway),
            ]);
        }
        3..5 => {
            // The drain, the last words, and the start of the next one.
            let time = Duration::from_secs(10);
            events.extend([
                (at, trouble(time)),
                (at, Event::GatewayOrder(GatewayOrder::Restart)),
            ]);
        }
        5..7 => {
            let jump = while_(random);
            events.extend([
                (at, trouble(Duration::from_secs(2))),
                (at, Event::GatewayOrder(GatewayOrder::Jump(jump))),
            ]);
        }
        _ => {}
    }
}
