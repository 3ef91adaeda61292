//! `[limits]` and `[timeouts]`: numbers with a default and a range.

use std::{fmt::Display, time::Duration};

use super::super::{
    Limits, Timeouts,
    defaults::{self, Setting},
    document::{Memory, Size},
    file::{LimitsFile, TimeoutsFile},
    problem::{At, Problems},
    units::{ShowDuration, ShowSize},
};
use crate::policy::DialDefaults;

/// Lowers `[limits]`.
pub(super) fn limits(
    file: Option<&LimitsFile>,
    memory_bytes: u64,
    problems: &mut Problems,
) -> Limits {
    let mut set = |key: fn(&LimitsFile) -> &Option<At<u64>>, setting| {
        let at = file.and_then(|file| key(file).as_ref());
        (at, count(at, setting, problems))
    };
    let connections = set(|file| &file.max_connections, defaults::MAX_CONNECTIONS);
    let per_client = set(
        |file| &file.max_connections_per_client,
        defaults::MAX_CONNECTIONS_PER_CLIENT,
    );
    let sessions = set(|file| &file.max_sessions, defaults::MAX_SESSIONS);
    let sessions_per_client = set(
        |file| &file.max_sessions_per_client,
        defaults::MAX_SESSIONS_PER_CLIENT,
    );
    let (_, max_streams) = set(|file| &file.max_streams, defaults::MAX_STREAMS);
    Limits {
        max_connections: connections.1,
        max_connections_per_client: part_of(per_client, connections, "max_connections", problems),
        max_sessions: sessions.1,
        max_sessions_per_client: part_of(sessions_per_client, sessions, "max_sessions", problems),
        max_streams,
        max_memory_bytes: memory(
            file.and_then(|file| file.max_memory.as_ref()),
            memory_bytes,
            problems,
        ),
        replay_down_bytes: size(
            file.and_then(|file| file.replay_down.as_ref()),
            defaults::REPLAY_DOWN,
            problems,
        ),
        replay_up_bytes: size(
            file.and_then(|file| file.replay_up.as_ref()),
            defaults::REPLAY_UP,
            problems,
        ),
    }
}

/// A share cannot be more than the whole: a mistake if both are written, else the default gives way.
fn part_of(
    (at, part): (Option<&At<u64>>, usize),
    (whole_at, whole): (Option<&At<u64>>, usize),
    whole_key: &str,
    problems: &mut Problems,
) -> usize {
    if let (Some(at), true) = (at, part > whole) {
        let remedy = match whole_at {
            Some(_) => format!("lower it, or raise {whole_key}"),
            None => format!("lower it, or set {whole_key}"),
        };
        problems.report(
            &at.place,
            format!("{part} is more than {whole_key}, which is {whole}"),
            remedy,
        );
    }
    part.min(whole)
}

fn memory(at: Option<&At<Memory>>, memory_bytes: u64, problems: &mut Problems) -> u64 {
    // A share that is out of range is reported, and has a size all the same.
    let of_machine = |percent: u64| (memory_bytes / 100).saturating_mul(percent);
    let Some(at) = at else {
        return of_machine(defaults::MAX_MEMORY_PERCENT.default);
    };
    match at.value {
        Memory::Size(bytes) => {
            let at = At {
                place: at.place.clone(),
                value: bytes,
            };
            ranged(Some(&at), defaults::MAX_MEMORY_BYTES, ShowSize, problems)
        }
        Memory::Percent(percent) => {
            let at = At {
                place: at.place.clone(),
                value: percent,
            };
            of_machine(ranged(
                Some(&at),
                defaults::MAX_MEMORY_PERCENT,
                |n| format!("{n}%"),
                problems,
            ))
        }
    }
}

