//! The IRC service: lines of a client that a server can trust to be lines of this client.
//!
//! It introduces the client (WEBIRC), slows it down where it sends more than a server bears,
//! answers a server's PING while the client cannot, says QUIT for it when it is gone, and refuses
//! lines that are none, that are too long, or that would speak for somebody else.
//! Text is UTF-8 for the client and what the network speaks for the server, except to clients that
//! asked for bytes.
//!
//! Invariants:
//! - what the server gets is whole lines, each from one line of the client, or the gateway's own;
//! - a text for the client is UTF-8 and one line;
//! - a line that is refused is answered, and the connection goes on.

mod lines;
mod pings;
mod throttle;
mod webirc;

use std::{borrow::Cow, time::Instant};

use bytes::Bytes;
use perigee_irc::{Limits, TextEncoding};
use perigee_session::Code;

use self::{
    lines::{Lines, TooLong, split_tags},
    pings::Pings,
    throttle::Throttle,
    webirc::Introduction,
};
use super::{Caller, Framing, Message, Output, Service};
use crate::policy::IrcSettings;

/// Longest line of a server: the tags that it may send, and more than any sends behind them.
const MAX_SERVER_LINE: usize = Limits::FROM_SERVER.tags_bytes + 16 * 1024;
/// Commands that a client could use to speak for others or to change what the connection is; all
/// of them are for gateways, proxies and servers.
const FORBIDDEN: [&str; 5] = ["WEBIRC", "CGIIRC", "PROXY", "SERVER", "STARTTLS"];

/// One client on one server.
#[derive(Debug)]
pub(crate) struct Irc {
    framing: Framing,
    encoding: TextEncoding,
    gateway: String,
    quit: String,
    max_line: usize,
    from_client: Lines,
    from_server: Lines,
    throttle: Throttle,
    /// The client has a line that waits for a token.
    is_throttled: bool,
    is_detached: bool,
    pings: Pings,
    /// When registration has taken too long; none once it is done.
    register_by: Option<Instant>,
    /// The client or the server has ended the connection in words.
    has_quit: bool,
}

impl Irc {
    /// A connection to a server that has said nothing yet. `host` is the name of the client's
    /// address, if it leads back there.
    pub(crate) fn new(
        settings: &IrcSettings,
        caller: &Caller,
        host: Option<&str>,
        now: Instant,
        out: &mut Output,
    ) -> Self {
        if let Some(password) = &settings.webirc_password {
            let introduction = Introduction {
                password,
                gateway: &settings.gateway_name,
                host,
                address: caller.client.address,
                secure: caller.client.secure,
            };
            out.send_backend(introduction.line());
        }
        let encoding = TextEncoding::with_fallback(&settings.fallback_encoding).unwrap_or_default();
        Self {
            framing: caller.framing,
            encoding: if settings.write_fallback {
                encoding.writing_fallback()
            } else {
                encoding
            },
            gateway: settings.gateway_name.clone(),
            quit: settings.quit_message.clone(),
            max_line: settings.max_line_bytes,
            from_client: Lines::new(Limits::FROM_CLIENT.tags_bytes + settings.max_line_bytes),
            from_server: Lines::new(MAX_SERVER_LINE),
            throttle: Throttle::new(settings.flood_burst, settings.flood_interval, now),
            is_throttled: false,
            is_detached: false,
            pings: Pings::default(),
            register_by: Some(now + settings.registration_timeout),
            has_quit: false,
        }
    }

    /// A token for one line, or the client has to wait.
    fn may_send(&mut self, now: Instant, out: &mut Output) -> bool {
        self.is_throttled = !self.throttle.take(now);
        if self.is_throttled {
            // Its PONG may be behind what waits.
            self.answer_for_client(out);
        }
        !self.is_throttled
    }

    /// A line of the client, without its end.
    fn client_line(&mut self, line: &[u8], out: &mut Output) {
        if let Err(refusal) = self.pass_up(line, out) {
            let Refusal { command, code, why } = refusal;
            let line = match code {
                TOO_LONG => format!(":{} 417 * :{why}", self.gateway),
                _ => format!(":{} FAIL {command} {code} :{why}", self.gateway),
            };
            self.to_client(line.as_bytes(), out);
        }
    }

    fn pass_up(&mut self, line: &[u8], out: &mut Output) -> Result<(), Refusal> {
        let (tags, rest) = split_tags(line);
        if tags.len() > Limits::FROM_CLIENT.tags_bytes {
            return Err(Refusal::new(TOO_LONG, "The tags are too long"));
        }
        let rest = match self.framing {
            Framing::Binary => Cow::Borrowed(rest),
            Framing::Stream | Framing::Text | Framing::Either => {
                let text = std::str::from_utf8(rest)
                    .map_err(|_| Refusal::new("INVALID_UTF8", "The line is not UTF-8"))?;
                self.encoding.encode(text).ok_or_else(|| {
                    Refusal::new(
                        "UNENCODABLE",
                        "The line has characters that this network's encoding has not",
                    )
                })?
            }
        };
        if rest.len() + 2 > self.max_line {
            return Err(Refusal::new(TOO_LONG, "Input line was too long"));
        }
        let mut whole = Vec::with_capacity(tags.len() + rest.len() + 2);
        whole.extend_from_slice(tags);
        whole.extend_from_slice(&rest);
        let message = perigee_irc::Message::parse(Bytes::copy_from_slice(&whole))
            .map_err(|error| Refusal::new("INVALID_LINE", error.to_string()))?;
        let command = message.command.as_str();
        if let Some(command) = FORBIDDEN.into_iter().find(|one| *one == command) {
            let why = "This command is not for clients";
            return Err(Refusal {
                command,
                ..Refusal::new("NOT_ALLOWED", why)
            });
        }
        if command == "PONG" && !self.pings.is_due(&message.params) {
            return Ok(());
        }
        self.has_quit |= command == "QUIT";
        whole.extend_from_slice(b"\r\n");
        out.send_backend(whole);
        Ok(())
    }

