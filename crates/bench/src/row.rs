//! The rows of the tables: a program, the way through it, and what work it is given.

use crate::{
    measure::Work,
    server::{self, Program},
    targets::TARGETS,
    wire::Kind,
};

/// A row of the tables: a program, and the way through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Direct,
    FloorTcp,
    FloorWebSocket,
    Haproxy,
    Nginx,
    Lighttpd,
    Websocat,
    NodeWs,
    Websockify,
    WispJs,
    SockJsStreaming,
    SockJsPolling,
    Nchan,
    ProsodyBosh,
    Prosody,
    Plain,
    Session,
    SessionStream,
    SessionPoll,
    Irc,
    Stomp,
    Bosh,
}

/// The rows of a quick run, and of a whole one.
pub(crate) const QUICK: [Row; 16] = [
    Row::FloorTcp,
    Row::FloorWebSocket,
    Row::Haproxy,
    Row::Lighttpd,
    Row::SockJsStreaming,
    Row::SockJsPolling,
    Row::Nchan,
    Row::ProsodyBosh,
    Row::Prosody,
    Row::Plain,
    Row::Session,
    Row::SessionStream,
    Row::SessionPoll,
    Row::Irc,
    Row::Stomp,
    Row::Bosh,
];
pub(crate) const ALL: [Row; 22] = [
    Row::Direct,
    Row::FloorTcp,
    Row::FloorWebSocket,
    Row::Haproxy,
    Row::Nginx,
    Row::Lighttpd,
    Row::Websocat,
    Row::NodeWs,
    Row::Websockify,
    Row::WispJs,
    Row::SockJsStreaming,
    Row::SockJsPolling,
    Row::Nchan,
    Row::ProsodyBosh,
    Row::Prosody,
    Row::Plain,
    Row::Session,
    Row::SessionStream,
    Row::SessionPoll,
    Row::Irc,
    Row::Stomp,
    Row::Bosh,
];
pub(crate) const QUICK_WORK: [Work; 7] = [
    Work::Echo,
    Work::Pipelined,
    Work::Large,
    Work::Down,
    Work::Up,
    Work::Churn,
    Work::Idle,
];
pub(crate) const ALL_WORK: [Work; 16] = [
    Work::Echo,
    Work::Pipelined,
    Work::Large,
    Work::Paced,
    Work::Busy,
    Work::Down,
    Work::Up,
    Work::Churn,
    Work::Idle,
    Work::Stall,
    Work::Streams(1),
    Work::Streams(10),
    Work::Streams(100),
    Work::Streams(1000),
    Work::Hold,
    Work::HoldMany,
];

impl Row {
    pub(crate) fn program(self) -> Program {
        match self {
            Self::Direct => Program::Direct,
            Self::FloorTcp => Program::FloorTcp,
            Self::FloorWebSocket => Program::FloorWebSocket,
            Self::Haproxy => Program::Haproxy,
            Self::Nginx => Program::Nginx,
            Self::Lighttpd => Program::Lighttpd,
            Self::Websocat => Program::Websocat,
            Self::NodeWs => Program::NodeWs,
            Self::Websockify => Program::Websockify,
            Self::WispJs => Program::WispJs,
            Self::SockJsStreaming | Self::SockJsPolling => Program::SockJs,
            Self::Nchan => Program::Nchan,
            Self::ProsodyBosh => Program::ProsodyBosh,
            Self::Prosody => Program::Prosody,
            Self::Plain
            | Self::Session
            | Self::SessionStream
            | Self::SessionPoll
            | Self::Irc
            | Self::Stomp
            | Self::Bosh => Program::Perigee,
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::SockJsPolling => Kind::SockJsPolling,
            Self::Session => Kind::Session,
            Self::SessionStream => Kind::SessionStream,
            Self::SessionPoll => Kind::SessionPoll,
            Self::Irc => Kind::Irc,
            Self::Stomp => Kind::Stomp,
            Self::Bosh => server::BOSH,
            row => server::way(row.program()),
        }
    }