/// Lowers `[timeouts]`: the gateway's own, and those of connections to backends that have none of theirs.
pub(super) fn timeouts(
    file: Option<&TimeoutsFile>,
    problems: &mut Problems,
) -> (Timeouts, DialDefaults) {
    let mut set = |key: fn(&TimeoutsFile) -> &Option<At<Duration>>, setting| {
        duration(file.and_then(|file| key(file).as_ref()), setting, problems)
    };
    let dial = DialDefaults {
        connect_timeout: set(|file| &file.connect, defaults::CONNECT),
        resume_timeout: set(|file| &file.resume, defaults::RESUME),
        tcp_keepalive: set(|file| &file.tcp_keepalive, defaults::TCP_KEEPALIVE),
    };
    let mut timeouts = Timeouts {
        first_byte: set(|file| &file.first_byte, defaults::FIRST_BYTE),
        head: set(|file| &file.head, defaults::HEAD),
        body: set(|file| &file.body, defaults::BODY),
        hello: set(|file| &file.hello, defaults::HELLO),
        http_idle: set(|file| &file.http_idle, defaults::HTTP_IDLE),
        heartbeat: set(|file| &file.heartbeat, defaults::HEARTBEAT),
        peer_dead: set(|file| &file.peer_dead, defaults::PEER_DEAD),
        hold: set(|file| &file.hold, defaults::HOLD),
        drain: set(|file| &file.drain, defaults::DRAIN),
        stream_rotate: set(|file| &file.stream_rotate, defaults::STREAM_ROTATE),
        stream_rotate_bytes: defaults::STREAM_ROTATE_BYTES.default,
        ack_delay: set(|file| &file.ack_delay, defaults::ACK_DELAY),
        tombstone: set(|file| &file.tombstone, defaults::TOMBSTONE),
        ticket: set(|file| &file.ticket, defaults::TICKET),
        resume: dial.resume_timeout,
    };
    if let Some(file) = file {
        timeouts.stream_rotate_bytes = size(
            file.stream_rotate_bytes.as_ref(),
            defaults::STREAM_ROTATE_BYTES,
            problems,
        );
        check_liveness(file, &timeouts, problems);
    }
    (timeouts, dial)
}

/// A live peer must have had its chance to speak before it is given up.
fn check_liveness(file: &TimeoutsFile, timeouts: &Timeouts, problems: &mut Problems) {
    let peer_dead = timeouts.peer_dead;
    let two_heartbeats = timeouts.heartbeat * 2;
    if let (Some(at), true) = (
        file.peer_dead.as_ref().or(file.heartbeat.as_ref()),
        two_heartbeats > peer_dead,
    ) {
        let (heartbeat, peer_dead) = (ShowDuration(timeouts.heartbeat), ShowDuration(peer_dead));
        problems.report(
            &at.place,
            format!("peers are given up after {peer_dead}, before two heartbeats of {heartbeat}"),
            format!(
                "set peer_dead to {} or more, or lower heartbeat",
                ShowDuration(two_heartbeats)
            ),
        );
    }
    if let (Some(at), true) = (
        file.hold.as_ref().or(file.peer_dead.as_ref()),
        timeouts.hold >= peer_dead,
    ) {
        let (hold, peer_dead) = (ShowDuration(timeouts.hold), ShowDuration(peer_dead));
        problems.report(
            &at.place,
            format!("a poll is held for {hold}, but its client is given up after {peer_dead}"),
            "set hold to less than peer_dead",
        );
    }
}

/// A count within its range.
pub(super) fn count(at: Option<&At<u64>>, setting: Setting<u64>, problems: &mut Problems) -> usize {
    // The ranges end far below what a usize holds on any machine with sockets.
    usize::try_from(ranged(at, setting, |n| n, problems)).unwrap_or(usize::MAX)
}

/// A duration within its range.
pub(super) fn duration(
    at: Option<&At<Duration>>,
    setting: Setting<Duration>,
    problems: &mut Problems,
) -> Duration {
    ranged(at, setting, ShowDuration, problems)
}

pub(super) fn size(at: Option<&At<Size>>, setting: Setting<u64>, problems: &mut Problems) -> u64 {
    let at = at.map(|at| At {
        place: at.place.clone(),
        value: at.value.0,
    });
    ranged(at.as_ref(), setting, ShowSize, problems)
}

fn ranged<T: Copy + PartialOrd, D: Display>(
    at: Option<&At<T>>,
    setting: Setting<T>,
    show: impl Fn(T) -> D,
    problems: &mut Problems,
) -> T {
    let Setting {
        default,
        least,
        most,
    } = setting;
    let Some(at) = at else {
        return default;
    };
    if at.value < least || at.value > most {
        let problem = format!("{} is out of range", show(at.value));
        problems.report(
            &at.place,
            problem,
            format!("write {} to {}", show(least), show(most)),
        );
    }
    at.value
}
