//! XMPP by BOSH: requests on two connections, of which one waits at the server for something to say.
//!
//! As the clients of pages do it, what there is to say goes at once where a connection is free, with
//! all that waits, and a request that says nothing only when nobody had anything to say to an answer.

use std::time::Instant;

use super::{Io, MAX_SOCKETS, ORIGIN, Wire, XMPP_DOMAIN};
use crate::{
    Result,
    http::{self, Part, Responses},
    xmpp::{self, Login, Step},
};

const NAMESPACES: &str = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'";

#[derive(Debug)]
pub(super) struct Bosh {
    host: String,
    path: &'static str,
    login: Login,
    rid: u64,
    /// None until the server has given it.
    sid: Option<String>,
    lines: [Line; MAX_SOCKETS],
    /// Stanzas that wait for a connection.
    queue: Vec<u8>,
    /// When the last answer came.
    answered: Option<Instant>,
}

/// One of the connections.
#[derive(Debug, Default)]
struct Line {
    connected: bool,
    /// A request waits for its answer.
    asked: bool,
    /// Its last request.
    rid: u64,
    responses: Responses,
    /// What came of an answer that is not whole.
    body: Vec<u8>,
}

impl Bosh {
    pub(super) fn new(host: &str, path: &'static str, number: u64) -> Self {
        Self {
            host: host.to_owned(),
            path,
            login: Login::default(),
            rid: 1_000 * number,
            sid: None,
            lines: Default::default(),
            queue: Vec::new(),
            answered: None,
        }
    }

    /// Asks on the connection that is free for longest, and says whether there is one: a server closes
    /// those that it hears nothing of.
    fn ask(&mut self, attributes: &str, payload: &[u8], io: &mut Io) -> bool {
        let free = |socket: &usize| self.lines[*socket].connected && !self.lines[*socket].asked;
        let free = (0..MAX_SOCKETS).filter(free);
        let Some(socket) = free.min_by_key(|socket| self.lines[*socket].rid) else {
            return false;
        };
        self.rid += 1;
        let (rid, sid) = (self.rid, self.sid.as_deref());
        let sid = sid.map_or_else(String::new, |sid| format!(" sid='{sid}'"));
        let start = format!("<body rid='{rid}'{sid} {NAMESPACES}{attributes}>");
        let body = [start.as_bytes(), payload, b"</body>"].concat();
        let headers = format!("Origin: {ORIGIN}\r\nContent-Type: text/xml; charset=utf-8\r\n");
        let out = &mut io.out[socket];
        http::post(out, &self.host, self.path, &headers, &body);
        self.lines[socket].asked = true;
        self.lines[socket].rid = rid;
        true
    }

    fn push(&mut self, io: &mut Io) {
        if self.sid.is_none() || self.queue.is_empty() {
            return;
        }
        let stanzas = std::mem::take(&mut self.queue);
        if !self.ask("", &stanzas, io) {
            self.queue = stanzas;
        }
    }

    /// An answer is whole.
    fn understand(&mut self, body: &[u8], io: &mut Io) -> Result<()> {
        let text = std::str::from_utf8(body)?;
        let tag = text.split_once('>').map_or(text, |(tag, _)| tag);
        if tag.contains("terminate") {
            return Err(format!("the server ended the session: {text}").into());
        }
        if self.sid.is_none() {
            let sid = xmpp::between(tag, "sid='", "'");
            self.sid = Some(sid.ok_or("the server gave no session")?.to_owned());
        }
        if self.login.is_done() {
            xmpp::read_messages(text, |body| io.came(0, body.as_bytes()))?;
            return Ok(());
        }
        match self.login.heard(text)? {
            Some(Step::Say(what)) => self.queue.extend_from_slice(what.as_bytes()),
            Some(Step::Restart) => {
                let restart = format!(" to='{XMPP_DOMAIN}' xmpp:restart='true'");
                if !self.ask(&restart, b"", io) {
                    return Err("there is no connection for a new stream".into());
                }
            }
            Some(Step::Ready) | None => {}
        }
        Ok(())
    }

    /// The session waits for something to say, and no request waits at the server.
    fn is_away(&self) -> bool {
        self.sid.is_some() && self.queue.is_empty() && !self.lines.iter().any(|line| line.asked)
    }
}

impl Wire for Bosh {
    fn sockets(&self) -> usize {
        MAX_SOCKETS
    }

    fn connected(&mut self, socket: usize, io: &mut Io, _now: Instant) -> Result<()> {
        self.lines[socket].connected = true;
        if socket == 0 {
            let begin = format!(
                " to='{XMPP_DOMAIN}' wait='60' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0'"
            );
            self.ask(&begin, b"", io);
        }
        self.push(io);
        Ok(())
    }

    fn received(&mut self, socket: usize, bytes: &[u8], io: &mut Io, now: Instant) -> Result<()> {
        let line = &mut self.lines[socket];
        let (body, asked) = (&mut line.body, &mut line.asked);
        line.responses.read(bytes, |part| {
            match part {
                Part::Head(head) if http::status(head) != 200 => {
                    return Err(format!("BOSH got {}", http::status(head)).into());
                }
                Part::Head(_) => {}
                Part::Body(bytes) => body.extend_from_slice(bytes),
                Part::End => *asked = false,
            }
            Ok(())
        })?;
        if !*asked {
            self.answered = Some(now);
            let mut body = std::mem::take(body);
            self.understand(&body, io)?;
            body.clear();
            self.lines[socket].body = body;
            self.push(io);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.login.is_done()
    }

    fn send(&mut self, _stream: usize, bytes: &[u8], io: &mut Io, _now: Instant) -> usize {
        self.queue.extend_from_slice(&self.login.message(bytes));
        self.push(io);
        bytes.len()
    }

    fn deadline(&self) -> Option<Instant> {
        self.answered.filter(|_| self.is_away())
    }

    fn timeout(&mut self, io: &mut Io, _now: Instant) {
        if self.is_away() {
            self.ask("", b"", io);
        }
    }

    fn close(&mut self, io: &mut Io, _now: Instant) {
        if self.sid.is_some() {
            self.ask(" type='terminate'", b"", io);
        }
    }
}
