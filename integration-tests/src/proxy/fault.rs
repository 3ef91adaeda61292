//! The faults by name: how each one strikes, how often, and which transports can meet it.

use std::time::Duration;

use super::{Course, Cut, End, Fate, Pace, datagram::Harm, http::Rewrite};
use crate::{client::Transport, random::Random};

/// Something a network does to those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Connections are cut by RST after n bytes up.
    ResetUp,
    /// Connections are cut by RST after n bytes down.
    ResetDown,
    /// Connections are ended by FIN after n bytes up.
    FinUp,
    /// Connections are ended by FIN after n bytes down.
    FinDown,
    /// After n bytes up the gateway gets FIN, the client nothing.
    HalfCloseUp,
    /// After n bytes down the client gets FIN, the gateway nothing.
    HalfCloseDown,
    /// Every connection is reset at once, idle ones too.
    ResetAll,
    /// After n bytes nothing arrives any more, and nobody is told.
    Silence,
    /// Bytes arrive late.
    Delay,
    /// Few bytes at a time.
    Throttle,
    /// What comes down is held back until there are n bytes or the reply ends.
    BufferBytes,
    /// What comes down is held back for a time, or until the reply ends.
    BufferTime,
    /// A POST reaches the gateway twice, and one of the replies the client.
    Duplicate,
    /// A request reaches the gateway, its reply not the client.
    DropReply,
    /// Upgrades are answered by an error of the proxy's own.
    RefuseUpgrade,
    /// Headers that proxies remove are removed.
    StripHeaders,
    /// Datagrams are lost.
    LoseDatagrams,
    /// Datagrams overtake each other.
    ReorderDatagrams,
    /// Datagrams arrive twice.
    DuplicateDatagrams,
    /// The client's address changes, as when a NAT forgets it.
    MoveClient,
}

/// What carries a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a relay must understand to do harm.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Tcp,
    Http(Rewrite),
    Udp(Harm),
}