    pub(crate) fn name(self) -> String {
        let name = self.program().name();
        match self {
            Self::SockJsStreaming => format!("{name}, xhr streaming"),
            Self::SockJsPolling => format!("{name}, xhr polling"),
            Self::Nchan => format!("{name}, long-poll"),
            Self::Plain => format!("{name}, plain WebSocket"),
            Self::Session => format!("{name}, session, WebSocket"),
            Self::SessionStream => format!("{name}, session, HTTP stream"),
            Self::SessionPoll => format!("{name}, session, long-poll"),
            Self::Irc => format!("{name}, IRC over WebSocket"),
            Self::Stomp => format!("{name}, STOMP over WebSocket"),
            Self::Bosh => format!("{name}, XMPP by BOSH"),
            _ => name.to_owned(),
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        self.program() == Program::Perigee
    }

    /// Those that do the same for a page by the same kind of transport.
    pub(crate) fn rivals(self) -> &'static [Self] {
        match self {
            Self::Plain | Self::Session => &[
                Self::Lighttpd,
                Self::Websocat,
                Self::NodeWs,
                Self::Websockify,
                Self::WispJs,
            ],
            Self::SessionStream => &[Self::SockJsStreaming],
            Self::SessionPoll => &[Self::SockJsPolling],
            Self::Bosh => &[Self::ProsodyBosh],
            _ => &[],
        }
    }

    /// Whether this is work for it.
    pub(crate) fn does(self, work: Work) -> bool {
        match work {
            // A client comes by a login, which is more than a connection.
            Work::Churn if self.logs_in() => false,
            // They have no messages that ask a backend for so much.
            Work::Down | Work::Up | Work::Stall => self.kind().carries_bytes(),
            // The floor with as many clients, to see what the kernel adds.
            Work::Streams(_) => matches!(self, Self::Session | Self::FloorWebSocket),
            Work::Hold => matches!(self, Self::Plain | Self::Session),
            Work::HoldMany => self == Self::Plain,
            // They are busy with 64 as well, and thousands of processes would measure the machine.
            Work::Busy => !self.is_slow(),
            Work::Paced => !self.program().forks(),
            Work::Idle => self != Self::Direct,
            Work::Echo | Work::Pipelined | Work::Large | Work::Churn => true,
        }
    }

    /// Whether it does this in every round: what no target is about is told from the first one.
    pub(crate) fn repeats(self, work: Work) -> bool {
        match work {
            Work::Stall | Work::Hold | Work::HoldMany => false,
            _ => self.is_ours() || TARGETS.iter().any(|target| target.needs(self, work)),
        }
    }

    fn logs_in(self) -> bool {
        matches!(self.kind(), Kind::Bosh(_) | Kind::Xmpp)
    }

    fn is_prosody(self) -> bool {
        matches!(self, Self::ProsodyBosh | Self::Prosody)
    }

    pub(crate) fn is_slow(self) -> bool {
        matches!(
            self,
            Self::SockJsStreaming | Self::SockJsPolling | Self::Websockify
        ) || self.is_prosody()
    }
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Echo => "echo".to_owned(),
            Self::Pipelined => "16 in flight".to_owned(),
            Self::Large => "4 KiB".to_owned(),
            Self::Paced => "paced".to_owned(),
            Self::Busy => "4,000 busy".to_owned(),
            Self::Down => "bulk down".to_owned(),
            Self::Up => "bulk up".to_owned(),
            Self::Churn => "churn".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Stall => "stalled reader".to_owned(),
            Self::Streams(1) => "1 stream".to_owned(),
            Self::Streams(streams) => format!("{streams} streams"),
            Self::Hold => "hold".to_owned(),
            Self::HoldMany => "hold many".to_owned(),
        }
    }
}
