//! What the gateway is to reach, as ratios within one run.

use crate::{
    measure::{Figure, Work},
    row::Row,
    run::Results,
};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) text: &'static str,
    pub(crate) row: Row,
    pub(crate) work: Work,
    pub(crate) figure: Figure,
    /// None for figures that are compared with nothing.
    pub(crate) against: Option<(Row, Work)>,
    /// What both have to do anyhow, and is not counted of what is compared with.
    pub(crate) less: Option<Row>,
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

impl Target {
    /// What it is, if all of it was measured.
    pub(crate) fn is(&self, results: &Results) -> Option<f64> {
        let is = results.median(self.row, self.work, self.figure)?;
        let Some((row, work)) = self.against else {
            return Some(is);
        };
        let mut other = results.median(row, work, self.figure)?;
        if let Some(less) = self.less {
            other -= results.median(less, work, self.figure)?;
        }
        (other > 0.0).then_some(is / other)
    }

    /// Whether a row's work is a part of it.
    pub(crate) fn needs(&self, row: Row, work: Work) -> bool {
        (self.row, self.work) == (row, work)
            || self.against == Some((row, work))
            || (self.less == Some(row) && self.against.is_some_and(|(_, other)| other == work))
    }
}

pub(crate) const TARGETS: &[Target] = &[
    target(
        "echo, 64 B, plain, against HAProxy",
        Row::Plain,
        Work::Echo,
        Figure::Cpu,
        Row::Haproxy,
        1.0,
        0.85,
    ),
    target(
        "echo, 64 B, session, against HAProxy",
        Row::Session,
        Work::Echo,
        Figure::Cpu,
        Row::Haproxy,
        1.2,
        1.0,
    ),
    target(
        "16 in flight, plain, against the floor",
        Row::Plain,
        Work::Pipelined,
        Figure::Cpu,
        Row::FloorWebSocket,
        2.0,
        1.4,
    ),
    target(
        "16 in flight, session, against the floor",
        Row::Session,
        Work::Pipelined,
        Figure::Cpu,
        Row::FloorWebSocket,
        3.0,
        2.0,
    ),
    target(
        "4 KiB, plain, against HAProxy",
        Row::Plain,
        Work::Large,
        Figure::Cpu,
        Row::Haproxy,
        1.1,
        0.9,
    ),
    target(
        "bulk down, plain, against HAProxy",
        Row::Plain,
        Work::Down,
        Figure::CpuPerMib,
        Row::Haproxy,
        1.1,
        0.8,
    ),
    target(
        "bulk up, plain, against HAProxy",
        Row::Plain,
        Work::Up,
        Figure::CpuPerMib,
        Row::Haproxy,
        1.1,
        1.0,
    ),
    target(
        "bulk down, session, against HAProxy",
        Row::Session,
        Work::Down,
        Figure::CpuPerMib,
        Row::Haproxy,
        1.4,
        1.1,
    ),
    target(
        "bulk up, session, against HAProxy",
        Row::Session,
        Work::Up,
        Figure::CpuPerMib,
        Row::Haproxy,
        1.4,
        1.1,
    ),
    target(
        "HTTP stream, against SockJS streaming",
        Row::SessionStream,
        Work::Echo,
        Figure::Cpu,
        Row::SockJsStreaming,
        0.3,
        0.2,
    ),
    target(
        "long-poll, against SockJS polling",
        Row::SessionPoll,
        Work::Echo,
        Figure::Cpu,
        Row::SockJsPolling,
        0.25,
        0.15,
    ),
    target(
        "long-poll, against nchan without TCP",
        Row::SessionPoll,
        Work::Echo,
        Figure::Cpu,
        Row::Nchan,
        1.3,
        0.85,
    ),
    target(
        "IRC line, against plain",
        Row::Irc,
        Work::Echo,
        Figure::Cpu,
        Row::Plain,
        1.3,
        1.15,
    ),
    target(
        "STOMP frame, against plain",
        Row::Stomp,
        Work::Echo,
        Figure::Cpu,
        Row::Plain,
        1.3,
        1.15,
    ),
    Target {
        less: Some(Row::Prosody),
        ..target(
            "XMPP by BOSH, against what mod_bosh adds to prosody",
            Row::Bosh,
            Work::Echo,
            Figure::Cpu,
            Row::ProsodyBosh,
            0.5,
            0.3,
        )
    },
    target(
        "connect, echo, close, plain, against HAProxy",
        Row::Plain,
        Work::Churn,
        Figure::CpuPerConnection,
        Row::Haproxy,
        1.3,
        1.0,
    ),
    target(
        "connect, echo, close, session, against HAProxy",
        Row::Session,
        Work::Churn,
        Figure::CpuPerConnection,
        Row::Haproxy,
        2.0,
        1.5,
    ),
    target(
        "4,000 busy, plain, against the floor",
        Row::Plain,
        Work::Busy,
        Figure::Cpu,
        Row::FloorWebSocket,
        1.35,
        1.15,
    ),
    target(
        "p50 at 5,000 msg/s, plain, against HAProxy",
        Row::Plain,
        Work::Paced,
        Figure::Median,
        Row::Haproxy,
        1.1,
        0.9,
    ),
    target(
        "p99 at 5,000 msg/s, plain, against HAProxy",
        Row::Plain,
        Work::Paced,
        Figure::Tail,
        Row::Haproxy,
        1.1,
        0.9,
    ),
    absolute(
        "KiB for a tunnel, idle, plain",
        Row::Plain,
        Work::Idle,
        Figure::Memory,
        3.3,
        1.0,
    ),
    absolute(
        "KiB for a tunnel, idle again after an echo, plain",
        Row::Plain,
        Work::Idle,
        Figure::MemoryAfter,
        3.3,
        1.0,
    ),
    absolute(
        "KiB for a tunnel, idle, session",
        Row::Session,
        Work::Idle,
        Figure::Memory,
        4.0,
        1.5,
    ),
    absolute(
        "KiB for a tunnel, idle again after an echo, session",
        Row::Session,
        Work::Idle,
        Figure::MemoryAfter,
        4.0,
        1.5,
    ),
    absolute(
        "KiB for a tunnel, idle, long-poll",
        Row::SessionPoll,
        Work::Idle,
        Figure::Memory,
        6.0,
        2.0,
    ),
    absolute(
        "KiB for a tunnel, idle again after an echo, long-poll",
        Row::SessionPoll,
        Work::Idle,
        Figure::MemoryAfter,
        6.0,
        2.0,
    ),
    Target {
        against: Some((Row::Session, Work::Streams(1))),
        ..target(
            "1,000 streams on one session, against one",
            Row::Session,
            Work::Streams(1000),
            Figure::Cpu,
            Row::Session,
            1.1,
            1.0,
        )
    },
];