/// How a transport uses HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// One request that becomes a connection of both directions.
    Upgrade,
    /// Requests and replies, POSTs among them.
    Requests,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ResetUp,
        Self::ResetDown,
        Self::FinUp,
        Self::FinDown,
        Self::HalfCloseUp,
        Self::HalfCloseDown,
        Self::ResetAll,
        Self::Silence,
        Self::Delay,
        Self::Throttle,
        Self::BufferBytes,
        Self::BufferTime,
        Self::Duplicate,
        Self::DropReply,
        Self::RefuseUpgrade,
        Self::StripHeaders,
        Self::LoseDatagrams,
        Self::ReorderDatagrams,
        Self::DuplicateDatagrams,
        Self::MoveClient,
    ];

    /// In words, for a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResetUp => "cut by RST after n bytes up",
            Self::ResetDown => "cut by RST after n bytes down",
            Self::FinUp => "cut by FIN after n bytes up",
            Self::FinDown => "cut by FIN after n bytes down",
            Self::HalfCloseUp => "half-closed after n bytes up",
            Self::HalfCloseDown => "half-closed after n bytes down",
            Self::ResetAll => "all connections reset at once",
            Self::Silence => "silent after n bytes",
            Self::Delay => "delayed",
            Self::Throttle => "throttled",
            Self::BufferBytes => "held back until n bytes came",
            Self::BufferTime => "held back for a time",
            Self::Duplicate => "requests sent twice",
            Self::DropReply => "replies lost",
            Self::RefuseUpgrade => "upgrades refused",
            Self::StripHeaders => "headers stripped",
            Self::LoseDatagrams => "datagrams lost",
            Self::ReorderDatagrams => "datagrams reordered",
            Self::DuplicateDatagrams => "datagrams sent twice",
            Self::MoveClient => "client's address changes",
        }
    }

    /// Why a transport cannot meet this fault, if it cannot.
    #[must_use]
    pub const fn is_void_for(self, transport: Transport) -> Option<&'static str> {
        match (self, transport.medium(), usage(transport)) {
            (
                Self::ResetUp
                | Self::ResetDown
                | Self::FinUp
                | Self::FinDown
                | Self::HalfCloseUp
                | Self::HalfCloseDown
                | Self::ResetAll,
                Medium::Udp,
                _,
            ) => Some("there is no TCP connection; datagrams that stop are the row *silent*"),
            (
                Self::BufferBytes
                | Self::BufferTime
                | Self::Duplicate
                | Self::DropReply
                | Self::RefuseUpgrade
                | Self::StripHeaders,
                Medium::Udp,
                _,
            ) => Some("QUIC is encrypted from end to end: a relay sees datagrams, not requests"),
            (
                Self::LoseDatagrams
                | Self::ReorderDatagrams
                | Self::DuplicateDatagrams
                | Self::MoveClient,
                Medium::Tcp,
                _,
            ) => Some("TCP repairs these below HTTP; an address that changes is the row *silent*"),
            (Self::Duplicate, Medium::Tcp, Use::Upgrade) => {
                Some("its only request becomes the connection: nothing to repeat")
            }
            (Self::RefuseUpgrade, Medium::Tcp, Use::Requests) => Some("asks for no upgrade"),
            _ => None,
        }
    }

    /// How often it strikes before the network has healed.
    pub(super) const fn strikes(self) -> u64 {
        match self {
            Self::ResetUp | Self::ResetDown | Self::FinUp | Self::FinDown | Self::ResetAll => 12,
            Self::HalfCloseUp | Self::HalfCloseDown => 6,
            // Each costs a client the time in which it takes a transport for dead.
            Self::Silence | Self::BufferBytes => 3,
            Self::Delay => 40,
            Self::Throttle => 300,
            Self::BufferTime => 8,
            Self::Duplicate | Self::DropReply => 10,
            Self::RefuseUpgrade => 6,
            Self::StripHeaders => 10,
            Self::LoseDatagrams => 60,
            Self::ReorderDatagrams | Self::DuplicateDatagrams => 200,
            Self::MoveClient => 4,
        }
    }

    /// How many bytes pass before the first strike: none, or so many that a transfer is under way.
    pub(super) fn begins_after(self, random: &mut Random) -> u64 {
        match self {
            // A reply held back before the first byte would only be attached to again and again.
            Self::BufferBytes => random.range(20_000, 100_000),
            _ if random.percent(50) => 0,
            _ => random.range(20_000, 200_000),
        }
    }

    pub(super) const fn kind(self, medium: Medium) -> Kind {
        match (self, medium) {
            (Self::BufferBytes, _) => Kind::Http(Rewrite::BufferBytes),
            (Self::BufferTime, _) => Kind::Http(Rewrite::BufferTime),
            (Self::Duplicate, _) => Kind::Http(Rewrite::Duplicate),
            (Self::DropReply, _) => Kind::Http(Rewrite::DropReply),
            (Self::RefuseUpgrade, _) => Kind::Http(Rewrite::RefuseUpgrade),
            (Self::StripHeaders, _) => Kind::Http(Rewrite::StripHeaders),
            (Self::LoseDatagrams, _) => Kind::Udp(Harm::Lose),
            (Self::ReorderDatagrams, _) => Kind::Udp(Harm::Reorder),
            (Self::DuplicateDatagrams, _) => Kind::Udp(Harm::Duplicate),
            (Self::MoveClient, _) => Kind::Udp(Harm::Move),
            (Self::Silence, Medium::Udp) => Kind::Udp(Harm::Silence),
            (Self::Delay, Medium::Udp) => Kind::Udp(Harm::Delay),
            (Self::Throttle, Medium::Udp) => Kind::Udp(Harm::Throttle),
            (
                Self::ResetUp
                | Self::ResetDown
                | Self::FinUp
                | Self::FinDown
                | Self::HalfCloseUp
                | Self::HalfCloseDown
                | Self::ResetAll
                | Self::Silence
                | Self::Delay
                | Self::Throttle,
                _,
            ) => Kind::Tcp,
        }
    }

    /// What becomes of the next TCP connection.
    pub(super) fn fate(self, random: &mut Random) -> Fate {
        let up = |end, after| Fate {
            up: Course::cut(after, end),
            down: Course::default(),
        };
        let down = |end, after| Fate {
            up: Course::default(),
            down: Course::cut(after, end),
        };
        // Within a request's head, a frame's head, a window, or beyond it.
        let after = match random.range(0, 4) {
            0 => random.range(1, 300),
            1 => random.range(1, 3000),
            _ => random.range(1, 60_000),
        };
        match self {
            Self::ResetUp => up(End::Reset, after),
            Self::ResetDown => down(End::Reset, after),
            Self::FinUp => up(End::Fin, after),
            Self::FinDown => down(End::Fin, after),
            Self::HalfCloseUp => up(End::HalfClose, after),
            Self::HalfCloseDown => down(End::HalfClose, after),
            Self::Silence if random.percent(50) => up(End::Silence, after),
            Self::Silence => down(End::Silence, after),
            Self::Delay => {
                let mut late = || {
                    let seed = random.number();
                    Course::paced(Pace::Delay(MOST_DELAY, Random::new(seed)))
                };
                Fate {
                    up: late(),
                    down: late(),
                }
            }
            Self::Throttle => {
                let slow = || Course::paced(Pace::Throttle(THROTTLE_BYTES, THROTTLE_PAUSE));
                Fate {
                    up: slow(),
                    down: slow(),
                }
            }
            Self::ResetAll
            | Self::BufferBytes
            | Self::BufferTime
            | Self::Duplicate
            | Self::DropReply
            | Self::RefuseUpgrade
            | Self::StripHeaders
            | Self::LoseDatagrams
            | Self::ReorderDatagrams
            | Self::DuplicateDatagrams
            | Self::MoveClient => Fate::unharmed(),
        }
    }
}

/// An end that makes clients come back through a network with another fault, until it has healed.
pub(super) fn nudge(random: &mut Random) -> Cut {
    let after = random.range(1000, 60_000);
    Cut {
        after,
        distance: after,
        end: End::Fin,
        is_the_fault: false,
    }
}

/// See [`Use`].
const fn usage(transport: Transport) -> Use {
    match transport {
        Transport::WebSocket | Transport::Http2WebSocket | Transport::WebTransport => Use::Upgrade,
        Transport::Stream
        | Transport::Poll
        | Transport::Http2Stream
        | Transport::Http2Poll
        | Transport::Sse
        | Transport::Htmlfile
        | Transport::Jsonp => Use::Requests,
    }
}

/// Longest delay of a batch of bytes or a datagram.
pub(super) const MOST_DELAY: Duration = Duration::from_millis(40);
/// Bytes at a time through a throttle.
const THROTTLE_BYTES: usize = 700;
/// The pause after each.
pub(super) const THROTTLE_PAUSE: Duration = Duration::from_millis(3);
/// Most bytes that a buffering proxy waits for.
pub(super) const MOST_GATHERED: u64 = 100_000;
/// How long another one waits.
pub(super) const GATHER_TIME: Duration = Duration::from_millis(300);