    /// A line of the server, without its end.
    fn server_line(&mut self, line: &mut [u8], out: &mut Output) {
        // No server sends these; one program or another would take them for a line's end.
        for byte in line.iter_mut() {
            if matches!(byte, b'\r' | 0) {
                *byte = b' ';
            }
        }
        let (command, params) = split_command(line);
        if command.eq_ignore_ascii_case(b"PING") {
            let token = params.strip_prefix(b":").unwrap_or(params);
            self.pings.passed_on(Bytes::copy_from_slice(token));
            if self.is_detached || self.is_throttled {
                self.answer_for_client(out);
                return;
            }
        } else if command == b"001" {
            self.register_by = None;
        } else if command.eq_ignore_ascii_case(b"ERROR") {
            self.has_quit = true;
        }
        self.to_client(line, out);
    }

    /// Answers the PING that the client has not answered, if there is one.
    fn answer_for_client(&mut self, out: &mut Output) {
        if let Some(token) = self.pings.take_over() {
            let mut line = b"PONG :".to_vec();
            line.extend_from_slice(&token);
            line.extend_from_slice(b"\r\n");
            out.send_backend(line);
        }
    }

    /// Sends the client a line that has no end yet.
    fn to_client(&self, line: &[u8], out: &mut Output) {
        if self.framing == Framing::Binary {
            out.send_client(Message::Binary(Bytes::copy_from_slice(line)));
            return;
        }
        let (tags, rest) = split_tags(line);
        // Tags are UTF-8 on every network.
        let mut text = String::from_utf8_lossy(tags).into_owned();
        text.push_str(&self.encoding.decode(rest));
        out.send_client(match self.framing {
            Framing::Stream => {
                text.push_str("\r\n");
                Message::Binary(text.into())
            }
            Framing::Text | Framing::Binary | Framing::Either => Message::Text(text),
        });
    }
}

impl Service for Irc {
    fn client_says(&mut self, bytes: &[u8], now: Instant, out: &mut Output) -> usize {
        if self.framing != Framing::Stream {
            if !self.may_send(now, out) {
                return 0;
            }
            // Some clients end the line, though the message does.
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                self.client_line(line, out);
            }
            return bytes.len();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if rest.contains(&b'\n') && !self.may_send(now, out) {
                break;
            }
            match self.from_client.next(&mut rest) {
                Some(Ok(line)) => self.client_line(&line, out),
                Some(Err(TooLong)) => {
                    let line = format!(":{} 417 * :Input line was too long", self.gateway);
                    self.to_client(line.as_bytes(), out);
                }
                None => {}
            }
        }
        bytes.len() - rest.len()
    }

    fn backend_says(&mut self, mut bytes: &[u8], _now: Instant, out: &mut Output) {
        while let Some(line) = self.from_server.next(&mut bytes) {
            match line {
                Ok(mut line) => self.server_line(&mut line, out),
                Err(TooLong) => out.end(Code::Limit, "the server sent a line that is too long"),
            }
        }
    }

    fn client_left(&mut self, _now: Instant, out: &mut Output) {
        if !self.has_quit {
            out.send_backend(format!("QUIT :{}\r\n", self.quit));
        }
    }

    fn client_detached(&mut self, _now: Instant, out: &mut Output) {
        self.is_detached = true;
        self.answer_for_client(out);
    }

    fn client_attached(&mut self, _now: Instant, _out: &mut Output) {
        self.is_detached = false;
    }

    fn deadline(&self) -> Option<Instant> {
        let token = self.is_throttled.then(|| self.throttle.next());
        token.into_iter().chain(self.register_by).min()
    }

    fn expired(&mut self, now: Instant, out: &mut Output) {
        if self.throttle.next() <= now {
            self.is_throttled = false;
        }
        if self.register_by.take_if(|at| *at <= now).is_some() {
            self.to_client(b"ERROR :Registration timed out", out);
            out.end(Code::Idle, "the client did not register in time");
        }
    }

    fn held_bytes(&self) -> usize {
        self.from_client.held_bytes() + self.from_server.held_bytes()
    }
}

/// A line that is not passed on, and the words for it of the IRCv3 `standard-replies`.
struct Refusal {
    command: &'static str,
    code: &'static str,
    why: Cow<'static, str>,
}

impl Refusal {
    fn new(code: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            command: "*",
            code,
            why: why.into(),
        }
    }
}

/// Told by a numeric, `ERR_INPUTTOOLONG`.
const TOO_LONG: &str = "417";

/// The command of a line, without what stands before it, and what stands behind it.
fn split_command(line: &[u8]) -> (&[u8], &[u8]) {
    let (_, mut rest) = split_tags(line);
    rest = rest.trim_ascii_start();
    if rest.first() == Some(&b':') {
        (_, rest) = split_word(rest);
    }
    split_word(rest)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

#[cfg(test)]
mod tests;
