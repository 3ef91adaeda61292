//! The configuration: a TOML file, read once, checked as a whole.
//!
//! [`Config`] is the runtime shape: real types, no option that must be set by now. The file's shape, with every key, is in `config/file.rs`.
//! `config/perigee.toml` explains each key to operators.
//!
//! Invariants:
//! - All mistakes of a file are reported together, each with its line and what to do; a file with one mistake gives no [`Config`].
//! - A key that is not known is a mistake, so a misspelt rule never opens anything.
//! - Nothing is read from the environment, and nothing later than here.

mod defaults;
mod document;
mod file;
mod lower;
mod memory;
mod problem;
mod suggest;
mod summary;
mod tls_files;
mod units;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use ipnet::IpNet;

pub(crate) use self::tls_files::TlsFilesError;
use self::{file::File, lower::Surroundings, problem::Problems};
pub use self::{
    problem::{ConfigErrors, Problem},
    tls_files::TlsFiles,
};
use crate::policy::{ForwardedHeader, Host, Origin, Policy};

/// All settings of a gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// This gateway's id, the part of every session id before the `-`: 1 to 16 of `a-z`, `0-9`. Default `p`.
    pub node: String,
    /// Threads, at least 1; by default one per core.
    pub workers: usize,
    /// Whose word on the client's address is believed, in a header ([`crate::policy::client_address`]) or before it
    /// (`proxy_protocol`). Default nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// The one header in which trusted proxies tell the client's address. Default `X-Forwarded-For`.
    pub forwarded_header: ForwardedHeader,
    /// The hosts that the gateway answers to, whatever the port; none for every one. Default none.
    pub server_names: Vec<Host>,
    /// The address that clients know the gateway by, for where it has to say so. Default as they asked for it.
    pub public_url: Option<Origin>,
    /// Where clients connect; never empty. Default `127.0.0.1:8000`.
    pub listeners: Vec<Listener>,
    /// Backends and rules.
    pub policy: Policy,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines and periods.
    pub timeouts: Timeouts,
    /// Transports that are off unless they are named here.
    pub legacy: Legacy,
    /// What is logged, and how.
    pub log: Log,
    /// What works but is hardly meant; to be logged at the start.
    pub warnings: Vec<Problem>,
}

/// A `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// Every connection begins with a PROXY header, and comes from a trusted proxy. Default no.
    pub proxy_protocol: bool,
    /// TLS with this certificate; without, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// WebTransport on the UDP port of the same number; never without `tls`. Default false.
    pub webtransport: bool,
    /// Other processes may listen on the same address, if they say so, too; each gets a part of the connections.
    /// Default no.
    pub reuse_port: bool,
}

/// `[limits]`. A client is an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of all clients. Default 10,000.
    pub max_connections: usize,
    /// Open connections of one client, at most `max_connections`. Default 100.
    pub max_connections_per_client: usize,
    /// Sessions, attached or not. Default 10,000.
    pub max_sessions: usize,
    /// Sessions of one client, at most `max_sessions`. Default 100.
    pub max_sessions_per_client: usize,
    /// Streams of one session, 1 to 2,048. Default 256.
    pub max_streams: usize,
    /// Bytes held for all clients. Default 25 % of the memory of the machine or control group.
    pub max_memory_bytes: u64,
    /// Bytes of one stream held for its client, 64 KiB to 4 MiB. Default 256 KiB.
    pub replay_down_bytes: u64,
    /// Bytes of one stream that a client may send ahead, 16 KiB to 256 KiB. Default 64 KiB.
    pub replay_up_bytes: u64,
}

/// `[timeouts]`; those of a connection to a backend are in [`crate::policy::Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the first byte. Default 10 s.
    pub first_byte: Duration,
    /// From there to the end of TLS, and again to the end of a request's head. Default 10 s.
    pub head: Duration,
    /// From there to the end of its body. Default 10 s.
    pub body: Duration,
    /// From the upgrade to HELLO, and from WELCOME to the first sign that the client has it. Default 5 s.
    pub hello: Duration,
    /// An HTTP connection between two requests. Default 60 s.
    pub http_idle: Duration,
    /// Silence of ours on an open transport before a PING; at most half of `peer_dead`. Default 25 s.
    pub heartbeat: Duration,
    /// Silence of the client before its transport is given up. Default 55 s.
    pub peer_dead: Duration,
    /// How long a poll waits for something to say; less than `peer_dead`. Default 25 s.
    pub hold: Duration,
    /// For sessions to end when the gateway stops; may be 0. Default 8 s.
    pub drain: Duration,
    /// Age at which an HTTP stream's reply ends. Default 5 min.
    pub stream_rotate: Duration,
    /// Length at which an HTTP stream's reply ends. Default 4 MiB.
    pub stream_rotate_bytes: u64,
    /// From a delivered byte to its ACK. Default 100 ms.
    pub ack_delay: Duration,
    /// How long a stream that is over is remembered. Default 60 s.
    pub tombstone: Duration,
    /// How long a ticket outlives the reply that it was shown for. Default 60 s.
    pub ticket: Duration,
    /// How long a detached session without streams is kept; may be 0. Default 120 s.
    ///
    /// With streams it is kept for the longest [`resume_timeout`](crate::policy::Backend::resume_timeout) of their backends,
    /// and each stream ends after its own.
    pub resume: Duration,
}

/// `[legacy]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Pages that never end, in iframes. Default off.
    pub htmlfile: bool,
    /// Script tags. Default off.
    pub jsonp: bool,
}

impl Legacy {
    /// Whether frames may come up in forms.
    pub(crate) const fn forms(self) -> bool {
        self.htmlfile || self.jsonp
    }
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Default `text`.
    pub format: LogFormat,
    /// Default `info`.
    pub level: tracing::Level,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads and checks a file. Paths in it are relative to its folder, and the files they name must exist.
    ///
    /// # Errors
    /// All mistakes of the file, or that it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let whole_file = |problem: String, remedy: &str| {
            let file = name.as_str().into();
            ConfigErrors(vec![Problem {
                file,
                line: None,
                key: None,
                problem,
                remedy: remedy.to_owned(),
            }])
        };
        let bytes = fs::read(path).map_err(|error| {
            whole_file(
                format!("cannot be read: {error}"),
                "check the path and its permissions",
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            whole_file(
                format!("is not UTF-8: {}", error.utf8_error()),
                "save it as UTF-8",
            )
        })?;
        Self::read(&name, &text, Surroundings::of_this_machine())
    }

    /// Checks a text, which is called `name` in messages. As [`Self::load`], but files that it names need not exist and are not read.
    ///
    /// # Errors
    /// All mistakes of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::read(
            name,
            text,
            Surroundings {
                is_file: |_| true,
                check_tls: |_| Ok(()),
                read: |_| Ok("unread".to_owned()),
                ..Surroundings::of_this_machine()
            },
        )
    }

    fn read(name: &str, text: &str, surroundings: Surroundings) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::new(name, text);
        let file = File::parse(text, &mut problems);
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        let config = lower::lower(&file, folder, surroundings, &mut problems);
        let warnings = problems.finish()?;
        Ok(Self { warnings, ..config })
    }
}

/// Checks a file for the operator: a summary of what it lets whom reach, or all its mistakes.
///
/// # Errors
/// As [`Config::load`].
pub fn check(path: impl AsRef<Path>) -> Result<String, ConfigErrors> {
    Config::load(path).map(|config| config.summary())
}

#[cfg(test)]
mod tests;
