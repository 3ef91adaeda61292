//! One line per stream, when it ends: who, from where, to what, by which rule, how, how much, why.
//!
//! Payload, tokens and session ids as a whole never get here.

use std::{net::IpAddr, sync::Arc, time::Instant};

use perigee_session::{Code, StreamStats};
use tracing::info;

use crate::policy::Origin;

/// Who asks: the page's origin and the client's address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The page; `None` for a program that sends no origin.
    pub(crate) origin: Option<Arc<Origin>>,
    /// Behind trusted proxies.
    pub(crate) address: IpAddr,
    /// It came by TLS, to the gateway or to a trusted proxy.
    pub(crate) secure: bool,
    /// Who it has proven to be.
    pub(crate) user: Option<Arc<str>>,
}

/// The transports a stream used, in the order of first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transports {
    /// Most streams use one.
    first: Option<&'static str>,
    #[expect(
        clippy::box_collection,
        reason = "every stream has one of these, and needs a pointer only"
    )]
    others: Option<Box<Vec<&'static str>>>,
}

/// What is known of a stream from its start.
#[derive(Debug)]
pub(crate) struct StreamRecord {
    /// What the client asked for, quoted and cut.
    pub(crate) target: Box<str>,
    /// The rule that permitted it.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) started: Instant,
    pub(crate) transports: Transports,
    pub(crate) resumes: u32,
    /// What the operator should know of the end and the client must not.
    pub(crate) detail: Option<String>,
}

impl Transports {
    pub(crate) fn add(&mut self, name: &'static str) {
        match self.first {
            None => self.first = Some(name),
            Some(first) if first == name => {}
            Some(_) => {
                let others = self.others.get_or_insert_default();
                if !others.contains(&name) {
                    others.push(name);
                }
            }
        }
    }

    fn joined(&self) -> String {
        let others = self.others.as_deref().into_iter().flatten();
        let all: Vec<_> = self.first.iter().chain(others).copied().collect();
        all.join(",")
    }
}

impl StreamRecord {
    pub(crate) fn new(target: &str, now: Instant) -> Self {
        Self {
            target: crate::policy::quote(target).into(),
            rule: None,
            started: now,
            transports: Transports::default(),
            resumes: 0,
            detail: None,
        }
    }

    /// Writes the line.
    pub(crate) fn log(
        &self,
        client: &Client,
        session: &str,
        code: Code,
        reason: &str,
        stats: &StreamStats,
        now: Instant,
    ) {
        let why = self.detail.as_deref().unwrap_or(reason);
        info!(
            target: "perigee::access",
            { client.addr = %client.address,
            origin = %origin_text(client.origin.as_deref()),
            user = client.user.as_deref(),
            to = %self.target,
            rule = self.rule.as_deref().unwrap_or("-"),
            session = %short(session),
            transports = %self.transports.joined(),
            resumes = self.resumes,
            bytes_up = stats.delivered,
            bytes_down = stats.written,
            bytes_down_acked = stats.acked,
            bytes_resent = stats.resent,
            duration_ms = u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX),
            code = %code,
            reason = %why },
            "stream closed"
        );
    }
}

/// A request that was refused before there was a stream.
pub(crate) fn refused(client: &Client, what: &str, code: Code, why: &dyn std::fmt::Display) {
    info!(
        target: "perigee::access",
        { client.addr = %client.address,
        origin = %origin_text(client.origin.as_deref()),
        request = %what,
        code = %code,
        reason = %why },
        "request refused"
    );
}

fn origin_text(origin: Option<&Origin>) -> String {
    origin.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Enough of a session id to match lines, not enough to be one: the node and 8 random characters.
fn short(session: &str) -> &str {
    let node = session.find('-').unwrap_or(0);
    session.get(..(node + 9).min(session.len())).unwrap_or("-")
}