const fn target(
    text: &'static str,
    row: Row,
    work: Work,
    figure: Figure,
    against: Row,
    must: f64,
    aim: f64,
) -> Target {
    Target {
        text,
        row,
        work,
        figure,
        against: Some((against, work)),
        less: None,
        must,
        aim,
    }
}

const fn absolute(
    text: &'static str,
    row: Row,
    work: Work,
    figure: Figure,
    must: f64,
    aim: f64,
) -> Target {
    Target {
        text,
        row,
        work,
        figure,
        against: None,
        less: None,
        must,
        aim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bosh() -> &'static Target {
        let target = TARGETS.iter().find(|target| target.less.is_some());
        target.expect("there is one")
    }

    #[test]
    fn what_both_have_to_do_is_not_counted() {
        let mut results = Results::default();
        let mut add = |row, value| {
            results.add(row, Work::Echo, vec![(Figure::Cpu, value)]);
            bosh().is(&results)
        };
        assert_eq!(add(Row::Bosh, 60.0), None);
        assert_eq!(add(Row::ProsodyBosh, 400.0), None, "one is missing");
        assert_eq!(add(Row::Prosody, 100.0), Some(0.2));
        // The medians are 400 and 400 then: nothing is left to compare with.
        assert_eq!(add(Row::Prosody, 700.0), None);
    }

    #[test]
    fn what_a_target_needs_is_measured_in_every_round() {
        for (row, work, repeats) in [
            (Row::Haproxy, Work::Echo, true),
            (Row::Haproxy, Work::Pipelined, false),
            (Row::Prosody, Work::Echo, true),
            (Row::Prosody, Work::Large, false),
            (Row::Lighttpd, Work::Echo, false),
            (Row::Irc, Work::Large, true),
            (Row::Plain, Work::Hold, false),
        ] {
            assert_eq!(row.repeats(work), repeats, "{row:?}, {work:?}");
        }
    }

    #[test]
    fn every_target_is_about_work_that_is_done() {
        for target in TARGETS {
            assert!(target.row.does(target.work), "{}", target.text);
            let others = target.against.into_iter();
            for (row, work) in others.chain(target.less.map(|row| (row, target.work))) {
                assert!(row.does(work), "{}", target.text);
            }
        }
    }
}
